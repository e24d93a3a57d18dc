package main

import (
	"math"
	"slices"
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/mustertest"
)

func TestTheHighestPriorityComesFirst(t *testing.T) {
	for _, c := range []struct {
		name       string
		priorities []int64
		want       []int
	}{
		{"within one priority the oldest", []int64{1, 2, 2, 1}, []int{1, 2, 0, 3}},
		{"down to the lowest that there is", []int64{math.MinInt64, 0, math.MaxInt64}, []int{2, 1, 0}},
	} {
		b := muster.NewJobs(len(c.priorities), 0)
		copy(b.Priority, c.priorities)
		if err := highestFirst(b); err != nil {
			t.Fatal(err)
		}
		if got := mustertest.Order(b); !slices.Equal(got, c.want) {
			t.Errorf("%s: order %v, want %v", c.name, got, c.want)
		}
	}
}
