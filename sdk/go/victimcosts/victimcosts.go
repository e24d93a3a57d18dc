// Package victimcosts makes a module decide the price of each possible eviction: importing it exports
// muster_victim_costs.
package victimcosts

import muster "github.com/musterhq/muster/sdk/go"

// Batch is what the policy reads and fills.
type Batch = muster.Victims

// Register sets the policy. Call it once, from an init function.
func Register(policy func(*Batch) error) { muster.HandleVictims(policy) }
