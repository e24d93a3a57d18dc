// Command checkpoint-aware prices a possible eviction by the work that it is expected to
// lose, knowing that the host gives notice and that a job may use it to make a
// checkpoint. It is the twin of the built-in checkpoint-aware.
//
//	cost = expected loss + restart cost + 1, in GPU-milliseconds
//
// Of a unit that has never made a checkpoint all its work is lost; of one whose next
// checkpoint falls within the notice nothing; of any other the part that it is not
// trusted to save on notice. A lower priority is always cheaper than a higher one, and
// the head of a Ray cluster dearer than anything else.
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
const (
	interval = iota
	notice
	trust
)

// parts is how many parts of 1 trust is counted in.
const parts = 1 << 16

// A cost has digits, so that a higher one decides before a lower one counts: leader,
// priority class, work. It stays
// below 2^52, so that sums do not overflow.
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
	lossy := parts - int64(b.ParamFloat(trust)*parts)
	every, warning := b.ParamDuration(interval), b.ParamDuration(notice)
	for i := range b.N {
		lost, since := max(b.Lost[i], 0), max(b.SinceCheckpoint[i], 0)
		switch {
		case since >= b.Running[i]: // never made one
		case every > 0 && every-since <= warning: // makes one in time
			lost = 0
		default:
			lost = part(lost, lossy, parts)
		}
		work := add(add(lost, max(b.RestartCost[i], 0)), 1)
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

// part is the share of an amount, in parts of whole, rounded down; share is at most
// whole, neither is negative.
func part(amount, share, whole int64) int64 {
	hi, lo := bits.Mul64(uint64(amount), uint64(share))
	q, _ := bits.Div64(hi, lo, uint64(whole))
	return int64(q)
}
