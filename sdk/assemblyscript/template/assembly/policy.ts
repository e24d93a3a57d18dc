// my-policy: a job order. Jobs of higher priority come first, and waiting raises a job:
// by one for each full hour that it has waited, times the param boost.
import { BAD_INPUT, Jobs, OK } from "../muster";

// Every policy exports these two.
export { muster_abi_v1, muster_reserve } from "../muster";

const HOUR: i64 = 3600000000000;

export function muster_job_order(batch: usize): u32 {
  const b = Jobs.open(batch);
  if (b.status != OK) return b.status;
  // Columns that policy.yaml lists under required, and the output. An optional column is
  // null if the host does not have it.
  const priority = b.priority, wait = b.wait, key = b.key0;
  if (!priority || !wait || !key) return b.fail(BAD_INPUT, "a required column was not sent");
  // Slot 0 is the first param of policy.yaml; give its default once more.
  const boost = b.paramI64(0, 1);

  for (let i = 0; i < b.n; i++) {
    key.set(i, -(priority.at(i) + boost * (wait.at(i) / HOUR))); // the smallest key runs first
  }
  return OK;
}
