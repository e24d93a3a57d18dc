// Command fifo is a job order: jobs run in the order in which they were submitted.
// It is the smallest policy there is, and the twin of the built-in fifo.
package main

import "github.com/musterhq/muster/sdk/go/joborder"

func init() { joborder.Register(oldestFirst) }

func main() {}

// oldestFirst says nothing: the rows come in the order of (submit, id), the host
// breaks ties by it, and keys are 0 when a policy leaves them alone.
func oldestFirst(*joborder.Batch) error { return nil }
