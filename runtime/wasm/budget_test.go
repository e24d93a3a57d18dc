package wasm

import (
	"math"
	"testing"
)

func TestABudgetCountsRowsAndResourcesAndNeverOverflows(t *testing.T) {
	b := Budget{Base: 10, PerRow: 3}
	for _, c := range []struct {
		rows, resources int
		want            int64
	}{
		{0, 0, 10},
		{4, 0, 22},
		{4, 1, 22},
		{4, 5, 70},
		{0, 1000, 10},
		{math.MaxInt, 0, math.MaxInt64},
		{math.MaxInt / 3, 2, math.MaxInt64},
		{math.MaxInt / 2, math.MaxInt, math.MaxInt64},
	} {
		if got := b.of(c.rows, c.resources); got != c.want {
			t.Errorf("%d rows of %d: %d, want %d", c.rows, c.resources, got, c.want)
		}
	}
	if got := (Budget{Base: math.MaxInt64, PerRow: 1}).of(5, 5); got != math.MaxInt64 {
		t.Errorf("all the fuel there is and more: %d", got)
	}
}
