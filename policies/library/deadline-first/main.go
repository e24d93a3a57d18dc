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

// The classes.
const (
	inTime = iota
	undated
	late
)

func earliestFirst(b *joborder.Batch) error {
	last, atLeast, unknown := b.ParamBool(lateLast), b.ParamDuration(margin), b.ParamDuration(unknownDuration)
	duration := b.Duration
	const missed = 1 // the reason
	for i, deadline := range b.Deadline {
		if deadline < 0 {
			b.Key0[i], b.Key1[i], b.Key2[i] = undated, 0, 0
			b.SetReason(i, 0)
			continue
		}
		run := duration[i]
		if run < 0 {
			run = unknown
		}
		laxity := sub(sub(deadline, b.Now), run)
		b.Key0[i], b.Key1[i], b.Key2[i] = inTime, deadline, laxity
		b.SetReason(i, 0)
		if last && laxity < atLeast {
			b.Key0[i] = late
			b.SetReason(i, missed)
		}
	}
	b.SetKeys(3)
	return nil
}

// sub subtracts, down to the least and up to the largest number there is.
func sub(a, b int64) int64 {
	c := a - b
	if b != 0 && (c < a) != (b > 0) {
		if b > 0 {
			return math.MinInt64
		}
		return math.MaxInt64
	}
	return c
}
