package main

import (
	"slices"
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/mustertest"
)

const (
	minute = int64(60e9)
	hour   = 60 * minute
)

func TestTheOrderOfJobs(t *testing.T) {
	for _, c := range []struct {
		name           string
		aging          float64
		duration, wait []int64
		want           []int
	}{
		{"a short job runs before a long one", 0.5, []int64{2 * hour, hour}, []int64{0, 0}, []int{1, 0}},
		{"two hours of waiting make up for one of run time", 0.5, []int64{2 * hour, hour}, []int64{2*hour + 1000, 0}, []int{0, 1}},
		{"without aging waiting does not help", 0, []int64{2 * hour, hour}, []int64{100 * hour, 0}, []int{1, 0}},
		{"an unknown run time counts as the setting says", 0.5, []int64{61 * minute, muster.Unset, 59 * minute}, []int64{0, 0, 0}, []int{2, 1, 0}},
	} {
		b := muster.NewJobs(len(c.want), 0)
		b.SetParams(c.aging, hour)
		copy(b.Duration, c.duration)
		copy(b.Wait, c.wait)
		if err := agedShortestFirst(b); err != nil {
			t.Fatal(err)
		}
		if got := mustertest.Order(b); !slices.Equal(got, c.want) {
			t.Errorf("%s: order %v, want %v", c.name, got, c.want)
		}
	}
}
