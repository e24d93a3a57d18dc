// A policy that uses all of the SDK, for sdk.test.mjs: it lies next to the folder muster
// there.
import {
  ABSTAIN, BAD_INPUT, INTERNAL, Jobs, NO_TEXT, OK, Queues, Scratch, Victims, count, descending, floatKey, known, log, reason, setKeys,
} from "../muster";

export { muster_abi_v1, muster_reserve } from "../muster";

const sums = new Scratch();

/** Jobs of the team in param 0 first, then by what the user's jobs ask for in all, largest
 * first. */
export function muster_job_order(batch: usize): u32 {
  const b = Jobs.open(batch);
  if (b.status != OK) return b.status;
  if (b.label(0) && !b.gpus) return golden(b);
  const team = b.label(0), user = b.user, gpus = b.gpus, first = b.key0, second = floatKey(b, 1);
  if (!team || !user || !gpus || !first || !second) return b.fail(BAD_INPUT, "größer 🙂 columns are missing");
  const ours = b.paramText(0), factor = b.paramF64(1, 2);
  if (b.paramBool(2, false)) return ABSTAIN;
  if (!b.isText(b.queue, "root.größe")) return b.fail(INTERNAL, "not my queue");

  const sum = sums.i64s(b.n);
  for (let i = 0; i < b.n; i++) {
    const u = user.at(i);
    if (<i32>u < b.n) sum.set(u, sum.at(u) + gpus.at(i));
  }
  for (let i = 0; i < b.n; i++) {
    first.set(i, team.at(i) != NO_TEXT && team.at(i) == ours ? 0 : 1);
    second.set(i, factor * <f64>sum.at(user.at(i)));
  }
  setKeys(b, 2);
  descending(b, 1);
  log(1, "done with " + "größe");
  count(3, b.n);
  return OK;
}

/** The batches of hostabi/testdata: jobs of the favoured team first, then by priority; one
 * whose use is not known before all. */
function golden(b: Jobs): u32 {
  const key = b.key0, priority = b.priority, use = b.use, team = b.label(0);
  if (!key || !priority || !use || !team) return b.fail(INTERNAL, "columns are missing");
  if (b.now != 1000 || b.seed != 42 || b.cycle != 7 || b.wait || b.label(1)) return b.fail(INTERNAL, "another header");
  if (b.paramF64(0, 0) != 1.5 || !b.isText(b.paramText(1), "gold") || b.paramText(2) != NO_TEXT) return b.fail(INTERNAL, "other params");
  if (!b.isText(team.at(0), "silver") || team.at(1) != NO_TEXT) return b.fail(INTERNAL, "other labels");
  for (let i = 0; i < b.n; i++) {
    key.set(i, team.at(i) == b.paramText(1) ? -1 : priority.at(i));
    if (!known(b.useKnown, i)) key.set(i, use.at(i) - 100);
    reason(b.reason, i, 1);
  }
  return OK;
}

export function muster_queue_shares(batch: usize): u32 {
  const b = Queues.open(batch);
  if (b.status != OK) return b.status;
  const entitled = b.entitled, demand = b.demand, capacity = b.capacity, rank = b.rank, parent = b.parent;
  if (!entitled || !demand || !capacity || !rank || !parent) return BAD_INPUT;
  for (let i = 0; i < b.n; i++) {
    for (let r = 0; r < b.r; r++) entitled.set(i * b.r + r, min(demand.at(i * b.r + r), capacity.at(r)) + b.halfLife);
    rank.set(i, parent.at(i) + 1);
  }
  return OK;
}

export function muster_victim_costs(batch: usize): u32 {
  const b = Victims.open(batch);
  if (b.status != OK) return b.status;
  const cost = b.cost, veto = b.veto, use = b.use, leader = b.leader;
  if (!cost || !veto || !use || !leader) return BAD_INPUT;
  for (let i = 0; i < b.n; i++) {
    cost.set(i, known(b.useKnown, i) ? use.at(i) : 1000);
    veto.set(i, leader.at(i));
  }
  return OK;
}
