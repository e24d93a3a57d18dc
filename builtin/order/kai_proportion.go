package order

import (
	"context"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// kaiProportion shares as the proportion plugin of NVIDIA's KAI scheduler 0.17 does
// (pkg/scheduler/plugins/proportion, docs/fairness, docs/time-based-fairshare): first
// every queue gets its quota (our guarantee: see guaranteeFirst), then the rest goes to
// the queues of the highest priority, then to the next; within one priority in rounds,
// by
//
//	s = max(0, n + k × (n - u))
//
//	n = the queue's part of the weights of those that still want more (weight 1 where
//	    none is configured)
//	u = its decayed GPU time (queue.decayed) over that of the whole pool, used for ever
//
// A round gives each queue its part by s, rounded down to whole units, or what it wants
// if that is no more; and there is another if somebody wanted less. Units left over go
// one by one to the largest remainders. The pool used for ever has capacity × half-life
// / ln 2 of decayed time; without GPUs or a half-life u is 0.
//
// Where KAI would leave something unshared although it is wanted, because everybody
// has used more than s forgives, we share it by n. Ties go to the earlier row (KAI: to
// the older queue).
//
// Rank is 0 for a queue that is owed its guarantee, else 1.
type kaiProportion struct {
	about
	guaranteeFirst
	k   int64           // fixed point
	use []amount.Amount // by row: u, in parts of 2^32
}

func newKAIProportion(a about) policies.Policy {
	return &kaiProportion{about: a, k: fixed(param[float64](&a, "k"))}
}

func (k *kaiProportion) Entitle(_ context.Context, b *policies.QueueBatch) error {
	k.normalise(b)
	return k.entitle(b, k)
}

// normalise fills use.
func (k *kaiProportion) normalise(b *policies.QueueBatch) {
	k.use = resized(k.use, b.N)
	gpus := amount.Amount(0)
	for r, name := range b.Resources {
		if amount.IsGPU(name) && !strings.Contains(name, ":") {
			gpus = gpus.Add(amount.Amount(max(0, b.Capacity[r])))
		}
	}
	ms := amount.Amount(max(0, b.HalfLife)) / 1_000_000
	whole := gpus.Scale(ms, 1000).Scale(1_442_695, 1_000_000) // 1/ln 2
	for row := range b.N {
		k.use[row] = 0
		if whole > 0 {
			k.use[row] = min(amount.Amount(amount.ShareOf(pastUse(b, int32(row)), whole)), amount.Amount(amount.One))
		}
	}
}

func (k *kaiProportion) divide(b *policies.QueueBatch, r int, total amount.Amount, claims []claim) {
	unit := shareUnit(b.Resources[r])
	byTiers(b, total, claims, func(total amount.Amount, tier []claim) {
		left := total
		for again := true; again && left > 0; {
			left, again = k.round(b, left, unit, tier)
		}
		handOut(left, unit, tier)
	})
}

// round gives each claim its part of total; what is left of it comes back, and whether
// somebody wanted less than its part, so that another round has something to share.
func (k *kaiProportion) round(b *policies.QueueBatch, total, unit amount.Amount, tier []claim) (left amount.Amount, again bool) {
	sum := k.weighOpen(b, tier)
	left = total
	for i := range tier {
		c := &tier[i]
		want := c.need - c.got
		if c.rest = (fraction{}); want == 0 {
			continue
		}
		part := total.Scale(c.weight, sum)
		give := want
		if want > part {
			c.rest.whole = part % unit
			c.rest.part = uint64(total)*uint64(c.weight) - uint64(part)*uint64(sum)
			give = part - c.rest.whole
		}
		again = again || want < part
		c.got += give
		left -= give
	}
	return left, again
}

// weighOpen sets the weight of each claim that wants more to its s, that of the others
// to 0, and returns their sum.
func (k *kaiProportion) weighOpen(b *policies.QueueBatch, tier []claim) amount.Amount {
	for i := range tier {
		c := &tier[i]
		if c.weight = 0; c.got < c.need {
			c.weight = amount.Amount(max(1, b.Weight[c.row]))
		}
	}
	weights, sum := weightsOf(tier), amount.Amount(0)
	for i := range tier {
		c := &tier[i]
		if c.weight == 0 {
			continue
		}
		n := max(1, int64(amount.ShareOf(c.weight, weights)))
		s := n + (n-int64(k.use[c.row]))*k.k/fixedOne
		c.weight = amount.Amount(max(0, s))
		sum += c.weight
	}
	if sum > 0 {
		return sum
	}
	for i := range tier {
		c := &tier[i]
		if c.got < c.need {
			c.weight = amount.Amount(max(1, b.Weight[c.row]))
		}
	}
	return max(1, weightsOf(tier))
}

// handOut gives the units that are left to the claims that want more, by the largest
// remainder of the last round, in as many turns as it takes.
func handOut(left, unit amount.Amount, tier []claim) {
	slices.SortFunc(tier, byRest)
	for gave := true; gave && left > 0; {
		gave = false
		for i := range tier {
			c := &tier[i]
			piece := min(unit, c.need-c.got, left)
			c.got += piece
			left -= piece
			gave = gave || piece > 0
		}
	}
}
