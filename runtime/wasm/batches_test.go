package wasm_test

import (
	"math"
	"slices"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/policies"
)

// amounts draws columns: mostly small numbers, so that ties are common, and now and
// then what breaks arithmetic.
var amounts = rapid.OneOf(
	rapid.Int64Range(0, 3),
	rapid.Int64Range(0, 1<<40),
	rapid.SampledFrom([]int64{-1, 0, 1, math.MaxInt64, math.MaxInt64 - 1, math.MinInt64, 1 << 32, 1000, 1 << 50}),
)

func column(t *rapid.T, n int, name string) []int64 {
	return rapid.SliceOfN(amounts, n, n).Draw(t, name)
}

func flags(t *rapid.T, n int, name string) []uint8 {
	return rapid.SliceOfN(rapid.Uint8Range(0, 1), n, n).Draw(t, name)
}

func numbers(t *rapid.T, n int, name string) []uint32 {
	return rapid.SliceOfN(rapid.Uint32Range(0, uint32(max(1, n/2))), n, n).Draw(t, name)
}

func call(t *rapid.T) policies.Call {
	return policies.Call{
		Now: rapid.Int64().Draw(t, "now"), Cycle: rapid.Uint64().Draw(t, "cycle"), Seed: rapid.Uint64().Draw(t, "seed"),
	}
}

// drawJobs returns a batch in the order of submit, with outputs full of rubbish.
func drawJobs(t *rapid.T) *policies.JobBatch {
	n := rapid.IntRange(0, 70).Draw(t, "jobs")
	b := &policies.JobBatch{
		Call: call(t), N: n, Queue: rapid.StringN(0, 12, 40).Draw(t, "queue"),
		Job: numbers(t, n, "job"), User: numbers(t, n, "user"), Priority: column(t, n, "priority"),
		Submit: column(t, n, "submit"), Wait: column(t, n, "wait"), GPUs: column(t, n, "gpus"),
		Dominant: column(t, n, "dominant"), Min: column(t, n, "min"), Size: column(t, n, "size"),
		Running: column(t, n, "running"), Attempts: column(t, n, "attempts"), Duration: column(t, n, "duration"),
		Deadline: column(t, n, "deadline"), Elastic: flags(t, n, "elastic"), Evicted: column(t, n, "evicted"),
		UserShare: column(t, n, "user share"), Reason: numbers(t, n, "reason"),
	}
	slices.Sort(b.Submit)
	for i := range b.Keys {
		b.Keys[i] = column(t, n, "old key")
	}
	return b
}

// drawQueues returns a tree with siblings next to each other or not.
func drawQueues(t *rapid.T) *policies.QueueBatch {
	names := []string{"cpu", "memory", "nvidia.com/gpu", "nvidia.com/gpu:H100", "rdma/hca"}
	n, r := rapid.IntRange(1, 24).Draw(t, "queues"), rapid.IntRange(1, len(names)).Draw(t, "resources")
	b := &policies.QueueBatch{
		Call: call(t), N: n, R: r, Resources: names[:r], Capacity: column(t, r, "capacity"),
		Parent: make([]int32, n), Depth: column(t, n, "depth"), Leaf: flags(t, n, "leaf"),
		Weight: column(t, n, "weight"), Priority: column(t, n, "priority"),
		Guaranteed: column(t, n*r, "guaranteed"), Max: column(t, n*r, "max"),
		Demand: column(t, n*r, "demand"), Used: column(t, n*r, "used"),
		Entitled: column(t, n*r, "old entitled"), Rank: column(t, n, "old rank"),
	}
	b.Parent[0] = -1
	for i := 1; i < n; i++ {
		b.Parent[i] = rapid.Int32Range(0, int32(i-1)).Draw(t, "parent")
	}
	return b
}

func drawVictims(t *rapid.T) *policies.VictimBatch {
	n, r := rapid.IntRange(0, 60).Draw(t, "victims"), rapid.IntRange(0, 4).Draw(t, "resources")
	return &policies.VictimBatch{
		Call: call(t), N: n, R: r,
		Job: numbers(t, n, "job"), Queue: numbers(t, n, "queue"), Tasks: column(t, n, "tasks"), GPUs: column(t, n, "gpus"),
		Freed: column(t, n*r, "freed"), Priority: column(t, n, "priority"), Running: column(t, n, "running"),
		SinceCheckpoint: column(t, n, "since checkpoint"), Lost: column(t, n, "lost"), RestartCost: column(t, n, "restart"),
		Surplus: flags(t, n, "surplus"), Leader: flags(t, n, "leader"), Excess: column(t, n, "excess"),
		Evicted: column(t, n, "evicted"), Cost: column(t, n, "old cost"), Veto: flags(t, n, "old veto"),
	}
}
