// Package batch is what another package gives.
package batch

// Batch has a map, which the core can reach from another package.
type Batch struct {
	Names  []string
	ByName map[string]int
}
