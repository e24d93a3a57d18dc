package order

import (
	"context"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// drf is weighted dominant resource fairness (Ghodsi et al., NSDI 2011, sections 4 and
// 4.3) between siblings, from the root down: every queue wants its resources in one
// proportion, that of what it can use (see guaranteeFirst), and all grow by the same
// dominant share over weight until a queue has all it wants or a resource that it wants
// is used up. The weight is the configured one, else 1; the dominant share is the
// largest share of the pool over resources. A resource of which the parent has nothing
// does not count, so that a job that can't run does not stop its queue.
//
// Computed in float64, each operation rounded by itself; what is given out is rounded
// down, GPUs to whole ones, of which those cut off go out again by the largest
// remainder. So no queue gets more than it can use, and the sum is never above the
// total. Unlike in the other policies the guarantee has no part in the entitlement: it
// is held by rank 0, which a queue has while it is owed its guarantee.
type drf struct {
	about
	guaranteeFirst
	grown []grower
	rates []float64 // matrix, a row for each of grown: amount for each 1 of level
	left  []float64 // by resource
}

// grower is one queue of the siblings that grow.
type grower struct {
	row   int32
	full  float64 // the level at which it has all it wants
	level float64 // at which it stopped
	done  bool
}

func (d *drf) Entitle(_ context.Context, b *policies.QueueBatch) error {
	if b.N == 0 {
		return nil
	}
	if err := d.tree.build(b); err != nil {
		return err
	}
	d.sumUp(b)
	for r := range b.R {
		b.Entitled[r] = max(0, min(b.Capacity[r], b.Max[r]))
	}
	for row := range int32(b.N) {
		if kids := d.tree.children(row); len(kids) > 0 {
			d.start(b, row, kids)
			d.grow(b.R)
			for r := range b.R {
				d.settle(b, row, r)
			}
		}
		b.Rank[row] = d.rank(b, int(row))
	}
	return nil
}

// want is what a queue wants of a resource of which its parent has total: more than
// that, perhaps, for the proportion is what counts.
func (d *drf) want(b *policies.QueueBatch, row int32, r int, total int64) int64 {
	if total == 0 {
		return 0
	}
	return int64(d.usable[int(row)*b.R+r])
}

// start sets up the children of a queue at level 0.
func (d *drf) start(b *policies.QueueBatch, parent int32, kids []int32) {
	total := b.Entitled[int(parent)*b.R:][:b.R]
	d.grown, d.left = d.grown[:0], resized(d.left, b.R)
	d.rates = resized(d.rates, len(kids)*b.R)
	for r := range b.R {
		d.left[r] = float64(total[r])
	}
	for i, k := range kids {
		dominant := 0.0
		for r := range b.R {
			if b.Capacity[r] > 0 {
				dominant = max(dominant, float64(d.want(b, k, r, total[r]))/float64(b.Capacity[r]))
			}
		}
		weight := float64(max(1, b.Weight[k]))
		for r := range b.R {
			rate := 0.0
			if dominant > 0 {
				rate = float64(weight*float64(d.want(b, k, r, total[r]))) / dominant
			}
			d.rates[i*b.R+r] = rate
		}
		d.grown = append(d.grown, grower{row: k, full: dominant / weight, done: dominant == 0})
	}
}

// grow raises the level from one event to the next, until all queues have stopped.
func (d *drf) grow(resources int) {
	for level, open := 0.0, true; open; {
		next, usedUp := d.nextEvent(level, resources)
		open = false
		for i := range d.grown {
			q := &d.grown[i]
			if q.done {
				continue
			}
			for r, rate := range d.rates[i*resources:][:resources] {
				d.left[r] -= float64(rate * (next - level))
			}
			q.level = next
			q.done = q.full <= next || usedUp >= 0 && d.rates[i*resources+usedUp] > 0
			open = open || !q.done
		}
		level = next
	}
}

// nextEvent returns the level at which a queue is full or a resource used up, which it
// then names, else -1.
func (d *drf) nextEvent(level float64, resources int) (next float64, usedUp int) {
	usedUp = -1
	first := true
	for i := range d.grown {
		if q := &d.grown[i]; !q.done && (first || q.full < next) {
			next, first = q.full, false
		}
	}
	if first {
		return level, -1
	}
	for r := range resources {
		rate := 0.0
		for i := range d.grown {
			if !d.grown[i].done {
				rate += d.rates[i*resources+r]
			}
		}
		if rate == 0 {
			continue
		}
		if at := level + max(0, d.left[r])/rate; at < next {
			next, usedUp = at, r
		}
	}
	return next, usedUp
}

// below rounds a number that is not negative down, to at most limit.
func below(x float64, limit amount.Amount) amount.Amount {
	if x >= float64(limit) { // also where x is more than an int64 holds
		return limit
	}
	return amount.Amount(x)
}

// settle writes the entitlements of one resource in whole numbers and units.
func (d *drf) settle(b *policies.QueueBatch, parent int32, r int) {
	total, unit := amount.Amount(b.Entitled[int(parent)*b.R+r]), shareUnit(b.Resources[r])
	exact, given := 0.0, amount.Amount(0)
	d.claims = d.claims[:0]
	for i := range d.grown {
		q := &d.grown[i]
		c := claim{row: q.row, need: min(amount.Amount(d.want(b, q.row, r, int64(total))), total)}
		c.got = c.need
		if q.level < q.full {
			grown := float64(d.rates[i*b.R+r] * q.level)
			c.got = below(grown, c.need)
			c.rest.whole = c.got % unit
			c.got -= c.rest.whole
			exact += min(grown, float64(c.need))
		} else {
			exact += float64(c.need)
		}
		c.got = min(c.got, total-given)
		given += c.got
		d.claims = append(d.claims, c)
	}
	slices.SortFunc(d.claims, byRest)
	spare := below(exact+0.5, total) - given
	for i := range d.claims {
		c := &d.claims[i]
		if spare > 0 && c.rest.whole > 0 {
			piece := min(unit, c.need-c.got, spare)
			c.got += piece
			spare -= piece
		}
		b.Entitled[int(c.row)*b.R+r] = int64(c.got)
	}
}
