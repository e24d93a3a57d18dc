import { el, label, quantity, svg } from "./dom.js";

const WIDTH = 560, HEIGHT = 190, LEFT = 44, RIGHT = 8, TOP = 10, BOTTOM = 22;
const BANDS = 7;

// colours gives the leaves that used most, over all charts, a colour each, which is the
// same in every chart; the others share the last one.
export function colours(usages) {
  const part = {};
  for (const u of usages) {
    const whole = Math.max(1, ...u.capacity) * Math.max(1, u.times.length);
    for (const s of u.queues) part[s.queue] = (part[s.queue] ?? 0) + s.used.reduce((a, b) => a + b, 0) / whole;
  }
  const all = Object.keys(part).sort((a, b) => part[b] - part[a] || (a < b ? -1 : 1));
  const own = all.slice(0, all.length > BANDS + 1 ? BANDS : BANDS + 1).sort();
  return new Map(own.map((queue, i) => [queue, i]));
}

// bands are the series with a colour of their own, and all others together.
export function bands(queues, colour) {
  const own = queues.filter((s) => colour.has(s.queue)).map((s) => ({ ...s, colour: colour.get(s.queue) }));
  const rest = queues.filter((s) => !colour.has(s.queue));
  if (rest.length === 0) return own;
  const name = rest.length === 1 ? rest[0].queue : `${rest.length} others`;
  return [...own, { queue: name, colour: BANDS, used: rest[0].used.map((_, i) => rest.reduce((a, s) => a + s.used[i], 0)) }];
}

// stack adds each band to those below it: the lower and upper edge at each time.
export function stack(list, n) {
  const floor = new Array(n).fill(0);
  return list.map((s) => {
    const low = [...floor];
    s.used.forEach((v, i) => { floor[i] += v; });
    return { ...s, low, high: [...floor] };
  });
}

// gaps cuts a list of times where samples are missing: [from, to) of each piece.
export function gaps(times, step) {
  const pieces = [];
  let from = 0;
  for (let i = 1; i <= times.length; i++) {
    if (i === times.length || times[i] - times[i - 1] > 3 * step) {
      pieces.push([from, i]);
      from = i;
    }
  }
  return pieces;
}

function path(s, x, y, pieces) {
  return pieces.map(([from, to]) => {
    const up = [], down = [];
    for (let i = from; i < to; i++) {
      up.push(`${x(i)},${y(s.high[i])}`);
      down.push(`${x(i)},${y(s.low[i])}`);
    }
    return `M${up.join("L")}L${down.reverse().join("L")}Z`;
  }).join("");
}

// real is what all leaves together really did, of what was measured; a sample of which
// nothing was measured is not 0.
export function real(queues, n) {
  const sum = (f) => Array.from({ length: n }, (_, i) => queues.reduce((a, s) => a + (s[f]?.[i] ?? 0), 0));
  const used = sum("used"), measured = sum("measured"), busy = sum("busy");
  return measured.map((m, i) => ({ measured: m, busy: m > 0 || used[i] === 0 ? busy[i] : null }));
}

// line joins the samples that are known, in pieces.
function line(values, x, y, pieces) {
  return pieces.map(([from, to]) => {
    let d = "", on = false;
    for (let i = from; i < to; i++) {
      if (values[i].busy !== null) d += `${on ? "L" : "M"}${x(i)},${y(values[i].busy)}`;
      on = values[i].busy !== null;
    }
    return d;
  }).join("");
}

const clock = (s) => new Date(s * 1000).toLocaleTimeString([], { hour: "2-digit", minute: "2-digit" });

// nice is a round step that divides a height into about four.
function nice(most) {
  const raw = most / 4, size = 10 ** Math.floor(Math.log10(raw || 1));
  return [1, 2, 5, 10].map((m) => m * size).find((s) => s >= raw) ?? raw;
}

// chart draws what the leaves used of one resource, one on top of the other.
export function chart(u, colour) {
  const title = el("h3", {}, label(u.resource));
  if (u.times.length < 2) return el("div", {}, title, el("p", { class: "none" }, "samples come every five seconds"));
  const list = stack(bands(u.queues, colour), u.times.length);
  const most = Math.max(1, ...u.capacity, ...(list.length ? list[list.length - 1].high : [0]));
  const [t0, t1] = [u.times[0], u.times[u.times.length - 1]];
  const x = (i) => Math.round(10 * (LEFT + ((WIDTH - LEFT - RIGHT) * (u.times[i] - t0)) / Math.max(1, t1 - t0))) / 10;
  const y = (v) => Math.round(10 * (HEIGHT - BOTTOM - ((HEIGHT - TOP - BOTTOM) * v) / most)) / 10;
  const pieces = gaps(u.times, u.step_s);
  const last = u.times.length - 1;
  const really = real(u.queues, u.times.length), probed = really.some((v) => v.measured > 0);
  const busy = (i) => (really[i].busy === null || really[i].measured === 0 ? "" : `; really busy ${quantity(u.resource, really[i].busy)} of the ${quantity(u.resource, really[i].measured)} measured`);
  const at = (i) => `${clock(u.times[i])}: ` + (list.map((s) => `${s.queue} ${quantity(u.resource, s.used[i])}`).join(", ") || "nothing used") + (u.capacity.length ? ` of ${quantity(u.resource, u.capacity[i])}` : "") + busy(i);
  const drawing = svg("svg", { class: "chart", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0, "data-key": `chart ${u.resource}`, "aria-label": `${label(u.resource)} used over time. ${at(last)}` });
  const step = nice(most);
  for (let v = 0; v <= most; v += step) {
    drawing.append(svg("line", { class: "grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(v), y2: y(v) }), svg("text", { x: LEFT - 6, y: y(v) + 4, "text-anchor": "end" }, quantity(u.resource, v)));
  }
  list.forEach((s) => drawing.append(svg("path", { class: `area c${s.colour}`, d: path(s, x, y, pieces), "data-queue": s.queue })));
  if (u.capacity.length) drawing.append(svg("polyline", { class: "capacity", points: u.capacity.map((v, i) => `${x(i)},${y(v)}`).join(" ") }));
  if (probed) {
    const d = line(really, x, y, pieces);
    drawing.append(svg("path", { class: "under", d }), svg("path", { class: "real", d }));
  }
  drawing.append(svg("text", { x: LEFT, y: HEIGHT - 6 }, clock(t0)), svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 6, "text-anchor": "end" }, clock(t1)));
  const readout = el("div", { class: "readout" }, at(last));
  const cursor = svg("line", { class: "cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  drawing.append(cursor);
  let here = last;
  const point = (i) => {
    here = Math.max(0, Math.min(last, i));
    cursor.setAttribute("x1", x(here));
    cursor.setAttribute("x2", x(here));
    cursor.setAttribute("visibility", "visible");
    readout.textContent = at(here);
  };
  drawing.addEventListener("pointermove", (e) => {
    const box = drawing.getBoundingClientRect();
    const t = t0 + ((t1 - t0) * (((e.clientX - box.left) / box.width) * WIDTH - LEFT)) / (WIDTH - LEFT - RIGHT);
    point(u.times.findIndex((v) => v >= t) === -1 ? last : u.times.findIndex((v) => v >= t));
  });
  drawing.addEventListener("keydown", (e) => {
    if (e.key === "ArrowLeft" || e.key === "ArrowRight") {
      point(here + (e.key === "ArrowLeft" ? -1 : 1));
      e.preventDefault();
    }
  });
  return el("div", {}, title, drawing, readout,
    el("ul", { class: "legend" }, ...list.map((s) => el("li", {}, el("i", { class: `key c${s.colour}` }), s.queue)),
      probed ? el("li", {}, el("i", { class: "key real" }), "really busy") : null));
}
