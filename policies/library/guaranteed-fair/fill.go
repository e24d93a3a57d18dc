package main

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// claim is one queue's part in a filling: up to need, in proportion to weight.
type claim struct {
	cell         int
	need, weight int64
	got          int64
	cut          int64  // what rounding down to a piece took
	fraction     uint64 // what rounding down to a number took, in parts of the weights' sum
}

// fill gives each claim min(need, weight*level), with the level at which nothing is
// left over or nobody needs more. Shares that are cut by the level are rounded down
// to pieces; the pieces left go to the largest remainders, then to the first rows.
// So the sum is exactly min(total, all needs).
func fill(total, piece int64, cs []claim) {
	sum := int64(0)
	for i := range cs {
		cs[i].got = cs[i].need
		sum = add(sum, cs[i].need)
	}
	if sum <= total {
		return
	}
	weights := int64(0)
	for i := range cs {
		cs[i].weight = min(cs[i].weight, math.MaxInt64/int64(len(cs)+1)) // the sum must not overflow
		weights += cs[i].weight
	}
	slices.SortFunc(cs, bySatisfaction)
	for len(cs) > 0 && compare(cs[0].need, weights, total, cs[0].weight) <= 0 {
		total -= cs[0].need
		weights -= cs[0].weight
		cs = cs[1:]
	}
	spread(total, weights, piece, cs)
}

// spread shares total among claims that all need more than their part of it.
func spread(total, weights, piece int64, cs []claim) {
	left := total
	for i := range cs {
		c := &cs[i]
		hi, lo := bits.Mul64(uint64(total), uint64(c.weight))
		q, rest := bits.Div64(hi, lo, uint64(weights))
		c.cut, c.fraction = int64(q)%piece, rest
		c.got = int64(q) - c.cut
		left -= c.got
	}
	slices.SortFunc(cs, byRemainder)
	for i := 0; left > 0 && i < len(cs); i++ {
		p := min(piece, cs[i].need-cs[i].got, left)
		cs[i].got += p
		left -= p
	}
}

// bySatisfaction orders claims by the level at which they have all they need.
func bySatisfaction(a, b claim) int {
	return cmp.Or(compare(a.need, b.weight, b.need, a.weight), cmp.Compare(a.cell, b.cell))
}

func byRemainder(a, b claim) int {
	return cmp.Or(cmp.Compare(b.cut, a.cut), cmp.Compare(b.fraction, a.fraction), cmp.Compare(a.cell, b.cell))
}

// compare compares a*b with c*d, none of them negative, in 128 bits.
func compare(a, b, c, d int64) int {
	h1, l1 := bits.Mul64(uint64(a), uint64(b))
	h2, l2 := bits.Mul64(uint64(c), uint64(d))
	return cmp.Or(cmp.Compare(h1, h2), cmp.Compare(l1, l2))
}
