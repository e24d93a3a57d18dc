package main

import (
	"slices"
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/mustertest"
)

func TestTheNewestJobComesFirst(t *testing.T) {
	b := muster.NewJobs(3, 0)
	copy(b.Submit, []int64{7, 7, 9})
	if err := newestFirst(b); err != nil {
		t.Fatal(err)
	}
	if got := mustertest.Order(b); !slices.Equal(got, []int{2, 1, 0}) {
		t.Errorf("order %v", got)
	}
}
