package main

import (
	"math"
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
		name               string
		lateLast           bool
		margin             int64
		duration, deadline []int64
		want               []int
	}{
		{"the earliest deadline runs first", true, 0, []int64{minute, minute}, []int64{9 * hour, 8 * hour}, []int{1, 0}},
		{"jobs without a deadline come after", true, 0, []int64{hour, hour}, []int64{muster.Unset, 9 * hour}, []int{1, 0}},
		{"who can't make it any more goes last", true, 0, []int64{2 * hour, hour}, []int64{hour, muster.Unset}, []int{1, 0}},
		{"or stays in its place", false, 0, []int64{hour, 2 * hour}, []int64{2 * hour, hour}, []int{1, 0}},
		{"of equal deadlines the one with less to spare", true, 0, []int64{hour, 2 * hour}, []int64{9 * hour, 9 * hour}, []int{1, 0}},
		{"a margin counts against the deadline", true, 30 * minute, []int64{hour, hour}, []int64{89 * minute, 90 * minute}, []int{1, 0}},
		{"an unknown run time counts as an hour", true, 0, []int64{muster.Unset, muster.Unset}, []int64{59 * minute, 61 * minute}, []int{1, 0}},
		{"extremes do not turn around", true, 0, []int64{math.MaxInt64, 0}, []int64{1, math.MaxInt64}, []int{1, 0}},
	} {
		b := muster.NewJobs(len(c.want), 0)
		b.SetParams(c.lateLast, c.margin, hour)
		copy(b.Duration, c.duration)
		copy(b.Deadline, c.deadline)
		if err := earliestFirst(b); err != nil {
			t.Fatal(err)
		}
		if got := mustertest.Order(b); !slices.Equal(got, c.want) {
			t.Errorf("%s: order %v, want %v", c.name, got, c.want)
		}
	}
}
