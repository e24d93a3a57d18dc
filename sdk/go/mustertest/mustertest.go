// Package mustertest helps to test a policy as a plain Go function, without Wasm. Make a
// batch by muster.NewJobs, NewQueues or NewVictims; fill the columns that matter, its
// settings and labels by SetParams and SetLabel, texts by AddText; call the policy; look
// at the outputs:
//
//	b := muster.NewJobs(2, 0)
//	copy(b.GPUs, []int64{8000, 1000})
//	b.SetParams(0.5)
//	if err := mustertest.Call(t, func() error { return smallestFirst(b) }); err != nil {
//		t.Fatal(err)
//	}
//	got := mustertest.Order(b) // 1 0
package mustertest

import (
	"cmp"
	"slices"
	"testing"

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

// Cheapest returns the rows of a batch from the cheapest to the dearest, those with a
// veto left out.
func Cheapest(b *muster.Victims) []int {
	var rows []int
	for i := range b.N {
		if b.Veto[i] == 0 {
			rows = append(rows, i)
		}
	}
	slices.SortStableFunc(rows, func(x, y int) int { return cmp.Compare(b.Cost[x], b.Cost[y]) })
	return rows
}

// Call runs a policy a few times over one batch and holds it to what every policy owes:
// no panic, and no memory allocated once its scratch space has grown. It returns the
// error of the last call.
func Call(t testing.TB, policy func() error) (err error) {
	t.Helper()
	if n := testing.AllocsPerRun(3, func() { err = policy() }); n != 0 && err == nil {
		t.Errorf("a call allocates %v times; keep scratch space in package variables and size it by muster.Grow", n)
	}
	return err
}

// Said returns the lines that a function gives to muster.Log.
func Said(f func()) []string {
	var lines []string
	before := muster.OnLog
	muster.OnLog = func(_ muster.Level, line string) { lines = append(lines, line) }
	defer func() { muster.OnLog = before }()
	f()
	return lines
}
