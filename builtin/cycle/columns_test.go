package cycle_test

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// reader is a policy of all kinds that shows what it was given, and decides like fifo,
// or evicts whoever is idle longest.
type reader struct {
	policies.Unimplemented
	info    policies.Info
	jobs    func(*policies.JobBatch)
	queues  func(*policies.QueueBatch)
	victims func(*policies.VictimBatch)
	fuel    int64
}

func (r *reader) Info() policies.Info {
	i := r.info
	i.Name, i.Digest = "reader", "sha256:2"
	i.Kinds = policies.JobOrder | policies.QueueShares | policies.VictimCosts
	return i
}

func (r *reader) LastFuel() int64 { return r.fuel }

func (r *reader) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	if r.jobs != nil {
		r.jobs(b)
	}
	b.NKeys = 1
	return nil
}

func (r *reader) Entitle(_ context.Context, b *policies.QueueBatch) error {
	if r.queues != nil {
		r.queues(b)
	}
	copy(b.Entitled, b.Demand)
	for q := range b.Rank {
		b.Rank[q] = 1
	}
	return nil
}

func (r *reader) CostVictims(_ context.Context, b *policies.VictimBatch) error {
	if r.victims != nil {
		r.victims(b)
	}
	for i := range b.N {
		b.Cost[i] = 1000
		if b.Idle[i] > 0 {
			b.Cost[i] = 1
		}
	}
	return nil
}

// everywhere is a set that asks the policy in place of the built-ins.
func (r *reader) everywhere() cycle.Set {
	return cycle.Set{Named: map[string]policies.Policy{"fifo": r, "guaranteed-fair": r, "least-lost-work": r}}
}

func labelled(w *world.World, queue, id, user string, labels map[string]string) *world.Job {
	q, _ := w.Quota.Lookup(queue)
	return w.AddJob(&spec.Job{
		ID: id, Queue: queue, User: user, Submit: 1, Labels: labels,
		Tasks: []spec.TaskGroup{{Name: "t", Min: 1, Size: 1, Request: spec.GPUs(100)}}, // finds no room
	}, q)
}

func text(b *policies.JobBatch, i uint32) string {
	if i == policies.NoString {
		return "-"
	}
	return b.Strings[i]
}

func TestNamesAndLabelsComeOnlyToPoliciesThatReadThem(t *testing.T) {
	for _, tc := range []struct {
		info policies.Info
		want string
	}{
		{policies.Info{}, "0 texts"},
		{policies.Info{Columns: []string{"job.priority"}}, "0 texts"},
		{policies.Info{Columns: []string{"job.user_name"}}, "2 texts; ann bob ann"},
		{policies.Info{Columns: []string{"job.user_name"}, Labels: []string{"team", "site"}}, "4 texts; ann bob ann; team=x,-,x; site=-,y,x"},
		{policies.Info{Labels: []string{"site"}}, "2 texts; site=-,y,x"},
	} {
		w := pool(t, "")
		labelled(w, "root.a", "1", "ann", map[string]string{"team": "x", "other": "z"})
		labelled(w, "root.a", "2", "bob", map[string]string{"site": "y"})
		labelled(w, "root.a", "3", "ann", map[string]string{"team": "x", "site": "x"})
		got := ""
		r := &reader{info: tc.info, jobs: func(b *policies.JobBatch) { got = texts(b) }}
		step(w, r.everywhere(), 10)
		if got != tc.want {
			t.Errorf("%+v: got %q, want %q", tc.info, got, tc.want)
		}
	}
}

func texts(b *policies.JobBatch) string {
	parts := []string{fmt.Sprintf("%d texts", len(b.Strings))}
	var users []string
	for _, u := range b.UserName {
		users = append(users, text(b, u))
	}
	if len(users) > 0 {
		parts = append(parts, strings.Join(users, " "))
	}
	for _, l := range b.Labels {
		var values []string
		for _, v := range l.Value {
			values = append(values, text(b, v))
		}
		parts = append(parts, l.Key+"="+strings.Join(values, ","))
	}
	return strings.Join(parts, "; ")
}

// Which texts were known before, to other leaves or policies, can't be seen.
func TestABatchTellsNothingOfOtherBatches(t *testing.T) {
	w := pool(t, "")
	labelled(w, "root.a", "1", "zoe", map[string]string{"site": "z"})
	labelled(w, "root.b", "2", "bob", map[string]string{"site": "y"})
	var got []string
	r := &reader{
		info: policies.Info{Columns: []string{"job.user_name"}, Labels: []string{"site"}},
		jobs: func(b *policies.JobBatch) { got = append(got, b.Queue+" "+strings.Join(b.Strings, " ")) },
	}
	step(w, r.everywhere(), 10)
	r.info.Labels = []string{"none", "site"}
	w.Epoch++
	step(w, r.everywhere(), 20)
	want := []string{"root.a zoe z", "root.b bob y", "root.a zoe z", "root.b bob y"}
	if !slices.Equal(got, want) {
		t.Errorf("got %q", got)
	}
}

func TestAllocatedPreemptibleAndSerial(t *testing.T) {
	w := pool(t, "")
	q, _ := w.Quota.Lookup("root.a")
	elastic := w.AddJob(&spec.Job{ID: "e", Queue: "root.a", User: "u", Submit: 1, Tasks: []spec.TaskGroup{{Min: 1, Size: 20, Request: spec.GPUs(1)}}}, q)
	fixed := w.AddJob(&spec.Job{ID: "f", Queue: "root.a", User: "u", Submit: 2, NonPreemptible: true, Tasks: []spec.TaskGroup{{Min: 9, Size: 9, Request: spec.GPUs(1)}}}, q)
	var got string
	r := &reader{jobs: func(b *policies.JobBatch) {
		got = fmt.Sprintf("%d %d %d %d", b.Allocated, b.Preemptible, b.Serial, b.Use)
	}}
	step(w, r.everywhere(), 10)
	w.Epoch++
	step(w, r.everywhere(), 20)
	if want := fmt.Sprintf("[8000 0] [1 0] [%d %d] [-1 -1]", elastic.Serial, fixed.Serial); got != want {
		t.Errorf("got %s, want %s", got, want)
	}
	w.RemoveJob(fixed)
	if again := labelled(w, "root.a", "f", "u", nil); again.Serial == fixed.Serial || again.Serial == elastic.Serial {
		t.Error("a number was used again")
	}
}

// measure says that a task is busy, or has been idle for an hour.
func measure(w *world.World, job string, task int, at spec.Time, busy bool) {
	u := world.Use{Known: true, At: at, Idle: 3600 * spec.Second}
	if busy {
		u.Busy, u.Idle = amount.One, 0
	}
	w.NoteUse(&w.Job(job).Tasks[task], u)
}

func TestQueuesTellWhatTheyHaveUsedAndHowMuchOfItIsBusy(t *testing.T) {
	w := pool(t, "")
	submit(w, "root.a", 1, "a1", "a2")
	submit(w, "root.b", 1, "b1")
	var got string
	r := &reader{queues: func(b *policies.QueueBatch) { got = fmt.Sprint(b.Decayed, b.Use, b.HalfLife/(24*3600*spec.Second)) }}
	at := func(now spec.Time) string {
		w.Epoch++
		step(w, r.everywhere(), now)
		return got
	}
	if got := at(10); got != "[0 0 0] [0 0 0] 7" {
		t.Errorf("before anything ran: %s", got)
	}
	w.Quota.Advance(10)
	if got, want := at(10+spec.Second), "[3000 2000 1000] [-1 -1 -1] 7"; !nearly(got, want) {
		t.Errorf("after a second of 2 GPUs and 1: %s, want %s", got, want)
	}
	measure(w, "a1", 0, 20, true)
	measure(w, "b1", 0, 20, false)
	if got, want := at(10+2*spec.Second), "[6000 4000 2000] [-1 -1 0] 7"; !nearly(got, want) {
		t.Errorf("a2 is not known: %s, want %s", got, want)
	}
	measure(w, "a2", 0, 20, false)
	if got, want := at(10+2*spec.Second), "[6000 4000 2000] [1000 1000 0] 7"; !nearly(got, want) {
		t.Errorf("all are known: %s, want %s", got, want)
	}
	if got, want := at(400*spec.Second), "[-1 -1 -1] 7"; !strings.HasSuffix(got, want) {
		t.Errorf("measurements of long ago still hold: %s", got)
	}
}

// nearly compares with what decay takes away in seconds: less than one GPU-ms.
func nearly(got, want string) bool {
	for range 4 {
		for _, d := range []string{"6000", "4000", "3000", "2000", "1000"} {
			var n int
			if _, err := fmt.Sscan(d, &n); err == nil && strings.Contains(want, d) && strings.Contains(got, fmt.Sprint(n-1)) {
				got = strings.Replace(got, fmt.Sprint(n-1), d, 1)
			}
		}
	}
	return got == want
}

func TestVictimsTellTheirGangAndMeasuredUse(t *testing.T) {
	w := pool(t, "")
	q, _ := w.Quota.Lookup("root.a")
	w.AddJob(&spec.Job{ID: "g", Queue: "root.a", User: "u", Submit: 1, Tasks: []spec.TaskGroup{{Min: 2, Size: 4, Request: spec.GPUs(2)}}}, q)
	step(w, cycle.Set{}, 10)
	for task := range 4 {
		measure(w, "g", task, 20, task == 0)
	}
	submit(w, "root.b", 30, "b1")
	var got *policies.VictimBatch
	r := &reader{victims: func(b *policies.VictimBatch) {
		got = &policies.VictimBatch{Job: slices.Clone(b.Job), Gang: slices.Clone(b.Gang), Use: slices.Clone(b.Use), Idle: slices.Clone(b.Idle), Surplus: slices.Clone(b.Surplus)}
	}}
	if p := step(w, r.everywhere(), 30*spec.Second); len(p.Evictions) != 1 {
		t.Fatalf("%s", p.JSON())
	}
	if !slices.Equal(got.Gang, got.Job) || len(got.Job) != 3 {
		t.Fatalf("gangs %v of jobs %v", got.Gang, got.Job)
	}
	for i := range got.Job {
		use, idle := int64(0), 3600*spec.Second
		if got.Surplus[i] == 0 { // the gang, one of its four tasks busy
			use, idle = int64(amount.One/4), 0
		}
		if got.Use[i] != use || got.Idle[i] != idle {
			t.Errorf("unit %d: use %d, idle %d; want %d, %d", i, got.Use[i], got.Idle[i], use, idle)
		}
	}
}

func TestOfTwoEqualVictimsTheIdleOneGoesAndUnknownIsNotIdle(t *testing.T) {
	for _, tc := range []struct {
		known, idle []string
		victim      string
	}{
		{victim: "a8"}, {idle: []string{"a3"}, victim: "a3"}, {known: []string{"a8"}, idle: []string{"a5"}, victim: "a5"},
	} {
		w := pool(t, "")
		submit(w, "root.a", 1, "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8")
		step(w, cycle.Set{}, 10)
		for _, id := range tc.known {
			measure(w, id, 0, 20, true)
		}
		for _, id := range tc.idle {
			measure(w, id, 0, 20, false)
		}
		submit(w, "root.b", 30, "b1")
		p := step(w, (&reader{}).everywhere(), 40)
		if len(p.Evictions) != 1 || len(tc.idle) > 0 && p.Evictions[0].Job != tc.victim {
			t.Errorf("known %v, idle %v: %s", tc.known, tc.idle, p.JSON())
		}
		if len(tc.idle) == 0 && p.Evictions[0].Cost != 1000 {
			t.Errorf("nobody was known to be idle, and yet %s", p.JSON())
		}
	}
}

func TestTheTrailHasTheFuelOfMeteredPoliciesAndTheCodeOfFailures(t *testing.T) {
	w := pool(t, "")
	submit(w, "root.a", 1, "a1")
	submit(w, "root.b", 1, "b1")
	p := step(w, (&reader{fuel: 70}).everywhere(), 10)
	fuel := map[string]int64{}
	for _, u := range p.Policies {
		fuel[u.Kind] = u.Fuel
	}
	if fuel["job_order"] != 140 || fuel["queue_shares"] != 70 {
		t.Errorf("fuel %v", fuel)
	}
	w = pool(t, "")
	submit(w, "root.a", 1, "a1", "a2")
	p = step(w, cycle.Set{Named: map[string]policies.Policy{"fifo": broken{}}}, 10)
	i := slices.IndexFunc(p.Policies, func(u plan.PolicyUse) bool { return u.Name == "broken" })
	if i < 0 || p.Policies[i].Code != string(policies.CodeTrap) {
		t.Errorf("no code of the failure in %+v", p.Policies)
	}
}

func TestAnOrderThatAPolicyKeepsIsTakenIfItHasEachRowOnce(t *testing.T) {
	for _, tc := range []struct {
		order []int32
		want  string
	}{
		{nil, "[a3 a2 a1]"}, {[]int32{1, 0, 2}, "[a2 a1 a3]"}, // fills keys that say otherwise: it is not looked at
		{[]int32{1, 1, 2}, "[a3 a2 a1]"}, {[]int32{0, 1, 3}, "[a3 a2 a1]"}, {[]int32{-1, 1, 2}, "[a3 a2 a1]"}, {[]int32{0, 1}, "[a3 a2 a1]"},
	} {
		w := pool(t, "")
		submit(w, "root.a", 1, "a1", "a2", "a3")
		r := &reader{jobs: func(b *policies.JobBatch) {
			if b.Order == nil || len(b.Order) != 0 {
				t.Errorf("the policy was given the order %v", b.Order)
			}
			b.Order = append(b.Order, tc.order...)
			for i := range b.N {
				b.Keys[0][i] = int64(-i)
			}
		}}
		if got := fmt.Sprint(started(step(w, r.everywhere(), 10))); got != tc.want {
			t.Errorf("order %v: started %s, want %s", tc.order, got, tc.want)
		}
	}
}

// A steady cycle fills the columns without allocating for each row.
func TestASteadyCycleAllocatesNothingPerJob(t *testing.T) {
	allocs := func(n int) float64 {
		w := pool(t, "")
		for i := range n {
			labelled(w, "root.a", fmt.Sprintf("j%05d", i), fmt.Sprintf("u%d", i), map[string]string{"site": fmt.Sprint(i)})
		}
		r := &reader{info: policies.Info{Columns: []string{"job.user_name"}, Labels: []string{"site"}}}
		r.jobs = func(b *policies.JobBatch) {
			for i := range b.N {
				b.Keys[0][i] = int64(i * 7919 % b.N)
			}
		}
		set := r.everywhere()
		now := spec.Time(10)
		return testing.AllocsPerRun(5, func() {
			now++
			w.Epoch++
			step(w, set, now)
		})
	}
	few, many := allocs(100), allocs(3000)
	if many > few+10 {
		t.Errorf("a cycle of 100 jobs allocates %.0f times, one of 3,000 jobs %.0f times", few, many)
	}
}
