package wasm_test

import (
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/musterhq/muster/builtin/keysort"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// steadyBatches are the pending jobs of one queue in some cycles that follow on each
// other: from each to the next, a third of the changes leave, as many join, and the
// others change what policies read.
func steadyBatches(cycles, n, changes int) []*policies.JobBatch {
	r := rand.New(rand.NewPCG(4, uint64(n)))
	var serial uint64
	type job struct {
		serial                               uint64
		submit, priority, duration, dominant int64
	}
	fresh := func(submit int64) job {
		serial++
		return job{serial, submit, r.Int64N(10), r.Int64N(1 << 40), r.Int64N(1 << 28)}
	}
	var jobs []job
	for i := range n {
		jobs = append(jobs, fresh(int64(i)*1e9))
	}
	var out []*policies.JobBatch
	for range cycles {
		b := jobsOf(n)
		for i, j := range jobs {
			b.Serial = append(b.Serial, j.serial)
			b.Submit[i], b.Priority[i], b.Duration[i], b.Dominant[i] = j.submit, j.priority, j.duration, j.dominant
		}
		out = append(out, b)
		for range changes / 3 {
			at := r.IntN(n)
			jobs = append(slices.Delete(jobs, at, at+1), fresh(jobs[n-1].submit+1e9))
		}
		for range changes - 2*(changes/3) {
			j := &jobs[r.IntN(n)]
			j.priority, j.duration = r.Int64N(10), r.Int64N(1<<40)
		}
	}
	return out
}

// BenchmarkSteadyCycle is what a queue of 10,000 pending jobs costs when 100 of them
// change: keys and order, by a policy in native Go that scores all jobs again, and by
// the same policy in Wasm that is asked for the changed ones only.
func BenchmarkSteadyCycle(b *testing.B) {
	const n = 10_000
	batches := steadyBatches(8, n, 100)
	for i := len(batches) - 2; i > 0; i-- { // and back again: 100 changes at each step
		batches = append(batches, batches[i])
	}
	for _, c := range []struct{ name, metadata string }{
		{"priority-fifo", `{"columns":{"required":["job.priority"]},"laws":["row-independent"]}`},
	} {
		guest := annotated(b, c.name, c.metadata, trusted)
		for _, side := range []struct {
			how string
			p   policies.Policy
		}{{"native", builtin(b, c.name)}, {"wasm", guest}} {
			for _, sort := range []bool{true, false} {
				name := c.name + "/keys-and-order/" + side.how
				if !sort {
					name = c.name + "/keys/" + side.how
				}
				b.Run(name, func(b *testing.B) {
					b.ReportAllocs()
					var s keysort.Scratch
					rows := make([]int32, n)
					for i := 0; b.Loop(); i++ {
						batch := batches[i%len(batches)]
						if err := side.p.ScoreJobs(b.Context(), batch); err != nil {
							b.Fatal(err)
						}
						if sort {
							for r := range rows {
								rows[r] = int32(r)
							}
							keysort.Sort(rows, batch.Keys[:batch.NKeys], &s)
						}
					}
				})
			}
		}
		if s := guest.Stats(); s.Rows > 0 {
			b.Logf("%s: %d of %d rows were sent", c.name, s.RowsSent, s.Rows)
		}
	}
}

// BenchmarkCall is the overhead of a call: a guest that does nothing, without and with
// one row.
func BenchmarkCall(b *testing.B) {
	m := load(b, wasmtest.GoodWithMetadata(`{"columns":{"required":["job.priority"]}}`), limited)
	all := load(b, wasmtest.Good(), limited)
	for _, c := range []struct {
		name string
		p    policies.Policy
		n    int
	}{{"one-column/0", m, 0}, {"one-column/1", m, 1}, {"all-columns/1", all, 1}} {
		batch := jobsOf(c.n)
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if err := c.p.ScoreJobs(b.Context(), batch); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

