package quota

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
)

// AddCapacity changes what the pool has by delta (a node came, grew, or with
// negative amounts, went). Call Rescale when the batch of changes is complete.
func (t *Tree) AddCapacity(delta amount.List) {
	for _, e := range delta {
		t.capacity[e.Dim] = t.capacity[e.Dim].Add(e.Amount)
	}
}

// Rescale recomputes the effective guarantees: where the children of a queue are
// guaranteed more than the queue itself can count on (at the root: more than the
// pool has), each gets a part in proportion, in whole units, the spare ones by
// largest remainder and then by name. A queue without a guarantee of its own
// stands for the sum of those inside it. Capacity that fails degrades everybody;
// it never stops scheduling.
func (t *Tree) Rescale() {
	copy(t.effective, t.configured)
	t.degraded = false
	claims := t.claims()
	for d := range t.r {
		t.rescaleBelow(Root, d, t.capacity[d], claims)
	}
	for q := range t.Queues {
		t.limitNonPreemptible(Q(q))
	}
}

// claims is, queue × r, what each subtree is guaranteed: as configured, else the
// sum of what is below it, else 0.
func (t *Tree) claims() []amount.Amount {
	c := make([]amount.Amount, len(t.configured))
	for q := len(t.Queues) - 1; q >= 0; q-- { // children before their parents
		for d := range t.r {
			at := q*t.r + d
			if g := t.configured[at]; g != Unset {
				c[at] = g
			}
			if up := t.Queues[q].Parent; up != None {
				c[int(up)*t.r+d] = c[int(up)*t.r+d].Add(c[at])
			}
		}
	}
	return c
}

// rescaleBelow gives the children of q at most total of dimension d. Their claims
// are cut to what they get.
func (t *Tree) rescaleBelow(q Q, d int, total amount.Amount, claims []amount.Amount) {
	if own := t.effective[int(q)*t.r+d]; own != Unset && own < total {
		total = own
	}
	children := t.Queues[q].Children
	var sum amount.Amount
	for _, c := range children {
		sum = sum.Add(claims[int(c)*t.r+d])
	}
	if sum > total {
		t.degraded = true
		t.apportion(children, d, total, sum, claims)
	}
	for _, c := range children {
		t.rescaleBelow(c, d, claims[int(c)*t.r+d], claims)
	}
}

func (t *Tree) apportion(children []Q, d int, total, sum amount.Amount, claims []amount.Amount) {
	unit := unitOf(t.Res.Name(amount.Dim(d)))
	type part struct {
		q                Q
		whole, remainder amount.Amount
	}
	var parts []part
	left := total
	for _, c := range children {
		claim := claims[int(c)*t.r+d]
		if claim <= 0 {
			continue
		}
		exact := claim.Scale(total, sum)
		whole := exact - exact%unit
		left = left.Sub(whole)
		parts = append(parts, part{c, whole, exact - whole})
	}
	slices.SortStableFunc(parts, func(a, b part) int { return cmp.Compare(b.remainder, a.remainder) })
	for _, p := range parts {
		if left >= unit {
			p.whole += unit
			left = left.Sub(unit)
		}
		at := int(p.q)*t.r + d
		claims[at] = p.whole
		if t.effective[at] != Unset {
			t.effective[at] = p.whole
		}
	}
}

// unitOf is the smallest amount that is worth handing out: a whole GPU, else one
// base unit.
func unitOf(resource string) amount.Amount {
	if amount.IsGPU(resource) {
		return 1000
	}
	return 1
}

// limitNonPreemptible makes the guarantee the maximum of the queue's account for
// jobs that can't be preempted. A queue that guarantees nothing lets none run.
func (t *Tree) limitNonPreemptible(q Q) {
	row := t.max[int(t.Queues[q].nonPreemptible)*t.r:][:t.r]
	for d, g := range t.Guaranteed(q) {
		switch {
		case g != Unset:
			row[d] = g
		case t.Queues[q].Leaf && !t.Queues[q].hasGuarantee:
			row[d] = 0
		default:
			row[d] = amount.Max
		}
	}
}
