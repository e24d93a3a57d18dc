// aged-sjf: the shortest job first, and waiting makes a job shorter. The key of a job is
//
//   f64(duration) - aging * f64(wait)
//
// ascending, in ns; the product and the difference are rounded one after the other, so
// that every language gives the same bits. A job that declares no duration counts as one
// of unknown_duration.
import { BAD_INPUT, Jobs, OK, floatKey } from "../muster";

export { muster_abi_v1, muster_reserve } from "../muster";

const HOUR: i64 = 3600000000000;

export function muster_job_order(batch: usize): u32 {
  const b = Jobs.open(batch);
  if (b.status != OK) return b.status;
  const wait = b.wait, duration = b.duration, key = floatKey(b, 0);
  if (!wait || !key) return b.fail(BAD_INPUT, "column wait was not sent");
  const aging = b.paramF64(0, 0.5);
  const unknown = b.paramI64(1, HOUR);

  for (let i = 0, n = b.n; i < n; i++) {
    let d = duration ? duration.at(i) : -1;
    if (d < 0) d = unknown;
    key.set(i, <f64>d - aging * <f64>wait.at(i));
  }
  return OK;
}
