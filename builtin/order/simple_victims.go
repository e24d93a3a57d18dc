package order

import (
	"context"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// youngestFirst takes the unit that has run for the shortest time, as YuniKorn and
// kube-scheduler do among victims of one priority: cost = run time in ms + 1. A lower
// priority is cheaper whatever the run time, and leaders go last.
type youngestFirst struct {
	about
	levels []int64
}

func (y *youngestFirst) CostVictims(_ context.Context, b *policies.VictimBatch) error {
	y.levels = priorities(y.levels, b)
	clear(b.Veto[:b.N])
	for i := range b.N {
		ran := amount.Amount(max(b.Running[i], 0) / 1_000_000)
		b.Cost[i] = digits(b.Leader[i], class(y.levels, b.Priority[i]), ran)
	}
	return nil
}

// lowestPriorityFirst takes the unit of the lowest priority; units of one priority all
// cost the same, so the set with the fewest is the cheapest. Leaders go last.
type lowestPriorityFirst struct {
	about
	levels []int64
}

func (l *lowestPriorityFirst) CostVictims(_ context.Context, b *policies.VictimBatch) error {
	l.levels = priorities(l.levels, b)
	clear(b.Veto[:b.N])
	for i := range b.N {
		b.Cost[i] = digits(b.Leader[i], class(l.levels, b.Priority[i]), 0)
	}
	return nil
}

// mostOverShare takes units of the queue that is most above its guarantee, as Armada and
// KAI's reclaim go by how far a queue is over its share. The class is the dense rank of
// the queue's excess, the largest being 0; within it the work that is lost decides, as in
// least-lost-work. Leaders go last.
type mostOverShare struct {
	about
	levels []int64
}

func (m *mostOverShare) CostVictims(_ context.Context, b *policies.VictimBatch) error {
	m.levels = distinct(m.levels, b.N, func(i int) int64 { return b.Excess[i] })
	clear(b.Veto[:b.N])
	for i := range b.N {
		under := len(m.levels) - 1 - class(m.levels, b.Excess[i])
		b.Cost[i] = digits(b.Leader[i], under, lostWork(b, i))
	}
	return nil
}
