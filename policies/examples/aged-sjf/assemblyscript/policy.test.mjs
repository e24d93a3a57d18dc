// Tests of aged-sjf in node, with a small host of the SDK: the module is built here.
import assert from "node:assert/strict";
import { execFileSync } from "node:child_process";
import { before, test } from "node:test";
import { jobs, load } from "./muster/testing/host.mjs";

const HOUR = 3600_000_000_000n;
let policy;

before(async () => {
  execFileSync("node_modules/.bin/asc", ["assembly/policy.ts", "--runtime", "stub", "--use", "abort=", "--exportStart", "_initialize", "-O3", "-o", "policy.wasm"]);
  policy = await load("policy.wasm");
});

function batch(durations, waits) {
  const b = jobs(durations.length);
  b.columns["job.duration"].set(durations);
  b.columns["job.wait"].set(waits);
  return b;
}

test("the shortest job comes first", () => {
  assert.deepEqual(policy.run(batch([3n * HOUR, HOUR, 2n * HOUR], [0n, 0n, 0n])).order, [1, 2, 0]);
});

test("waiting makes a job shorter, as fast as the param says", () => {
  const b = batch([HOUR, 2n * HOUR], [0n, 3n * HOUR]);
  assert.deepEqual(policy.run(b).order, [1, 0]);
  b.params = [0.125];
  assert.deepEqual(policy.run(b).order, [0, 1]);
});

test("a job of unknown duration counts as the param says", () => {
  const b = batch([2n * HOUR, -1n], [0n, 0n]);
  assert.deepEqual(policy.run(b).order, [1, 0]);
  b.params = [0.5, 5n * HOUR];
  assert.deepEqual(policy.run(b).order, [0, 1]);
});

test("without durations the longest wait comes first, without waits it refuses", () => {
  const b = batch([0n, 0n], [1n, HOUR]);
  delete b.columns["job.duration"];
  assert.deepEqual(policy.run(b).order, [1, 0]);
  delete b.columns["job.wait"];
  assert.equal(policy.run(b).status, 2);
});
