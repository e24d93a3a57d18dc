// Command idle-first takes units whose GPUs were measured to do nothing before all
// others, the longest idle first. It is the twin of the built-in idle-first.
//
// What is not known is busy. A busy unit costs its lost work, by the part of its GPUs
// that was measured to be busy, plus the restart; a lower priority is cheaper than a
// higher one. The head of a Ray cluster is dearer than anything else, idle or not.
package main

import (
	"math"
	"math/bits"
	"slices"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/victimcosts"
)

func init() { victimcosts.Register(price) }

func main() {}

// The settings, in the order of policy.yaml.
const threshold = 0

// maxIdle is 24.8 days: who is idle for longer is as cheap as can be.
const maxIdle = 1 << 31 // ms

// A cost has digits, so that a higher one decides before a lower one counts: leader,
// busy, priority class, work. It stays
// below 2^52, so that sums do not overflow.
const (
	maxWork  = 1<<36 - 1 // 19,088 GPU-hours
	maxClass = 1<<14 - 1
	class    = 1 << 36
	busy     = 1 << 50
	leader   = 1 << 51
)

var priorities []int64 // scratch: the distinct priorities, sorted

func price(b *victimcosts.Batch) error {
	priorities = muster.Grow(priorities, b.N)
	copy(priorities, b.Priority)
	slices.Sort(priorities)
	priorities = slices.Compact(priorities)
	enough := b.ParamDuration(threshold)
	for i := range b.N {
		if muster.Known(b.Idle, i) && b.Idle[i] >= max(enough, 0) {
			b.Cost[i] = max(0, maxIdle-b.Idle[i]/1_000_000) + 1
			b.SetReason(i, 1)
		} else {
			b.Cost[i] = busyCost(b, i)
			b.SetReason(i, 0)
		}
		if b.Leader[i] == 1 {
			b.Cost[i] += leader
		}
	}
	return nil
}

func busyCost(b *victimcosts.Batch, i int) int64 {
	use := muster.One
	if i < len(b.Use) && b.Use[i] >= 0 {
		use = min(b.Use[i], use)
	}
	work := add(add(part(max(b.Lost[i], 0), use, muster.One), max(b.RestartCost[i], 0)), 1)
	rank, _ := slices.BinarySearch(priorities, b.Priority[i])
	return busy + min(work, maxWork) + min(int64(rank), maxClass)*class
}

// add adds two amounts that are not negative, up to the largest there is.
func add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}

// part is the share of an amount, in parts of whole, rounded down; share is at most
// whole, neither is negative.
func part(amount, share, whole int64) int64 {
	hi, lo := bits.Mul64(uint64(amount), uint64(share))
	q, _ := bits.Div64(hi, lo, uint64(whole))
	return int64(q)
}
