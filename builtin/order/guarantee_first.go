package order

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// guaranteeFirst is the part that fairness policies share: it gives every queue first
// what it was guaranteed, and lets a surplus divide what is left. For each resource by
// itself, from the root down:
//
//   - The root is entitled to the pool, up to its max. The children of a queue
//     share what that queue is entitled to.
//   - A queue can use min(demand, max), and an inner queue no more than its
//     children together can.
//   - First each child gets what it can use of its guarantee. If the guarantees
//     exceed the total (broken nodes), each gets a proportional part.
//   - The rest is divided by the surplus, up to what each can use.
//   - An inner queue without a guarantee has that of its children together.
//
// The sum over siblings is exactly min(total, what they can use).
type guaranteeFirst struct {
	tree   childIndex
	usable []amount.Amount // matrix: min(demand, max), and of inner queues no more than below
	due    []amount.Amount // matrix: guarantee, of inner queues without one that of the children
	owed   []amount.Amount // matrix: what is usable of due
	unset  []bool          // matrix: no guarantee here or below
	claims []claim
}

// surplus divides what guarantees leave. The claims are of siblings, in order of their
// rows, each with a need above 0; the answer is their got, which sums up to
// min(total, needs).
type surplus interface {
	divide(b *policies.QueueBatch, r int, total amount.Amount, claims []claim)
}

// entitle fills Entitled, and Rank as rank says.
func (g *guaranteeFirst) entitle(b *policies.QueueBatch, s surplus) error {
	if b.N == 0 {
		return nil
	}
	if err := g.tree.build(b); err != nil {
		return err
	}
	g.sumUp(b)
	for r := range b.R {
		b.Entitled[r] = max(0, min(b.Capacity[r], b.Max[r]))
	}
	for row := range int32(b.N) {
		if len(g.tree.children(row)) > 0 {
			for r := range b.R {
				g.share(b, row, r, s)
			}
		}
		b.Rank[row] = g.rank(b, int(row))
	}
	return nil
}

// sumUp fills the matrices of what is usable and what is guaranteed, children
// before parents.
func (g *guaranteeFirst) sumUp(b *policies.QueueBatch) {
	size := b.N * b.R
	g.usable, g.due = resized(g.usable, size), resized(g.due, size)
	g.owed, g.unset = resized(g.owed, size), resized(g.unset, size)
	for row := int32(b.N) - 1; row >= 0; row-- {
		kids := g.tree.children(row)
		for r := range b.R {
			g.sumCell(b, int(row)*b.R+r, r, kids)
		}
	}
}

func (g *guaranteeFirst) sumCell(b *policies.QueueBatch, cell, r int, kids []int32) {
	usable := amount.Amount(max(0, min(b.Demand[cell], b.Max[cell])))
	var below, due, owed amount.Amount
	unset := true
	for _, k := range kids {
		c := int(k)*b.R + r
		below, due, owed = below.Add(g.usable[c]), due.Add(g.due[c]), owed.Add(g.owed[c])
		unset = unset && g.unset[c]
	}
	if len(kids) > 0 {
		usable = min(usable, below)
	}
	if b.Guaranteed[cell] >= 0 {
		due, owed, unset = amount.Amount(b.Guaranteed[cell]), amount.Amount(b.Guaranteed[cell]), false
	}
	g.usable[cell], g.due[cell], g.owed[cell], g.unset[cell] = usable, due, min(owed, usable), unset
}

// share divides what a queue is entitled to of one resource among its children.
func (g *guaranteeFirst) share(b *policies.QueueBatch, row int32, r int, s surplus) {
	total := amount.Amount(b.Entitled[int(row)*b.R+r])
	kids := g.tree.children(row)
	var owed amount.Amount
	for _, k := range kids {
		owed = owed.Add(g.owed[int(k)*b.R+r])
	}
	short := owed > total
	g.claims = g.claims[:0]
	for _, k := range kids {
		c := claim{row: k}
		cell := int(k)*b.R + r
		if short {
			b.Entitled[cell] = 0
			c.need, c.weight = g.owed[cell], g.owed[cell]
		} else {
			b.Entitled[cell] = int64(g.owed[cell])
			c.need = g.usable[cell] - g.owed[cell]
		}
		if c.need > 0 {
			g.claims = append(g.claims, c)
		}
	}
	if short {
		fill(total, shareUnit(b.Resources[r]), g.claims)
	} else {
		s.divide(b, r, total-owed, g.claims)
	}
	for _, c := range g.claims {
		b.Entitled[int(c.row)*b.R+r] += int64(c.got)
	}
}

// weight is the configured one, else the guarantee in whole units (GPUs and cores, GiB,
// or counts, rounded up), else 1.
func (g *guaranteeFirst) weight(b *policies.QueueBatch, row int32, r int) amount.Amount {
	if w := b.Weight[row]; w > 0 {
		return amount.Amount(w)
	}
	unit := weightUnit(b.Resources[r])
	due := g.due[int(row)*b.R+r]
	whole := due / unit
	if due%unit > 0 {
		whole++
	}
	return max(1, whole)
}

func (g *guaranteeFirst) weigh(b *policies.QueueBatch, r int, claims []claim) {
	for i := range claims {
		claims[i].weight = g.weight(b, claims[i].row, r)
	}
}

// rank is 0 for a queue that is owed its guarantee: it has pending demand, and of the
// resources in which it has, those that are guaranteed to it are all used below the
// guarantee, and there is one. Else it is 1.
func (g *guaranteeFirst) rank(b *policies.QueueBatch, row int) int64 {
	rank := int64(1)
	for cell := row * b.R; cell < (row+1)*b.R; cell++ {
		if b.Demand[cell] <= b.Used[cell] || g.unset[cell] {
			continue
		}
		if b.Used[cell] >= int64(g.due[cell]) {
			return 1
		}
		rank = 0
	}
	return rank
}

// byTiers serves the claims of the highest priority of queues first, with all there is,
// then those of the next with what is left.
func byTiers(b *policies.QueueBatch, total amount.Amount, claims []claim, serve func(total amount.Amount, tier []claim)) {
	slices.SortFunc(claims, func(x, y claim) int {
		return cmp.Or(cmp.Compare(b.Priority[y.row], b.Priority[x.row]), cmp.Compare(x.row, y.row))
	})
	for len(claims) > 0 {
		n := 1
		for n < len(claims) && b.Priority[claims[n].row] == b.Priority[claims[0].row] {
			n++
		}
		serve(total, claims[:n])
		for _, c := range claims[:n] {
			total -= c.got
		}
		claims = claims[n:]
	}
}

// shareUnit is the piece in which a resource is shared: whole GPUs, base units of
// everything else.
func shareUnit(resource string) amount.Amount {
	if amount.IsGPU(resource) {
		return 1000
	}
	return 1
}

// weightUnit is the amount of a guarantee that gives a weight of 1.
func weightUnit(resource string) amount.Amount {
	switch {
	case amount.IsGPU(resource) || resource == amount.CPUName:
		return 1000
	case resource == amount.MemoryName:
		return 1 << 30
	default:
		return 1
	}
}
