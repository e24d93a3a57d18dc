package main

import (
	"slices"
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
)

// pool returns a root and queues below it that share whole GPUs.
func pool(gpus int64, queues ...queue) *muster.Queues {
	b := muster.NewQueues(len(queues)+1, 1)
	b.Resources[0], b.Capacity[0], b.Parent[0] = "nvidia.com/gpu", gpus*1000, -1
	b.HalfLife = 1e9
	for i := range b.Max {
		b.Guaranteed[i], b.Max[i] = muster.Unset, muster.NoMax
	}
	for i, q := range queues {
		if q.guaranteed > 0 {
			b.Guaranteed[i+1] = q.guaranteed * 1000
		}
		b.Demand[i+1], b.Weight[i+1] = q.asks*1000, q.weight
		b.Decayed[i+1], b.Priority[i+1] = q.past, q.priority
		b.Demand[0] += b.Demand[i+1]
	}
	return b
}

// queue is one queue of a test in whole GPUs; past is its decayed GPU time in GPU-ms.
type queue struct{ guaranteed, asks, weight, past, priority int64 }

func gpus(b *muster.Queues) []int64 {
	out := make([]int64, 0, b.N)
	for _, e := range b.Entitled[1:] {
		out = append(out, e/1000)
	}
	return out
}

func TestQueuesShareAPool(t *testing.T) {
	for _, c := range []struct {
		name     string
		strength float64
		gpus     int64
		queues   []queue
		want     []int64
	}{
		{"without a past by weight", 1, 100, []queue{{asks: 100, weight: 70}, {asks: 100, weight: 30}}, []int64{70, 30}},
		{"who has used nothing gets 3 of 4", 1, 100, []queue{{asks: 100, past: 9}, {asks: 100}}, []int64{25, 75}},
		{"at strength 3, 7 of 8", 3, 160, []queue{{asks: 160, past: 9}, {asks: 160}}, []int64{20, 140}},
		{"at strength 0 the past does not count", 0, 100, []queue{{asks: 100, past: 9}, {asks: 100}}, []int64{50, 50}},
		{"who has used exactly its share keeps it", 1, 100, []queue{{asks: 100, weight: 3, past: 3}, {asks: 100, weight: 1, past: 1}}, []int64{75, 25}},
		{"the guarantee is not touched", 1, 100, []queue{{guaranteed: 60, asks: 60, past: 9}, {asks: 100}}, []int64{60, 40}},
		{"what one does not want the other has", 3, 100, []queue{{asks: 100, past: 9}, {asks: 30}}, []int64{70, 30}},
	} {
		b := pool(c.gpus, c.queues...)
		b.SetParams(c.strength)
		if err := entitle(b); err != nil {
			t.Fatal(err)
		}
		if got := gpus(b); !slices.Equal(got, c.want) {
			t.Errorf("%s: entitled %v, want %v", c.name, got, c.want)
		}
	}
}
