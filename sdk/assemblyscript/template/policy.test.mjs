// Tests of my-policy in node, which plays the host: npm test
import assert from "node:assert/strict";
import { test } from "node:test";
import { jobs, load } from "./muster/testing/host.mjs";

const HOUR = 3600_000_000_000n;
const policy = await load("policy.wasm");

test("the highest priority comes first", () => {
  const b = jobs(3); // every column, all zeros
  b.columns["job.priority"].set([0n, 10n, 5n]);
  assert.deepEqual(policy.run(b).order, [1, 2, 0]);
});

test("waiting raises a job", () => {
  const b = jobs(2);
  b.columns["job.priority"].set([2n, 0n]);
  b.columns["job.wait"].set([0n, 3n * HOUR]);
  assert.deepEqual(policy.run(b).order, [1, 0]);
  b.params = [0n]; // boost
  assert.deepEqual(policy.run(b).order, [0, 1]);
});
