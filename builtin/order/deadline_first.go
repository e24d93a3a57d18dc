package order

import (
	"context"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// deadlineFirst runs the job with the earliest deadline first, among those that can
// still make theirs (earliest deadline first: Liu and Layland, JACM 1973). Three keys:
//
//	class     0: laxity ≥ margin; 1: no deadline; 2: the deadline can't be made
//	deadline  ascending
//	laxity    ascending: of equal deadlines, the one with the least time to spare
//
// laxity = deadline - now - duration, and duration is unknown_duration where a job
// declares none. Without late_last, a job that can't make its deadline stays in class 0.
// Jobs without a deadline stay in order of submission.
type deadlineFirst struct {
	about
	lateLast        bool
	margin, unknown amount.Amount
}

const (
	inTime = iota
	undated
	late
)

func newDeadlineFirst(a about) policies.Policy {
	return &deadlineFirst{
		a, param[bool](&a, "late_last"),
		amount.Amount(param[int64](&a, "margin")), amount.Amount(param[int64](&a, "unknown_duration")),
	}
}

func (d *deadlineFirst) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	for i, deadline := range b.Deadline[:b.N] {
		b.Keys[0][i], b.Keys[1][i], b.Keys[2][i] = undated, 0, 0
		reason(b.Reason, i, 0)
		if deadline < 0 {
			continue
		}
		duration := d.unknown
		if b.Duration[i] >= 0 {
			duration = amount.Amount(b.Duration[i])
		}
		laxity := amount.Amount(deadline).Sub(amount.Amount(b.Now)).Sub(duration)
		b.Keys[0][i], b.Keys[1][i], b.Keys[2][i] = inTime, deadline, int64(laxity)
		if d.lateLast && laxity < d.margin {
			b.Keys[0][i] = late
			reason(b.Reason, i, 1)
		}
	}
	b.NKeys = 3
	return nil
}
