package shadow

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/reload/guard"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var _ guard.Tap = (*Shadow)(nil)

// script is a policy of functions; nil ones are not decided.
type script struct {
	policies.Unimplemented
	name    string
	info    policies.Info
	jobs    func(*policies.JobBatch) error
	queues  func(*policies.QueueBatch) error
	victims func(*policies.VictimBatch) error
}

func (s *script) Info() policies.Info {
	i := s.info
	i.Name, i.Digest = s.name, "sha256:"+s.name
	for k, f := range map[policies.Kind]bool{policies.JobOrder: s.jobs != nil, policies.QueueShares: s.queues != nil, policies.VictimCosts: s.victims != nil} {
		if f {
			i.Kinds |= k
		}
	}
	return i
}

func (s *script) ScoreJobs(_ context.Context, b *policies.JobBatch) error { return s.jobs(b) }
func (s *script) Entitle(_ context.Context, b *policies.QueueBatch) error { return s.queues(b) }

func (s *script) CostVictims(_ context.Context, b *policies.VictimBatch) error { return s.victims(b) }

// byColumn orders jobs by one column, times a sign.
func byColumn(name string, column func(*policies.JobBatch) []int64, sign int64) *script {
	return &script{name: name, jobs: func(b *policies.JobBatch) error {
		b.NKeys = 1
		for i, v := range column(b) {
			b.Keys[0][i] = sign * v
		}
		return nil
	}}
}

func priority(b *policies.JobBatch) []int64 { return b.Priority }

// filled makes a batch whose every column has n elements, by reflection, so that a
// column that is added later is covered, too.
func filled[B any](t testing.TB, n, r int) *B {
	b := new(B)
	v := reflect.ValueOf(b).Elem()
	for i := range v.NumField() {
		f := v.Field(i)
		name := v.Type().Field(i).Name
		switch f.Kind() {
		case reflect.Struct:
			f.Set(reflect.ValueOf(policies.Call{Now: 7, Cycle: 8, Seed: 9}))
		case reflect.String:
			f.SetString("root.a")
		case reflect.Int, reflect.Int64:
			f.SetInt(map[string]int64{"N": int64(n), "R": int64(r)}[name])
		case reflect.Array:
			for k := range f.Len() {
				f.Index(k).Set(reflect.ValueOf(make([]int64, n)))
			}
		case reflect.Slice:
			fillColumn(f, name, n, r)
		default:
			t.Fatalf("field %s of kind %s", name, f.Kind())
		}
	}
	return b
}

func fillColumn(f reflect.Value, name string, n, r int) {
	switch name {
	case "Guaranteed", "Max", "Demand", "Used", "Entitled", "Freed":
		n *= r
	case "Capacity", "Resources":
		n = r
	case "Labels":
		f.Set(reflect.ValueOf([]policies.LabelColumn{{Key: "team", Value: make([]uint32, n)}}))
		return
	}
	f.Set(reflect.MakeSlice(f.Type(), n, n))
	for i := range n {
		switch e := f.Index(i); e.Kind() {
		case reflect.String:
			e.SetString(fmt.Sprintf("%s%d", name, i))
		case reflect.Int64, reflect.Int32:
			e.SetInt(int64(len(name)*100 + i))
		default:
			e.SetUint(uint64((len(name) + i) % 2))
		}
	}
}

func outputs(b any) []string {
	switch b.(type) {
	case *policies.JobBatch:
		return []string{"Keys", "NKeys", "Reason", "Order"}
	case *policies.QueueBatch:
		return []string{"Entitled", "Rank"}
	}
	return []string{"Cost", "Veto", "Reason"}
}

func TestACandidateGetsEveryColumnAsItWas(t *testing.T) {
	check := func(want, got any) {
		t.Helper()
		w, g := reflect.ValueOf(want).Elem(), reflect.ValueOf(got).Elem()
		for i := range w.NumField() {
			name := w.Type().Field(i).Name
			if slices.Contains(outputs(want), name) {
				if f := g.Field(i); f.Kind() == reflect.Slice && f.Len() != w.Field(i).Len() && name != "Order" { // an order is not asked for
					t.Errorf("output %s has %d elements", name, f.Len())
				}
				continue
			}
			if !reflect.DeepEqual(w.Field(i).Interface(), g.Field(i).Interface()) {
				t.Errorf("%T.%s is %v, was %v", want, name, g.Field(i), w.Field(i))
			}
		}
	}
	var r record
	jobs := filled[policies.JobBatch](t, 5, 2)
	queues := filled[policies.QueueBatch](t, 5, 2)
	victims := filled[policies.VictimBatch](t, 5, 2)
	for range 2 { // the second time into used memory
		r.copyJobs(jobs, []string{"team"})
		check(jobs, &r.jobs)
		r.copyQueues(queues)
		check(queues, &r.queues)
		r.copyVictims(victims)
		check(victims, &r.victims)
	}
}

func TestLabelsComeInTheCandidatesOrder(t *testing.T) {
	b := filled[policies.JobBatch](t, 2, 1)
	b.Labels = []policies.LabelColumn{{Key: "team", Value: []uint32{1, 2}}, {Key: "site", Value: []uint32{3, 4}}}
	var r record
	r.copyJobs(b, []string{"site", "absent", "team"})
	want := []policies.LabelColumn{{Key: "site", Value: []uint32{3, 4}}, {Key: "absent", Value: []uint32{policies.NoString, policies.NoString}}, {Key: "team", Value: []uint32{1, 2}}}
	if !reflect.DeepEqual(r.jobs.Labels, want) {
		t.Errorf("labels %v", r.jobs.Labels)
	}
}

// Kendall's tau, the moved rows and the overlap against a count of all pairs.
func TestOrdersAreComparedAsByCountingAllPairs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40).Draw(t, "n")
		keys := func(name string) []int64 {
			return rapid.SliceOfN(rapid.Int64Range(0, 9), n, n).Draw(t, name)
		}
		a, b := keys("a"), keys("b")
		by := func(k []int64) func(x, y int32) int { return func(x, y int32) int { return cmp.Compare(k[x], k[y]) } }
		var s scratch
		got := s.orders(n, by(a), by(b))
		before := func(k []int64, x, y int) bool { return k[x] < k[y] || k[x] == k[y] && x < y }
		rank := func(k []int64, x int) (r int) {
			for y := range n {
				if before(k, y, x) {
					r++
				}
			}
			return r
		}
		turned, moved, shared := 0, 0, 0
		for x := range n {
			if rank(a, x) != rank(b, x) {
				moved++
			}
			if rank(a, x) < Top && rank(b, x) < Top {
				shared++
			}
			for y := range x {
				if before(a, x, y) != before(b, x, y) {
					turned++
				}
			}
		}
		tau := 1.0
		if n > 1 {
			tau = 1 - 4*float64(turned)/float64(n*(n-1))
		}
		if got.moved != moved || math.Abs(got.tau-tau) > 1e-12 || n > 0 && got.overlap != float64(shared)/float64(min(n, Top)) {
			t.Fatalf("moved %d, tau %v, overlap %v; counted %d, %v, %d shared", got.moved, got.tau, got.overlap, moved, tau, shared)
		}
	})
}

// drain waits until all that was handed over is compared.
func (s *Shadow) drain(t testing.TB) {
	t.Helper()
	for deadline := time.Now().Add(10 * time.Second); len(s.free) < Slots; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("the candidate does not come to an end")
		}
	}
}

func jobBatch(t testing.TB, priorities ...int64) *policies.JobBatch {
	b := filled[policies.JobBatch](t, len(priorities), 1)
	copy(b.Priority, priorities)
	for i := range b.Serial {
		b.Serial[i] = uint64(100 + i)
	}
	b.NKeys = 1
	clear(b.Keys[0]) // the active policy answers fifo
	return b
}

func TestAShadowTellsWhatWouldBeDifferent(t *testing.T) {
	candidate := byColumn("by-priority", priority, -1)
	names := Names{Job: func(serial uint64) string { return fmt.Sprintf("job-%d", serial) }}
	s := Start(policies.Info{Name: "fifo", Digest: "builtin"}, candidate, Options{Names: names})
	defer s.Stop()
	s.Jobs(jobBatch(t, 1, 1, 9, 1), nil, 1000, 50)
	s.drain(t)
	s.Jobs(jobBatch(t, 5, 5, 5), nil, 3000, 70)
	s.drain(t)
	r := s.Report()
	j := r.Jobs
	if j == nil || j.Batches != 2 || j.Different != 1 || j.Rows != 7 || j.Moved != 3 || j.First != 1 || j.Overlap != 1 {
		t.Fatalf("jobs %+v", j)
	}
	if want := (1 + 1 - 2*2.0/6) / 2; math.Abs(j.Tau-want) > 1e-12 || math.Abs(j.Worst-(1-4.0/6)) > 1e-12 {
		t.Errorf("tau %v, want %v; worst %v", j.Tau, want, j.Worst)
	}
	if len(r.Examples) != 1 || r.Examples[0].Text != "root.a: job-102 first, not job-100; job-102 from place 3 to 1 of 4" {
		t.Errorf("examples %+v", r.Examples)
	}
	if c := r.Cost; c.Active.Calls != 2 || c.Active.Nanos != 4000 || c.Active.Longest != 3000 || c.Active.Fuel != 120 || c.Candidate.Calls != 2 || c.Candidate.Rows != 7 {
		t.Errorf("cost %+v", c)
	}
	if r.Compared() != 2 || r.Differs() != 1 || r.Failures() != 0 {
		t.Errorf("%d compared, %d differ, %d failed", r.Compared(), r.Differs(), r.Failures())
	}
	var text bytes.Buffer
	if err := r.WriteText(&text); err != nil || !strings.Contains(text.String(), "job-102 first, not job-100") || !strings.Contains(text.String(), "2 batches compared, 1 differ") {
		t.Errorf("%v\n%s", err, &text)
	}
	raw, err := r.JSON()
	var back Report
	if err != nil || json.Unmarshal(raw, &back) != nil || back.Jobs.Moved != 3 || back.Candidate.Name != "by-priority" {
		t.Errorf("%v\n%s", err, raw)
	}
}

func TestSharesAndVictimsAreCompared(t *testing.T) {
	candidate := &script{
		name: "other",
		queues: func(b *policies.QueueBatch) error {
			b.Entitled[1*b.R+1], b.Rank[2] = 50, 1
			return nil
		},
		victims: func(b *policies.VictimBatch) error {
			for i := range b.N {
				b.Cost[i] = int64(b.N - i)
			}
			b.Veto[2] = 1
			return nil
		},
	}
	names := Names{Queue: func(row int) string { return []string{"root", "root.a", "root.b"}[row] }}
	s := Start(policies.Info{Name: "active"}, candidate, Options{Names: names})
	defer s.Stop()
	q := filled[policies.QueueBatch](t, 3, 2)
	clear(q.Entitled)
	clear(q.Rank)
	q.Entitled[1*2+1], q.Resources[1] = 40, "nvidia.com/gpu"
	s.Queues(q, nil, 0, 0)
	v := filled[policies.VictimBatch](t, 3, 1)
	clear(v.Cost)
	clear(v.Veto)
	v.Veto[0] = 1
	s.Victims(v, nil, 0, 0)
	s.drain(t)
	r := s.Report()
	want := []Queue{
		{Row: 1, Name: "root.a", Entitled: 1, Resource: "nvidia.com/gpu", Active: 40, Shadow: 50},
		{Row: 2, Name: "root.b", Ranked: 1},
	}
	if !reflect.DeepEqual(r.Queues.Queues, want) || r.Queues.Different != 1 {
		t.Errorf("queues %+v", r.Queues)
	}
	if o := r.Victims; o.Vetoed != 1 || o.Unvetoed != 1 || o.Different != 1 || o.First != 0 || o.Moved != 2 {
		t.Errorf("victims %+v", o)
	}
	if len(r.Examples) != 2 || !strings.Contains(r.Examples[0].Text+r.Examples[1].Text, "queue root.a entitled to 50 nvidia.com/gpu, not 40") {
		t.Errorf("examples %+v", r.Examples)
	}
}

func TestASlowCandidateIsNotWaitedFor(t *testing.T) {
	release := make(chan struct{})
	candidate := &script{name: "slow", jobs: func(*policies.JobBatch) error { <-release; return nil }}
	s := Start(policies.Info{}, candidate, Options{})
	b := jobBatch(t, 1, 2, 3)
	start := time.Now()
	for range 100 {
		s.Jobs(b, nil, 0, 0)
	}
	if d := time.Since(start); d > 2*time.Second {
		t.Errorf("100 batches took %s: somebody waited", d)
	}
	if r := s.Report(); r.Dropped != 100-Slots {
		t.Errorf("%d dropped", r.Dropped)
	}
	close(release)
	s.drain(t)
	s.Stop()
	if r := s.Report(); r.Compared() != Slots {
		t.Errorf("%d compared", r.Compared())
	}
}

func TestFailuresAreCountedAndTouchNothing(t *testing.T) {
	fail := &policies.CallError{Policy: "bad", Kind: policies.JobOrder, Code: policies.CodeTrap, Detail: "unreachable"}
	candidate := &script{name: "bad", jobs: func(b *policies.JobBatch) error {
		for i := range b.Keys[0] {
			b.Keys[0][i], b.Priority[i] = -1, -1 // what it writes stays its own
		}
		return fail
	}}
	s := Start(policies.Info{}, candidate, Options{})
	b := jobBatch(t, 3, 2, 1)
	s.Jobs(b, nil, 0, 0)
	s.Jobs(b, fail, 0, 0) // the active one failed as well
	s.drain(t)
	s.Stop()
	r := s.Report()
	if r.Failures() != 2 || r.Faults[0].Code != policies.CodeTrap || !strings.Contains(r.Faults[0].Text, "unreachable") || r.Compared() != 0 {
		t.Errorf("%+v", r)
	}
	if !slices.Equal(b.Priority, []int64{3, 2, 1}) || b.Keys[0][0] != 0 {
		t.Error("the batch of the plan was changed")
	}
}

func TestWithoutAnAnswerOfTheActivePolicyNothingIsCompared(t *testing.T) {
	s := Start(policies.Info{}, byColumn("c", priority, 1), Options{})
	s.Jobs(jobBatch(t, 1, 2), policies.ErrNotImplemented, 0, 0)
	s.drain(t)
	s.Stop()
	if r := s.Report(); r.ActiveFailed != 1 || r.Compared() != 0 || r.Failures() != 0 {
		t.Errorf("%+v", r)
	}
}

func TestAnotherActivePolicyStartsAnotherReport(t *testing.T) {
	s := Start(policies.Info{Name: "one"}, byColumn("c", priority, -1), Options{})
	defer s.Stop()
	s.Jobs(jobBatch(t, 1, 2), nil, 0, 0)
	s.drain(t)
	s.Beside(policies.Info{Name: "two"})
	if r := s.Report(); r.Active.Name != "two" || r.Compared() != 0 {
		t.Errorf("%+v", r)
	}
	s.Jobs(jobBatch(t, 1, 2), nil, 0, 0)
	s.drain(t)
	if r := s.Report(); r.Compared() != 1 {
		t.Errorf("%+v", r)
	}
}

func TestABatchOfTheActivePolicyBeforeIsNotCountedAgainstTheNext(t *testing.T) {
	began, release := make(chan struct{}), make(chan struct{})
	candidate := &script{name: "slow", jobs: func(*policies.JobBatch) error { began <- struct{}{}; <-release; return nil }}
	s := Start(policies.Info{Name: "one"}, candidate, Options{})
	defer s.Stop()
	s.Jobs(jobBatch(t, 1, 2), nil, 0, 0)
	<-began
	s.Beside(policies.Info{Name: "two"})
	close(release)
	s.drain(t)
	if r := s.Report(); r.Compared() != 0 || r.Cost.Candidate.Calls != 0 {
		t.Errorf("%+v", r)
	}
}

func TestOnlyTheKindsAskedForAreCompared(t *testing.T) {
	c := byColumn("c", priority, -1)
	c.victims = func(*policies.VictimBatch) error { return nil }
	s := Start(policies.Info{}, c, Options{Kinds: policies.VictimCosts})
	defer s.Stop()
	s.Jobs(jobBatch(t, 1, 2), nil, 0, 0)
	if r := s.Report(); r.Dropped != 0 || len(s.free) != Slots {
		t.Errorf("%+v", r)
	}
}

func TestTheLargestDifferencesAreTheExamples(t *testing.T) {
	s := Start(policies.Info{}, byColumn("c", priority, -1), Options{})
	defer s.Stop()
	for n := 2; n < 40; n++ {
		p := make([]int64, n)
		p[n-1] = 9 // the last job would be first
		b := jobBatch(t, p...)
		b.Cycle = uint64(n)
		s.Jobs(b, nil, 0, 0)
		s.drain(t)
	}
	r := s.Report()
	if len(r.Examples) != maxExamples {
		t.Fatalf("%d examples", len(r.Examples))
	}
	for i, e := range r.Examples {
		if e.Cycle != uint64(39-i) {
			t.Errorf("example %d is of cycle %d", i, e.Cycle)
		}
	}
}

func TestRecordedBatchesAreComparedWithoutAClusterAndUnchanged(t *testing.T) {
	var batches []Batch
	for i := range 10 {
		batches = append(batches, Batch{Jobs: jobBatch(t, int64(i), 3, 1)}, Batch{Queues: filled[policies.QueueBatch](t, 2, 1)}, Batch{})
	}
	before := fmt.Sprintf("%+v", *batches[0].Jobs)
	fifo, _ := order.Builtin("fifo")
	other, _ := order.Builtin("priority-fifo")
	c := clock.NewVirtual(0)
	r, err := Compare(context.Background(), fifo, other, batches, Options{Clock: c})
	if err != nil || r.Jobs.Batches != 10 || r.Jobs.Different != 3 || r.Queues != nil || r.Active.Name != "fifo" || r.Candidate.Name != "priority-fifo" {
		t.Errorf("%+v, %+v, %v", r, r.Jobs, err)
	}
	if after := fmt.Sprintf("%+v", *batches[0].Jobs); after != before {
		t.Error("a recorded batch was changed")
	}
	same, err := Compare(context.Background(), other, other, batches, Options{Clock: c})
	if err != nil || same.Differs() != 0 || same.Jobs.Tau != 1 {
		t.Errorf("a policy differs from itself: %+v, %v", same, err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if _, err := Compare(ctx, fifo, other, batches, Options{}); err == nil {
		t.Error("it goes on after its context has ended")
	}
}

// A tap costs the loop one copy, and no memory once the buffers have grown.
func TestATapAllocatesNothingOnceWarm(t *testing.T) {
	s := Start(policies.Info{}, byColumn("c", priority, 1), Options{})
	defer s.Stop()
	b := jobBatch(t, make([]int64, 1000)...)
	for range 5 * Slots {
		s.Jobs(b, nil, 0, 0)
		s.drain(t)
	}
	if n := testing.AllocsPerRun(20, func() { s.Jobs(b, nil, 0, 0); s.drain(t) }); n > 3 { // the sort of the comparison has some
		t.Errorf("%v allocations for each batch", n)
	}
}

func BenchmarkTap(b *testing.B) {
	for _, n := range []int{100, 10_000} {
		b.Run(fmt.Sprintf("rows=%d", n), func(b *testing.B) {
			var r record
			batch := jobBatch(b, make([]int64, n)...)
			b.ReportAllocs()
			for b.Loop() {
				r.copyJobs(batch, nil)
			}
		})
	}
}

func BenchmarkDifference(b *testing.B) {
	var r record
	batch := jobBatch(b, make([]int64, 10_000)...)
	for i := range batch.Priority {
		batch.Keys[0][i] = int64(i * 7919 % 10_000)
	}
	r.kind = policies.JobOrder
	r.copyJobs(batch, nil)
	r.other.take(&r)
	r.other.nkeys = 1
	b.ReportAllocs()
	for b.Loop() {
		_ = r.difference(nil)
	}
}
