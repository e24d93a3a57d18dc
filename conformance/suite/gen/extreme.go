package gen

import (
	"math"
	"math/rand/v2"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// extremes are numbers at which arithmetic goes wrong.
var extremes = []int64{
	0, 0, 1, -1, 2, math.MaxInt64, math.MaxInt64 - 1, math.MinInt64, math.MinInt64 + 1, 1 << 53, -(1 << 53), 1<<53 + 1,
	math.MaxInt32, math.MinInt32, 1 << 32, -(1 << 32), 1000, 1e18, -1e18,
	int64(math.Float64bits(math.NaN()) >> 1), int64(math.Float64bits(math.SmallestNonzeroFloat64)),
}

// structural columns number rows and names: they stay in order in an extreme batch.
var structural = map[hostabi.ColumnID]bool{
	hostabi.JobJob: true, hostabi.JobUser: true, hostabi.QueueParent: true, hostabi.QueueDepth: true, hostabi.QueueLeaf: true,
	hostabi.VictimJob: true, hostabi.VictimQueue: true, hostabi.VictimGang: true,
}

// Extreme puts numbers at the ends of their range into a batch: some cells of every
// column, or one column whole. Numbers of rows and names stay right, so the layout is
// valid; what it says makes no sense.
func Extreme(r *rand.Rand, b Batch) {
	for _, c := range b.Columns() {
		if structural[c.ID] {
			continue
		}
		each, same := r.IntN(2) == 0, extremes[r.IntN(len(extremes))]
		for i := range c.Len() {
			v := same
			if each {
				v = extremes[r.IntN(len(extremes))]
			}
			if c.U8 != nil {
				v &= 1
			}
			c.Set(i, v)
		}
	}
	b.Call().Now = extremes[r.IntN(len(extremes))]
	if q := b.Queues; q != nil {
		q.HalfLife = extremes[r.IntN(len(extremes))]
	}
}

// Unknown makes everything unknown that can be: no guarantees, durations, deadlines,
// measurements, texts or labels, no capacity, no weights.
func Unknown(b Batch) {
	for _, c := range b.Columns() {
		v := policies.Unset
		switch c.ID {
		case hostabi.JobDuration, hostabi.JobDeadline, hostabi.JobUse, hostabi.QueueGuaranteed, hostabi.QueueUse,
			hostabi.VictimUse, hostabi.VictimIdle:
		case hostabi.QueueCapacity, hostabi.QueueWeight, hostabi.QueueDecayed:
			v = 0
		default:
			continue
		}
		for i := range c.Len() {
			c.Set(i, v)
		}
	}
	if j := b.Jobs; j != nil {
		for i := range j.Labels {
			for k := range j.Labels[i].Value {
				j.Labels[i].Value[k] = policies.NoString
			}
		}
	}
	if q := b.Queues; q != nil {
		q.HalfLife = 0
	}
}
