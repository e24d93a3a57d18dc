// A small host for tests: it writes batches as hostabi/abi.md says, calls a policy and
// reads its answer. It checks less than Muster does: try the module by
// `muster policy check` too.
//
//   const policy = await load("policy.wasm");
//   const b = jobs(2);                        // every column, all zeros
//   b.columns["job.submit"].set([1n, 2n]);
//   assert.deepEqual(policy.run(b).order, [1, 0]);
import { readFile } from "node:fs/promises";
import { kinds } from "./columns.mjs";

const types = {
  i64: [1, 8, BigInt64Array], f64: [2, 8, Float64Array], u32: [3, 4, Uint32Array],
  dict32: [4, 4, Uint32Array], u8: [5, 1, Uint8Array], i32: [6, 4, Int32Array],
};
const shapes = { row: (n) => n, matrix: (n, r) => n * r, res: (n, r) => r, batch: () => 1 };
const flags = { output: 2, matrix: 8, res: 16, batch: 32 };
const firstLabel = 0x01000000;
const noText = 0xffffffff;

export const jobs = (n) => new Batch("job_order", n, 0);
export const queues = (n, r) => new Batch("queue_shares", n, r);
export const victims = (n, r) => new Batch("victim_costs", n, r);

/** A batch to be sent. Fill `columns`, by the names of the table of columns. */
export class Batch {
  constructor(kind, n, r) {
    Object.assign(this, { kind, n, r, now: 0n, seed: 0n, cycle: 0n });
    this.columns = {}; // typed arrays by name; delete one and it is not sent
    this.unknown = {}; // by name of a nullable column, the rows that are not known
    this.labels = []; // one array of texts for each label of policy.yaml, null for none
    this.params = []; // number: f64, bigint: i64 or duration, boolean, string
    this.extra = []; // descriptors to be added as they are: [id, type, bytes]
    this.strides = { header: 128, descriptor: 32 };
    for (const c of kinds[kind].columns) {
      this.columns[c.name] = new types[c.type][2](shapes[c.shape](n, r));
    }
    if (kind === "job_order") this.columns["job.key_count"][0] = 1;
    this.strings = [];
  }

  /** The index of a text in the dictionary. */
  text(s) {
    if (s === null || s === undefined) return noText;
    const at = this.strings.indexOf(s);
    return at >= 0 ? at : this.strings.push(s) - 1;
  }

  /** The bytes of the batch; offsets of the columns go into `this.places`. */
  encode() {
    const parts = this.#parts();
    const params = this.#slots();
    let at = this.strides.header + this.strides.descriptor * parts.length;
    const place = (bytes) => ((at = (at + 63) & ~63), (at += bytes), at - bytes);
    const descs = this.strides.header;
    const paramsAt = place(8 * params.length);
    const texts = this.strings.map((s) => new TextEncoder().encode(s));
    const size = texts.reduce((n, t) => n + t.length, 0);
    const dict = texts.length ? place(16) : 0;
    const offsets = place(4 * (texts.length + 1));
    const bytes = place(size);
    for (const p of parts) {
      p.at = place(p.data.byteLength);
      p.validAt = p.valid ? place(p.valid.length) : 0;
    }
    const error = place(256);
    const out = new Uint8Array((at + 63) & ~63);
    const v = new DataView(out.buffer);
    const u32 = (o, x) => v.setUint32(o, x, true);
    out.set(new TextEncoder().encode("MSTR"));
    v.setUint16(4, 1, true);
    v.setUint16(6, 1, true);
    [[8, this.strides.header], [12, out.length], [16, kinds[this.kind].kind], [20, this.n], [28, descs],
      [32, this.strides.descriptor], [64, paramsAt], [68, params.length], [80, error], [84, 256], [92, dict],
      [96, dict ? 1 : 0], [104, this.r]].forEach(([o, x]) => u32(o, x));
    const outputs = parts.filter((p) => p.flags & flags.output).length;
    v.setUint16(24, parts.length - outputs, true);
    v.setUint16(26, outputs, true);
    v.setBigInt64(40, BigInt(this.now), true);
    v.setBigUint64(48, BigInt(this.seed), true);
    v.setBigUint64(56, BigInt(this.cycle), true);
    params.forEach((write, i) => write(v, paramsAt + 8 * i));
    if (dict) [texts.length, offsets, bytes, size].forEach((x, i) => u32(dict + 4 * i, x));
    let end = 0;
    texts.forEach((t, i) => {
      out.set(t, bytes + end);
      end += t.length;
      u32(offsets + 4 * (i + 1), end);
    });
    parts.forEach((p, i) => {
      const d = descs + this.strides.descriptor * i;
      u32(d, p.id);
      v.setUint8(d + 4, p.type);
      v.setUint8(d + 5, p.flags);
      v.setUint16(d + 6, p.size, true);
      u32(d + 8, p.at);
      u32(d + 12, p.data.byteLength / p.size);
      u32(d + 16, p.validAt);
      u32(d + 20, p.type === 4 && dict ? 1 : 0);
      v.setUint16(d + 24, p.flags & flags.matrix ? this.r : 1, true);
      out.set(new Uint8Array(p.data.buffer, p.data.byteOffset, p.data.byteLength), p.at);
      if (p.valid) out.set(p.valid, p.validAt);
    });
    this.places = { parts, error };
    return out;
  }

  #parts() {
    const parts = [];
    for (const c of kinds[this.kind].columns) {
      const data = this.columns[c.name];
      if (data === undefined) continue;
      const [type, size] = types[c.type];
      const p = { name: c.name, id: c.id, type, size, data, flags: (flags[c.shape] ?? 0) | (c.output ? flags.output : 0) };
      if (this.unknown[c.name]) {
        p.flags |= 1;
        p.valid = new Uint8Array((data.length + 7) >> 3).fill(0xff);
        for (const row of this.unknown[c.name]) {
          p.valid[row >> 3] &= ~(1 << (row & 7));
          data[row] = -1n;
        }
      }
      parts.push(p);
    }
    this.labels.forEach((values, i) => {
      parts.push({ id: firstLabel + i, type: 4, size: 4, flags: 0, data: Uint32Array.from(values, (s) => this.text(s)) });
    });
    for (const [id, type, data] of this.extra) parts.push({ id, type, size: 1, flags: 0, data });
    return parts;
  }

  #slots() {
    return this.params.map((p) => {
      const x = typeof p === "boolean" ? BigInt(p) : typeof p === "string" ? BigInt(this.text(p)) : p;
      return typeof x === "number" ? (v, at) => v.setFloat64(at, x, true) : (v, at) => v.setBigInt64(at, x, true);
    });
  }
}

/** Loads a module. `logs` collects what the policy logs, `counters` what it counts. */
export async function load(path) {
  const logs = [], counters = {};
  let memory;
  const host = {
    log: (level, at, size) => logs.push([level, new TextDecoder().decode(new Uint8Array(memory.buffer, at, size))]),
    counter_add: (id, value) => (counters[id] = (counters[id] ?? 0n) + value),
  };
  const { instance } = await WebAssembly.instantiate(await readFile(path), { muster_v1: host });
  memory = instance.exports.memory;
  instance.exports._initialize?.();
  if (!instance.exports.muster_abi_v1) throw new Error(`${path} is no policy: it exports no muster_abi_v1`);
  return new Policy(instance.exports, logs, counters);
}

class Policy {
  #exports;
  #arena = 0;
  #room = 0;

  constructor(exports, logs, counters) {
    this.#exports = exports;
    Object.assign(this, { logs, counters });
  }

  /** Asks for an arena, as the host does. Tests of an SDK look at the address. */
  reserve(bytes) {
    this.#arena = this.#exports.muster_reserve(bytes) >>> 0;
    this.#room = this.#arena ? bytes : 0;
    return this.#arena;
  }

  /** Sends bytes as they are, and returns the status and the bytes after the call. */
  raw(kind, bytes) {
    if (bytes.length > this.#room && this.reserve(2 * bytes.length) === 0) throw new Error("the policy refuses the arena");
    new Uint8Array(this.#exports.memory.buffer).set(bytes, this.#arena);
    const status = this.#exports[`muster_${kind}`](this.#arena) >>> 0;
    return { status, bytes: new Uint8Array(this.#exports.memory.buffer).slice(this.#arena, this.#arena + bytes.length) };
  }

  /** Sends a batch and returns the status, the error text, the outputs by name, and for a
   * job order the rows in the order in which they would run. */
  run(b) {
    const { status, bytes } = this.raw(b.kind, b.encode());
    const length = Math.min(256, new DataView(bytes.buffer).getUint32(88, true));
    const answer = { status, error: new TextDecoder().decode(bytes.slice(b.places.error, b.places.error + length)), outputs: {} };
    for (const p of b.places.parts) {
      if (p.flags & flags.output) answer.outputs[p.name] = new p.data.constructor(bytes.slice(p.at, p.at + p.data.byteLength).buffer);
    }
    if (b.kind === "job_order" && status === 0) answer.order = order(b.n, answer.outputs);
    return answer;
  }
}

/** The rows in the order in which the host would run them. */
function order(n, outputs) {
  const format = outputs["job.key_format"][0];
  const keys = [];
  for (let k = 0; k < outputs["job.key_count"][0]; k++) {
    const bits = outputs[`job.key${k}`];
    keys.push([(format >> (2 * k)) & 1 ? new Float64Array(bits.buffer) : bits, (format >> (2 * k)) & 2 ? -1 : 1]);
  }
  const compare = (x, y) => {
    for (const [key, direction] of keys) {
      if (key[x] < key[y]) return -direction;
      if (key[x] > key[y]) return direction;
    }
    return x - y;
  };
  return Array.from({ length: n }, (_, i) => i).sort(compare);
}
