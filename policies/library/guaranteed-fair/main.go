// Command guaranteed-fair gives every queue first what it was guaranteed, and then
// its part of what the others leave. It is the twin of the built-in guaranteed-fair,
// whose documentation says what is decided where; fill.go has the arithmetic.
package main

import (
	"math"
	"strings"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/queueshares"
)

func init() { queueshares.Register(entitle) }

func main() {}

// Scratch space, kept so that a call allocates nothing.
var (
	child   []int32 // by row: first child, 0 if it has none (row 0 is nobody's child)
	sibling []int32 // by row: next sibling, 0 at the end
	need    []int64 // matrix: what a queue can use, min(demand, max, what its children can)
	due     []int64 // matrix: its guarantee; of an inner queue without one, its children's
	owed    []int64 // matrix: what it can use of due
	without []bool  // matrix: no guarantee here or below
	claims  []claim
)

func entitle(b *queueshares.Batch) error {
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
			divide(b, row, r)
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
		below, dueBelow, owedBelow = add(below, need[c]), add(dueBelow, due[c]), add(owedBelow, owed[c])
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

// divide shares what a queue is entitled to of one resource among its children:
// what each is owed, then the rest by weight; or, if there is too little, what there
// is in proportion to what each is owed.
func divide(b *queueshares.Batch, row, r int) {
	total, sum := b.Entitled[row*b.R+r], int64(0)
	for k := child[row]; k != 0; k = sibling[k] {
		sum = add(sum, owed[int(k)*b.R+r])
	}
	scarce := sum > total
	claims = claims[:0]
	for k := child[row]; k != 0; k = sibling[k] {
		c := int(k)*b.R + r
		b.Entitled[c] = owed[c]
		next := claim{cell: c, need: need[c] - owed[c]}
		if scarce {
			b.Entitled[c] = 0
			next.need, next.weight = owed[c], owed[c]
		} else if next.need > 0 {
			next.weight = weight(b, int(k), r)
		}
		if next.need > 0 {
			claims = append(claims, next)
		}
	}
	if !scarce {
		total -= sum
	}
	fill(total, piece(b.Resources[r]), claims)
	for _, c := range claims {
		b.Entitled[c.cell] += c.got
	}
}

// weight is the configured one, else the guarantee in whole units, rounded up, else 1.
func weight(b *queueshares.Batch, row, r int) int64 {
	if b.Weight[row] > 0 {
		return b.Weight[row]
	}
	unit, d := int64(1), due[row*b.R+r]
	switch name := b.Resources[r]; {
	case isGPU(name) || name == "cpu":
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

// piece is the amount in which a resource is handed out: GPUs whole.
func piece(resource string) int64 {
	if isGPU(resource) {
		return 1000
	}
	return 1
}

// isGPU knows the total and the types: nvidia.com/gpu, nvidia.com/gpu:H100.
func isGPU(resource string) bool {
	if i := strings.IndexByte(resource, ':'); i >= 0 {
		resource = resource[:i]
	}
	return strings.HasSuffix(resource, "/gpu")
}

// add adds two amounts that are not negative, up to the largest there is.
func add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
