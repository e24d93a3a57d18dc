package act

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	"k8s.io/apimachinery/pkg/api/validation"

	"github.com/musterhq/muster/runtime/clock"
)

func condition(p *corev1.Pod, kind corev1.PodConditionType) corev1.PodCondition {
	for _, c := range p.Status.Conditions {
		if c.Type == kind {
			return c
		}
	}
	return corev1.PodCondition{}
}

// Autoscalers act on reason Unschedulable without a nominated node, and on nothing else.
func TestOnlyMissingCapacityIsUnschedulable(t *testing.T) {
	for name, test := range map[string]struct {
		w             Waiting
		wantReason    string
		wantNominated string
	}{
		"capacity":                             {Waiting{Capacity: true, Code: "no-fit"}, "Unschedulable", ""},
		"capacity with a nomination":           {Waiting{Capacity: true, Nominated: "n1"}, "Unschedulable", ""},
		"quota":                                {Waiting{Code: "QueueMax"}, "QueueMax", ""},
		"a code in kebab case":                 {Waiting{Code: "queue-max"}, "QueueMax", ""},
		"waiting for victims":                  {Waiting{Code: "Reserved", Nominated: "n1"}, "Reserved", "n1"},
		"a code that autoscalers would act on": {Waiting{Code: "unschedulable"}, "Waiting", ""},
		"a code of the API server":             {Waiting{Code: "SchedulingGated"}, "Waiting", ""},
		"no code":                              {Waiting{}, "Waiting", ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newServer(t)
			test.w.Pod, test.w.Text = s.pods(1)[0], "why"
			pod := s.pod(test.w.Pod)
			pod.Status.NominatedNodeName = "old"
			s.add(pod)
			a, stop := running(t, s, Options{}, newHeard())
			defer stop()
			a.Do(Work{Waiting: []Waiting{test.w}})
			eventually(t, "told", func() bool { return a.Stats().Told == 1 })
			got := s.pod(test.w.Pod)
			c := condition(got, corev1.PodScheduled)
			if c.Reason != test.wantReason || c.Status != corev1.ConditionFalse || c.Message != "why" || c.LastTransitionTime.IsZero() || got.Status.NominatedNodeName != test.wantNominated {
				t.Errorf("%+v, nominated %q", c, got.Status.NominatedNodeName)
			}
		})
	}
}

func TestWhatDoesNotChangeIsToldOnce(t *testing.T) {
	s := newServer(t)
	p := s.pods(1)[0]
	a, stop := running(t, s, Options{WaitingQPS: -1}, newHeard())
	defer stop()
	w := Waiting{Pod: p, Code: "QueueMax", Text: "4 of 4"}
	for range 3 {
		a.Do(Work{Waiting: []Waiting{w}})
		eventually(t, "told", func() bool { return a.Stats().Told == 1 && a.Stats().QueuedWaiting == 0 })
	}
	since := condition(s.pod(p), corev1.PodScheduled).LastTransitionTime
	w.Code = "Order"
	a.Do(Work{Waiting: []Waiting{w}})
	eventually(t, "told anew", func() bool { return a.Stats().Told == 2 })
	if c := condition(s.pod(p), corev1.PodScheduled); !c.LastTransitionTime.Equal(&since) || c.Reason != "Order" {
		t.Errorf("%+v: the pod was not scheduled since %v", c, since)
	}
	a.Forget(p)
	a.Do(Work{Waiting: []Waiting{w}})
	eventually(t, "told after it was forgotten", func() bool { return a.Stats().Told == 3 })
}

func TestARestartTellsOnlyWhatIsNew(t *testing.T) {
	s := newServer(t)
	p := s.pods(1)[0]
	pod := s.pod(p)
	pod.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionFalse, Reason: "QueueMax", Message: "4 of 4"}}
	s.add(pod)
	a, stop := running(t, s, Options{}, newHeard())
	defer stop()
	a.Seen(pod)
	a.Do(Work{Waiting: []Waiting{{Pod: p, Code: "QueueMax", Text: "4 of 4"}}})
	if got := a.Stats().QueuedWaiting; got != 0 {
		t.Errorf("%d are to be told what they know", got)
	}
	a.Do(Work{Waiting: []Waiting{{Pod: p, Code: "QueueMax", Text: "3 of 4"}}})
	eventually(t, "told", func() bool { return a.Stats().Told == 1 })
}

// 5,000 pods, whose words change each second for a minute.
func TestChangingWordsDoNotFloodTheAPIServer(t *testing.T) {
	s := newServer(t)
	c := clock.NewVirtual(int64(time.Hour))
	const n = 300
	pods := s.pods(n)
	a, stop := running(t, s, Options{WaitingQPS: -1, Clock: c, NoEvents: true, Retell: 30 * time.Second}, newHeard())
	defer stop()
	for second := range 60 {
		var w Work
		for _, p := range pods {
			w.Waiting = append(w.Waiting, Waiting{Pod: p, Code: "QueueMax", Text: fmt.Sprintf("%d jobs are ahead", 100-second)})
		}
		a.Do(w)
		want := uint64(n * (1 + second/30))
		eventually(t, "told what is due", func() bool { return a.Stats().Told >= want })
		c.Advance(c.Now() + int64(time.Second))
	}
	c.Advance(c.Now() + int64(30*time.Second))
	eventually(t, "told the newest", func() bool {
		return strings.HasPrefix(condition(s.pod(pods[n-1]), corev1.PodScheduled).Message, "41 ") && a.Stats().QueuedWaiting == 0
	})
	if got := a.Stats().Told; got > 4*n {
		t.Errorf("%d patches for %d pods in 90 s", got, n)
	}
}

// A pod that is being bound is not told that it waits: not before, and above all not after.
func TestABoundPodIsNeverToldThatItWaits(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(60)
	s.setFault(func(c *call) fault {
		if c.is(http.MethodPatch, "pods", "status") {
			return fault{delay: 3 * time.Millisecond}
		}
		return fault{}
	})
	a, stop := running(t, s, Options{WaitingQPS: -1, NoEvents: true}, h)
	defer stop()
	for i, p := range pods {
		a.Do(Work{Waiting: []Waiting{{Pod: p, Capacity: true, Text: "no node"}}})
		if i%3 == 0 {
			time.Sleep(time.Millisecond)
		}
		a.Do(Work{Units: []Unit{gang("j", "n1", p)}})
		a.Do(Work{Waiting: []Waiting{{Pod: p, Capacity: true, Text: "late"}}})
	}
	eventually(t, "all bound", func() bool { return h.boundCount() == len(pods) && a.Stats().QueuedWaiting == 0 })
	stop()
	for _, p := range pods {
		if c := condition(s.pod(p), corev1.PodScheduled); c.Status != corev1.ConditionTrue {
			t.Errorf("%s is bound, and its condition says %+v", p.Name, c)
		}
	}
}

func TestWhatWaitsIsToldWhenTheServerIsBack(t *testing.T) {
	s := newServer(t)
	p := s.pods(1)[0]
	n := 0
	s.setFault(func(c *call) fault {
		if n++; c.is(http.MethodPatch, "pods", "status") && n < 4 {
			return fault{status: 500}
		}
		return fault{}
	})
	a, stop := running(t, s, Options{Clock: hasty{}}, newHeard())
	defer stop()
	a.Do(Work{Waiting: []Waiting{{Pod: p, Code: "X", Text: "why"}}})
	eventually(t, "told", func() bool { return a.Stats().Told == 1 })
}

func eventsOf(s *server) []eventsv1.Event {
	var out []eventsv1.Event
	s.mu.Lock()
	var paths []string
	for path := range s.objects {
		if strings.HasPrefix(path, "events/") {
			paths = append(paths, path)
		}
	}
	s.mu.Unlock()
	slices.Sort(paths)
	for _, path := range paths {
		var e eventsv1.Event
		s.read(path, &e)
		out = append(out, e)
	}
	return out
}

func TestAPodIsToldThatItWasScheduledInTheWordsOfKubeScheduler(t *testing.T) {
	s, h := newServer(t), newHeard()
	p := s.pods(1)[0]
	a, stop := running(t, s, Options{Identity: "replica-1"}, h)
	defer stop()
	u := gang("j", "n1", p)
	u.Binds[0].Because = "best fit"
	a.Do(Work{Units: []Unit{u}})
	eventually(t, "told", func() bool { return a.Stats().EventsSent == 1 })
	e := eventsOf(s)[0]
	if e.Note != "Successfully assigned team/p0 to n1: best fit" || e.Reason != "Scheduled" || e.Type != "Normal" || e.Action != "Binding" ||
		e.ReportingController != "muster" || e.ReportingInstance != "muster-replica-1" || e.Regarding.UID != p.UID || e.Namespace != "team" || e.EventTime.IsZero() {
		t.Errorf("%+v", e)
	}
}

func TestEventsHaveNamesThatTheAPIServerTakes(t *testing.T) {
	for _, about := range []string{"p", strings.Repeat("x", 253), strings.Repeat("x", 229) + ".y.example", strings.Repeat("ab-c.", 50) + "abc", strings.Repeat("x", 235) + "-z"} {
		s, h := newServer(t), newHeard()
		a, stop := running(t, s, Options{}, h)
		a.Do(Work{Events: []Event{{About: corev1.ObjectReference{Kind: "Pod", Namespace: "team", Name: about, UID: "u"}, Type: "Normal", Reason: "R", Text: "t"}}})
		eventually(t, "told", func() bool { return a.Stats().EventsSent == 1 })
		stop()
		for _, e := range eventsOf(s) {
			if bad := validation.NameIsDNSSubdomain(e.Name, false); len(bad) > 0 || !strings.HasPrefix(e.Name, about[:1]) {
				t.Errorf("%q: %q", e.Name, bad)
			}
		}
	}
}

func TestEventsOfOneTextAreASeries(t *testing.T) {
	s := newServer(t)
	c := clock.NewVirtual(int64(time.Hour))
	a, stop := running(t, s, Options{Clock: c, EventQPS: -1}, newHeard())
	defer stop()
	about := corev1.ObjectReference{Kind: "Queue", Name: "q", UID: "q"}
	tell := func(text string) {
		a.Do(Work{Events: []Event{{About: about, Type: "Warning", Reason: "OverMax", Text: text}}})
	}
	for range 5 {
		tell("same")
	}
	eventually(t, "written once", func() bool { return a.Stats().EventsSent == 1 && a.Stats().QueuedEvents == 0 })
	c.Advance(c.Now() + int64(6*time.Minute))
	tell("same")
	eventually(t, "counted", func() bool { return a.Stats().EventsSent == 2 })
	got := eventsOf(s)
	if len(got) != 1 || got[0].Series == nil || got[0].Series.Count != 6 || got[0].Namespace != "default" {
		t.Errorf("%+v", got)
	}
	for i := range 100 {
		tell(fmt.Sprint("another ", i))
	}
	eventually(t, "the rest is dropped", func() bool { st := a.Stats(); return st.QueuedEvents == 0 && st.EventsDropped > 80 })
	if n := len(eventsOf(s)); n > 12 {
		t.Errorf("one object got %d events of one reason", n)
	}
}

func TestTooManyEventsAreDroppedAndCounted(t *testing.T) {
	s := newServer(t)
	a := New(s.client(), Options{EventQueue: 10}, newHeard())
	for i := range 30 {
		a.Do(Work{Events: []Event{{About: corev1.ObjectReference{Kind: "Pod", Name: fmt.Sprint(i)}, Reason: "X", Text: "x"}}})
	}
	if st := a.Stats(); st.QueuedEvents != 10 || st.EventsDropped != 20 {
		t.Errorf("%d queued, %d dropped", st.QueuedEvents, st.EventsDropped)
	}
}

func TestLongTextsAreCutAtACharacter(t *testing.T) {
	for _, text := range []string{strings.Repeat("ä", 600), "x" + strings.Repeat("ä", 600), strings.Repeat("x", 2000)} {
		got := cut(text, 1024)
		if len(got) > 1024 || len(got) < 1018 || !strings.HasSuffix(got, "…") || strings.Contains(got, "\uFFFD") || !strings.HasPrefix(text, strings.TrimSuffix(got, "…")) {
			t.Errorf("%d bytes: %q", len(got), got[1000:])
		}
	}
}
