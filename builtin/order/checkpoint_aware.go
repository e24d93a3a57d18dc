package order

import (
	"context"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// checkpointAware prices a victim by the work that it is expected to lose, knowing that
// the host gives notice before it evicts (least-lost-work prices what an eviction at
// once would destroy):
//
//	cost = expected loss + restart cost + 1, in GPU-milliseconds
//
//	expected loss = lost              of a unit that has never made a checkpoint
//	                0                 of one whose next checkpoint falls within the notice
//	                lost × (1-trust)  of any other: it may make one on notice
//
// A unit has made a checkpoint if what an eviction would lose is less than all its run
// time. The next one falls within the notice if interval is set and no more than
// notice is left of it, or it is overdue. trust counts in parts of 2^16. Priority and
// leader count as in least-lost-work. The rule is Muster's own: it follows from the
// cooperative eviction that the host promises.
type checkpointAware struct {
	about
	interval, notice amount.Amount
	lossy            amount.Amount // 1-trust, fixed point
	levels           []int64
}

func newCheckpointAware(a about) policies.Policy {
	return &checkpointAware{
		about:    a,
		interval: amount.Amount(param[int64](&a, "interval")),
		notice:   amount.Amount(param[int64](&a, "notice")),
		lossy:    amount.Amount(fixedOne - fixed(param[float64](&a, "trust"))),
	}
}

func (c *checkpointAware) CostVictims(_ context.Context, b *policies.VictimBatch) error {
	c.levels = priorities(c.levels, b)
	clear(b.Veto[:b.N])
	for i := range b.N {
		loss := c.expectedLoss(b, i).Add(amount.Amount(max(b.RestartCost[i], 0)))
		b.Cost[i] = digits(b.Leader[i], class(c.levels, b.Priority[i]), loss)
	}
	return nil
}

func (c *checkpointAware) expectedLoss(b *policies.VictimBatch, i int) amount.Amount {
	lost, since := amount.Amount(max(b.Lost[i], 0)), amount.Amount(max(b.SinceCheckpoint[i], 0))
	switch {
	case since >= amount.Amount(b.Running[i]):
		return lost
	case c.interval > 0 && c.interval.Sub(since) <= c.notice:
		return 0
	default:
		return lost.Scale(c.lossy, fixedOne)
	}
}
