package act

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

func evictsOf(job string, pods ...Pod) []Evict {
	var out []Evict
	for _, p := range pods {
		out = append(out, Evict{Pod: p, Job: job, Reason: "Reclaimed", Text: "queue b takes its guarantee back"})
	}
	return out
}

func TestAnEvictionIsAnnouncedByConditionAndTellsBothSides(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(7)
	a, stop := running(t, s, Options{EventQPS: -1}, h)
	defer stop()
	list := evictsOf("job/a", pods...)
	for i := range list {
		list[i].For = &corev1.ObjectReference{Kind: "Pod", Namespace: "team", Name: "taker", UID: "taker"}
	}
	a.Do(Work{Evicts: list})
	eventually(t, "all told", func() bool { return a.Stats().EventsSent == 8 })
	if log := s.history("patch pods/team/p0/status"); len(log) != 1 || !slices.Contains(s.history("evict"), "evict team/p0") {
		t.Errorf("history: %v", s.history(""))
	}
	for _, e := range eventsOf(s) {
		switch e.Reason {
		case "Preempted":
			if e.Note != "Reclaimed: queue b takes its guarantee back" || e.Related.Name != "taker" {
				t.Errorf("%+v", e)
			}
		case "Preempts":
			if e.Regarding.Name != "taker" || e.Note != "Evicted 7 pods of job/a (Reclaimed): team/p0, team/p1, team/p2, team/p3, team/p4 and 2 more" {
				t.Errorf("%+v", e)
			}
		}
	}
	if st := a.Stats(); st.Evicted != 7 || st.QueuedEvicts != 0 {
		t.Errorf("%+v", st)
	}
}

// The head of a Ray cluster goes last: the one named last, and whoever is marked.
func TestLeadersGoLast(t *testing.T) {
	s := newServer(t)
	pods := s.pods(12)
	s.setFault(func(c *call) fault { return fault{delay: time.Millisecond} })
	a, stop := running(t, s, Options{NoEvents: true}, newHeard())
	defer stop()
	list := evictsOf("job/a", pods...)
	list[0].Leader = true
	a.Do(Work{Evicts: list})
	eventually(t, "evicted", func() bool { return a.Stats().Evicted == 12 })
	got := s.history("evict")
	if want := []string{"evict team/p0", "evict team/p11"}; !slices.Equal(got[10:], want) {
		t.Errorf("the last two: %v", got[10:])
	}
}

func TestABudgetIsRespectedWherePossible(t *testing.T) {
	for _, respect := range []bool{false, true} {
		t.Run(fmt.Sprintf("respect to the end %v", respect), func(t *testing.T) {
			s, h := newServer(t), newHeard()
			pods := s.pods(3)
			s.budget["p1"] = true
			a, stop := running(t, s, Options{Clock: hasty{}, EventQPS: -1, RespectBudgets: respect}, h)
			defer stop()
			a.Do(Work{Evicts: evictsOf("j", pods...)})
			eventually(t, "settled", func() bool { return a.Stats().QueuedEvicts == 0 })
			st := a.Stats()
			if st.BudgetRefusals < 3 {
				t.Errorf("the budget was asked %d times", st.BudgetRefusals)
			}
			if deleted := slices.Contains(s.history("delete"), "delete pods/team/p1"); deleted == respect {
				t.Errorf("deleted %v: %v", deleted, s.history(""))
			}
			if err := h.evicts[pods[1].UID]; (err != nil) != respect {
				t.Errorf("EvictFailed: %v", err)
			}
			if last := s.history(""); !respect && last[len(last)-1] == "delete pods/team/p1" {
				t.Error("the leader did not wait")
			}
		})
	}
}

func TestABudgetThatLetsGoInTime(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(1)
	s.budget["p0"] = true
	a, stop := running(t, s, Options{Clock: hasty{}, NoEvents: true, EvictionPatience: time.Hour}, h)
	defer stop()
	a.Do(Work{Evicts: evictsOf("j", pods...)})
	eventually(t, "refused", func() bool { return a.Stats().BudgetRefusals > 1 })
	s.mu.Lock()
	delete(s.budget, "p0")
	s.mu.Unlock()
	eventually(t, "evicted", func() bool { return a.Stats().Evicted == 1 })
	if len(s.history("evict")) != 1 || a.Stats().BudgetOverrides != 0 {
		t.Errorf("history %v", s.history(""))
	}
}

func TestEvictionsMeetEverything(t *testing.T) {
	once := func(f fault) func(*call) fault {
		n := 0
		return func(c *call) fault {
			if c.sub == "eviction" {
				if n++; n == 1 {
					return f
				}
			}
			return fault{}
		}
	}
	for name, test := range map[string]struct {
		before  func(*server, Pod)
		fault   func(*call) fault
		wantErr string
		wantPod bool // is still there
	}{
		"gone already":         {before: func(s *server, p Pod) { s.mu.Lock(); clear(s.objects); s.mu.Unlock() }},
		"another pod":          {before: func(s *server, p Pod) { q := s.pod(p); q.UID = "other"; s.add(q) }, wantPod: true},
		"a lost answer":        {fault: once(fault{lose: true})},
		"a lost request":       {fault: once(fault{drop: true})},
		"too many requests":    {fault: once(fault{status: 429})},
		"an internal error":    {fault: once(fault{status: 500})},
		"two budgets":          {fault: once(fault{status: 500, message: "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support."})},
		"forbidden":            {fault: func(c *call) fault { return fault{status: 403 * b2i(c.sub == "eviction"), message: "no"} }, wantErr: "no", wantPod: true},
		"no status may be set": {fault: func(c *call) fault { return fault{status: 403 * b2i(c.sub == "status"), message: "no"} }},
	} {
		t.Run(name, func(t *testing.T) {
			s, h := newServer(t), newHeard()
			p := s.pods(1)[0]
			if test.before != nil {
				test.before(s, p)
			}
			s.setFault(test.fault)
			a, stop := running(t, s, Options{Clock: hasty{}, NoEvents: true}, h)
			defer stop()
			a.Do(Work{Evicts: evictsOf("j", p)})
			eventually(t, "settled", func() bool { return a.Stats().QueuedEvicts == 0 })
			err := h.evicts[p.UID]
			if (err != nil) != (test.wantErr != "") || err != nil && !strings.Contains(err.Error(), test.wantErr) {
				t.Errorf("err %v, want %q", err, test.wantErr)
			}
			if there := s.count("pods") == 1; there != test.wantPod {
				t.Errorf("the pod is there: %v", there)
			}
		})
	}
}

func TestANoticeTellsTheDeadlineAndCanBeWithdrawn(t *testing.T) {
	s := newServer(t)
	p := s.pods(1)[0]
	a, stop := running(t, s, Options{EventQPS: -1}, newHeard())
	defer stop()
	deadline := time.Date(2026, 11, 22, 4, 0, 0, 0, time.UTC)
	a.Do(Work{Notices: []Notice{{Pod: p, Job: "j", Deadline: deadline, Reason: "Reclaimed", Text: "save your work"}}})
	eventually(t, "noticed", func() bool { return a.Stats().Noticed == 1 && a.Stats().EventsSent == 1 })
	pod := s.pod(p)
	c := condition(pod, corev1.DisruptionTarget)
	if pod.Annotations[EvictAtAnnotation] != "2026-11-22T04:00:00Z" || pod.Annotations[EvictReasonAnnotation] != "Reclaimed" ||
		c.Status != corev1.ConditionTrue || c.Reason != "PreemptionByScheduler" || c.Message != "save your work" {
		t.Errorf("%v %+v", pod.Annotations, c)
	}
	a.Withdraw(p)
	eventually(t, "withdrawn", func() bool { return a.Stats().Withdrawn == 1 && a.Stats().EventsSent == 2 })
	pod = s.pod(p)
	if len(pod.Annotations) > 0 || len(pod.Status.Conditions) > 0 {
		t.Errorf("%v %+v", pod.Annotations, pod.Status.Conditions)
	}
	var reasons []string
	for _, e := range eventsOf(s) {
		reasons = append(reasons, e.Reason)
	}
	slices.Sort(reasons)
	if !slices.Equal(reasons, []string{"EvictionWithdrawn", "PreemptionNotice"}) {
		t.Errorf("%v", reasons)
	}
}

// Notices wait for their turn, and longer while the API server is away: their time may be
// over by then.
func TestWhoIsEvictedWasToldBeforeHoweverLateThatWas(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(20)
	told := map[string]bool{}
	var untold []string
	s.setFault(func(c *call) fault { // s.mu is held
		switch {
		case c.is(http.MethodPatch, "pods", "") && strings.Contains(string(c.body), EvictAtAnnotation):
			told[c.name] = true
		case c.sub == "eviction" && !told[c.name]:
			untold = append(untold, c.name)
		}
		return fault{}
	})
	a := New(s.client(), Options{EvictWorkers: 2, NoEvents: true}, h)
	for _, p := range pods {
		a.Do(Work{Notices: []Notice{{Pod: p, Job: "j", Deadline: time.Unix(0, a.clock.Now()), Reason: "Reclaimed"}}})
	}
	slices.Reverse(pods) // those first that are told last
	a.Do(Work{Evicts: evictsOf("j", pods...)})
	ctx, cancel := context.WithCancel(t.Context())
	over := make(chan struct{})
	go func() { defer close(over); a.Run(ctx) }()
	eventually(t, "all evicted", func() bool { return a.Stats().QueuedEvicts == 0 })
	cancel()
	<-over
	if len(untold) > 0 {
		t.Errorf("evicted without a word: %v", untold)
	}
	if n := a.Stats().Evicted; n != 20 {
		t.Errorf("%d were evicted", n)
	}
}

func TestNoticesOutliveTroubleAndTheNewestCounts(t *testing.T) {
	s := newServer(t)
	p := s.pods(1)[0]
	n := 0
	s.setFault(func(c *call) fault {
		if n++; c.verb == http.MethodPatch && n < 6 {
			return []fault{{status: 500}, {lose: true}, {status: 429}}[n%3]
		}
		return fault{}
	})
	a, stop := running(t, s, Options{Clock: hasty{}, NoEvents: true}, newHeard())
	defer stop()
	a.Do(Work{Notices: []Notice{{Pod: p, Reason: "First"}}})
	a.Do(Work{Notices: []Notice{{Pod: p, Reason: "Second"}}})
	eventually(t, "the newest is told", func() bool {
		return s.pod(p).Annotations[EvictReasonAnnotation] == "Second" && a.Stats().QueuedMarks == 0 && condition(s.pod(p), corev1.DisruptionTarget).Status == "True"
	})
	a.Do(Work{Notices: []Notice{{Pod: Pod{NamespacedName: p.NamespacedName, UID: types.UID("older")}, Reason: "Wrong"}}})
	eventually(t, "a pod of that name", func() bool { return len(s.history("patch")) >= 2 && a.Stats().QueuedMarks == 0 })
	if got := s.pod(p).Annotations[EvictReasonAnnotation]; got != "Second" {
		t.Errorf("another pod got the notice: %s", got)
	}
}

// A GPU that failed preempts nobody: pod and condition say what it was.
func TestAPodWhosePlaceIsBrokenIsToldSo(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(2)
	kept := pods[1]
	s.setFault(func(c *call) fault {
		if c.is(http.MethodPost, "pods", "eviction") && c.name == kept.Name {
			return fault{status: http.StatusForbidden}
		}
		return fault{}
	})
	a, stop := running(t, s, Options{Clock: hasty{}, EventQPS: -1}, h)
	defer stop()
	const text = "GPU 3 of node n1 failed: Xid79"
	for _, p := range pods {
		a.Do(Work{Evicts: []Evict{{Pod: p, Job: string(p.UID), Reason: "GPUFailed", Text: text, Broken: true}}})
	}
	eventually(t, "settled", func() bool { st := a.Stats(); return st.QueuedEvicts == 0 && st.EventsSent == 1 })
	if c := condition(s.pod(kept), corev1.DisruptionTarget); c.Status != corev1.ConditionTrue || c.Reason != "GPUFailed" || c.Message != text {
		t.Errorf("%+v", c)
	}
	if h.evicts[kept.UID] == nil {
		t.Error("nobody heard that it stays")
	}
	if e := eventsOf(s)[0]; e.Reason != "GPUFailed" || e.Type != corev1.EventTypeWarning || e.Note != text || e.Related != nil || e.Regarding.Name != pods[0].Name {
		t.Errorf("%+v", e)
	}
}
