// Package queueshares makes a module decide what each queue is entitled to: importing it exports
// muster_queue_shares.
package queueshares

import muster "github.com/musterhq/muster/sdk/go"

// Batch is what the policy reads and fills.
type Batch = muster.Queues

// Register sets the policy. Call it once, from an init function.
func Register(policy func(*Batch) error) { muster.HandleQueues(policy) }
