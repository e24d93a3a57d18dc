package mustertest_test

import (
	"slices"
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/mustertest"
)

func TestOrderIsWhatTheHostWouldDo(t *testing.T) {
	b := muster.NewJobs(4, 0)
	copy(b.FloatKey(0), []float64{-1, 2, 2, -3})
	copy(b.Key1, []int64{0, 1, 2, 0})
	b.SetKeys(2)
	b.Descending(1)
	if got := mustertest.Order(b); !slices.Equal(got, []int{3, 0, 2, 1}) {
		t.Errorf("order %v", got)
	}
}
