package wasm_test

import (
	"fmt"
	"math/rand/v2"
	"testing"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
)

// jobsOf returns n jobs of n/10 users, drawn from a fixed seed.
func jobsOf(n int) *policies.JobBatch {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	col := func(limit int64) []int64 {
		s := make([]int64, n)
		for i := range s {
			s[i] = r.Int64N(limit)
		}
		return s
	}
	b := &policies.JobBatch{
		N: n, Queue: "root.research.llm", Job: make([]uint32, n), User: make([]uint32, n),
		Priority: col(10), Submit: col(1 << 50), Wait: col(1 << 40), GPUs: col(64000), Dominant: col(1 << 28),
		Min: col(8), Size: col(16), Running: col(8), Attempts: col(100), Duration: col(1 << 40), Deadline: col(1 << 50),
		Elastic: make([]uint8, n), Evicted: col(3), UserShare: make([]int64, n), Reason: make([]uint32, n),
	}
	for i := range b.Job {
		b.Job[i], b.User[i] = uint32(i), r.Uint32N(uint32(n/10+1))
	}
	for i := range b.Keys {
		b.Keys[i] = make([]int64, n)
	}
	return b
}

// BenchmarkScoreJobs is one call of a job order: in native Go, in Wasm with fuel only,
// and in Wasm with the watchdog too.
func BenchmarkScoreJobs(b *testing.B) {
	for _, name := range []string{"priority-fifo", "fair"} {
		for _, n := range []int{100, 1000, 10_000} {
			batch := jobsOf(n)
			for _, c := range []struct {
				how string
				p   policies.Policy
			}{
				{"native", builtin(b, name)},
				{"wasm", library(b, name, wasm.Options{Timeout: wasm.NoTimeout})},
				{"wasm-limited", library(b, name, wasm.Options{})},
			} {
				b.Run(fmt.Sprintf("%s/%d/%s", name, n, c.how), func(b *testing.B) {
					b.ReportAllocs()
					for b.Loop() {
						if err := c.p.ScoreJobs(b.Context(), batch); err != nil {
							b.Fatal(err)
						}
					}
					b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(n), "ns/row")
				})
			}
		}
	}
}

// queuesOf returns a tree of n queues over four resources.
func queuesOf(n int) *policies.QueueBatch {
	r := rand.New(rand.NewPCG(2, uint64(n)))
	names := []string{"cpu", "memory", "nvidia.com/gpu", "nvidia.com/gpu:H100"}
	col := func(n int, limit int64) []int64 {
		s := make([]int64, n)
		for i := range s {
			s[i] = r.Int64N(limit)
		}
		return s
	}
	w := len(names)
	b := &policies.QueueBatch{
		N: n, R: w, Resources: names, Capacity: col(w, 1<<40), Parent: make([]int32, n), Depth: col(n, 4), Leaf: make([]uint8, n),
		Weight: make([]int64, n), Priority: col(n, 3), Guaranteed: col(n*w, 1<<32), Max: col(n*w, 1<<40),
		Demand: col(n*w, 1<<36), Used: col(n*w, 1<<34), Entitled: make([]int64, n*w), Rank: make([]int64, n),
	}
	b.Parent[0] = -1
	for i := 1; i < n; i++ {
		b.Parent[i] = int32((i - 1) / 8)
	}
	return b
}

// victimsOf returns n units of n/8 jobs.
func victimsOf(n int) *policies.VictimBatch {
	r := rand.New(rand.NewPCG(3, uint64(n)))
	col := func(n int, limit int64) []int64 {
		s := make([]int64, n)
		for i := range s {
			s[i] = r.Int64N(limit)
		}
		return s
	}
	return &policies.VictimBatch{
		N: n, R: 4, Job: make([]uint32, n), Queue: make([]uint32, n), Tasks: col(n, 8), GPUs: col(n, 8000), Freed: col(4*n, 1<<40),
		Priority: col(n, 10), Running: col(n, 1<<40), SinceCheckpoint: col(n, 1<<40), Lost: col(n, 1<<34), RestartCost: col(n, 1<<20),
		Surplus: make([]uint8, n), Leader: make([]uint8, n), Excess: col(n, 64000), Evicted: col(n, 3),
		Cost: make([]int64, n), Veto: make([]uint8, n),
	}
}

// BenchmarkEntitle and BenchmarkCostVictims compare the other two kinds with their
// twins.
func BenchmarkEntitle(b *testing.B) {
	guest, native := library(b, "guaranteed-fair", wasm.Options{Timeout: wasm.NoTimeout}), builtin(b, "guaranteed-fair")
	for _, n := range []int{10, 100, 1000} {
		batch := queuesOf(n)
		pair(b, n, func() error { return native.Entitle(b.Context(), batch) }, func() error { return guest.Entitle(b.Context(), batch) })
	}
}

func BenchmarkCostVictims(b *testing.B) {
	guest, native := library(b, "least-lost-work", wasm.Options{Timeout: wasm.NoTimeout}), builtin(b, "least-lost-work")
	for _, n := range []int{100, 1000, 10_000} {
		batch := victimsOf(n)
		pair(b, n, func() error { return native.CostVictims(b.Context(), batch) }, func() error { return guest.CostVictims(b.Context(), batch) })
	}
}

func pair(b *testing.B, n int, native, guest func() error) {
	for _, c := range []struct {
		how string
		run func() error
	}{{"native", native}, {"wasm", guest}} {
		b.Run(fmt.Sprintf("%d/%s", n, c.how), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.run(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
