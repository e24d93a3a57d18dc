// Command my-policy is a job order. Jobs of higher priority come first, and waiting
// raises a job: by one for each full hour that it has waited, times the param boost.
package main

import "github.com/musterhq/muster/sdk/go/joborder"

func init() { joborder.Register(order) }

func main() {}

const hour = 3600_000_000_000 // ns

// Params, by their places in policy.yaml.
const paramBoost = 0

func order(b *joborder.Batch) error {
	boost := b.ParamInt(paramBoost)
	for i := range b.N {
		b.Key0[i] = -(b.Priority[i] + boost*(b.Wait[i]/hour)) // the smallest key runs first
	}
	return nil
}
