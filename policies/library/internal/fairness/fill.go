package fairness

import (
	"cmp"
	"math"
	"math/bits"
	"slices"
)

// Claim is one queue's part in a division: up to Need, in proportion to Weight.
type Claim struct {
	Row               int
	Need, Weight, Got int64
	Cut               int64  // what rounding down to a piece took
	Fraction          uint64 // what rounding down to a number took, in parts of the weights' sum
}

// Fill gives each claim min(Need, Weight*level), with the level at which nothing is
// left over or nobody needs more. Shares that are cut by the level are rounded down
// to pieces; the pieces left go to the largest remainders, then to the first rows.
// So the sum is exactly min(total, all needs).
func Fill(total, piece int64, cs []Claim) {
	sum := int64(0)
	for i := range cs {
		cs[i].Got = cs[i].Need
		sum = Add(sum, cs[i].Need)
	}
	if sum <= total {
		return
	}
	weights := Weights(cs)
	slices.SortFunc(cs, bySatisfaction)
	for len(cs) > 0 && compare(cs[0].Need, weights, total, cs[0].Weight) <= 0 {
		total -= cs[0].Need
		weights -= cs[0].Weight
		cs = cs[1:]
	}
	left := total
	for i := range cs {
		left -= cs[i].Take(total, weights, piece)
	}
	slices.SortFunc(cs, ByRemainder)
	for i := 0; left > 0 && i < len(cs); i++ {
		p := min(piece, cs[i].Need-cs[i].Got, left)
		cs[i].Got += p
		left -= p
	}
}

// Weights sums up the weights, each of which it first clamps so that the sum does not
// overflow.
func Weights(cs []Claim) int64 {
	sum := int64(0)
	for i := range cs {
		cs[i].Weight = min(cs[i].Weight, math.MaxInt64/int64(len(cs)+1))
		sum += cs[i].Weight
	}
	return sum
}

// Take sets Got to the claim's part of total in whole pieces, keeps the remainder, and
// returns Got.
func (c *Claim) Take(total, weights, piece int64) int64 {
	q, rest := Scale(total, c.Weight, weights)
	c.Cut, c.Fraction = q%piece, rest
	c.Got = q - c.Cut
	return c.Got
}

// bySatisfaction orders claims by the level at which they have all they need.
func bySatisfaction(a, b Claim) int {
	return cmp.Or(compare(a.Need, b.Weight, b.Need, a.Weight), cmp.Compare(a.Row, b.Row))
}

// ByRemainder orders claims by what rounding took from them, the most first.
func ByRemainder(a, b Claim) int {
	return cmp.Or(cmp.Compare(b.Cut, a.Cut), cmp.Compare(b.Fraction, a.Fraction), cmp.Compare(a.Row, b.Row))
}

// compare compares a*b with c*d, none of them negative, in 128 bits.
func compare(a, b, c, d int64) int {
	h1, l1 := bits.Mul64(uint64(a), uint64(b))
	h2, l2 := bits.Mul64(uint64(c), uint64(d))
	return cmp.Or(cmp.Compare(h1, h2), cmp.Compare(l1, l2))
}

// Scale returns a*num/den rounded down, at most the largest number, and the remainder.
// None is negative, and it is 0 where den is.
func Scale(a, num, den int64) (q int64, rest uint64) {
	if a <= 0 || num <= 0 || den <= 0 {
		return 0, 0
	}
	hi, lo := bits.Mul64(uint64(a), uint64(num))
	if hi >= uint64(den) {
		return math.MaxInt64, 0
	}
	u, rest := bits.Div64(hi, lo, uint64(den))
	return int64(min(u, math.MaxInt64)), rest
}

// Share is part/whole in parts of 2^32, rounded down. A part of nothing is the largest
// share; nothing of nothing is 0.
func Share(part, whole int64) int64 {
	switch {
	case part <= 0:
		return 0
	case whole <= 0:
		return math.MaxInt64
	}
	q, _ := Scale(part, 1<<32, whole)
	return q
}

// Add adds two amounts that are not negative, up to the largest there is.
func Add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
