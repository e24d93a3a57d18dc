package order

import (
	"context"

	"github.com/musterhq/muster/policies"
)

// fifo runs jobs in the order in which they were submitted. The rows of a batch
// are in that order and the host breaks ties by it, so saying nothing is enough.
type fifo struct{ about }

func (*fifo) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	clear(b.Keys[0][:b.N])
	b.NKeys = 1
	return nil
}
