package reload_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// lab makes policies of files that hold their behaviour as a text, and counts what is
// open, so that tests need no engine.
type lab struct {
	mu     sync.Mutex
	open   map[string]int // by the content of the file
	order  []string       // contents in the order of compiling
	gate   chan struct{}  // if set, compiling waits for it, or for its context
	began  chan string    // if set, told of each compile
	within int            // compiles under way, by digest they must be one
}

// options has a manager compile in the lab.
func (l *lab) options(o *reload.Options) {
	l.open = map[string]int{}
	o.Compile = func(ctx context.Context, b []byte, _ wanted.Spec) (policies.Policy, error) {
		text := string(b)
		l.mu.Lock()
		l.order = append(l.order, text)
		l.within++
		l.mu.Unlock()
		defer func() { l.mu.Lock(); l.within--; l.mu.Unlock() }()
		if l.began != nil {
			l.began <- text
		}
		if l.gate != nil {
			select {
			case <-l.gate:
			case <-ctx.Done():
				return nil, ctx.Err()
			}
		}
		switch {
		case strings.HasPrefix(text, "panic"):
			panic("engine bug")
		case strings.HasPrefix(text, "bad"):
			return nil, errors.New("no policy at all")
		}
		l.count(text, 1)
		return &specimen{lab: l, text: text}, nil
	}
}

func (l *lab) count(text string, n int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.open[text] += n
}

func (l *lab) opened() map[string]int {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := map[string]int{}
	for k, n := range l.open {
		if n != 0 {
			out[k] = n
		}
	}
	return out
}

// specimen orders jobs by priority if its text has "reverse" in it, else it is fifo.
type specimen struct {
	policies.Unimplemented
	lab  *lab
	text string
}

func (s *specimen) Info() policies.Info {
	k := policies.JobOrder
	if strings.Contains(s.text, "victims only") {
		k = policies.VictimCosts
	}
	return policies.Info{Name: "specimen", Version: s.text, Digest: s.text, Kinds: k}
}

func (s *specimen) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	if strings.Contains(s.text, "fails") {
		return &policies.CallError{Policy: s.text, Kind: policies.JobOrder, Code: policies.CodeTrap, Detail: "as told"}
	}
	b.NKeys = 1
	for i := range b.N {
		b.Keys[0][i] = 0
		if strings.Contains(s.text, "reverse") {
			b.Keys[0][i] = -int64(i)
		}
	}
	return nil
}

func (s *specimen) Close() error {
	s.lab.count(s.text, -1)
	return nil
}

// eventually waits for what happens in the background.
func eventually(t testing.TB, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !ok(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("not in time: " + what)
		}
	}
}

func TestAFailedCheckChangesNothingAndClosesWhatItChecked(t *testing.T) {
	var l lab
	bad := errors.New("law total: row 3 has no answer")
	h := newHost(t, l.options, func(o *reload.Options) {
		o.Check = func(_ context.Context, p policies.Policy) (string, error) {
			if p.Info().Version == "two" {
				return "", bad
			}
			return "good", nil
		}
	})
	h.write("p", []byte("one"))
	h.load(file("order", "p"))
	h.write("p", []byte("two"))
	e := h.refused(file("order", "p"))
	if e.Code != reason.CheckFailed || !errors.Is(e, bad) || !strings.Contains(e.Error(), "row 3") {
		t.Error(e)
	}
	if st := h.status("order"); st.Active.Version != "one" || !slices.Contains(states(st.Past[0]), reload.Compiled) || slices.Contains(states(st.Past[0]), reload.Checked) {
		t.Errorf("%+v", st)
	}
	if open := l.opened(); open["two"] != 0 || open["one"] != 1 {
		t.Errorf("open %v", open)
	}
}

func TestAPanicOfTheEngineIsARefusal(t *testing.T) {
	var l lab
	h := newHost(t, l.options)
	h.write("p", []byte("panic"))
	if e := h.refused(file("order", "p")); e.Code != reason.Broken || !strings.Contains(e.Problem, "engine bug") {
		t.Error(e)
	}
	h.write("p", []byte("bad"))
	if e := h.refused(file("order", "p")); e.Code != reason.NotCompiled {
		t.Error(e)
	}
}

func TestClosingDuringACompileCancelsItAndLeavesNothing(t *testing.T) {
	l := lab{gate: make(chan struct{}), began: make(chan string, 1)}
	h := newHost(t, l.options)
	h.write("p", []byte("one"))
	result := make(chan error, 1)
	go func() {
		_, err := h.Load(context.Background(), file("order", "p"))
		result <- err
	}()
	<-l.began
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	var e *reason.Error
	if err := <-result; !errors.As(err, &e) || e.Code != reason.Cancelled {
		t.Errorf("%v", err)
	}
	if open := l.opened(); len(open) != 0 {
		t.Errorf("open %v", open)
	}
	if _, err := h.Load(context.Background(), file("order", "p")); reason.Of(err).Code != reason.Closed {
		t.Errorf("a load after the end: %v", err)
	}
}

func TestACallerWhoGivesUpCancelsTheLoad(t *testing.T) {
	l := lab{gate: make(chan struct{}), began: make(chan string, 1)}
	h := newHost(t, l.options)
	h.write("p", []byte("one"))
	ctx, cancel := context.WithCancel(context.Background())
	go func() { <-l.began; cancel() }()
	if _, err := h.Load(ctx, file("order", "p")); reason.Of(err).Code != reason.Cancelled {
		t.Errorf("%v", err)
	}
	if h.named("order") != nil {
		t.Error("it is active all the same")
	}
}

func TestTwoVersionsAtOnceComeOneAfterTheOther(t *testing.T) {
	l := lab{gate: make(chan struct{}), began: make(chan string, 2)}
	h := newHost(t, l.options)
	h.write("a", []byte("one"))
	h.write("b", []byte("two"))
	var wg sync.WaitGroup
	start := func(path string) {
		wg.Go(func() {
			if _, err := h.Load(context.Background(), file("order", path)); err != nil {
				t.Error(err)
			}
		})
	}
	start("a")
	<-l.began
	start("b")
	select {
	case <-l.began:
		t.Error("two versions of one name are on their way at once")
	case <-time.After(30 * time.Millisecond):
	}
	if got := h.status("order").Incoming; got == nil || got.State != reload.Verified {
		t.Errorf("incoming %+v", got)
	}
	close(l.gate)
	wg.Wait()
	if st := h.status("order"); st.Active.Version != "two" || st.Standby.Version != "one" {
		t.Errorf("active %s, standby %v", st.Active.Version, st.Standby)
	}
}

func TestOneDigestIsCompiledByOneAtATime(t *testing.T) {
	l := lab{gate: make(chan struct{}), began: make(chan string, 3)}
	h := newHost(t, l.options)
	h.write("p", []byte("one"))
	h.write("q", []byte("other"))
	var wg sync.WaitGroup
	for name, path := range map[string]string{"a": "p", "b": "p", "c": "q"} {
		wg.Go(func() {
			if _, err := h.Load(context.Background(), file(name, path)); err != nil {
				t.Error(err)
			}
		})
	}
	first := []string{<-l.began, <-l.began}
	slices.Sort(first)
	if !slices.Equal(first, []string{"one", "other"}) {
		t.Errorf("at once: %v", first)
	}
	select {
	case again := <-l.began:
		t.Errorf("%q is compiled twice at once", again)
	case <-time.After(30 * time.Millisecond):
	}
	close(l.gate)
	wg.Wait()
}

func TestOldVersionsAreClosedAndOnlyOneStaysReady(t *testing.T) {
	var l lab
	h := newHost(t, l.options)
	for i := range 20 {
		h.write("p", fmt.Appendf(nil, "v%02d", i))
		h.load(file("order", "p"))
	}
	eventually(t, "all but two are closed", func() bool { return len(l.opened()) == 2 })
	if open := l.opened(); open["v19"] != 1 || open["v18"] != 1 {
		t.Errorf("open %v", open)
	}
	st := h.status("order")
	if len(st.Past) != 16 || st.Past[0].Version != "v17" || st.Past[0].State != reload.Retired || st.Past[0].Code != reason.Replaced {
		t.Errorf("%d past, %+v", len(st.Past), st.Past[0])
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if open := l.opened(); len(open) != 0 {
		t.Errorf("open after the end: %v", open)
	}
	if h.named("order") != nil {
		t.Error("the loop still has it")
	}
}

func TestAnOldVersionIsNotClosedBeforeItsLastCycle(t *testing.T) {
	var l lab
	held := make(chan struct{})
	h := newHost(t, l.options, func(o *reload.Options) {
		swap := o.Swap
		o.Swap = func(s reload.Set) <-chan struct{} { swap(s); return held }
	})
	for _, v := range []string{"one", "two", "three"} {
		h.write("p", []byte(v))
		h.load(file("order", "p"))
	}
	time.Sleep(20 * time.Millisecond)
	if open := l.opened(); open["one"] != 1 {
		t.Errorf("closed while a cycle may use it: open %v", open)
	}
	close(held)
	eventually(t, "it is closed", func() bool { return l.opened()["one"] == 0 })
}

func TestAReloadOfTheSameKeepsTheVersionBeforeForARollback(t *testing.T) {
	var l lab
	h := newHost(t, l.options)
	for _, v := range []string{"one", "two fails"} {
		h.write("p", []byte(v))
		h.load(file("order", "p"))
	}
	for range 3 {
		_ = h.ask("order", 0)
	}
	if v, err := h.Reload(context.Background(), "order"); err != nil || v.State != reload.Active {
		t.Fatal(v, err)
	}
	if err := h.ask("order", 0); policies.CodeOf(err) != policies.CodeTrap {
		t.Errorf("the quarantine was not lifted: %v", err)
	}
	if v, err := h.Rollback("order"); err != nil || v.Version != "one" {
		t.Errorf("%v, %v", v, err)
	}
	if _, err := h.Reload(context.Background(), "nothing"); reason.Of(err).Code != reason.NotFound {
		t.Error(err)
	}
}

func TestARollbackLiftsTheQuarantineOfTheVersionBefore(t *testing.T) {
	var l lab
	h := newHost(t, l.options)
	h.write("p", []byte("one fails"))
	h.load(file("order", "p"))
	for range 4 {
		_ = h.ask("order", 0)
	}
	h.write("p", []byte("two"))
	h.load(file("order", "p"))
	if _, err := h.Rollback("order"); err != nil {
		t.Fatal(err)
	}
	if err := h.ask("order", 0); policies.CodeOf(err) != policies.CodeTrap {
		t.Errorf("it was not asked: %v", err)
	}
}

func TestRemovingGivesTheQueueBackToTheBuiltIn(t *testing.T) {
	var l lab
	h := newHost(t, l.options)
	for _, v := range []string{"one", "two"} {
		h.write("p", []byte(v))
		h.load(file("order", "p"))
	}
	if err := h.Remove("order"); err != nil {
		t.Fatal(err)
	}
	if h.named("order") != nil {
		t.Error("it still decides")
	}
	eventually(t, "both are closed", func() bool { return len(l.opened()) == 0 })
	if err := h.Remove("order"); reason.Of(err).Code != reason.NotFound {
		t.Error(err)
	}
	if st := h.status("order"); st.Past[0].Code != reason.Removed {
		t.Errorf("%+v", st.Past)
	}
}

func shadowOf(name, path, beside string) wanted.Spec {
	s := file(name, path)
	s.Mode, s.Beside = wanted.Shadow, beside
	return s
}

func TestAShadowIsComparedAndChangesNothing(t *testing.T) {
	var l lab
	h := newHost(t, l.options)
	h.write("p", []byte("one"))
	h.load(file("order", "p"))
	h.write("q", []byte("reverse"))
	if v := h.load(shadowOf("next", "q", "order")); v.State != reload.Shadow {
		t.Fatalf("%+v", v)
	}
	b := jobs(4, 0)
	if err := h.named("order").ScoreJobs(context.Background(), b); err != nil || b.Keys[0][3] != 0 {
		t.Fatalf("keys %v, %v", b.Keys[0], err)
	}
	eventually(t, "the batch is compared", func() bool {
		r, ok := h.ShadowReport("order")
		return ok && r.Compared() == 1
	})
	r, _ := h.ShadowReport("order")
	if r.Active.Version != "one" || r.Candidate.Version != "reverse" || r.Jobs.Tau != -1 || r.Jobs.First != 1 {
		t.Errorf("%+v, %+v", r, r.Jobs)
	}
	if st := h.status("order"); st.Shadow == nil || st.Shadow.Shadow.Differs() != 1 || st.Active.Version != "one" {
		t.Errorf("%+v", st)
	}
	v, err := h.Promote("order")
	if err != nil || v.State != reload.Active || v.Code != reason.Promoted {
		t.Fatal(v, err)
	}
	if err := h.named("order").ScoreJobs(context.Background(), b); err != nil || b.Keys[0][3] != -3 {
		t.Errorf("keys %v, %v", b.Keys[0], err)
	}
	if v, err := h.Rollback("order"); err != nil || v.Version != "one" {
		t.Errorf("%+v, %v", v, err)
	}
}

func TestAShadowBesideABuiltInLeavesNoTraceWhenItGoes(t *testing.T) {
	var l lab
	h := newHost(t, l.options)
	h.write("q", []byte("reverse"))
	h.load(shadowOf("next", "q", "fifo"))
	p := h.named("fifo")
	if p == nil || p.Info().Name != "fifo" || p.Info().Digest != "builtin" {
		t.Fatalf("the built-in is not what decides: %+v", p)
	}
	if err := p.ScoreJobs(context.Background(), jobs(4, 0)); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the batch is compared", func() bool { r, _ := h.ShadowReport("fifo"); return r.Differs() == 1 })
	if err := h.Remove("next"); err != nil {
		t.Fatal(err)
	}
	if h.named("fifo") != nil {
		t.Error("the stand-in is still there")
	}
	eventually(t, "it is closed", func() bool { return len(l.opened()) == 0 })
	if _, ok := h.ShadowReport("fifo"); ok {
		t.Error("a report of nothing")
	}
}

func TestShadowsThatCannotBeComparedAreRefused(t *testing.T) {
	var l lab
	h := newHost(t, l.options)
	h.write("q", []byte("one"))
	h.write("v", []byte("victims only"))
	if e := h.refused(shadowOf("next", "q", "nowhere")); e.Code != reason.NotFound {
		t.Errorf("beside nothing: %v", e)
	}
	if e := h.refused(shadowOf("next", "v", "fifo")); e.Code != reason.WrongKind {
		t.Errorf("of another kind: %v", e)
	}
	s := shadowOf("next", "q", "fifo")
	s.Kinds = policies.VictimCosts
	if e := h.refused(s); e.Code != reason.WrongKind {
		t.Errorf("for another kind: %v", e)
	}
	s = file("order", "q")
	s.Kinds = policies.QueueShares
	if e := h.refused(s); e.Code != reason.WrongKind {
		t.Errorf("active for another kind: %v", e)
	}
	if h.named("fifo") != nil || len(l.opened()) != 0 {
		t.Errorf("something is left: %v", l.opened())
	}
	if _, err := h.Promote("fifo"); reason.Of(err).Code != reason.NotFound {
		t.Error(err)
	}
}

// A new version with shadowFor runs beside the old one first, and takes over by itself.
func TestAShadowTakesOverWhenItsTimeIsUpAndItNeverFailed(t *testing.T) {
	for _, candidate := range []string{"reverse", "fails"} {
		t.Run(candidate, func(t *testing.T) {
			var l lab
			c := clock.NewVirtual(0)
			h := newHost(t, l.options, func(o *reload.Options) { o.Clock = c })
			s := file("order", "p")
			s.ShadowFor = time.Hour
			h.write("p", []byte("one"))
			if v := h.load(s); v.State != reload.Active {
				t.Fatalf("the first version has nothing to be compared with: %+v", v)
			}
			h.write("p", []byte(candidate))
			if v := h.load(s); v.State != reload.Shadow {
				t.Fatalf("%+v", v)
			}
			hour := int64(time.Hour)
			next := int64(0)
			advance := func() { next += hour; c.Advance(next) }
			advance() // nothing was compared so far
			time.Sleep(20 * time.Millisecond)
			if st := h.status("order"); st.Active.Version != "one" || st.Shadow == nil {
				t.Fatalf("promoted without a comparison: %+v", st.Active)
			}
			if err := h.ask("order", 0); err != nil {
				t.Fatal(err)
			}
			eventually(t, "the batch was seen", func() bool { r, _ := h.ShadowReport("order"); return r.Cost.Candidate.Calls == 1 })
			want := "one"
			if candidate == "reverse" {
				want = candidate
			}
			eventually(t, "its time is up", func() bool {
				advance()
				st := h.status("order")
				return st.Active.Version == want && (st.Shadow == nil || st.Shadow.Code == reason.ShadowFault)
			})
		})
	}
}

func TestAShadowFollowsWhateverIsActive(t *testing.T) {
	var l lab
	h := newHost(t, l.options)
	h.write("p", []byte("one"))
	h.load(file("order", "p"))
	h.write("q", []byte("reverse"))
	h.load(shadowOf("next", "q", "order"))
	h.write("p", []byte("two reverse"))
	h.load(file("order", "p"))
	if err := h.ask("order", 0); err != nil {
		t.Fatal(err)
	}
	eventually(t, "it is compared with the new one", func() bool {
		r, _ := h.ShadowReport("order")
		return r.Active.Version == "two reverse" && r.Compared() == 1 && r.Differs() == 0
	})
	if err := h.Remove("order"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "all are closed", func() bool { return len(l.opened()) == 0 })
}

// rules in a lab: admission that knows what it was opened from.
type ruleSet struct{ digest string }

func (r ruleSet) Digest() string { return r.digest }
func (r ruleSet) Judge(_ context.Context, jobs []*spec.Job) []cycle.Verdict {
	return make([]cycle.Verdict, len(jobs))
}

func TestRulesGoThroughTheSameStates(t *testing.T) {
	var l lab // counts what is open
	l.open = map[string]int{}
	h := newHost(t, func(o *reload.Options) {
		o.OpenRules = func(_ context.Context, path string, _ wanted.Spec) (reload.Rules, error) {
			a, err := source.Fetch(context.Background(), wanted.Source{Kind: wanted.FromFolder, At: path}, "", source.Options{})
			if err != nil {
				return reload.Rules{}, err
			}
			text := string(a.Files["a.rego"])
			if strings.Contains(text, "broken") {
				return reload.Rules{}, fmt.Errorf("%s/a.rego:1: unexpected broken", path)
			}
			l.count(text, 1)
			return reload.Rules{Admission: ruleSet{text}, Close: func() error { l.count(text, -1); return nil }}, nil
		}
	})
	s := wanted.Spec{Name: "rules", Mode: wanted.Active, Source: wanted.Source{Kind: wanted.FromFolder, At: "rules"}}
	h.write("rules/a.rego", []byte("package one"))
	v := h.load(s)
	if want := []reload.State{reload.Fetched, reload.Verified, reload.Compiled, reload.Checked, reload.Active}; !slices.Equal(states(v), want) || !slices.Equal(v.Kinds, []string{"rules"}) {
		t.Errorf("%+v", v)
	}
	h.write("rules/a.rego", []byte("package broken"))
	e := h.refused(s)
	if e.Code != reason.BadRules || strings.Contains(e.Problem, "muster-rules-") {
		t.Errorf("%v", e)
	}
	if h.set.Admission.Digest() != "package one" {
		t.Error("the running rules were disturbed")
	}
	h.write("rules/a.rego", []byte("package two"))
	h.load(s)
	if h.set.Admission.Digest() != "package two" {
		t.Error("the new rules are not active")
	}
	if _, err := h.Rollback("rules"); err != nil || h.set.Admission.Digest() != "package one" {
		t.Errorf("rolled back to %s, %v", h.set.Admission.Digest(), err)
	}
	second := s
	second.Name = "more-rules"
	if e := h.refused(second); e.Code != reason.Ambiguous {
		t.Errorf("second rules: %v", e)
	}
	shadow := s
	shadow.Mode = wanted.Shadow
	if e := h.refused(shadow); e.Code != reason.WrongKind {
		t.Errorf("rules as a shadow: %v", e)
	}
	if err := h.Remove("rules"); err != nil || h.set.Admission != nil {
		t.Errorf("%v, %v", h.set.Admission, err)
	}
	if err := h.Close(); err != nil {
		t.Fatal(err)
	}
	if open := l.opened(); len(open) != 0 {
		t.Errorf("open %v", open)
	}
}
