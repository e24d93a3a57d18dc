package main

import (
	"slices"
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/mustertest"
)

func TestTheHighestPriorityComesFirst(t *testing.T) {
	b := muster.NewJobs(3, 0) // every column, all zeros
	copy(b.Priority, []int64{0, 10, 5})
	b.SetParams(1)
	if err := mustertest.Call(t, func() error { return order(b) }); err != nil {
		t.Fatal(err)
	}
	if got := mustertest.Order(b); !slices.Equal(got, []int{1, 2, 0}) {
		t.Errorf("order %v", got)
	}
}

func TestWaitingRaisesAJob(t *testing.T) {
	b := muster.NewJobs(2, 0)
	copy(b.Priority, []int64{2, 0})
	copy(b.Wait, []int64{0, 3 * hour})
	for boost, first := range map[int]int{0: 0, 1: 1} {
		b.SetParams(boost)
		if err := order(b); err != nil {
			t.Fatal(err)
		}
		if got := mustertest.Order(b)[0]; got != first {
			t.Errorf("boost %d: job %d runs first", boost, got)
		}
	}
}
