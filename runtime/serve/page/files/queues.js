import { el, isGPU, label, quantity, svg } from "./dom.js";
import { lasted } from "./gpus.js";

const GPU = "nvidia.com/gpu";

// shown lists the resources of a queue that get a bar: what was chosen, or the GPU types,
// and all GPUs together where a guarantee or a max speaks of them.
export function shown(queue, chosen, types) {
  const has = (r) => r.used || r.pending || r.guaranteed !== undefined || r.max !== undefined;
  if (chosen !== "types") return queue.resources.filter((r) => r.resource === chosen);
  const gpus = queue.resources.filter((r) => isGPU(r.resource) && has(r));
  const total = gpus.filter((r) => r.resource === GPU && (types === 0 || r.guaranteed !== undefined || r.max !== undefined || r.pending > 0));
  return [...total, ...gpus.filter((r) => r.resource !== GPU)];
}

// parts are the lengths of a bar, in percent of what it is drawn to.
export function parts(r, whole) {
  const part = (v) => (whole > 0 ? Math.max(0, Math.min(100, (100 * v) / whole)) : 0);
  const guaranteed = r.effective_guaranteed ?? r.guaranteed ?? 0;
  const inside = part(r.used - r.borrowed);
  const used = part(r.used);
  const most = r.max === undefined ? 100 : part(r.max);
  return {
    used: inside, borrowed: used - inside, ghost: Math.max(0, Math.min(part(r.used + r.pending), 100) - used),
    mark: r.guaranteed === undefined ? null : part(guaranteed), max: r.max === undefined ? null : most,
    busy: r.measured ? part(r.measured.busy) : 0, unknown: r.measured ? part(r.measured.unknown) : 0, all: used,
  };
}

export function says(r) {
  const q = (v) => quantity(r.resource, v);
  const text = [`${q(r.used)} used`];
  if (r.measured && r.used > 0) {
    const known = [];
    if (r.measured.unknown < r.used) known.push(`${q(r.measured.busy)} busy`);
    if (r.measured.idle > 0) known.push(`${q(r.measured.idle)} idle`);
    if (r.measured.unknown > 0) known.push(`${q(r.measured.unknown)} not measured`);
    text[0] += ` (${known.join(", ")})`;
  }
  if (r.guaranteed !== undefined) {
    const cut = r.effective_guaranteed !== undefined && r.effective_guaranteed !== r.guaranteed;
    text.push(cut ? `${q(r.effective_guaranteed)} of ${q(r.guaranteed)} guaranteed` : `${q(r.guaranteed)} guaranteed`);
  }
  if (r.max !== undefined) text.push(`max ${q(r.max)}`);
  if (r.guaranteed !== undefined && r.borrowed > 0) text.push(`${q(r.borrowed)} borrowed`);
  if (r.pending > 0) text.push(`${q(r.pending)} waiting`);
  return text;
}

// whole is what a bar of a queue is drawn to: what the pool has, or the most that the queue
// may use.
function whole(r, capacity, scale) {
  const pool = capacity[r.resource] ?? 0;
  if (scale === "pool") return pool;
  return Math.min(r.max ?? pool, pool) || pool;
}

export function bar(r, capacity, scale) {
  const p = parts(r, whole(r, capacity, scale));
  const rect = (name, x, width, y = 3, height = 12) => (width > 0 ? svg("rect", { class: name, x, y, width, height }) : null);
  return svg("svg", { class: "bar", viewBox: "0 0 100 18", preserveAspectRatio: "none", role: "img", "aria-label": `${label(r.resource)}: ${says(r).join(", ")}` },
    rect("track", 0, 100), rect("used", 0, p.used), rect("borrowed", p.used, p.borrowed), rect("ghost", p.used + p.borrowed, p.ghost),
    rect("busy", 0, p.busy, 7, 4), rect("unmeasured", p.all - p.unknown, p.unknown, 7, 4),
    p.max === null ? null : rect("max", 0, Math.max(p.max, 0.2), 1, 16),
    p.mark === null ? null : svg("line", { class: "mark", x1: p.mark, x2: p.mark, y1: 0, y2: 18 }));
}

function lines(queue, state) {
  return shown(queue, state.resource, state.types).map((r) => {
    const [first, ...rest] = says(r);
    return el("div", { class: "line" },
      el("span", { class: "what" }, label(r.resource)), bar(r, state.capacity, state.scale),
      el("span", { class: "says" }, el("b", {}, first), rest.length ? `, ${rest.join(", ")}` : ""));
  });
}

function row(queue, state) {
  const open = !state.closed.has(queue.path);
  const children = state.parents.has(queue.path);
  const name = queue.path.split(".").pop();
  const jobs = `${queue.running_jobs} running, ${queue.pending_jobs} waiting`;
  const made = queue.created ? `made by a rule, goes after ${lasted(queue.stays_empty_ms)} empty` : null;
  return el("div", { class: `queue d${Math.min(queue.depth, 4)}`, role: "row", "aria-level": queue.depth + 1, "aria-expanded": children ? String(open) : null, "data-queue": queue.path },
    el("div", { class: "name", role: "rowheader" },
      children
        ? el("button", { class: "twist", type: "button", "data-key": `twist ${queue.path}`, "aria-label": `${open ? "close" : "open"} ${queue.path}`, click: () => state.twist(queue.path) }, open ? "▾" : "▸")
        : el("span", { class: "twist" }),
      el("span", {}, el("button", { class: "link", type: "button", "data-key": `queue ${queue.path}`, title: queue.path, click: () => state.explain("queue", queue.path) }, name), el("small", {}, jobs), made && el("small", { class: "made" }, made))),
    el("div", { class: "lines", role: "gridcell" }, ...lines(queue, state)));
}

// tree lists the rows of the queues that are not inside one that is closed, the first of
// many.
export function tree(queues, state) {
  const match = (q) => !state.filter || q.path.toLowerCase().includes(state.filter);
  const hidden = (q) => [...state.closed].some((c) => q.path.startsWith(`${c}.`));
  const rows = queues.filter((q) => (state.filter ? match(q) : !hidden(q)));
  if (rows.length === 0) return [el("p", { class: "none" }, "no queue has such a name")];
  const left = rows.length - state.most;
  return [
    ...rows.slice(0, state.most).map((q) => row(q, state)),
    left > 0 ? el("div", { class: "more", role: "row" }, el("div", { role: "gridcell" }, el("button", { type: "button", "data-key": "more queues", click: state.more }, `show more (${left})`))) : null,
  ];
}
