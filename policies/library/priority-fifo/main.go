// Command priority-fifo is a job order: the highest priority runs first, and within
// one priority the oldest job. It is the twin of the built-in priority-fifo.
package main

import (
	"math"

	"github.com/musterhq/muster/sdk/go/joborder"
)

func init() { joborder.Register(highestFirst) }

func main() {}

// highestFirst sorts by the negative priority. The smallest int64 has no negative;
// it counts as the one above it.
func highestFirst(b *joborder.Batch) error {
	for i, p := range b.Priority {
		b.Key0[i] = -max(p, -math.MaxInt64)
	}
	return nil
}
