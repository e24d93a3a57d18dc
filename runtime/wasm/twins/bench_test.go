package twins

import (
	"math/rand/v2"
	"testing"

	"github.com/musterhq/muster/policies"
)

// BenchmarkTwins is one call of each guest beside its built-in twin: 10,000 rows, 100
// queues over four resources. A unit of fuel is about one instruction.
func BenchmarkTwins(b *testing.B) {
	jobs, queues, victims := jobsOf(10_000), queuesOf(100), victimsOf(10_000)
	for _, p := range []pair{
		{guest: "shortest-first", native: "shortest-first"},
		{guest: "aged-sjf", native: "sjf-aged"},
		{guest: "deadline-first", native: "deadline-first"},
		{guest: "decayed-fair", native: "decayed-fair"},
		{guest: "kai-proportion", native: "kai-proportion"},
		{guest: "checkpoint-aware", native: "checkpoint-aware"},
		{guest: "idle-first", native: "idle-first"},
	} {
		guest, native := load(b, p)
		call := func(q policies.Policy) (rows int, err error) {
			switch q.Info().Kinds {
			case policies.JobOrder:
				return jobs.N, q.ScoreJobs(b.Context(), jobs)
			case policies.QueueShares:
				return queues.N, q.Entitle(b.Context(), queues)
			default:
				return victims.N, q.CostVictims(b.Context(), victims)
			}
		}
		for _, c := range []struct {
			how string
			p   policies.Policy
		}{{"native", native}, {"wasm", guest}} {
			b.Run(p.guest+"/"+c.how, func(b *testing.B) {
				b.ReportAllocs()
				rows := 0
				for b.Loop() {
					n, err := call(c.p)
					if err != nil {
						b.Fatal(err)
					}
					rows = n
				}
				b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(rows), "ns/row")
				if c.how == "wasm" {
					b.ReportMetric(float64(guest.LastFuel())/float64(rows), "fuel/row")
				}
			})
		}
	}
}

func random(r *rand.Rand, n int, limit int64) []int64 {
	s := make([]int64, n)
	for i := range s {
		s[i] = r.Int64N(limit)
	}
	return s
}

func jobsOf(n int) *policies.JobBatch {
	r := rand.New(rand.NewPCG(1, uint64(n)))
	b := &policies.JobBatch{
		Call: policies.Call{Now: 1 << 49}, N: n, Queue: "root.research",
		Wait: random(r, n, 1<<43), Duration: random(r, n, 1<<43), Deadline: random(r, n, 1<<50), Reason: make([]uint32, n),
	}
	for i := range b.Keys {
		b.Keys[i] = make([]int64, n)
	}
	return b
}

func queuesOf(n int) *policies.QueueBatch {
	r := rand.New(rand.NewPCG(2, uint64(n)))
	names := []string{"cpu", "memory", "nvidia.com/gpu", "nvidia.com/gpu:H100"}
	w := len(names)
	b := &policies.QueueBatch{
		N: n, R: w, Resources: names, Capacity: random(r, w, 1<<40), Parent: make([]int32, n), Depth: make([]int64, n),
		Leaf: make([]uint8, n), Weight: make([]int64, n), Priority: random(r, n, 3), Guaranteed: random(r, n*w, 1<<32),
		Max: random(r, n*w, 1<<40), Demand: random(r, n*w, 1<<36), Used: random(r, n*w, 1<<34), Use: make([]int64, n),
		Decayed: random(r, n, 1<<44), HalfLife: 604_800e9, Entitled: make([]int64, n*w), Rank: make([]int64, n),
	}
	b.Parent[0] = -1
	for i := 1; i < n; i++ {
		b.Parent[i] = int32((i - 1) / 8)
	}
	return b
}

func victimsOf(n int) *policies.VictimBatch {
	r := rand.New(rand.NewPCG(3, uint64(n)))
	return &policies.VictimBatch{
		N: n, Priority: random(r, n, 10), Running: random(r, n, 1<<43), SinceCheckpoint: random(r, n, 1<<42),
		Lost: random(r, n, 1<<34), RestartCost: random(r, n, 1<<20), Leader: make([]uint8, n),
		Use: random(r, n, 1<<32), Idle: random(r, n, 1<<41),
		Cost: make([]int64, n), Veto: make([]uint8, n), Reason: make([]uint32, n),
	}
}
