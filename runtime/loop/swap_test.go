package loop_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
)

// version is a policy of all three kinds that names its version in the trail, and
// fails a test that asks it after it was retired.
type version struct {
	policies.Policy // the built-in that answers
	t               testing.TB
	name            string
	first           chan struct{} // closed when it is asked for the first time
	mu              sync.Mutex
	retired         bool
}

func (v *version) Info() policies.Info {
	info := v.Policy.Info()
	info.Name, info.Digest = "mine", v.name
	return info
}

func (v *version) ScoreJobs(ctx context.Context, b *policies.JobBatch) error {
	v.asked()
	return v.Policy.ScoreJobs(ctx, b)
}

func (v *version) asked() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if first := v.first; first != nil {
		close(first)
		v.first = nil
	}
	if v.retired {
		v.t.Errorf("version %s was asked after it had been retired", v.name)
	}
}

func (v *version) retire() {
	v.mu.Lock()
	v.retired = true
	v.mu.Unlock()
}

func (v *version) set() cycle.Set {
	return cycle.Set{Named: map[string]policies.Policy{"mine": v}}
}

func newVersion(t testing.TB, i int) *version {
	return &version{Policy: &spy{name: "mine", asked: new([]string)}, t: t, name: fmt.Sprintf("v%d", i), first: make(chan struct{})}
}

func closed(ch <-chan struct{}) bool {
	select {
	case <-ch:
		return true
	default:
		return false
	}
}

func TestASwapOfALoopAtRestRetiresTheOldSetAtOnce(t *testing.T) {
	p := loop.New(ledger.New(leaves()), cycle.Set{}, nil, clock.NewVirtual(0))
	if !closed(p.Swap(cycle.Set{})) {
		t.Error("no turn ever ran, and yet the old set is said to be in use")
	}
	p.Turn(context.Background())
	if !closed(p.Swap(cycle.Set{})) {
		t.Error("the turn is over, and yet its set is said to be in use")
	}
}

func TestASwapInTheMiddleOfATurnRetiresTheOldSetWhenTheTurnEnds(t *testing.T) {
	var asked []string
	var retired []<-chan struct{}
	var p *loop.Loop
	var early bool
	old := &spy{name: "old", asked: &asked}
	old.do = func() {
		retired = append(retired, p.Swap(cycle.Set{}))
		early = early || closed(retired[len(retired)-1])
	}
	p = loop.New(ledger.New(leaves()), cycle.Set{Named: map[string]policies.Policy{"mine": old}}, nil, clock.NewVirtual(0))
	p.Listen(func(loop.Turn) { early = early || slices.ContainsFunc(retired, closed) })
	p.Post(one("j", "root.a"), one("k", "root.b"))
	p.Turn(context.Background())
	if early {
		t.Error("a set was retired while its turn still ran")
	}
	if len(retired) != 2 || !closed(retired[0]) || !closed(retired[1]) {
		t.Errorf("of %d sets replaced while the turn ran, some are still said to be in use", len(retired))
	}
}

func TestARunningLoopRetiresSetsWithoutFurtherEvents(t *testing.T) {
	r := run(t, leaves(), clock.NewVirtual(0))
	for range 20 {
		select {
		case <-r.Swap(cycle.Set{}):
		case <-time.After(10 * time.Second):
			t.Fatal("the old set was never retired")
		}
	}
	r.next(t)
}

// swapped is what a running loop did while its policies were replaced again and
// again.
type swapped struct {
	turns  []loop.Turn
	events int
	held   []time.Duration // of all turns, shortest first
	swaps  []time.Duration // how long Swap itself took, shortest first
}

// jobsEach jobs come with each swap, and go with the second after it.
const jobsEach = 10

func comeAndGo(p *loop.Loop, round int) {
	for k := range jobsEach {
		p.Post(one(fmt.Sprintf("j%d-%d", round, k), []string{"root.a", "root.b"}[k%2]))
		if round >= 2 {
			p.Post(ledger.JobGone{ID: fmt.Sprintf("j%d-%d", round-2, k)})
		}
	}
}

// swapUnderLoad lets a loop work on jobs that come and go and swaps n times.
func swapUnderLoad(t testing.TB, n int) *swapped {
	out := &swapped{}
	versions := make([]*version, n+1)
	for i := range versions {
		versions[i] = newVersion(t, i)
	}
	p := loop.New(ledger.New(leaves()), versions[0].set(), nil, clock.Real{})
	p.Listen(func(turn loop.Turn) {
		out.turns, out.events = append(out.turns, turn), out.events+turn.Events
		out.held = append(out.held, time.Duration(turn.Held))
	})
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- p.Run(ctx) }()
	p.Post(gpuNode("n", 2))
	var last <-chan struct{}
	for i := range n {
		comeAndGo(p, i)
		first := versions[i+1].first
		begin := time.Now()
		last = p.Swap(versions[i+1].set())
		out.swaps = append(out.swaps, time.Since(begin))
		if i%2 == 0 { // of the others, many happen within one turn
			<-last
			versions[i].retire()
			<-first // the next swap comes while this one decides
		}
	}
	<-last
	for p.Busy() {
		time.Sleep(time.Millisecond)
	}
	<-p.Swap(cycle.Set{}) // the turn that took the last events in is over
	cancel()
	if err := <-end; !errors.Is(err, context.Canceled) {
		t.Errorf("the loop ended with %v", err)
	}
	slices.Sort(out.held)
	slices.Sort(out.swaps)
	return out
}

func quantile(sorted []time.Duration, of float64) time.Duration {
	return sorted[min(len(sorted)-1, int(of*float64(len(sorted))))]
}

func TestTwoHundredSwapsUnderARunningLoopLoseAndMixNothing(t *testing.T) {
	const n = 200
	s := swapUnderLoad(t, n)
	if want := 1 + (2*n-2)*jobsEach; s.events != want {
		t.Errorf("%d of %d events were taken in", s.events, want)
	}
	cycles, seen := uint64(0), map[string]bool{}
	for _, turn := range s.turns {
		cycles++
		if turn.Taken.Cycle != cycles {
			t.Fatalf("cycle %d came after %d", turn.Taken.Cycle, cycles-1)
		}
		if len(turn.Refused) > 0 || len(turn.Stale) > 0 {
			t.Fatalf("refused %v, stale %v", turn.Refused, turn.Stale)
		}
		digests := map[string]bool{}
		for _, u := range turn.Taken.Policies {
			if u.Fallbacks > 0 {
				t.Fatalf("a policy failed: %+v", u)
			}
			digests[u.Kind+" "+u.Digest] = u.Name == "mine" || digests[u.Kind+" "+u.Digest]
		}
		if mine := count(digests); mine > 1 {
			t.Fatalf("cycle %d was decided by %d versions: %v", cycles, mine, digests)
		}
		for d, mine := range digests {
			seen[d] = seen[d] || mine
		}
	}
	t.Logf("%d swaps over %d cycles, decided by %d versions; turns were held %v/%v/%v, Swap took %v/%v/%v (p50/p99/max)",
		n, cycles, count(seen), quantile(s.held, .5), quantile(s.held, .99), s.held[len(s.held)-1],
		quantile(s.swaps, .5), quantile(s.swaps, .99), s.swaps[len(s.swaps)-1])
	if count(seen) < n/2 {
		t.Errorf("only %d versions ever decided anything", count(seen))
	}
}

func count(m map[string]bool) (n int) {
	for _, is := range m {
		if is {
			n++
		}
	}
	return n
}

// BenchmarkSwap is what a swap costs a loop that works: how long turns are held up
// by whoever posts and swaps. It is measured with the loop's own clock.
func BenchmarkSwap(b *testing.B) {
	b.ReportAllocs()
	var held, swaps []time.Duration
	for b.Loop() {
		s := swapUnderLoad(b, 200)
		held, swaps = append(held, s.held...), append(swaps, s.swaps...)
	}
	slices.Sort(held)
	slices.Sort(swaps)
	for _, q := range []struct {
		name string
		of   float64
	}{{"p50", .5}, {"p99", .99}, {"max", 1}} {
		b.ReportMetric(float64(quantile(held, q.of)), "held-ns-"+q.name)
		b.ReportMetric(float64(quantile(swaps, q.of)), "swap-ns-"+q.name)
	}
}
