package main

import (
	"errors"
	"slices"
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/mustertest"
)

func TestTheUserWithLeastComesNext(t *testing.T) {
	for _, c := range []struct {
		name      string
		user      []uint32
		has, asks []int64 // by row: what the user has, what the job asks for
		want      []int
	}{
		{"two users take turns", []uint32{0, 0, 0, 1, 1}, []int64{0, 0, 0, 0, 0}, []int64{1, 1, 1, 1, 1}, []int{0, 3, 1, 4, 2}},
		{"who already has something waits", []uint32{0, 1, 1}, []int64{3, 0, 0}, []int64{1, 2, 2}, []int{1, 2, 0}},
		{"a large job counts as large", []uint32{0, 0, 1, 1, 1}, []int64{0, 0, 0, 0, 0}, []int64{3, 1, 1, 1, 1}, []int{0, 2, 3, 4, 1}},
		{"one user is fifo", []uint32{5, 5, 5}, []int64{1, 1, 1}, []int64{9, 1, 5}, []int{0, 1, 2}},
	} {
		b := muster.NewJobs(len(c.user), 0)
		copy(b.User, c.user)
		copy(b.UserShare, c.has)
		copy(b.Dominant, c.asks)
		if err := leastFirst(b); err != nil {
			t.Fatal(err)
		}
		if got := mustertest.Order(b); !slices.Equal(got, c.want) {
			t.Errorf("%s: order %v, want %v", c.name, got, c.want)
		}
	}
}

func TestUserNumbersThatAreNotDenseAreRefused(t *testing.T) {
	b := muster.NewJobs(1, 0)
	b.User[0] = 1 << 31
	if err := leastFirst(b); !errors.Is(err, muster.ErrBadInput) {
		t.Error(err)
	}
}

func TestACallAllocatesNothing(t *testing.T) {
	b := muster.NewJobs(100, 0)
	for i := range b.User {
		b.User[i], b.Dominant[i] = uint32(i%7), int64(i)
	}
	if n := testing.AllocsPerRun(10, func() {
		if err := leastFirst(b); err != nil {
			t.Fatal(err)
		}
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
