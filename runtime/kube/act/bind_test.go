package act

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// What a single bind can meet, and what must be heard of it.
func TestABindIsHeardOnceHoweverItGoes(t *testing.T) {
	first := func(f fault) func(*call) fault { // only the first bind meets it
		var once sync.Once
		return func(c *call) (out fault) {
			if c.is(http.MethodPost, "pods", "binding") {
				once.Do(func() { out = f })
			}
			return out
		}
	}
	always := func(f fault) func(*call) fault {
		return func(c *call) fault {
			if c.is(http.MethodPost, "pods", "binding") {
				return f
			}
			return fault{}
		}
	}
	change := func(f func(p *corev1.Pod)) func(*server, Pod) {
		return func(s *server, p Pod) {
			pod := s.pod(p)
			f(pod)
			s.add(pod)
		}
	}
	for name, test := range map[string]struct {
		before    func(*server, Pod)
		fault     func(*call) fault
		wantBound bool
		wantGone  bool
		wantErr   string
		wantPosts int // 0: any
	}{
		"all is well":                   {wantBound: true, wantPosts: 1},
		"bound there already":           {before: change(func(p *corev1.Pod) { p.Spec.NodeName = "n1" }), wantBound: true, wantPosts: 1},
		"bound elsewhere":               {before: change(func(p *corev1.Pod) { p.Spec.NodeName = "n2" }), wantErr: "already bound to node n2", wantPosts: 1},
		"another pod of that name":      {before: change(func(p *corev1.Pod) { p.UID = "other" }), wantErr: "another one", wantGone: true, wantPosts: 1},
		"being deleted":                 {before: change(func(p *corev1.Pod) { now := metav1.Now(); p.DeletionTimestamp = &now }), wantErr: "being deleted", wantGone: true, wantPosts: 1},
		"scheduling gates":              {before: change(func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "x"}} }), wantErr: "gates (x)", wantPosts: 1},
		"gone":                          {before: func(s *server, p Pod) { s.mu.Lock(); clear(s.objects); s.mu.Unlock() }, wantErr: "not found", wantGone: true, wantPosts: 1},
		"forbidden":                     {fault: always(fault{status: 403, message: "no"}), wantErr: "no", wantPosts: 1},
		"refused by a webhook":          {fault: always(fault{status: 400, message: `admission webhook "x" denied`}), wantErr: "denied", wantPosts: 1},
		"too many requests":             {fault: first(fault{status: 429}), wantBound: true, wantPosts: 2},
		"an internal error":             {fault: first(fault{status: 500}), wantBound: true, wantPosts: 2},
		"a webhook that never answers":  {fault: always(fault{status: 500, message: "failed calling webhook"}), wantErr: "failed calling webhook"},
		"no store behind the server":    {fault: first(fault{status: 503}), wantBound: true, wantPosts: 2},
		"a lost request":                {fault: first(fault{drop: true}), wantBound: true, wantPosts: 2},
		"a lost answer":                 {fault: first(fault{lose: true}), wantBound: true, wantPosts: 1},
		"an answer that comes too late": {fault: first(fault{stall: 400 * time.Millisecond}), wantBound: true, wantPosts: 1},
		"roles that are not read yet":   {fault: first(fault{status: 403, message: `RBAC: clusterrole.rbac "m" not found`}), wantBound: true, wantPosts: 2},
		"a conflict that passes":        {fault: first(fault{status: 409, message: "modified"}), wantBound: true, wantPosts: 2},
		"a token that is being rotated": {fault: first(fault{status: 401}), wantBound: true, wantPosts: 2},
	} {
		t.Run(name, func(t *testing.T) {
			s, h := newServer(t), newHeard()
			p := s.pods(1)[0]
			if test.before != nil {
				test.before(s, p)
			}
			s.setFault(test.fault)
			a, stop := running(t, s, Options{Timeout: 200 * time.Millisecond, Patience: 500 * time.Millisecond}, h)
			defer stop()
			a.Do(Work{Units: []Unit{gang("j", "n1", p)}})
			eventually(t, "heard", func() bool { return h.settled() == 1 })
			stop()
			node, bound := h.bound[p.UID]
			if bound != test.wantBound || bound && node != "n1" || h.gone[p.UID] != test.wantGone {
				t.Errorf("bound %v (%s), gone %v, err %v", bound, node, h.gone[p.UID], h.failed[p.UID])
			}
			if err := h.failed[p.UID]; err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("err %q, want %q in it", err, test.wantErr)
			}
			if got := s.seen["POST pods/binding"]; test.wantPosts > 0 && got != test.wantPosts {
				t.Errorf("%d binds were sent, want %d", got, test.wantPosts)
			}
			if len(h.twice) > 0 || s.binds[string(p.UID)] > 1 {
				t.Errorf("heard twice: %v, bound %d times", h.twice, s.binds[string(p.UID)])
			}
		})
	}
}

func TestAGangWhosePodCannotBeBoundGivesUpTheRest(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(100)
	s.setFault(func(c *call) fault {
		if c.is(http.MethodPost, "pods", "binding") && c.name == "p3" {
			return fault{status: 403, message: "not you"}
		}
		return fault{delay: time.Millisecond}
	})
	a, stop := running(t, s, Options{Workers: 4}, h)
	defer stop()
	a.Do(Work{Units: []Unit{gang("j", "n1", pods...)}})
	eventually(t, "all heard", func() bool { return h.settled() == 100 })
	eventually(t, "the record is gone", func() bool { return s.count("configmaps") == 0 })
	stop()
	if n := len(h.bound); n >= 90 || n < 3 {
		t.Errorf("%d pods were bound; those before the failure should be, and the rest given up", n)
	}
	givenUp := 0
	for uid, err := range h.failed {
		if errors.Is(err, ErrGivenUp) {
			givenUp++
			if s.binds[string(uid)] > 0 {
				t.Errorf("%s was given up and is bound", uid)
			}
		}
		if !strings.Contains(err.Error(), "not you") {
			t.Errorf("%s: %q does not say why", uid, err)
		}
	}
	if givenUp != 100-len(h.bound)-1 {
		t.Errorf("%d given up, %d bound", givenUp, len(h.bound))
	}
}

func TestNoMoreThanWorkersInFlightAndABigGangLetsOthersPass(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(400)
	s.setFault(func(c *call) fault { return fault{delay: time.Millisecond} })
	a, stop := running(t, s, Options{Workers: 8, NoEvents: true}, h)
	defer stop()
	w := Work{Units: []Unit{gang("big", "n1", pods[:300]...)}}
	for i := 300; i < 400; i++ {
		w.Units = append(w.Units, gang(fmt.Sprint("small", i), "n1", pods[i]))
	}
	a.Do(w)
	eventually(t, "all bound", func() bool { return h.boundCount() == 400 })
	stop()
	if s.most > 8 {
		t.Errorf("%d requests in flight, want at most 8", s.most)
	}
	big := 0 // of the gang, before the last small one
	binds := s.history("bind ")
	for i, l := range binds {
		var n int
		if _, err := fmt.Sscanf(l, "bind team/p%d", &n); err != nil {
			t.Fatal(l)
		}
		if n >= 300 {
			big = i - 99
		}
	}
	if big > 250 || big < 20 {
		t.Errorf("the small ones were through when %d of 300 of the gang were: one starved the other", big)
	}
}

func TestUnitsBeginInTheOrderGiven(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(60)
	a, stop := running(t, s, Options{Workers: 1, NoEvents: true}, h)
	defer stop()
	var want []string
	var w Work
	for i, p := range pods {
		w.Units = append(w.Units, gang(fmt.Sprint(i), "n1", p))
		want = append(want, fmt.Sprintf("bind team/p%d n1", i))
	}
	a.Do(w)
	eventually(t, "all bound", func() bool { return h.boundCount() == 60 })
	if got := s.history("bind "); !slices.Equal(got, want) {
		t.Errorf("order: %v", got)
	}
}

// The API server goes away in the middle, on the same address comes another one.
func TestActingPausesWhileTheAPIServerIsAway(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(200)
	address := s.http.Listener.Addr().String()
	s.setFault(func(c *call) fault { return fault{delay: time.Millisecond} })
	a, stop := running(t, s, Options{Workers: 4, NoEvents: true, Patience: 100 * time.Millisecond}, h)
	defer stop()
	a.Do(Work{Units: []Unit{gang("j", "n1", pods[:100]...)}})
	for _, p := range pods[100:] {
		a.Do(Work{Units: []Unit{gang("single", "n1", p)}})
	}
	eventually(t, "some are bound", func() bool { return h.boundCount() > 20 })
	s.http.CloseClientConnections()
	_ = s.http.Listener.Close()
	s.http.CloseClientConnections()
	eventually(t, "the pause is heard", func() bool { return len(h.pauses()) == 1 })
	time.Sleep(300 * time.Millisecond) // longer than patience, which does not run now
	if got := h.boundCount(); got == 200 {
		t.Fatal("nothing was left to do; the test shows nothing")
	}
	if st := a.Stats(); !st.Paused {
		t.Error("Stats does not say that it is paused")
	}

	l, err := net.Listen("tcp", address)
	if err != nil {
		t.Skip("the port was taken:", err)
	}
	again := httptest.NewUnstartedServer(s)
	again.Listener = l
	again.Start()
	defer again.Close()
	eventually(t, "all are bound", func() bool { return h.boundCount() == 200 })
	eventually(t, "the record is gone", func() bool { return s.count("configmaps") == 0 })
	stop()
	if got := h.pauses(); !slices.Equal(got, []bool{true, false}) {
		t.Errorf("pauses heard: %v", got)
	}
	for uid, n := range s.binds {
		if n != 1 {
			t.Errorf("%s was bound %d times", uid, n)
		}
	}
	if len(h.twice)+len(h.failed) > 0 {
		t.Errorf("twice %v, failed %v", h.twice, h.failed)
	}
}

func TestOneLostAnswerIsNoOutage(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(20)
	s.setFault(func(c *call) fault {
		return fault{lose: c.is(http.MethodPost, "pods", "binding") && s.seen["POST pods/binding"]%5 == 0}
	})
	a, stop := running(t, s, Options{NoEvents: true}, h)
	defer stop()
	a.Do(Work{Units: []Unit{gang("j", "n1", pods...)}})
	eventually(t, "all bound", func() bool { return h.boundCount() == 20 })
	if got := h.pauses(); len(got) > 0 {
		t.Errorf("a pause was told: %v", got)
	}
}

func TestWhatIsInFlightAtTheEndFinishesAndTheRestIsNotHeardOf(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(40)
	s.setFault(func(c *call) fault { return fault{delay: 30 * time.Millisecond} })
	a, stop := running(t, s, Options{Workers: 4, NoEvents: true}, h)
	a.Do(Work{Units: []Unit{gang("j", "n1", pods...)}})
	eventually(t, "some are bound", func() bool { return h.boundCount() >= 4 })
	stop()
	if len(h.failed) > 0 {
		t.Errorf("failures were reported at the end: %v", h.failed)
	}
	if got := len(s.history("bind ")); got != len(h.bound) || got == 40 {
		t.Errorf("%d were bound, %d heard of", got, len(h.bound))
	}
	if s.count("configmaps") != 1 {
		t.Error("the record of the half-bound gang must stay")
	}
}

func TestEndingDoesNotWaitLongerThanTheGrace(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(4)
	release := make(chan struct{})
	s.setFault(func(c *call) fault {
		if c.is(http.MethodPost, "pods", "binding") {
			return fault{delay: 3 * time.Second}
		}
		return fault{}
	})
	defer close(release)
	a, stop := running(t, s, Options{Grace: 20 * time.Millisecond}, h)
	a.Do(Work{Units: []Unit{gang("a", "n1", pods[0]), gang("b", "n1", pods[1])}})
	eventually(t, "on its way", func() bool { s.mu.Lock(); defer s.mu.Unlock(); return s.seen["POST pods/binding"] == 2 })
	began := time.Now()
	stop()
	if took := time.Since(began); took > 2*time.Second {
		t.Errorf("ending took %v", took)
	}
	if h.settled() != 0 {
		t.Errorf("heard of binds whose fate is not known: %v %v", h.bound, h.failed)
	}
}

func TestDoDoesNotBlockWithoutRun(t *testing.T) {
	s, h := newServer(t), newHeard()
	a := New(s.client(), Options{}, h)
	var w Work
	for i := range 5000 {
		p := Pod{UID: "u"}
		p.Name = fmt.Sprint(i)
		w.Units = append(w.Units, gang("j", "n", p))
		w.Waiting = append(w.Waiting, Waiting{Pod: p, Code: "QueueMax"})
	}
	a.Do(w)
	if got := a.Stats().QueuedBinds; got != 5000 {
		t.Errorf("%d queued", got)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	a.Run(ctx)
}

func BenchmarkDo(b *testing.B) {
	a := New(clientOf(b, "http://127.0.0.1:1"), Options{}, newHeard())
	units := make([]Unit, 5000)
	for i := range units {
		p := Pod{}
		p.Name, p.UID = fmt.Sprint(i), "u"
		units[i] = gang("j", "n", p)
	}
	b.ReportAllocs()
	for b.Loop() {
		a.Do(Work{Units: units})
		a.units.items = nil
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/5000, "ns/bind")
}

func TestABindThatIsNotAdmittedIsNotSent(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(2)
	a, stop := running(t, s, Options{Admit: func(b Bind) error {
		if b.Pod == pods[0] {
			return errors.New("somebody else came first")
		}
		return nil
	}}, h)
	defer stop()
	a.Do(Work{Units: []Unit{gang("j", "n1", pods[0]), gang("k", "n1", pods[1])}})
	eventually(t, "both heard", func() bool { return h.settled() == 2 })
	stop()
	if err := h.failed[pods[0].UID]; err == nil || s.binds[string(pods[0].UID)] > 0 {
		t.Errorf("heard %v, sent %d times", err, s.binds[string(pods[0].UID)])
	}
	if s.binds[string(pods[1].UID)] != 1 {
		t.Error("the other one was not bound")
	}
}
