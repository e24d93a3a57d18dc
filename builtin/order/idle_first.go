package order

import (
	"context"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// idleFirst takes units whose GPUs were measured to do nothing before all others, the
// longest idle first:
//
//	cost = 1 + max(0, 2^31 - idle in ms)          of an idle unit
//	cost = 2^50 + class × 2^36 + work + 1         of any other
//
// A unit is idle if its GPUs did nothing for threshold or longer; what is not known is
// busy. The class of a busy unit is that of its priority, as in least-lost-work, and its
// work is lost × use + restart: the lost work counts by the part of the unit's GPUs that
// was measured to be busy, all of it where that is not known. Between idle units the
// priority does not count. A leader is dearer than any unit that is not one, idle or
// not. No cost is below 1, so that no idle unit is evicted for nothing.
//
// The rule is Muster's own. That GPUs are held and not used is what cluster traces show
// again and again: Jeon et al., USENIX ATC 2019, on Microsoft's Philly.
type idleFirst struct {
	about
	threshold int64
	levels    []int64
}

// idleLimit is 24.8 days: who is idle for longer is as cheap as can be.
const idleLimit = 1 << 31

func newIdleFirst(a about) policies.Policy {
	return &idleFirst{about: a, threshold: param[int64](&a, "threshold")}
}

func (f *idleFirst) CostVictims(_ context.Context, b *policies.VictimBatch) error {
	f.levels = priorities(f.levels, b)
	clear(b.Veto[:b.N])
	for i := range b.N {
		reason(b.Reason, i, 0)
		if idle := known(b.Idle, i); idle >= 0 && idle >= f.threshold {
			b.Cost[i] = digits(b.Leader[i], 0, amount.Amount(max(0, idleLimit-idle/1_000_000)))
			reason(b.Reason, i, 1)
			continue
		}
		use := amount.Amount(amount.One)
		if u := known(b.Use, i); u >= 0 {
			use = min(amount.Amount(u), use)
		}
		work := amount.Amount(max(b.Lost[i], 0)).Scale(use, amount.Amount(amount.One))
		b.Cost[i] = busyCost + digits(b.Leader[i], class(f.levels, b.Priority[i]), work.Add(amount.Amount(max(b.RestartCost[i], 0))))
	}
	return nil
}

// known is a measurement, Unset if the host has none.
func known(column []int64, i int) int64 {
	if len(column) == 0 {
		return policies.Unset
	}
	return column[i]
}
