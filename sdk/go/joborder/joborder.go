// Package joborder makes a module decide the order of the pending jobs of a queue: importing it exports
// muster_job_order.
package joborder

import muster "github.com/musterhq/muster/sdk/go"

// Batch is what the policy reads and fills.
type Batch = muster.Jobs

// Register sets the policy. Call it once, from an init function.
func Register(policy func(*Batch) error) { muster.HandleJobs(policy) }
