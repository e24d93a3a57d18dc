// Command aged-sjf is a job order: short jobs come first, and a job counts as shorter
// the longer it has waited, so that none waits for ever. It is the twin of the built-in
// sjf-aged.
//
//	key = duration - aging * wait
package main

import "github.com/musterhq/muster/sdk/go/joborder"

func init() { joborder.Register(agedShortestFirst) }

func main() {}

// The settings, in the order of policy.yaml.
const (
	aging = iota
	unknownDuration
)

func agedShortestFirst(b *joborder.Batch) error {
	rate, unknown := b.ParamFloat(aging), b.ParamDuration(unknownDuration)
	n := len(b.Duration)
	keys, wait := b.FloatKey(0)[:n], b.Wait[:n] // so that the loop checks no bounds
	for i, duration := range b.Duration {
		if duration < 0 {
			duration = unknown
		}
		// The conversion of the product keeps a compiler from fusing it with the
		// subtraction, which would round once instead of twice.
		keys[i] = float64(duration) - float64(rate*float64(wait[i]))
	}
	return nil
}
