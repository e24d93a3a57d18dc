// Command shortest-first is a job order: the job with the shortest declared run time
// comes first, and jobs that declare none after all that do. It is the twin of the
// built-in shortest-first. A key depends on nothing but its own row, so the host asks
// again only for rows that have changed.
package main

import (
	"math"

	"github.com/musterhq/muster/sdk/go/joborder"
)

func init() { joborder.Register(shortestFirst) }

func main() {}

func shortestFirst(b *joborder.Batch) error {
	keys := b.Key0[:len(b.Duration)] // a local slice, so that the loop checks no bounds
	for i, duration := range b.Duration {
		if duration < 0 {
			duration = math.MaxInt64
		}
		keys[i] = duration
	}
	return nil
}
