package order

import (
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// The cost of one victim has digits, so that a higher one decides before a lower one
// counts: leader × 2^51 + busy × 2^50 + class × 2^36 + work. So a cost is below 2^52
// and the sum of 2,000 does not overflow. The host minimises the sum: the order that a
// digit makes is strict between two victims, not between sets. One victim of class 2
// costs about as much as two of class 1.
const (
	workLimit  = 1<<36 - 1 // GPU-milliseconds: 19,088 GPU-hours, beyond which units cost the same
	classCost  = 1 << 36
	classLimit = 1<<14 - 1 // distinct classes, beyond which they cost the same
	busyCost   = 1 << 50
	leaderCost = 1 << 51
)

// digits makes a cost. Work counts one more than it is, so that of sets that lose the
// same the one with fewer victims is the cheapest.
func digits(leader uint8, class int, work amount.Amount) int64 {
	cost := int64(min(max(work, 0).Add(1), workLimit)) + int64(min(class, classLimit))*classCost
	if leader == 1 {
		cost += leaderCost
	}
	return cost
}

// lostWork is what an eviction destroys: the work since the last checkpoint plus the
// restart, in GPU-milliseconds.
func lostWork(b *policies.VictimBatch, i int) amount.Amount {
	return amount.Amount(max(b.Lost[i], 0)).Add(amount.Amount(max(b.RestartCost[i], 0)))
}

// distinct sorts n values, each once, into the memory of levels.
func distinct(levels []int64, n int, value func(int) int64) []int64 {
	levels = levels[:0]
	for i := range n {
		levels = append(levels, value(i))
	}
	slices.Sort(levels)
	return slices.Compact(levels)
}

// class is the dense rank of a value among the distinct ones, the lowest being 0.
func class(levels []int64, value int64) int {
	i, _ := slices.BinarySearch(levels, value)
	return i
}

// priorities are the distinct priorities of a batch of victims.
func priorities(levels []int64, b *policies.VictimBatch) []int64 {
	return distinct(levels, b.N, func(i int) int64 { return b.Priority[i] })
}
