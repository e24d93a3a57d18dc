package main

import (
	"slices"
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/mustertest"
)

func TestShortJobsComeFirstAndUnknownOnesLast(t *testing.T) {
	b := muster.NewJobs(4, 0)
	copy(b.Duration, []int64{3600, muster.Unset, 60, 0})
	if err := shortestFirst(b); err != nil {
		t.Fatal(err)
	}
	if got, want := mustertest.Order(b), []int{3, 2, 0, 1}; !slices.Equal(got, want) {
		t.Errorf("order %v, want %v", got, want)
	}
}
