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

// BenchmarkScoreJobs is one call of a job order: in native Go, in Wasm as trusted
// code, and in Wasm with the time limit.
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
