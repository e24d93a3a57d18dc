package order

import (
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// q describes one queue of a test in whole GPUs. Zero values mean not configured,
// but for asks and used.
type q struct {
	under                  int // row of the parent
	guaranteed, max        int64
	weight, priority       int64
	past                   int64 // decayed GPU time, in GPU-milliseconds
	asks, used             int64
	guaranteedZero, maxSet bool // an explicit 0 guarantee; an explicit max of 0
}

// gpuTable is a batch of one resource, whole GPUs: row 0 is the root.
func gpuTable(pool int64, queues ...q) *policies.QueueBatch {
	return table(amount.GPUName, 1000, pool, queues...)
}

func table(resource string, unit, pool int64, queues ...q) *policies.QueueBatch {
	n := len(queues) + 1
	b := emptyBatch(n, resource)
	b.Capacity[0] = pool * unit
	b.Parent[0] = -1
	for i, x := range queues {
		row := i + 1
		b.Parent[row] = int32(x.under)
		b.Weight[row], b.Priority[row] = x.weight, x.priority
		if x.guaranteed > 0 || x.guaranteedZero {
			b.Guaranteed[row] = x.guaranteed * unit
		}
		if x.max > 0 || x.maxSet {
			b.Max[row] = x.max * unit
		}
		b.Decayed[row] = x.past
		b.Demand[row], b.Used[row] = x.asks*unit, x.used*unit
	}
	for row := n - 1; row > 0; row-- {
		p := b.Parent[row]
		b.Demand[p] += b.Demand[row]
		b.Used[p] += b.Used[row]
	}
	return b
}

func emptyBatch(n int, resources ...string) *policies.QueueBatch {
	r := len(resources)
	b := &policies.QueueBatch{
		N: n, R: r, Resources: resources, Capacity: make([]int64, r),
		Parent: make([]int32, n), Depth: make([]int64, n), Leaf: make([]uint8, n),
		Weight: make([]int64, n), Priority: make([]int64, n),
		Guaranteed: make([]int64, n*r), Max: make([]int64, n*r), Demand: make([]int64, n*r), Used: make([]int64, n*r),
		Entitled: make([]int64, n*r), Rank: make([]int64, n), Decayed: make([]int64, n), HalfLife: 1e9,
	}
	for i := range n * r {
		b.Guaranteed[i], b.Max[i] = policies.Unset, policies.NoMax
		b.Entitled[i] = -7 // whatever was there before must be overwritten
	}
	for i := range b.Rank {
		b.Rank[i] = -7
	}
	return b
}

// entitle runs a fairness policy and returns the column of one resource without
// the root, in the unit.
func entitle(t testing.TB, name string, b *policies.QueueBatch, unit int64) []int64 {
	t.Helper()
	return entitleWith(t, name, nil, b, unit)
}

func entitleWith(t testing.TB, name string, params map[string]any, b *policies.QueueBatch, unit int64) []int64 {
	t.Helper()
	p, err := Configured(name, params)
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Entitle(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	out := make([]int64, 0, b.N)
	for row := 1; row < b.N; row++ {
		out = append(out, b.Entitled[row*b.R]/unit)
	}
	return out
}
