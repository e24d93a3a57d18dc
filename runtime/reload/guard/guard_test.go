package guard

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/policies"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// puppet answers what it is told to.
type puppet struct {
	policies.Unimplemented
	answer  error
	asked   int
	closed  bool
	entered chan struct{} // if set, told of each call, which then waits for leave
	leave   chan struct{}
	info    policies.Info
}

func (p *puppet) Info() policies.Info {
	i := p.info
	i.Name, i.Kinds = "puppet", policies.JobOrder|policies.QueueShares|policies.VictimCosts
	return i
}

func (p *puppet) call() error {
	p.asked++
	if p.entered != nil {
		p.entered <- struct{}{}
		<-p.leave
	}
	return p.answer
}

func (p *puppet) ScoreJobs(context.Context, *policies.JobBatch) error      { return p.call() }
func (p *puppet) Entitle(context.Context, *policies.QueueBatch) error      { return p.call() }
func (p *puppet) CostVictims(context.Context, *policies.VictimBatch) error { return p.call() }
func (p *puppet) Close() error                                             { p.closed = true; return nil }
func (p *puppet) LastFuel() int64                                          { return 77 }

func failure(c policies.Code) error { return &policies.CallError{Policy: "puppet", Code: c} }

// ask makes one call at a time and returns its code, "" for an answer.
func ask(g *Policy, now int64) policies.Code {
	err := g.ScoreJobs(context.Background(), &policies.JobBatch{Call: policies.Call{Now: now}})
	if err == nil {
		return ""
	}
	return policies.CodeOf(err)
}

const second = int64(time.Second)

func TestThreeFailuresInARowQuarantineUntilTheBackoffEnds(t *testing.T) {
	p := &puppet{answer: failure(policies.CodeTrap)}
	var changes []Change
	g := New(p, Options{Changed: func(c Change) { changes = append(changes, c) }})
	for i := range 3 {
		if c := ask(g, int64(i)); c != policies.CodeTrap {
			t.Fatalf("call %d: %q", i, c)
		}
	}
	if c := ask(g, second); c != policies.CodeQuarantined || p.asked != 3 {
		t.Fatalf("the fourth call: %q, %d calls reached the policy", c, p.asked)
	}
	if g.LastFuel() != 0 {
		t.Error("a call that was not made has used fuel")
	}
	p.answer = nil
	if c := ask(g, 2+second); g.LastFuel() != 77 {
		t.Error("the fuel of the call is not known")
	} else if c != "" || p.asked != 4 {
		t.Fatalf("after the backoff: %q", c)
	}
	if s, _ := g.State(); s != Probation {
		t.Errorf("state %s", s)
	}
	want := []State{Quarantined, Probation}
	if got := []State{changes[0].State, changes[1].State}; len(changes) != 2 || !slices.Equal(got, want) {
		t.Errorf("changes %+v", changes)
	}
	if c := changes[0]; c.Fault != policies.CodeTrap || c.At != 2 || c.Until != 2+second {
		t.Errorf("change %+v", c)
	}
}

func TestASuccessBetweenFailuresForgivesThem(t *testing.T) {
	p := &puppet{}
	g := New(p, Options{})
	for i := range 9 { // the tenth of 200 would be 5 %
		p.answer = failure(policies.CodeOutOfFuel)
		ask(g, 0)
		p.answer = nil
		if c := ask(g, 0); c != "" {
			t.Fatalf("call %d: %q", i, c)
		}
	}
	if s, _ := g.State(); s != Good {
		t.Errorf("state %s", s)
	}
}

func TestFivePercentOfTwoHundredCallsQuarantine(t *testing.T) {
	p := &puppet{}
	g := New(p, Options{})
	failures := 0
	for i := range 200 {
		p.answer = nil
		if i%20 == 19 {
			p.answer = failure(policies.CodeBadOutput)
			failures++
		}
		ask(g, 0)
		if s, _ := g.State(); (s == Quarantined) != (failures == 10) {
			t.Fatalf("call %d, %d failures: %s", i, failures, s)
		}
	}
	rare := New(p, Options{})
	for i := range 2000 { // one of 23 is less than 5 %
		p.answer = nil
		if i%23 == 22 {
			p.answer = failure(policies.CodeBadOutput)
		}
		ask(rare, 0)
	}
	if s, _ := rare.State(); s != Good {
		t.Errorf("less than 5 %%: %s", s)
	}
}

func TestToDeclineIsNoStrike(t *testing.T) {
	for _, c := range []policies.Code{policies.CodeAbstain, policies.CodeBadInput, policies.CodeBadParams} {
		g := New(&puppet{answer: failure(c)}, Options{})
		for range 100 {
			ask(g, 0)
		}
		if s, _ := g.State(); s != Good {
			t.Errorf("%s: %s", c, s)
		}
	}
	g := New(policies.Policy(&struct {
		policies.Unimplemented
		named
	}{}), Options{})
	for range 100 {
		ask(g, 0)
	}
	if s, _ := g.State(); s != Good || g.Stats().Declined != 0 {
		t.Errorf("a kind that is not implemented: %s", s)
	}
}

type named struct{}

func (named) Info() policies.Info { return policies.Info{Name: "x"} }

func TestEachQuarantineIsTwiceAsLongUntilAProbationIsServed(t *testing.T) {
	p := &puppet{answer: failure(policies.CodeTrap)}
	g := New(p, Options{})
	now := int64(0)
	length := func() int64 {
		t.Helper()
		for range 10 {
			ask(g, now)
		}
		s, until := g.State()
		if s != Quarantined {
			t.Fatalf("state %s", s)
		}
		d := until - now
		now = until
		return d
	}
	for i, want := range []int64{1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600} {
		if d := length(); d != want*second {
			t.Fatalf("quarantine %d lasted %d s, want %d", i, d/second, want)
		}
	}
	p.answer = nil
	for range Served - 1 {
		ask(g, now)
	}
	if s, _ := g.State(); s != Probation {
		t.Fatalf("a probation was over too soon: %s", s)
	}
	ask(g, now)
	if s, _ := g.State(); s != Good {
		t.Fatalf("a served probation: %s", s)
	}
	p.answer = failure(policies.CodeTrap)
	if d := length(); d != second {
		t.Errorf("after a served probation the first quarantine lasted %d ns", d)
	}
}

func TestOneFailureOnProbationIsEnough(t *testing.T) {
	p := &puppet{answer: failure(policies.CodeTrap)}
	g := New(p, Options{})
	for range 3 {
		ask(g, 0)
	}
	ask(g, second)
	if s, until := g.State(); s != Quarantined || until != 3*second {
		t.Errorf("state %s until %d", s, until)
	}
}

func TestAPardonLiftsAQuarantine(t *testing.T) {
	p := &puppet{answer: failure(policies.CodeTrap)}
	g := New(p, Options{})
	for range 3 {
		ask(g, 0)
	}
	g.Pardon()
	p.answer = nil
	if c := ask(g, 0); c != "" {
		t.Errorf("after the pardon: %q", c)
	}
}

// The same history of answers and times gives the same decisions: a replay is exact.
func TestDecisionsDependOnNothingButAnswersAndBatchTimes(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		type event struct {
			step int64
			fail bool
		}
		events := rapid.SliceOfN(rapid.Custom(func(t *rapid.T) event {
			return event{rapid.Int64Range(0, 2*second).Draw(t, "step"), rapid.IntRange(0, 3).Draw(t, "fail") == 0}
		}), 1, 400).Draw(t, "events")
		run := func() (out []policies.Code) {
			p := &puppet{}
			g := New(p, Options{})
			now := int64(0)
			for _, e := range events {
				now += e.step
				p.answer = nil
				if e.fail {
					p.answer = failure(policies.CodeTrap)
				}
				out = append(out, ask(g, now))
			}
			return out
		}
		one := run()
		if !slices.Equal(one, run()) {
			t.Fatal("two runs differ")
		}
		row := 0
		for i, c := range one { // never more than three traps in a row reach the core
			if c != policies.CodeTrap {
				row = 0
				continue
			}
			if row++; row > InARow {
				t.Fatalf("call %d is failure %d in a row", i, row)
			}
		}
	})
}

func TestCloseWaitsForTheCallUnderWayAndRefusesTheNext(t *testing.T) {
	p := &puppet{entered: make(chan struct{}), leave: make(chan struct{})}
	g := New(p, Options{})
	var wg sync.WaitGroup
	wg.Go(func() { ask(g, 0) })
	<-p.entered
	closed := make(chan error, 1)
	go func() { closed <- g.Close() }()
	for !g.closing.Load() {
		time.Sleep(time.Millisecond)
	}
	select {
	case err := <-closed:
		t.Fatal("closed under a call", err)
	case <-time.After(20 * time.Millisecond):
	}
	if p.closed {
		t.Fatal("the policy was closed under a call")
	}
	if err := g.Entitle(context.Background(), &policies.QueueBatch{}); policies.CodeOf(err) != policies.CodeUnknownErr || errors.Is(err, policies.ErrNotImplemented) {
		t.Errorf("a call after Close: %v", err)
	}
	close(p.leave)
	wg.Wait()
	if err := <-closed; err != nil || !p.closed || p.asked != 1 {
		t.Errorf("%v, closed %t, %d calls", err, p.closed, p.asked)
	}
	if err := g.Close(); err != nil {
		t.Error(err)
	}
}

func TestManyCallsAndACloseAtOnce(t *testing.T) {
	for range 200 {
		p := &counting{}
		g := New(p, Options{})
		var wg sync.WaitGroup
		for range 4 {
			wg.Go(func() {
				for range 50 {
					_ = g.CostVictims(context.Background(), &policies.VictimBatch{})
				}
			})
		}
		wg.Go(func() {
			if err := g.Close(); err != nil {
				t.Error(err)
			}
		})
		wg.Wait()
		if p.after > 0 {
			t.Fatalf("%d calls reached a closed policy", p.after)
		}
	}
}

// counting counts calls that come after its end.
type counting struct {
	policies.Unimplemented
	mu    sync.Mutex
	ended bool
	after int
}

func (c *counting) Info() policies.Info { return policies.Info{Kinds: policies.VictimCosts} }

func (c *counting) CostVictims(context.Context, *policies.VictimBatch) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.ended {
		c.after++
	}
	return nil
}

func (c *counting) Close() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ended = true
	return nil
}

// ear is a tap that remembers.
type ear struct {
	kinds []policies.Kind
	errs  []error
	fuel  int64
}

func (e *ear) heard(k policies.Kind, err error, fuel int64) {
	e.kinds, e.errs, e.fuel = append(e.kinds, k), append(e.errs, err), fuel
}

func (e *ear) Jobs(_ *policies.JobBatch, err error, _, fuel int64) {
	e.heard(policies.JobOrder, err, fuel)
}

func (e *ear) Queues(_ *policies.QueueBatch, err error, _, fuel int64) {
	e.heard(policies.QueueShares, err, fuel)
}

func (e *ear) Victims(_ *policies.VictimBatch, err error, _, fuel int64) {
	e.heard(policies.VictimCosts, err, fuel)
}

func TestATapHearsEveryAnswerUntilItIsDetached(t *testing.T) {
	p := &puppet{answer: failure(policies.CodeTrap)}
	g := New(p, Options{})
	var e ear
	g.Attach(&e, &policies.Info{})
	ctx := context.Background()
	_ = g.ScoreJobs(ctx, &policies.JobBatch{})
	p.answer = nil
	_ = g.Entitle(ctx, &policies.QueueBatch{})
	_ = g.CostVictims(ctx, &policies.VictimBatch{})
	g.Detach()
	_ = g.ScoreJobs(ctx, &policies.JobBatch{})
	if !slices.Equal(e.kinds, []policies.Kind{policies.JobOrder, policies.QueueShares, policies.VictimCosts}) ||
		policies.CodeOf(e.errs[0]) != policies.CodeTrap || e.errs[1] != nil || e.fuel != 77 {
		t.Errorf("heard %+v", e)
	}
}

func TestTheHostFillsWhatTheTapsOwnerReads(t *testing.T) {
	p := &puppet{info: policies.Info{Columns: []string{"job.priority"}, Labels: []string{"team"}}}
	g := New(p, Options{})
	g.Attach(&ear{}, &policies.Info{Columns: []string{"job.user_name", "job.priority"}, Labels: []string{"site", "team"}})
	i := g.Info()
	if !i.Reads("job.user_name") || !slices.Equal(i.Labels, []string{"team", "site"}) || !slices.Equal(i.Columns, []string{"job.priority", "job.user_name"}) {
		t.Errorf("info %+v", i)
	}
	g.Detach()
	if i := g.Info(); i.Reads("job.user_name") || len(i.Labels) != 1 {
		t.Errorf("after the tap has gone: %+v", i)
	}
}

func TestACallThroughTheGuardAllocatesNothing(t *testing.T) {
	for name, p := range map[string]*puppet{"answered": {}, "quarantined": {answer: failure(policies.CodeTrap)}} {
		g := New(p, Options{})
		ctx, b := context.Background(), &policies.JobBatch{}
		for range 3 {
			_ = g.ScoreJobs(ctx, b)
		}
		if n := testing.AllocsPerRun(100, func() { _ = g.ScoreJobs(ctx, b); _ = g.Info() }); n != 0 {
			t.Errorf("%s: %v allocations", name, n)
		}
	}
}

func BenchmarkGuard(b *testing.B) {
	g := New(&puppet{}, Options{})
	ctx, batch := context.Background(), &policies.JobBatch{}
	b.ReportAllocs()
	for b.Loop() {
		_ = g.ScoreJobs(ctx, batch)
	}
}
