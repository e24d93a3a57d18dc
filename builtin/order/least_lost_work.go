package order

import (
	"context"

	"github.com/musterhq/muster/policies"
)

// leastLostWork prices a victim by the work that its eviction destroys: what was
// computed since the last checkpoint plus the restart, in GPU-milliseconds, plus
// 1, so that of sets that lose the same the one with fewer victims is the
// cheapest. A unit of lower priority is cheaper than one of higher priority
// whatever it loses (class is the dense rank of its priority in the batch,
// lowest 0), and a leader is dearer than any unit that is not one. How long a
// unit has run does not count in itself: never the newest by habit.
type leastLostWork struct {
	about
	levels []int64
}

func (l *leastLostWork) CostVictims(_ context.Context, b *policies.VictimBatch) error {
	l.levels = priorities(l.levels, b)
	clear(b.Veto[:b.N])
	for i := range b.N {
		b.Cost[i] = digits(b.Leader[i], class(l.levels, b.Priority[i]), lostWork(b, i))
	}
	return nil
}
