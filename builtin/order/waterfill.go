package order

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
)

// claim is one queue's part in a filling: it takes up to need, in proportion to
// weight. Neither is negative; weight is positive where need is.
type claim struct {
	row    int32
	need   amount.Amount
	weight amount.Amount
	got    amount.Amount // the answer
	rest   fraction      // what rounding down took from the exact share
}

// fraction is whole + part/W, W being the weight that the filling ended with.
type fraction struct {
	whole amount.Amount
	part  uint64
}

// fill shares total among the claims: each gets min(need, weight×level), the
// level being the one at which nothing is left over or nobody needs more (max-min
// fairness with weights; Bertsekas and Gallager, Data Networks, 6.5.2).
//
// Rounding. A claim whose need is under the level gets exactly its need. The
// others get their exact share rounded down to a multiple of unit; what that
// leaves is handed out one unit each, by the largest remainder, then by the order
// of the rows, and a unit is cut where the need or the total ends with a part of
// one. So the sum is exactly min(total, sum of needs), no claim gets more than it
// needs, and each is within one unit of its exact share.
//
// All products are exact in 128 bits. The order of the claims on return is not
// that on entry.
func fill(total, unit amount.Amount, claims []claim) {
	if everyoneFits(total, claims) {
		return
	}
	clampWeights(claims)
	left, weights := total, amount.Amount(0)
	for i := range claims {
		weights = weights.Add(claims[i].weight)
	}
	slices.SortFunc(claims, byLevel)
	for len(claims) > 0 && compareProducts(claims[0].need, weights, left, claims[0].weight) <= 0 {
		claims[0].got = claims[0].need
		left -= claims[0].need
		weights -= claims[0].weight
		claims = claims[1:]
	}
	shareWhole(left, weights, unit, claims)
}

// everyoneFits gives all claims what they need if there is enough of it: the
// common case, which needs no order.
func everyoneFits(total amount.Amount, claims []claim) bool {
	var needs amount.Amount
	for i := range claims {
		needs = needs.Add(claims[i].need)
		claims[i].got = claims[i].need
	}
	return needs <= total
}

// shareWhole shares total among claims that all need more than their part of it.
func shareWhole(total, weights, unit amount.Amount, claims []claim) {
	left := total
	for i := range claims {
		c := &claims[i]
		share := total.Scale(c.weight, weights)
		c.rest.whole = share % unit
		// The remainder of the division is below weights, so its low 64 bits are all of it.
		c.rest.part = uint64(total)*uint64(c.weight) - uint64(share)*uint64(weights)
		c.got = share - c.rest.whole
		left -= c.got
	}
	slices.SortFunc(claims, byRest)
	for i := 0; left > 0 && i < len(claims); i++ {
		c := &claims[i]
		piece := min(unit, c.need-c.got, left)
		c.got += piece
		left -= piece
	}
}

// clampWeights keeps the sum of the weights from saturating, which would hand
// out more than there is.
func clampWeights(claims []claim) {
	limit := amount.Max / amount.Amount(len(claims)+1)
	for i := range claims {
		claims[i].weight = min(claims[i].weight, limit)
	}
}

// byLevel orders claims by the level at which they have all they need.
func byLevel(a, b claim) int {
	if c := compareProducts(a.need, b.weight, b.need, a.weight); c != 0 {
		return c
	}
	return cmp.Compare(a.row, b.row)
}

func byRest(a, b claim) int {
	return cmp.Or(
		cmp.Compare(b.rest.whole, a.rest.whole),
		cmp.Compare(b.rest.part, a.rest.part),
		cmp.Compare(a.row, b.row))
}

// compareProducts compares a×b with c×d, all non-negative.
func compareProducts(a, b, c, d amount.Amount) int {
	h1, l1 := bits.Mul64(uint64(a), uint64(b))
	h2, l2 := bits.Mul64(uint64(c), uint64(d))
	return cmp.Or(cmp.Compare(h1, h2), cmp.Compare(l1, l2))
}
