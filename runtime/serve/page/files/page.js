// The page asks the API every two seconds and draws what has changed.
import { ago, el, isGPU, label, path, plural, quantity, replace, table } from "./dom.js";
import { tree } from "./queues.js";
import { chart, colours } from "./chart.js";
import { lasted, strip, worth } from "./gpus.js";

const EVERY = 2000, MANY = 40, ROWS = 100;
const GPU = "nvidia.com/gpu";
const $ = (id) => document.getElementById(id);

// now is the scheduler's clock, which a simulation runs faster.
let now = Date.now();
let queues = [], jobs = { total: 0, items: [] }, pool = { capacity: {} };
let reason = "", since = "1h", rows = ROWS, settled = false, gpus = { total: 0, items: [] }, which = "";

const state = {
  resource: "types", scale: "pool", filter: "", closed: new Set(), parents: new Set(), types: 0, capacity: {},
  explain: (kind, name) => { location.hash = `${kind}=${encodeURIComponent(name)}`; },
  most: ROWS,
  more: () => { state.most += ROWS; drawQueues(); },
  twist: (path) => {
    if (!state.closed.delete(path)) state.closed.add(path);
    drawQueues();
  },
};

// known answers, by path: what has not changed is neither sent nor drawn again.
const known = new Map();

async function ask(path, draw) {
  const headers = {};
  const token = sessionStorage.getItem("token");
  if (token) headers.Authorization = `Bearer ${token}`;
  const old = known.get(path);
  if (old) headers["If-None-Match"] = old.tag;
  const r = await fetch(`api/v1/${path}`, { headers, cache: "no-store" });
  const at = r.headers.get("Muster-At");
  if (at) now = Date.parse(at);
  if (r.status === 304) return draw(old.body, false);
  const body = await r.json().catch(() => ({ error: { message: `the answer (${r.status}) is no JSON`, hint: "" } }));
  if (r.status === 401) $("login").hidden = false;
  if (!r.ok) throw new Error(`${body.error.message}. ${body.error.hint}`);
  $("login").hidden = true;
  if (known.size > 64) known.clear();
  known.set(path, { tag: r.headers.get("ETag"), body });
  return draw(body, true);
}

function drawPool(body) {
  pool = body.item;
  state.capacity = pool.capacity;
  const types = Object.keys(pool.capacity).filter((r) => isGPU(r) && r !== GPU).sort();
  state.types = types.length;
  const gpus = types.map((t) => `${quantity(t, pool.capacity[t])} ${label(t)}`).join(", ") || `${quantity(GPU, pool.capacity[GPU] ?? 0)} GPUs`;
  $("pool").textContent = `${plural(pool.nodes, "node")} with ${gpus}; ${pool.running_jobs === 1 ? "1 job runs" : `${pool.running_jobs} jobs run`}, ${pool.pending_jobs} wait${pool.leader.identity ? `; decided by ${pool.leader.identity}` : ""}`;
  const notes = [];
  if (pool.paused) notes.push(el("span", { class: "alert" }, `paused: ${pool.paused}`));
  if (pool.degraded) notes.push(el("span", { class: "warn" }, "the pool is smaller than its guarantees: each counts in proportion"));
  if (body.stale) notes.push(el("span", { class: "warn" }, "the scheduler is busy: this is its last picture"));
  notes.push(el("span", {}, ` as of ${new Date(now).toLocaleTimeString()}`));
  replace($("state"), ...notes);
  chooser(types);
}

// chooser offers the resources that the pool has.
function chooser(types) {
  const others = Object.keys(pool.capacity).filter((r) => !isGPU(r)).sort();
  const options = [["types", "GPUs by type"], ...types.map((t) => [t, label(t)]), [GPU, "all GPUs together"], ...others.map((r) => [r, r])];
  const text = JSON.stringify(options);
  const select = $("resource");
  if (select.dataset.options === text) return;
  select.dataset.options = text;
  select.replaceChildren(...options.map(([value, name]) => el("option", { value }, name)));
  select.value = state.resource;
}

function drawQueues() {
  state.parents = new Set(queues.map((q) => q.parent).filter(Boolean));
  if (!settled && queues.length) {
    settled = true;
    if (queues.length > MANY) {
      for (const q of queues) if (q.depth > 0 && state.parents.has(q.path)) state.closed.add(q.path);
      state.scale = $("scale").value = "queue";
    }
  }
  const probed = queues.some((q) => q.resources.some((r) => r.measured));
  for (const e of document.querySelectorAll(".probed")) e.hidden = !probed;
  const longest = Math.max(9, ...Object.keys(state.capacity).map((r) => (isGPU(r) ? label(r).length : 0)));
  $("queues").style.setProperty("--what", `${Math.min(longest, 24) * 8}px`); // the names of GPU types stay in one line
  replace($("queues"), ...tree(queues, state));
}

function drawGPUs() {
  const told = gpus.items.some((g) => g.probe !== "none") || which;
  $("gpus-count").textContent = gpus.total > gpus.items.length ? `${gpus.total}, the first ${gpus.items.length} shown` : String(gpus.total);
  replace($("strip"), told ? strip(gpus.items, state.explain) : el("p", { class: "none" }, gpus.total ? "no node has a probe: nobody knows what the GPUs do" : "there are no GPUs"));
  replace($("gpus"), told ? worth(gpus.items, link, state.filter) : null);
}

const askGPUs = () => ask(`gpus?limit=512${which && "&"}${which}`, (body, fresh) => { if (fresh || body !== gpus) { gpus = body; drawGPUs(); } });

const request = (job) => {
  const sum = {};
  for (const g of job.groups) for (const [r, v] of Object.entries(g.request)) if (isGPU(r)) sum[r] = (sum[r] ?? 0) + v * ((g.waiting ?? 0) + (g.starting ?? 0));
  const typed = Object.keys(sum).filter((r) => r !== GPU);
  const total = typed.reduce((a, r) => a + sum[r], 0);
  const parts = typed.map((r) => `${quantity(r, sum[r])} ${label(r)}`);
  if ((sum[GPU] ?? 0) > total) parts.push(`${quantity(GPU, sum[GPU] - total)} GPUs`);
  return parts.join(", ") || "none";
};

function link(kind, name) {
  return el("button", { class: "link", type: "button", "data-key": `${kind} ${name}`, click: () => state.explain(kind, name) }, path(name));
}

function drawJobs() {
  const count = {};
  for (const j of jobs.items) {
    const code = j.reason?.code ?? "not tried yet";
    count[code] = (count[code] ?? 0) + 1;
  }
  if (reason && !count[reason]) reason = "";
  $("jobs-count").textContent = jobs.total > jobs.items.length ? `${jobs.total}, the first ${jobs.items.length} counted` : String(jobs.total);
  replace($("reasons"), ...Object.entries(count).sort((a, b) => b[1] - a[1]).map(([code, n]) =>
    el("button", { type: "button", "aria-pressed": String(code === reason), "data-key": `reason ${code}`, click: () => { reason = reason === code ? "" : code; drawJobs(); } }, `${code} `, el("span", { class: "count" }, String(n)))));
  const list = jobs.items.filter((j) => (!reason || (j.reason?.code ?? "not tried yet") === reason) && (!state.filter || j.queue.toLowerCase().includes(state.filter)));
  replace($("jobs"), table("Waiting jobs", [["Job", "long"], ["Queue", "long"], ["GPUs", "keep"], ["Waits", "n"], ["Why"]],
    list.slice(0, rows).map((j) => [link("job", j.id), path(j.queue), request(j), ago(j.submit, now), el("span", {}, el("span", { class: "code" }, j.reason?.code ?? "not tried yet"), ` ${(j.reason?.text ?? "").replace(`${j.reason?.code}: `, "")}`)]), "no job waits"),
  list.length > rows ? el("button", { type: "button", "data-key": "more", click: () => { rows += ROWS; drawJobs(); } }, `show more (${list.length - rows})`) : null);
}

// became is what came of an eviction: one that was announced may be withdrawn.
function became(e) {
  if (e.stayed) return el("span", { class: "good" }, `stayed: ${e.stayed_reason}`);
  if (!e.ended && e.deadline) return el("span", { class: "warn" }, `leaves by ${new Date(e.deadline).toLocaleTimeString()}`);
  return e.saved ? "saved, then ended" : "ended";
}

// unsaved is how long the GPUs had been held since the job started or saved its work last,
// idle or not, in GPU-hours; nothing of it is lost if it stayed or has saved meanwhile.
const unsaved = (e) => (e.stayed || e.saved ? "–" : (e.lost_gpu_ms / 3.6e6).toFixed(1));
const UNSAVED = ["GPU-hours unsaved", "n", "held since the start or the last checkpoint, idle or not"];

function drawEvictions(body) {
  $("evictions-count").textContent = String(body.total);
  replace($("evictions"), table("Recent evictions", [["When", "keep"], ["Job"], ["Queue"], ["For"], ["Rule"], ["Became"], ["GPUs", "n"], UNSAVED, ["Priced by"]],
    body.items.map((e) => [new Date(e.at).toLocaleTimeString(), link("job", e.job), path(e.queue), link("job", e.for),
      el("span", {}, el("span", { class: "code" }, e.rule), e.idle_ms ? ` idle for ${lasted(e.idle_ms)}` : null), became(e), quantity(GPU, e.gpu_milli), unsaved(e), path(e.policy.split(" ")[0])]), "nobody was evicted"));
}

function version(p) {
  const v = p.active;
  if (!v) return p.built_in ? "built in" : "not active yet";
  return [v.name, v.version, (v.digest ?? "").replace("sha256:", "").slice(0, 12)].filter(Boolean).join(" ");
}

function drawPolicies(body) {
  replace($("policies"), table("Policies", [["Name"], ["Decides"], ["Version"], ["State"], ["Calls", "n"], ["Fallbacks", "n"], ["Queues", "n"], ["Last failure"]],
    body.items.map((p) => {
      const sum = (f) => (p.uses ?? []).reduce((a, u) => a + u[f], 0);
      const failed = (p.uses ?? []).find((u) => u.failure);
      const bad = p.active?.state === "quarantined";
      return [path(p.name), (p.kinds ?? (p.uses ?? []).map((u) => u.kind)).join(", "), version(p), el("span", { class: bad ? "alert" : null }, (p.active?.state ?? "active") + (p.shadow ? `, shadow ${p.shadow.version ?? ""}` : "")),
        String(sum("calls")), String(sum("fallbacks")), String((p.queues ?? []).length), failed?.failure ?? ""];
    }), "no policy has been asked"));
}

async function drawUsage() {
  const gpus = Object.keys(pool.capacity).filter((r) => isGPU(r) && r !== GPU).sort();
  const wanted = state.resource === "types" ? (gpus.length ? gpus : [GPU]) : [state.resource];
  const charts = [];
  let fresh = $("usage").dataset.of !== wanted.join() + since;
  for (const r of wanted) await ask(`usage?resource=${encodeURIComponent(r)}&since=${since}`, (body, changed) => { fresh ||= changed; charts.push(body.item); });
  if (!fresh) return;
  $("usage").dataset.of = wanted.join() + since;
  replace($("usage"), el("div", { class: "charts" }, ...charts.map((u) => chart(u, colours(charts)))));
}

// detail shows the explanation of what the address names.
async function detail() {
  const [, kind, name] = /^#(job|queue|node)=(.*)$/.exec(location.hash) ?? [];
  const box = $("detail");
  if (!kind) return box.close();
  const close = el("button", { type: "button", "data-key": "close", click: () => { location.hash = ""; } }, "Close");
  let body;
  try {
    const path = decodeURIComponent(name).split("/").map(encodeURIComponent).join("/");
    await ask(`explain/${kind}/${path}`, (answer) => { body = explanation(answer.item); });
  } catch (e) {
    body = [el("p", { class: "alert" }, e.message)];
  }
  replace(box, el("header", {}, el("h2", { id: "detail-title" }, `${kind} ${decodeURIComponent(name)}`), close), ...body);
  if (!box.open) box.showModal();
}

const marks = { passed: "✓ ", blocked: "✗ ", "not reached": "", note: "" };

function explanation(e) {
  const tasks = (e.tasks ?? []).slice(0, 200);
  return [
    el("p", {}, e.summary),
    e.unblock ? el("p", {}, el("b", {}, "What would help: "), e.unblock) : null,
    ...(e.extra ?? []).map((r) => el("p", { class: "warn" }, `${r.code}: ${r.text}`)),
    el("ol", { class: "levels" }, ...e.levels.map((l) => el("li", { class: l.verdict === "not reached" ? "unreached" : l.verdict },
      el("b", {}, `${marks[l.verdict]}${l.level}`), l.text ? `: ${l.text}` : l.verdict === "not reached" ? " (not reached)" : "",
      (l.details ?? []).length ? el("ul", {}, ...l.details.map((d) => el("li", {}, d))) : null))),
    tasks.length ? table("Tasks", [["Task", "n"], ["Where"], ["State"], ["Since"]], tasks.map((t) => [String(t.index), t.node ? link("node", t.node) : link("job", t.job), t.state, new Date(t.since).toLocaleString()]), "") : null,
    (e.evictions ?? []).length ? table("Evictions", [["When"], ["For"], ["Rule"], ["Became"], UNSAVED], e.evictions.map((v) => [new Date(v.at).toLocaleString(), link("job", v.for), v.rule, became(v), unsaved(v)]), "") : null,
  ].filter(Boolean);
}

let failing = false;

async function refresh() {
  try {
    let other = false;
    await ask("pool", (body, fresh) => { other = fresh; drawPool(body); });
    await ask("queues?limit=50000", (body, fresh) => { queues = body.items; if (fresh || other) drawQueues(); });
    await ask("jobs?state=waiting&limit=2000", (body, fresh) => { jobs = body; if (fresh) drawJobs(); });
    await ask("evictions?limit=50", (body, fresh) => { if (fresh) drawEvictions(body); });
    await ask("policies", (body, fresh) => { if (fresh) drawPolicies(body); });
    await drawUsage();
    await askGPUs();
    if ($("detail").open) await detail();
    if (failing) known.clear();
    failing = false;
  } catch (e) {
    failing = true;
    replace($("state"), el("span", { class: "alert" }, e instanceof TypeError ? "the scheduler does not answer; what is shown is its last picture" : e.message));
  }
  document.body.dataset.drawn = String(Number(document.body.dataset.drawn ?? 0) + 1);
}

async function loop() {
  if (!document.hidden) await refresh();
  setTimeout(loop, EVERY);
}

$("resource").addEventListener("change", (e) => { state.resource = e.target.value; drawQueues(); drawUsage().catch(() => {}); });
$("scale").addEventListener("change", (e) => { state.scale = e.target.value; drawQueues(); });
$("filter").addEventListener("input", (e) => { state.filter = e.target.value.trim().toLowerCase(); drawQueues(); drawJobs(); drawGPUs(); });
$("login").addEventListener("submit", (e) => { e.preventDefault(); sessionStorage.setItem("token", $("token").value); $("token").value = ""; refresh(); });
for (const b of document.querySelectorAll("[data-since]")) {
  b.addEventListener("click", () => {
    since = b.dataset.since;
    for (const o of document.querySelectorAll("[data-since]")) o.setAttribute("aria-pressed", String(o === b));
    drawUsage().catch(() => {});
  });
}
for (const b of document.querySelectorAll("[data-gpus]")) {
  b.addEventListener("click", () => {
    which = b.dataset.gpus;
    for (const o of document.querySelectorAll("[data-gpus]")) o.setAttribute("aria-pressed", String(o === b));
    askGPUs().catch(() => {});
  });
}
addEventListener("hashchange", detail);
$("detail").addEventListener("close", () => { if (location.hash) location.hash = ""; });

// The patterns of what waits and of what is not measured are drawn once and used by every
// bar.
const NS = "http://www.w3.org/2000/svg";
const defs = document.createElementNS(NS, "svg");
defs.id = "defs";
defs.setAttribute("aria-hidden", "true");

function pattern(attributes, part) {
  const make = (name, of) => {
    const e = document.createElementNS(NS, name);
    for (const [k, v] of Object.entries(of)) e.setAttribute(k, v);
    return e;
  };
  const p = make("pattern", { patternUnits: "userSpaceOnUse", ...attributes });
  p.append(make("rect", part));
  defs.append(p);
}

pattern({ id: "hatch", width: 1.2, height: 6, patternTransform: "skewX(-20)" }, { width: 0.5, height: 6, class: "stripe" });
pattern({ id: "dots", width: 1, height: 18 }, { width: 0.45, height: 18, class: "dot" });
document.body.append(defs);

loop().then(() => { if (location.hash) detail(); });
