// What is shown comes from users: names of jobs and queues are only ever set as text.

const SVG = "http://www.w3.org/2000/svg";

// el makes an element. Attributes that are null are left out; children are elements or
// text.
export function el(name, attributes = {}, ...children) {
  return fill(document.createElement(name), attributes, children);
}

export function svg(name, attributes = {}, ...children) {
  return fill(document.createElementNS(SVG, name), attributes, children);
}

function fill(e, attributes, children) {
  for (const [k, v] of Object.entries(attributes)) {
    if (v === null || v === undefined) continue;
    if (k === "click") e.addEventListener("click", v);
    else e.setAttribute(k, v);
  }
  e.append(...children.filter((c) => c !== null && c !== undefined));
  return e;
}

// replace fills a place anew. Whoever had the keyboard there has it again, if the element
// with the same data-key still exists.
export function replace(place, ...children) {
  const key = place.contains(document.activeElement) ? document.activeElement.dataset?.key : null;
  const top = place.scrollTop;
  place.replaceChildren(...children.filter((c) => c !== null && c !== undefined));
  place.scrollTop = top;
  if (!key) return;
  for (const e of place.querySelectorAll("[data-key]")) {
    if (e.dataset.key === key) return e.focus({ preventScroll: true });
  }
}

export function table(caption, columns, rows, nothing) {
  if (rows.length === 0) return el("p", { class: "none" }, nothing);
  return el("table", { "aria-label": caption },
    el("thead", {}, el("tr", {}, ...columns.map(([name, kind, about]) => el("th", { scope: "col", class: kind, title: about }, name)))),
    el("tbody", {}, ...rows.map((cells) => el("tr", {}, ...cells.map((c, i) => el("td", { class: columns[i][1] }, c))))));
}

// path is a name that goes on in a new line after a dot or slash, and not at its hyphens
// unless a part of it is very long.
export function path(name) {
  const parts = name.split(/(?<=[./])/);
  return el("span", {}, ...parts.flatMap((p, i) => [el("span", { class: p.length > 40 ? "cut" : "keep" }, p), i < parts.length - 1 ? el("wbr") : null]));
}

// plural is a number of things.
export const plural = (n, one) => `${n} ${n === 1 ? one : `${one}s`}`;

const GPU = "nvidia.com/gpu";

export const isGPU = (resource) => resource.split(":")[0].endsWith("/gpu");

// label is a resource as people call it: "H100", "all GPUs", "cpu".
export function label(resource) {
  const [base, type] = resource.split(":");
  if (type) return type;
  return base === GPU ? "all GPUs" : base;
}

// quantity is an amount in base units as people read it.
export function quantity(resource, v) {
  if (resource === "cpu" || isGPU(resource)) return String(Math.round(v / 100) / 10);
  if (resource !== "memory") return String(v);
  for (const [unit, size] of [["PiB", 2 ** 50], ["TiB", 2 ** 40], ["GiB", 2 ** 30], ["MiB", 2 ** 20]]) {
    if (Math.abs(v) >= size) return `${Math.round((10 * v) / size) / 10} ${unit}`;
  }
  return `${v} B`;
}

// ago is how long before now a time was.
export function ago(time, now) {
  if (!time) return "";
  const s = Math.max(0, Math.round((now - Date.parse(time)) / 1000));
  if (s < 100) return `${s} s`;
  if (s < 6000) return `${Math.round(s / 60)} min`;
  if (s < 172800) return `${Math.round(s / 360) / 10} h`;
  return `${Math.round(s / 8640) / 10} d`;
}
