package order

import (
	"context"
	"math"

	"github.com/musterhq/muster/policies"
)

// shortestFirst runs the job with the shortest declared run time first; jobs that
// declare none come after all that do. Shortest job first has the least mean waiting
// time of all orders if the times are right (Smith, Naval Research Logistics Quarterly,
// 1956), and starves long jobs: see sjf-aged.
type shortestFirst struct{ about }

func (*shortestFirst) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	keys := b.Keys[0][:b.N]
	for i, d := range b.Duration[:b.N] {
		if d < 0 {
			d = math.MaxInt64
		}
		keys[i] = d
	}
	b.NKeys = 1
	return nil
}
