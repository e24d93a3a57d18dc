// Tests of the SDK. tools/sdks.sh runs them in a project as `muster policy new` lays it
// out, where the SDK is the folder muster.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";
import { before, test } from "node:test";
import { jobs, load, queues, victims } from "./muster/testing/host.mjs";

const flags = ["--runtime", "stub", "--use", "abort=", "--exportStart", "_initialize", "-O3"];
let policy;

before(async () => {
  execFileSync("node_modules/.bin/asc", ["assembly/sdk_policy.ts", ...flags, "-o", "sdk.wasm"]);
  policy = await load("sdk.wasm");
});

function batch() {
  const b = jobs(4);
  b.columns["job.queue"][0] = b.text("root.größe");
  b.labels = [["a", "b", null, "b"]];
  b.columns["job.user"].set([0, 1, 2, 0]);
  b.columns["job.gpus"].set([1n, 2n, 3n, 4n]);
  b.params = ["b", 1.5, false];
  return b;
}

test("a policy sees columns, labels, texts and params, and its keys are in the batch", () => {
  const answer = policy.run(batch());
  assert.equal(answer.status, 0);
  assert.deepEqual([...answer.outputs["job.key0"]], [1n, 0n, 1n, 0n]);
  assert.deepEqual([...new Float64Array(answer.outputs["job.key1"].buffer)], [7.5, 3, 4.5, 7.5]);
  assert.deepEqual(answer.order, [3, 1, 0, 2]);
  assert.deepEqual(policy.logs.at(-1), [1, "done with größe"]);
  assert.equal(policy.counters[3], 4n);
});

test("a policy without params has its fallbacks", () => {
  const b = batch();
  b.params = ["b"];
  assert.equal(new Float64Array(policy.run(b).outputs["job.key1"].buffer)[0], 10);
});

test("a refusal has its status and its text, in whole characters", () => {
  const b = batch();
  b.labels = [];
  assert.deepEqual([policy.run(b).status, policy.run(b).error], [2, "größer 🙂 columns are missing"]);
  const c = batch();
  c.columns["job.queue"][0] = c.text("root.grösse");
  assert.deepEqual([policy.run(c).status, policy.run(c).error], [4, "not my queue"]);
  const d = batch();
  d.params[2] = true;
  assert.equal(policy.run(d).status, 1);
  const bytes = batch();
  bytes.labels = [];
  const raw = bytes.encode();
  new DataView(raw.buffer).setUint32(84, 10, true); // room for 10 bytes: the emoji does not fit
  const after = policy.raw("job_order", raw).bytes;
  assert.equal(new DataView(after.buffer).getUint32(88, true), "größer ".length + 2);
});

test("matrices, resources and single elements have their places", () => {
  const b = queues(2, 3);
  b.columns["queue.capacity"].set([10n, 20n, 30n]);
  b.columns["queue.demand"].set([1n, 99n, 3n, 99n, 5n, 99n]);
  b.columns["queue.parent"].set([-1, 0]);
  b.columns["queue.half_life"][0] = 100n;
  const { status, outputs } = policy.run(b);
  assert.equal(status, 0);
  assert.deepEqual([...outputs["queue.entitled"]], [101n, 120n, 103n, 110n, 105n, 130n]);
  assert.deepEqual([...outputs["queue.rank"]], [0n, 1n]);
});

test("an element that is not known is told from one that is", () => {
  const b = victims(10, 0);
  b.columns["victim.use"].fill(7n);
  b.columns["victim.leader"][2] = 1;
  b.unknown["victim.use"] = [0, 9];
  const { outputs } = policy.run(b);
  assert.deepEqual([...outputs["victim.cost"]], [1000n, 7n, 7n, 7n, 7n, 7n, 7n, 7n, 7n, 1000n]);
  assert.equal(outputs["victim.veto"][2], 1);
});

test("longer headers and descriptors are read, and unknown columns ignored", () => {
  const b = batch(), want = policy.run(batch()).order;
  b.strides = { header: 192, descriptor: 48 };
  b.extra = [[0x017f, 77, new Uint8Array(3)]];
  assert.deepEqual(policy.run(b).order, want);
});

test("bytes that are no batch are bad input", () => {
  const cases = {
    magic: [0, 1], version: [4, 2], kind: [16, 2], header: [8, 64], total: [12, 1 << 30], stride: [32, 31],
    descriptors: [28, 0xfffffff0], params: [68, 0xffffffff], "params at an odd place": [64, 1025],
    "error text": [84, 0xffffffff], rows: [20, 5], "negative rows": [20, 0x80000000], "a column": [128 + 8, 0xfffffff8],
    "a type": [128 + 4, 0x01010101],
  };
  for (const [name, [at, value]] of Object.entries(cases)) {
    const bytes = batch().encode();
    new DataView(bytes.buffer).setUint32(at, value, true);
    assert.equal(policy.raw("job_order", bytes).status, 2, name);
  }
});

test("whatever the bytes of header and descriptors, the answer is a status", () => {
  let seed = 1n, opened = 0;
  for (let round = 0; round < 5000; round++) {
    const bytes = batch().encode();
    for (let k = 0; k < 2; k++) {
      seed = (seed * 6364136223846793005n + 1442695040888963407n) & 0xffffffffffffffffn;
      const at = Number((seed >> 33n) % 1000n) & ~3;
      new DataView(bytes.buffer).setUint32(at, Number(seed & 0xffffffffn) >>> Number((seed >> 60n) * 2n), true);
    }
    if (policy.raw("job_order", bytes).status !== 2) opened++;
  }
  assert.ok(opened > 100 && opened < 4900, `${opened} opened`);
});

test("an arena is aligned, may grow, and is refused beyond 1 GiB", async () => {
  const fresh = await load("sdk.wasm");
  for (const n of [0, 1, 64, 1 << 16, 1 << 22, 100]) {
    const at = fresh.reserve(n);
    assert.ok(at > 0 && at % 64 === 0, `${n} bytes at ${at}`);
    assert.deepEqual(fresh.run(batch()).order, [3, 1, 0, 2]);
  }
  assert.equal(fresh.reserve(0xffffffff), 0);
  assert.deepEqual(fresh.run(batch()).order, [3, 1, 0, 2]);
});

test("the host's own batches are read", () => {
  const keys = (bytes) => {
    const v = new DataView(bytes.buffer), stride = v.getUint32(32, true);
    for (let d = v.getUint32(28, true); ; d += stride) {
      if (v.getUint32(d, true) === 0x0181) return [0, 8, 16].map((i) => v.getBigInt64(v.getUint32(d + 8, true) + i, true));
    }
  };
  for (const name of ["example", "later"]) {
    const { status, bytes } = policy.raw("job_order", new Uint8Array(readFileSync(`testdata/${name}.mbatch`)));
    assert.equal(status, 0, name);
    assert.deepEqual(keys(bytes), [5n, -101n, -1n], name);
  }
  // Version 1.0 had no labels: this policy refuses it, and says so in the host's batch.
  const { status, bytes } = policy.raw("job_order", new Uint8Array(readFileSync("testdata/v1.0.mbatch")));
  const error = new DataView(bytes.buffer).getUint32(80, true), size = new DataView(bytes.buffer).getUint32(88, true);
  assert.equal(status, 2);
  assert.equal(new TextDecoder().decode(bytes.slice(error, error + size)), "größer 🙂 columns are missing");
});
