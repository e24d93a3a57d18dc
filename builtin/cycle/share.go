package cycle

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/world"
)

// Entitlement is what the fairness policy, when it was last asked, said of one queue.
type Entitlement struct {
	// Entitled is what the queue should hold, by resource as the world numbers them; one
	// that came since may be missing at the end.
	Entitled []amount.Amount
	// Rank is the policy's: 0 is owed its guarantee, and lower ranks come first. The host
	// honours 0 only while the queue is under its guarantee.
	Rank int64
}

// Entitlements lists what the queues of a world were entitled to in the last cycle that
// looked at any job, by queue; nil if there was none under this queue tree. The amounts
// are copies. For readers between cycles (loop.Visit).
func Entitlements(w *world.World) []Entitlement {
	c, ok := w.Index.(*cycle)
	if !ok || c.w != w || len(c.queues) != len(w.Quota.Queues) {
		return nil
	}
	out := make([]Entitlement, len(c.queues))
	for q := range out {
		s := &c.queues[q]
		out[q] = Entitlement{Entitled: make([]amount.Amount, len(s.entitled)), Rank: s.rank}
		for d, a := range s.entitled {
			out[q].Entitled[d] = amount.Amount(a)
		}
	}
	return out
}
