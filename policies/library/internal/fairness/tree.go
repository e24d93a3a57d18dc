// Package fairness is what the fairness policies of this library share: guarantees first,
// down the tree, and an exact division of what they leave. The built-in policies have the
// same in builtin/order; guest and built-in are held to the same bits.
package fairness

import (
	"strings"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/queueshares"
)

// Divide shares total of resource r among siblings, whose claims come in order of their
// rows, each with a need above 0. The answer is their Got.
type Divide func(b *queueshares.Batch, r int, total int64, cs []Claim)

// Scratch space, kept so that a call allocates nothing.
var (
	child   []int32 // by row: first child, 0 if it has none (row 0 is nobody's child)
	sibling []int32 // by row: next sibling, 0 at the end
	need    []int64 // matrix: what a queue can use, min(demand, max, what its children can)
	due     []int64 // matrix: its guarantee; of an inner queue without one, its children's
	owed    []int64 // matrix: what it can use of due
	without []bool  // matrix: no guarantee here or below
	claims  []Claim
)

// Entitle gives every queue first what it can use of its guarantee, or a proportional
// part if there is too little for all, and lets divide share the rest. Rank 0 marks a
// queue that is owed its guarantee, 1 any other.
func Entitle(b *queueshares.Batch, divide Divide) error {
	if err := family(b); err != nil || b.N == 0 {
		return err
	}
	need, due = muster.Grow(need, b.N*b.R), muster.Grow(due, b.N*b.R)
	owed, without = muster.Grow(owed, b.N*b.R), muster.Grow(without, b.N*b.R)
	for row := b.N - 1; row >= 0; row-- {
		for r := range b.R {
			gather(b, row, r)
		}
	}
	for r := range b.R {
		b.Entitled[r] = max(0, min(b.Capacity[r], b.Max[r]))
	}
	for row := range b.N {
		for r := range b.R {
			share(b, row, r, divide)
		}
		b.Rank[row] = rank(b, row)
	}
	return nil
}

// family links the rows of a tree; parents come before their children.
func family(b *queueshares.Batch) error {
	child, sibling = muster.Grow(child, b.N), muster.Grow(sibling, b.N)
	for row := b.N - 1; row > 0; row-- {
		p := b.Parent[row]
		if p < 0 || int(p) >= row {
			return muster.ErrBadInput
		}
		sibling[row], child[p] = child[p], int32(row)
	}
	return nil
}

// gather sums up from the children, which were gathered before.
func gather(b *queueshares.Batch, row, r int) {
	cell := row*b.R + r
	var below, dueBelow, owedBelow int64
	none := true
	for k := child[row]; k != 0; k = sibling[k] {
		c := int(k)*b.R + r
		below, dueBelow, owedBelow = Add(below, need[c]), Add(dueBelow, due[c]), Add(owedBelow, owed[c])
		none = none && without[c]
	}
	need[cell] = max(0, min(b.Demand[cell], b.Max[cell]))
	if child[row] != 0 {
		need[cell] = min(need[cell], below)
	}
	if g := b.Guaranteed[cell]; g >= 0 {
		dueBelow, owedBelow, none = g, g, false
	}
	due[cell], owed[cell], without[cell] = dueBelow, min(owedBelow, need[cell]), none
}

// share divides what a queue is entitled to of one resource among its children.
func share(b *queueshares.Batch, row, r int, divide Divide) {
	total, sum := b.Entitled[row*b.R+r], int64(0)
	for k := child[row]; k != 0; k = sibling[k] {
		sum = Add(sum, owed[int(k)*b.R+r])
	}
	scarce := sum > total
	claims = claims[:0]
	for k := child[row]; k != 0; k = sibling[k] {
		c := int(k)*b.R + r
		b.Entitled[c] = owed[c]
		next := Claim{Row: int(k), Need: need[c] - owed[c]}
		if scarce {
			b.Entitled[c] = 0
			next.Need, next.Weight = owed[c], owed[c]
		}
		if next.Need > 0 {
			claims = append(claims, next)
		}
	}
	if scarce {
		Fill(total, Piece(b.Resources[r]), claims)
	} else {
		divide(b, r, total-sum, claims)
	}
	for _, c := range claims {
		b.Entitled[c.Row*b.R+r] += c.Got
	}
}

// Weight is the configured one, else the guarantee in whole units, rounded up, else 1.
func Weight(b *queueshares.Batch, row, r int) int64 {
	if b.Weight[row] > 0 {
		return b.Weight[row]
	}
	unit, d := int64(1), due[row*b.R+r]
	switch name := b.Resources[r]; {
	case IsGPU(name) || name == "cpu":
		unit = 1000
	case name == "memory":
		unit = 1 << 30
	}
	w := d / unit
	if d%unit > 0 {
		w++
	}
	return max(1, w)
}

// Due is the guarantee in a cell of the matrix; of an inner queue without one, its
// children's.
func Due(cell int) int64 { return due[cell] }

// rank is 0 for a queue that is owed its guarantee: of the resources that it still
// wants and is guaranteed, there is one and none is used up to the guarantee.
func rank(b *queueshares.Batch, row int) int64 {
	out := int64(1)
	for c := row * b.R; c < (row+1)*b.R; c++ {
		if b.Demand[c] <= b.Used[c] || without[c] {
			continue
		}
		if b.Used[c] >= due[c] {
			return 1
		}
		out = 0
	}
	return out
}

// Piece is the amount in which a resource is handed out: GPUs whole.
func Piece(resource string) int64 {
	if IsGPU(resource) {
		return 1000
	}
	return 1
}

// IsGPU knows the total and the types: nvidia.com/gpu, nvidia.com/gpu:H100.
func IsGPU(resource string) bool {
	if i := strings.IndexByte(resource, ':'); i >= 0 {
		resource = resource[:i]
	}
	return strings.HasSuffix(resource, "/gpu")
}

// Past is the decayed GPU time of a queue.
func Past(b *queueshares.Batch, row int) int64 { return max(0, b.Decayed[row]) }
