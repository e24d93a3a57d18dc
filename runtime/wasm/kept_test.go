package wasm_test

import (
	"cmp"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// perRow claims that the keys of a row depend on the row only, for a policy whose keys
// depend on the priority; the other columns make rows change that keep their keys.
const perRow = `{"columns":{"required":["job.priority"],"optional":["job.submit","job.elastic","job.use","job.mood"]},"laws":["row-independent"]}`

// pending is a queue of jobs that come, go and change.
type pending struct {
	jobs, gone []job
	serial     uint64
}

type job struct {
	serial                uint64
	submit, priority, use int64
	elastic               uint8
}

// batch returns the jobs in the order of submit, with outputs full of rubbish.
func (p *pending) batch(queue string) *policies.JobBatch {
	slices.SortFunc(p.jobs, func(a, b job) int {
		if a.submit != b.submit {
			return int(a.submit - b.submit)
		}
		return int(int64(a.serial) - int64(b.serial))
	})
	b := &policies.JobBatch{N: len(p.jobs), Queue: queue, Reason: slices.Repeat([]uint32{7}, len(p.jobs))}
	for _, j := range p.jobs {
		b.Serial, b.Submit = append(b.Serial, j.serial), append(b.Submit, j.submit)
		b.Priority, b.Elastic = append(b.Priority, j.priority), append(b.Elastic, j.elastic)
		b.Use = append(b.Use, j.use)
	}
	for k := range b.Keys {
		b.Keys[k] = slices.Repeat([]int64{-77}, b.N)
	}
	return b
}

func (p *pending) join(t *rapid.T) {
	for range rapid.SampledFrom([]int{1, 1, 2, 70}).Draw(t, "joining") {
		p.serial++
		p.jobs = append(p.jobs, job{p.serial, rapid.Int64Range(0, 4).Draw(t, "submit"), rapid.Int64Range(0, 9).Draw(t, "priority"), 5, 0})
	}
}

func (p *pending) leave(t *rapid.T) {
	from := rapid.IntRange(0, len(p.jobs)).Draw(t, "from")
	to := min(len(p.jobs), from+rapid.SampledFrom([]int{1, 1, 3, 40}).Draw(t, "leaving"))
	p.gone = append(p.gone, p.jobs[from:to]...)
	p.jobs = slices.Delete(p.jobs, from, to)
}

// comeBack is what jobs do whose place was lost.
func (p *pending) comeBack() {
	p.jobs = append(p.jobs, p.gone...)
	p.gone = nil
}

func (p *pending) change(t *rapid.T) {
	if len(p.jobs) == 0 {
		return
	}
	j := &p.jobs[rapid.IntRange(0, len(p.jobs)-1).Draw(t, "job")]
	switch rapid.IntRange(0, 2).Draw(t, "what") {
	case 0:
		j.priority = rapid.Int64().Draw(t, "priority")
	case 1:
		j.elastic ^= 1
	case 2:
		j.use = rapid.Int64Range(-1, 3).Draw(t, "use")
	}
}

func TestAnswersThatAreKeptAreBitEqualToAskingAgain(t *testing.T) {
	kept, plain := annotated(t, "priority-fifo", perRow, trusted), library(t, "priority-fifo", trusted)
	ordered := 0
	rapid.Check(t, func(rt *rapid.T) {
		queues := map[string]*pending{"a": {}, "b": {}}
		for range 2 {
			queues["a"].join(rt)
		}
		steps := rapid.IntRange(1, 12).Draw(rt, "steps")
		for range steps {
			name := rapid.SampledFrom([]string{"a", "a", "b"}).Draw(rt, "queue")
			p := queues[name]
			switch rapid.IntRange(0, 10).Draw(rt, "event") {
			case 0, 1:
				p.join(rt)
			case 2, 3:
				p.leave(rt)
			case 4, 5, 6, 7:
				p.change(rt)
			case 8:
				p.comeBack()
			case 9:
				kept.Restart()
			}
			got, want := p.batch(name), p.batch(name)
			want.Serial = nil // asked in full
			if rapid.IntRange(0, 9).Draw(rt, "order wanted") > 0 {
				got.Order = []int32{3}
			}
			if err := kept.ScoreJobs(t.Context(), got); err != nil {
				rt.Fatal(err)
			}
			if err := plain.ScoreJobs(t.Context(), want); err != nil {
				rt.Fatal(err)
			}
			if len(got.Order) > 0 {
				ordered++
				same(rt, "order", sortedRows(want), got.Order)
			}
			same(rt, "keys", want.Keys[:want.NKeys], got.Keys[:got.NKeys])
			same(rt, "reasons", want.Reason, got.Reason)
		}
	})
	if s := kept.Stats(); s.RowsSent >= s.Rows*3/4 || ordered < int(s.Calls)/4 {
		t.Errorf("%d of %d rows were sent, %d of %d batches came in order", s.RowsSent, s.Rows, ordered, s.Calls)
	}
}

// sortedRows are the rows by keys, then by row.
func sortedRows(b *policies.JobBatch) []int32 {
	rows := make([]int32, b.N)
	for i := range rows {
		rows[i] = int32(i)
	}
	slices.SortStableFunc(rows, func(x, y int32) int {
		return slices.CompareFunc(b.Keys[:b.NKeys], b.Keys[:b.NKeys], func(k, _ []int64) int { return cmp.Compare(k[x], k[y]) })
	})
	return rows
}

func steady(n int) *pending {
	p := &pending{}
	for i := range n {
		p.serial++
		p.jobs = append(p.jobs, job{p.serial, int64(i / 3), int64(i * 7 % 10), 5, 0})
	}
	return p
}

func TestOnlyRowsThatChangedAreSent(t *testing.T) {
	m := annotated(t, "priority-fifo", perRow, trusted)
	p := steady(1000)
	sent := func() int64 {
		before := m.Stats().RowsSent
		if err := m.ScoreJobs(t.Context(), p.batch("q")); err != nil {
			t.Fatal(err)
		}
		return m.Stats().RowsSent - before
	}
	expect := func(what string, want int64) {
		t.Helper()
		if got := sent(); got != want {
			t.Errorf("%s: %d rows were sent, want %d", what, got, want)
		}
	}
	expect("the first batch", 1000)
	expect("the same batch", 0)
	if m.LastFuel() != 0 {
		t.Errorf("the same batch cost %d units", m.LastFuel())
	}
	p.jobs[10].priority, p.jobs[999].elastic, p.jobs[500].use = 99, 1, -1
	expect("three changes", 3)
	p.jobs = slices.Delete(p.jobs, 100, 103) // one submit time and more
	p.jobs = slices.Delete(p.jobs, 0, 1)
	expect("four left", 0)
	p.jobs = append(p.jobs, job{5000, 40, 1, 5, 0}, job{5001, 1 << 40, 1, 5, 0})
	expect("two joined", 2)
	p.jobs[500].serial = 5002 // one left and another joined at its place
	expect("one replaced", 1)
	m.Restart()
	expect("a new instance", 998)
	if err := m.Configure(nil); err != nil {
		t.Fatal(err)
	}
	expect("new settings", 998)
}

func TestAfterAFaultEveryRowIsAskedAgain(t *testing.T) {
	m := annotated(t, "priority-fifo", perRow, trusted)
	p := steady(100)
	for range 2 {
		if err := m.ScoreJobs(t.Context(), p.batch("q")); err != nil {
			t.Fatal(err)
		}
	}
	bad := p.batch("r")
	bad.Priority = bad.Priority[:7]
	if err := m.ScoreJobs(t.Context(), bad); err == nil {
		t.Fatal("a column that is cut off was sent")
	}
	before := m.Stats().RowsSent
	if err := m.ScoreJobs(t.Context(), p.batch("q")); err != nil {
		t.Fatal(err)
	}
	if got := m.Stats().RowsSent - before; got != 100 {
		t.Errorf("%d rows were sent, want 100", got)
	}
}

func TestAPolicyThatReadsWhatMeansSomethingWithinOneBatchIsAskedForEveryRow(t *testing.T) {
	for what, metadata := range map[string]string{
		"no claim":           `{"columns":{"required":["job.priority"]}}`,
		"all columns":        `{"laws":["row-independent"]}`,
		"the number of user": `{"columns":{"required":["job.priority","job.user"]},"laws":["row-independent"]}`,
		"the user's name":    `{"columns":{"required":["job.priority","job.user_name"]},"laws":["row-independent"]}`,
		"the queue":          `{"columns":{"required":["job.priority","job.queue"]},"laws":["row-independent"]}`,
		"a label":            `{"columns":{"required":["job.priority","job.label:team"]},"laws":["row-independent"]}`,
	} {
		m := load(t, wasmtest.GoodWithMetadata(metadata), trusted)
		p := steady(100)
		for range 3 {
			b := p.batch("q")
			b.User, b.Job = make([]uint32, b.N), make([]uint32, b.N)
			if err := m.ScoreJobs(t.Context(), b); err != nil {
				t.Fatal(what, err)
			}
		}
		if s := m.Stats(); s.RowsSent != s.Rows {
			t.Errorf("%s: %d of %d rows were sent", what, s.RowsSent, s.Rows)
		}
	}
}

func TestAQueueInWhichEverythingChangesIsNotKeptForLong(t *testing.T) {
	m := annotated(t, "priority-fifo", perRow, trusted)
	p := steady(200)
	native, _ := order.Builtin("priority-fifo")
	for round := range 50 {
		for i := range p.jobs {
			p.jobs[i].priority = int64(round * i % 17)
		}
		got, want := p.batch("q"), p.batch("q")
		if err := m.ScoreJobs(t.Context(), got); err != nil {
			t.Fatal(err)
		}
		if err := native.ScoreJobs(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if !slices.Equal(got.Keys[0], want.Keys[0]) {
			t.Fatalf("round %d: other keys", round)
		}
	}
}
