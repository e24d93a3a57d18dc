package main

import (
	"slices"
	"testing"

	"github.com/musterhq/muster/policies/library/internal/fairness"
	muster "github.com/musterhq/muster/sdk/go"
)

// pool returns a root and queues below it that share whole GPUs: guarantee (-1 for
// none) and demand of each.
func pool(gpus int64, queues ...[2]int64) *muster.Queues {
	b := muster.NewQueues(len(queues)+1, 1)
	b.Resources[0], b.Capacity[0], b.Parent[0] = "nvidia.com/gpu", gpus*1000, -1
	b.Guaranteed[0] = muster.Unset
	for i := range b.Max {
		b.Max[i] = muster.NoMax
	}
	for i, q := range queues {
		b.Guaranteed[i+1], b.Demand[i+1] = q[0]*1000, q[1]*1000
		if q[0] < 0 {
			b.Guaranteed[i+1] = muster.Unset
		}
		b.Demand[0] += b.Demand[i+1]
	}
	return b
}

func TestQueuesShareAPool(t *testing.T) {
	for _, c := range []struct {
		name   string
		gpus   int64
		queues [][2]int64
		want   []int64
	}{
		{"both want all: each has its guarantee", 100, [][2]int64{{60, 100}, {40, 100}}, []int64{60, 40}},
		{"one is idle: the other has all", 100, [][2]int64{{60, 0}, {40, 100}}, []int64{0, 100}},
		{"what is left goes by guarantee", 100, [][2]int64{{30, 100}, {10, 100}}, []int64{75, 25}},
		{"without a guarantee it lives on what is left", 100, [][2]int64{{60, 60}, {-1, 100}}, []int64{60, 40}},
		{"broken nodes: everybody gets a proportional part", 50, [][2]int64{{60, 100}, {40, 100}}, []int64{30, 20}},
		{"GPUs stay whole, the first gets the odd one", 3, [][2]int64{{-1, 9}, {-1, 9}}, []int64{2, 1}},
	} {
		b := pool(c.gpus, c.queues...)
		if err := entitle(b); err != nil {
			t.Fatal(err)
		}
		var got []int64
		for _, e := range b.Entitled[1:] {
			got = append(got, e/1000)
		}
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: entitled %v, want %v", c.name, got, c.want)
		}
	}
}

func TestAQueueUnderItsGuaranteeHasRankZero(t *testing.T) {
	b := pool(100, [2]int64{60, 100}, [2]int64{40, 100}, [2]int64{-1, 100})
	copy(b.Used, []int64{100_000, 59_000, 40_000, 1000})
	if err := entitle(b); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(b.Rank[1:], []int64{0, 1, 1}) {
		t.Errorf("ranks %v", b.Rank)
	}
}

func TestGPUsThatAreHeldAndDoNothingJustifyNoShare(t *testing.T) {
	b := pool(100, [2]int64{20, 80}, [2]int64{20, 80})
	copy(b.Used, []int64{100_000, 70_000, 30_000})
	copy(b.Use, []int64{60_000, 30_000, 30_000})
	if err := fairness.Entitle(b, divideUsed); err != nil {
		t.Fatal(err)
	}
	if got := b.Entitled[1:]; !slices.Equal(got, []int64{40_000, 60_000}) {
		t.Errorf("entitled %v", got)
	}
}
