// Command least-lost-work prices a possible eviction by the work that it destroys.
// It is the twin of the built-in least-lost-work.
//
// The price is the work since the last checkpoint plus the restart, in
// GPU-milliseconds, plus 1, so that of two sets that lose the same the smaller one is
// cheaper. A lower priority is always cheaper than a higher one, and the head of a
// Ray cluster is dearer than anything else.
package main

import (
	"math"
	"slices"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/victimcosts"
)

func init() { victimcosts.Register(price) }

func main() {}

// A cost has three digits, so that a higher one decides before a lower one counts:
// leader, priority class, work. It stays below 2^52, so that sums do not overflow.
const (
	maxWork  = 1<<36 - 1 // 19,088 GPU-hours
	maxClass = 1<<14 - 1
	class    = 1 << 36
	leader   = 1 << 51
)

var priorities []int64 // scratch: the distinct priorities, sorted

func price(b *victimcosts.Batch) error {
	priorities = muster.Grow(priorities, b.N)
	copy(priorities, b.Priority)
	slices.Sort(priorities)
	priorities = slices.Compact(priorities)
	for i := range b.N {
		work := add(add(max(b.Lost[i], 0), max(b.RestartCost[i], 0)), 1)
		rank, _ := slices.BinarySearch(priorities, b.Priority[i])
		b.Cost[i] = min(work, maxWork) + min(int64(rank), maxClass)*class
		if b.Leader[i] == 1 {
			b.Cost[i] += leader
		}
	}
	return nil
}

// add adds two amounts that are not negative, up to the largest there is.
func add(a, b int64) int64 {
	if a > math.MaxInt64-b {
		return math.MaxInt64
	}
	return a + b
}
