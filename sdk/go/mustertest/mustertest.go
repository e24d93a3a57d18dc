// Package mustertest helps to test a policy as a plain Go function, without Wasm:
// make a batch by muster.NewJobs, NewQueues or NewVictims, fill the columns that
// matter, call the policy, look at the outputs.
package mustertest

import (
	"cmp"
	"slices"

	muster "github.com/musterhq/muster/sdk/go"
)

// Order returns the rows of a batch in the order in which the host would run them.
func Order(b *muster.Jobs) []int {
	rows := make([]int, b.N)
	for i := range rows {
		rows[i] = i
	}
	slices.SortStableFunc(rows, func(x, y int) int {
		for k := range b.Keys() {
			if c := compare(b, k, x, y); c != 0 {
				return c
			}
		}
		return 0
	})
	return rows
}

func compare(b *muster.Jobs, k, x, y int) int {
	isFloat, descending := b.KeyFormat(k)
	c := cmp.Compare(b.Key(k)[x], b.Key(k)[y])
	if isFloat {
		f := muster.Floats(b.Key(k))
		c = cmp.Compare(f[x], f[y])
	}
	if descending {
		return -c
	}
	return c
}
