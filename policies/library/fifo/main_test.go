package main

import (
	"slices"
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/mustertest"
)

func TestTheOldestJobComesFirst(t *testing.T) {
	b := muster.NewJobs(3, 0)
	if err := oldestFirst(b); err != nil {
		t.Fatal(err)
	}
	if got := mustertest.Order(b); !slices.Equal(got, []int{0, 1, 2}) {
		t.Errorf("order %v", got)
	}
}
