package order

import (
	"context"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// The cost of one victim is leader × 2^51 + class × 2^36 + work, each part below
// the next, so that a cost is below 2^52 and the sum of 2,000 does not overflow.
const (
	workLimit  = 1<<36 - 1 // GPU-milliseconds: 19,088 GPU-hours, beyond which units cost the same
	classCost  = 1 << 36
	classLimit = 1<<14 - 1 // distinct priorities, beyond which they cost the same
	leaderCost = 1 << 51
)

// leastLostWork prices a victim by the work that its eviction destroys: what was
// computed since the last checkpoint plus the restart, in GPU-milliseconds, plus
// 1, so that of sets that lose the same the one with fewer victims is the
// cheapest. A unit of lower priority is cheaper than one of higher priority
// whatever it loses (class is the dense rank of its priority in the batch,
// lowest 0), and a leader is dearer than any unit that is not one. How long a
// unit has run does not count in itself: never the newest by habit.
//
// The host minimises the sum, so the order between priorities is strict between
// two victims, not between sets: one victim of class 2 costs about as much as two
// of class 1.
type leastLostWork struct {
	policies.Unimplemented
	priorities []int64
}

func (*leastLostWork) Info() policies.Info {
	return info("least-lost-work", policies.VictimCosts)
}

func (l *leastLostWork) CostVictims(_ context.Context, b *policies.VictimBatch) error {
	l.priorities = append(l.priorities[:0], b.Priority[:b.N]...)
	slices.Sort(l.priorities)
	l.priorities = slices.Compact(l.priorities)
	clear(b.Veto[:b.N])
	for i := range b.N {
		lost := amount.Amount(max(b.Lost[i], 0))
		work := lost.Add(amount.Amount(max(b.RestartCost[i], 0))).Add(1)
		class, _ := slices.BinarySearch(l.priorities, b.Priority[i])
		b.Cost[i] = int64(min(work, workLimit)) + int64(min(class, classLimit))*classCost
		if b.Leader[i] == 1 {
			b.Cost[i] += leaderCost
		}
	}
	return nil
}
