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

// With a half-life of 1 s, 100 GPUs that were used for ever have 144,269 GPU-ms.
const whole = 144_269

func TestQueuesShareAPool(t *testing.T) {
	for _, c := range []struct {
		name   string
		k      float64
		queues []queue
		want   []int64
	}{
		{"by weight", 1, []queue{{asks: 100, weight: 3}, {asks: 100, weight: 1}}, []int64{75, 25}},
		{"the quota comes first", 1, []queue{{guaranteed: 40, asks: 100}, {asks: 100}}, []int64{70, 30}},
		{"all that is over goes to the highest priority", 1, []queue{{guaranteed: 20, asks: 100}, {asks: 70, priority: 5}, {asks: 100, priority: 1}}, []int64{20, 70, 10}},
		{"having used half of the pool leaves half a share", 1, []queue{{asks: 100, past: whole / 2}, {asks: 100}}, []int64{33, 67}},
		{"having used all leaves nothing while others want more", 1, []queue{{asks: 100, past: whole}, {asks: 100}}, []int64{0, 100}},
		{"but everything that others do not want", 1, []queue{{asks: 100, past: whole}, {asks: 30}}, []int64{70, 30}},
		{"with k 0 the past does not count", 0, []queue{{asks: 100, past: whole}, {asks: 100}}, []int64{50, 50}},
		{"left over units go to the largest remainder", 1, []queue{{asks: 10}, {asks: 100, weight: 3}, {asks: 100}}, []int64{10, 68, 22}},
	} {
		b := pool(100, c.queues...)
		b.SetParams(c.k)
		if err := entitle(b); err != nil {
			t.Fatal(err)
		}
		if got := gpus(b); !slices.Equal(got, c.want) {
			t.Errorf("%s: entitled %v, want %v", c.name, got, c.want)
		}
	}
}
