// Command deadline-first is a job order: the earliest deadline comes first, among those
// that can still be made. It is the twin of the built-in deadline-first.
//
// Three keys: the class (0 can be made, 1 has no deadline, 2 can't be made any more), the
// deadline, and the laxity, which is the time that is left beyond the run time.
package main

import (
	"math"

	"github.com/musterhq/muster/sdk/go/joborder"
)

func init() { joborder.Register(earliestFirst) }

func main() {}

// The settings, in the order of policy.yaml.
const (
	lateLast = iota
	margin
	unknownDuration
)

// missed is the reason of a job that is late.
const missed = 1

// The classes.
const (
	inTime = iota
	undated
	late
)

func earliestFirst(b *joborder.Batch) error {
	now := b.Now
	last, atLeast, unknown := b.ParamBool(lateLast), b.ParamDuration(margin), b.ParamDuration(unknownDuration)
	// Local slices of one length and no call in the loop make it several times faster.
	n, reason := len(b.Deadline), b.Reason
	duration, class, at, spare := b.Duration[:n], b.Key0[:n], b.Key1[:n], b.Key2[:n]
	clear(reason)
	for i, deadline := range b.Deadline {
		if deadline < 0 {
			class[i], at[i], spare[i] = undated, 0, 0
			continue
		}
		run := duration[i]
		if run < 0 {
			run = unknown
		}
		laxity := deadline - now
		if now < 0 && laxity < 0 { // beyond the largest number
			laxity = math.MaxInt64
		}
		if laxity < math.MinInt64+run { // beyond the least
			laxity = math.MinInt64 + run
		}
		laxity -= run
		class[i], at[i], spare[i] = inTime, deadline, laxity
		if last && laxity < atLeast {
			class[i] = late
			if i < len(reason) {
				reason[i] = missed
			}
		}
	}
	b.SetKeys(3)
	return nil
}
