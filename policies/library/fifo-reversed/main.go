// Command fifo-reversed is a job order that puts the newest job first. It exists to
// be seen: swapped in for fifo, it turns a queue around.
package main

import "github.com/musterhq/muster/sdk/go/joborder"

func init() { joborder.Register(newestFirst) }

func main() {}

// newestFirst sorts by submit time, descending. The rows come in the order of
// (submit, id); the row number turns jobs of the same instant around, too.
func newestFirst(b *joborder.Batch) error {
	for i := range b.N {
		b.Key0[i] = -int64(i)
	}
	return nil
}
