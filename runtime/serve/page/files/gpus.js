import { el, path, table } from "./dom.js";

// IDLE is what the scheduler calls idle: shorter pauses are how jobs work.
const IDLE = 5 * 60 * 1000, ROWS = 100;

// lasted is a time in milliseconds as people say it.
export function lasted(ms) {
  const m = Math.floor(ms / 60000);
  if (m < 1) return `${Math.floor(ms / 1000)} s`;
  if (m < 60) return `${m} min`;
  if (m < 2880) return `${Math.floor(m / 60)} h ${m % 60} min`;
  return `${Math.floor(m / 1440)} d`;
}

const sick = (g) => g.health !== "healthy" && g.health !== "unknown";
const isIdle = (g) => g.idle_ms !== undefined && g.idle_ms >= IDLE;
const percent = (v) => (v === undefined ? "?" : v > 0 && v < 10 ? "<1 %" : `${Math.floor(v / 10)} %`);
const memory = (v) => (v === undefined ? "?" : `${Math.round(v / 2 ** 30)} GiB`);

// kind is what a GPU's cell shows: the first that holds.
export function kind(g) {
  if (sick(g)) return "sick";
  if (g.probe !== "connected" || (g.busy_permille === undefined && g.coverage === "unknown")) return "unknown";
  if (isIdle(g)) return "idle";
  if (g.uses.length === 0 && !g.busy_permille) return "free";
  return `b${Math.min(4, Math.floor((g.busy_permille ?? 0) / 200))}`;
}

const index = (g) => (g.index === undefined ? "?" : g.parent_index === undefined ? String(g.index) : `${g.parent_index}/${g.index}`);

function says(g) {
  const users = g.uses.map((u) => u.job || u.pod || u.owner).join(", ");
  const text = [`GPU ${index(g)}`, g.product || g.gpu_type || "?"];
  if (g.health !== "healthy") text.push(`health ${g.health} ${g.health_reason ?? ""}`.trim());
  if (g.probe !== "connected") text.push(g.probe === "none" ? "no probe" : "its probe is not heard of any more");
  else text.push(`${percent(g.busy_permille)} busy`, users ? `used by ${users}` : "free");
  if (isIdle(g)) text.push(`idle for ${lasted(g.idle_ms)}`);
  return text.join(", ");
}

// boards leaves out GPUs that are cut into instances: those stand for them.
function boards(gpus) {
  const cut = new Set(gpus.map((g) => g.parent).filter(Boolean));
  return gpus.filter((g) => !cut.has(g.uuid));
}

function rack(node, gpus, explain) {
  const count = {};
  for (const g of gpus) {
    const k = kind(g);
    const name = k.startsWith("b") ? "in use" : k === "sick" ? g.health : k;
    count[name] = (count[name] ?? 0) + 1;
  }
  const summary = Object.entries(count).map(([k, n]) => `${n} ${k}`).join(", ");
  return el("li", { class: "rack", "data-node": node },
    el("button", { class: "link", type: "button", "data-key": `rack ${node}`, "aria-label": `${node}: ${summary}`, click: () => explain("node", node) }, node),
    el("span", { class: "cells", role: "img", "aria-label": summary }, ...gpus.map((g) => el("i", { class: `cell ${kind(g)}${g.parent ? " part" : ""}`, title: says(g) }, kind(g) === "sick" ? "✗" : kind(g) === "idle" ? "–" : null))));
}

// strip shows every GPU as a cell, node by node.
export function strip(gpus, explain) {
  const nodes = new Map();
  for (const g of boards(gpus)) nodes.set(g.node, [...(nodes.get(g.node) ?? []), g]);
  return el("ul", { class: "racks", "aria-label": "GPUs by node" }, ...[...nodes].map(([node, list]) => rack(node, list, explain)));
}

// worth lists the GPUs that somebody should look at, the longest idle first.
export function worth(gpus, link, filter) {
  const list = gpus.filter((g) => (sick(g) || isIdle(g) || g.without_request) && (!filter || g.uses.some((u) => (u.queue ?? "").toLowerCase().includes(filter))));
  list.sort((a, b) => Number(sick(b)) - Number(sick(a)) || (b.idle_ms ?? 0) - (a.idle_ms ?? 0));
  const row = (g) => {
    const strays = g.uses.filter((u) => u.assigned === false);
    const what = [];
    if (sick(g)) what.push(el("span", { class: "alert" }, `${g.health} ${g.health_reason ?? ""}`.trim()));
    if (isIdle(g)) what.push(el("span", { class: "warn" }, `idle for ${lasted(g.idle_ms)}`), ` ${g.coverage}`);
    if (strays.length) what.push(el("span", { class: "warn" }, `used without a request by ${strays.map((u) => u.pod || u.owner).join(", ")}`));
    const jobs = [...new Set(g.uses.map((u) => u.job).filter(Boolean))], queues = [...new Set(g.uses.map((u) => u.queue).filter(Boolean))];
    return [el("span", {}, link("node", g.node), ` ${index(g)}`), g.gpu_type || g.product || "?", el("span", { class: "what" }, ...what), percent(g.busy_permille), memory(g.memory_used),
      el("span", {}, ...jobs.map((j) => link("job", j))), el("span", {}, ...queues.flatMap((q, i) => [i ? ", " : "", path(q)]))];
  };
  return table("GPUs that are worth a look", [["GPU", "keep"], ["Type", "keep"], ["What"], ["Busy", "n"], ["Memory", "n"], ["Job"], ["Queue"]], list.slice(0, ROWS).map(row), "no GPU is idle, unhealthy or used without a request, as far as it is known");
}
