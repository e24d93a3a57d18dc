// Package cycle is the scheduler's decision: one function from a world, a set of
// policies and a time to a plan. Production, the simulator, what-if, shadow runs,
// replay and every story call it. It has no side effect but on the world it is
// given, and there only on the undo log and on caches.
package cycle

import (
	"context"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/keysort"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/victim"
	"github.com/musterhq/muster/builtin/world"
)

// Step decides one cycle. The ten stages of a cycle are these; the first two
// happen before (the ledger drains events and freezes the world), the last three
// after (commit, act, record).
//
// Step leaves the world as the plan would make it: open a mark before and roll it
// back, or call Accept and keep it. The same world, policies and time give the
// same plan, byte for byte.
func Step(ctx context.Context, w *world.World, set Set, now spec.Time) *plan.Plan {
	c := start(ctx, w, set, now)
	if c.idle() {
		return c.out
	}
	//  1 Drain   runtime/loop: events into the ledger
	//  2 Freeze  runtime/ledger: a world, one now, one policy set
	c.admit()    //  3 Admit: rules on jobs not yet judged
	c.settle()   //    and finish what earlier plans began: claims, notices, reservations
	c.entitle()  //  4 Entitle: what each queue should hold
	c.order()    //    Order: the pending jobs of each leaf
	c.complete() // 5 Place: first what gangs of which a part runs are missing,
	c.place()    //    then descend, take the first job, place its gang; where its
	//                guarantee is owed and no node has room:
	//  6 Preempt cheapest victims, proved by trial (called from place)
	c.reserve() //    and nodes for gangs that were skipped for too long
	return c.finish()
	//  7 Plan    the value returned
	//  8 Commit  runtime/ledger: verify, assume (Accept)
	//  9 Act     the adapter binds and evicts
	// 10 Record  the loop's listeners
}

// cycle is the state of one Step. It lives in the world's memory between steps,
// so that its buffers are allocated once.
type cycle struct {
	ctx context.Context
	w   *world.World
	x   *pack.Index
	set Set
	now spec.Time
	out *plan.Plan

	number   uint64
	epoch    uint64 // World.Epoch at the end of the last accepted step
	fruitful bool   // the last step changed something, so another may too
	wake     spec.Time

	digest     string // of the admission rules of this step
	judgements []judgement

	policies policyTable
	queues   []queueState
	batch    batches
	search   *victim.Search
	// candidates is what protection rules were asked about last.
	candidates []Candidate
	unit       int32
	spared     []*world.Job // whose evictions were taken back
	tried      []*world.Job // jobs that could not start
	waiting    []reason     // why, in order of deciding
	heads      []head       // first gangs of their leaves that no node has room for
	verdicts   map[verdictKey]*verdict
	degraded   bool // said that guarantees are degraded

	// rows, sorting and unsorted are the memory of sortJobs.
	rows     []int32
	had      []bool
	sorting  keysort.Scratch
	unsorted []*world.Job
	texts    texts

	// userNumber is 1 + the number in the batch of each user in batchUsers.
	userNumber []uint32
	batchUsers []int32

	use     []world.UseSum // of each queue
	scratch []int64
	sum     []amount.Amount
	// lowest running priority per leaf, for the cycle lowestOf
	lowest    []int64
	hasLowest []bool
	lowestOf  uint64
	newest    spec.Time // start of the youngest running task, for the same cycle
	searchOf  uint64    // cycle that search was reset for

	wokeForRuntime uint64
	lastPreemption string
}

// start prepares the state that a world keeps for its cycles.
func start(ctx context.Context, w *world.World, set Set, now spec.Time) *cycle {
	c, ok := w.Index.(*cycle)
	if !ok || c.w != w { // a new world, or one over a new queue tree
		next := &cycle{w: w, verdicts: map[verdictKey]*verdict{}}
		if ok {
			next.number, next.degraded = c.number, c.degraded
		}
		c, w.Index = next, next
	}
	if c.x == nil || c.x.Strategy() != set.Placement {
		c.x = pack.NewIndex(w, set.Placement)
	}
	c.x.Filter = set.Filter
	if set.Generation != c.policies.generation { // what was learned held for the old set
		clear(c.verdicts)
	}
	if set.Typicals != nil && !c.x.Pinned() {
		c.x.PinTypicals(set.Typicals)
	}
	c.x.Refresh()
	c.ctx, c.set, c.now = ctx, set, now
	c.number++
	c.out = &plan.Plan{Cycle: c.number, Now: now}
	c.policies.reset()
	c.judgements = c.judgements[:0]
	c.spared, c.tried, c.waiting, c.heads, c.unit = c.spared[:0], c.tried[:0], c.waiting[:0], c.heads[:0], 0
	return c
}

// idle says whether nothing has happened since the last step that could lead to
// another decision. A cycle with nothing changed costs nothing.
func (c *cycle) idle() bool {
	if c.fruitful || c.epoch != c.w.Epoch || c.set.Generation != c.policies.generation || (c.wake != 0 && c.now >= c.wake) {
		return false
	}
	c.out.Wake = c.wake
	return true
}

// wakeAt asks for a cycle at a time at the latest.
func (c *cycle) wakeAt(t spec.Time) {
	if t > c.now && (c.wake == 0 || t < c.wake) {
		c.wake = t
	}
}

// finish closes the plan.
func (c *cycle) finish() *plan.Plan {
	c.explainWaiting()
	c.wakeForCompany()
	c.sayDegraded()
	c.out.Policies = c.policies.uses()
	c.out.Wake = c.wake
	c.epoch, c.fruitful = c.w.Epoch, !c.out.Empty()
	c.policies.generation = c.set.Generation
	return c.out
}

// Forget makes the next step look at everything again. The ledger calls it when
// it took a plan back.
func Forget(w *world.World) {
	if c, ok := w.Index.(*cycle); ok {
		c.fruitful = true
		clear(c.verdicts)
		c.search = nil
	}
}
