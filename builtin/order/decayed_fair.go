package order

import (
	"context"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// decayedFair gives every queue first what it was guaranteed (see guaranteeFirst), and
// divides the rest by weights that shrink with what a queue has used of late:
//
//	weight' = n² / (n + strength × u)
//
//	n = its part of the weights of the siblings that want more
//	u = its part of their decayed GPU time (queue.decayed)
//
// so that a queue that has used exactly its share counts 1/(1 + strength) of its
// weight, one that has used nothing all of it, and none ever nothing. Where nobody has
// used anything, or strength is 0, it is guaranteed-fair to the bit. Weights are those
// of guaranteed-fair; past use is of GPUs and weighs on every resource.
//
// The idea is Slurm's fair-share factor 2^(-U/S) over decayed use (PriorityDecayHalfLife)
// and the level fairshare S/U of its Fair Tree; the form n/(n + s·u) is as monotone, and
// exact in integers (parts of 2^32, strength in parts of 2^16, each rounded down).
//
// Rank is 0 for a queue that is owed its guarantee, else 1.
type decayedFair struct {
	about
	guaranteeFirst
	strength amount.Amount // fixed point
}

func newDecayedFair(a about) policies.Policy {
	return &decayedFair{about: a, strength: amount.Amount(fixed(param[float64](&a, "strength")))}
}

func (d *decayedFair) Entitle(_ context.Context, b *policies.QueueBatch) error {
	return d.entitle(b, d)
}

func (d *decayedFair) divide(b *policies.QueueBatch, r int, total amount.Amount, claims []claim) {
	d.weigh(b, r, claims)
	d.shrink(b, claims)
	fill(total, shareUnit(b.Resources[r]), claims)
}

func (d *decayedFair) shrink(b *policies.QueueBatch, claims []claim) {
	weights, past := weightsOf(claims), amount.Amount(0)
	for _, c := range claims {
		past = past.Add(pastUse(b, c.row))
	}
	if past == 0 || d.strength == 0 {
		return
	}
	for i := range claims {
		c := &claims[i]
		n := max(1, amount.Amount(amount.ShareOf(c.weight, weights)))
		u := amount.Amount(amount.ShareOf(pastUse(b, c.row), past))
		c.weight = max(1, n.Scale(n, n.Add(u.Scale(d.strength, fixedOne))))
	}
}

// weightsOf sums up weights, which it first clamps so that the sum does not saturate.
func weightsOf(claims []claim) amount.Amount {
	clampWeights(claims)
	sum := amount.Amount(0)
	for i := range claims {
		sum = sum.Add(claims[i].weight)
	}
	return sum
}

// pastUse is the decayed GPU time of a queue, 0 if the host keeps none.
func pastUse(b *policies.QueueBatch, row int32) amount.Amount {
	if len(b.Decayed) == 0 {
		return 0
	}
	return amount.Amount(max(0, b.Decayed[row]))
}
