package order

import (
	"context"
	"math"

	"github.com/musterhq/muster/policies"
)

// priorityFIFO runs the highest priority first, and within one priority the
// oldest job.
type priorityFIFO struct{ about }

func (*priorityFIFO) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	keys := b.Keys[0][:b.N]
	for i, p := range b.Priority[:b.N] {
		keys[i] = -max(p, -math.MaxInt64) // -MinInt64 would be MinInt64, the front
	}
	b.NKeys = 1
	return nil
}
