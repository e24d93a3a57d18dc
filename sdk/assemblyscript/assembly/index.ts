/**
 * The guest side of Muster's policy ABI, for policies in AssemblyScript. README.md has a
 * whole policy; every column is documented in columns.ts.
 */
import { F64s } from "./batch";
import { Jobs } from "./columns";

export {
  OK, ABSTAIN, BAD_INPUT, BAD_PARAMS, INTERNAL, UNSET, NO_MAX, ONE, NO_TEXT,
  I64s, F64s, U32s, I32s, U8s, Scratch, known, reason, log, count, muster_abi_v1, muster_reserve,
} from "./batch";
export { Jobs, Queues, Victims } from "./columns";

/** Says how many key columns to sort by, 1 to 4; it is 1 if a policy says nothing. */
export function setKeys(b: Jobs, count: u32): void {
  const c = b.keyCount;
  if (c) c.set(0, count);
}

/** Key column i, to be filled with finite numbers. */
export function floatKey(b: Jobs, i: i32): F64s | null {
  const format = b.keyFormat, key = b.key(i);
  if (format) format.set(0, format.at(0) | (1 << (2 * i)));
  return key ? key.floats() : null;
}

/** Sorts key i from the largest to the smallest. */
export function descending(b: Jobs, i: i32): void {
  const format = b.keyFormat;
  if (format) format.set(0, format.at(0) | (2 << (2 * i)));
}
