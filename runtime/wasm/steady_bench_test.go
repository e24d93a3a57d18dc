package wasm_test

import (
	"math/rand/v2"
	"testing"

	"github.com/musterhq/muster/builtin/keysort"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// steadyQueue is a queue of pending jobs that changes a little from cycle to cycle.
type steadyQueue struct {
	batch *policies.JobBatch
	r     *rand.Rand
	last  uint64 // serial
}

func newSteadyQueue(n int) *steadyQueue {
	q := &steadyQueue{batch: jobsOf(n), r: rand.New(rand.NewPCG(4, uint64(n)))}
	q.batch.Serial = make([]uint64, n)
	for i := range n {
		q.fill(i)
	}
	return q
}

// fill puts a new job at a row.
func (q *steadyQueue) fill(i int) {
	b := q.batch
	q.last++
	b.Serial[i], b.Submit[i] = q.last, int64(q.last)*1e9
	q.change(i)
}

func (q *steadyQueue) change(i int) {
	b := q.batch
	b.Priority[i], b.Duration[i], b.Dominant[i] = q.r.Int64N(10), q.r.Int64N(1<<40), q.r.Int64N(1<<28)
}

// next makes the changes of one cycle: a third of them are jobs that leave, as many
// join, and the others are jobs in which what policies read has changed.
func (q *steadyQueue) next(changes int) {
	b, n := q.batch, q.batch.N
	for range changes / 3 {
		at := q.r.IntN(n)
		for _, col := range [][]int64{b.Submit, b.Priority, b.Duration, b.Dominant} {
			copy(col[at:], col[at+1:])
		}
		copy(b.Serial[at:], b.Serial[at+1:])
		q.fill(n - 1)
	}
	for range changes - 2*(changes/3) {
		q.change(q.r.IntN(n))
	}
}

// BenchmarkSteadyCycle is what a queue of 10,000 pending jobs costs when 100 of them
// change: keys and order, by a policy in native Go that scores all jobs again, and by
// the same policy in Wasm that is asked for the changed ones only.
func BenchmarkSteadyCycle(b *testing.B) {
	const n, changes = 10_000, 100
	for _, c := range []struct{ name, metadata string }{
		{"priority-fifo", `{"columns":{"required":["job.priority"]},"laws":["row-independent"]}`},
	} {
		guest := annotated(b, c.name, c.metadata, trusted)
		for _, what := range []string{"keys", "keys-and-order"} {
			for _, side := range []struct {
				how string
				p   policies.Policy
			}{{"native", builtin(b, c.name)}, {"wasm", guest}} {
				b.Run(c.name+"/"+what+"/"+side.how, func(b *testing.B) {
					b.ReportAllocs()
					q, rows, s := newSteadyQueue(n), make([]int32, n), keysort.Scratch{}
					if what != "keys" {
						q.batch.Order = make([]int32, 0, n)
					}
					for b.Loop() {
						b.StopTimer()
						q.next(changes)
						if what != "keys" {
							q.batch.Order = q.batch.Order[:0]
						}
						b.StartTimer()
						if err := side.p.ScoreJobs(b.Context(), q.batch); err != nil {
							b.Fatal(err)
						}
						if what == "keys" {
							continue
						}
						if len(q.batch.Order) == n {
							rows, q.batch.Order = q.batch.Order, rows
						} else {
							for r := range rows {
								rows[r] = int32(r)
							}
						}
						keysort.Sort(rows, q.batch.Keys[:q.batch.NKeys], &s)
					}
				})
			}
		}
		if s := guest.Stats(); s.RowsSent*50 > s.Rows {
			b.Errorf("%s: %d of %d rows were sent", c.name, s.RowsSent, s.Rows)
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
