package act

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
)

func TestAGangIsRecordedBeforeItsFirstBindAndNotAfterItsLast(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(5)
	a, stop := running(t, s, Options{Namespace: "muster", NoEvents: true}, h)
	defer stop()
	a.Do(Work{Units: []Unit{gang("j", "n1", pods[:4]...), gang("alone", "n1", pods[4])}})
	eventually(t, "done", func() bool { return h.boundCount() == 5 && len(s.history("delete")) == 1 })
	var own []string
	for _, l := range s.history("") {
		if !strings.Contains(l, "p4") { // the single pod needs no record
			own = append(own, l)
		}
	}
	if len(own) != 6 || !strings.HasPrefix(own[0], "create configmaps/muster/muster-intent-") || !strings.HasPrefix(own[5], "delete configmaps/muster/muster-intent-") {
		t.Errorf("history: %v", own)
	}
}

func TestManyGangsDoNotWaitForEachOthersRecords(t *testing.T) {
	s, h := newServer(t), newHeard()
	pods := s.pods(80)
	a, stop := running(t, s, Options{NoEvents: true}, h)
	defer stop()
	var w Work
	for i := 0; i < 80; i += 4 {
		w.Units = append(w.Units, gang(fmt.Sprint(i), "n1", pods[i:i+4]...))
	}
	s.setFault(func(c *call) fault { return fault{delay: 2e6} })
	a.Do(w)
	eventually(t, "done", func() bool { return h.boundCount() == 80 && s.count("configmaps") == 0 })
	if s.most < 12 {
		t.Errorf("at most %d requests were in flight: records and binds of gangs serialise", s.most)
	}
}

// The process ends after any number of writes, also of one whose answer is lost: what the
// next leader reads is exactly what is still to be bound, and finishing it binds every
// pod once.
func TestACrashAtAnyWriteOfAGangEndsWhole(t *testing.T) {
	const size = 6
	for _, lost := range []bool{false, true} {
		for k := 0; k <= size+2; k++ {
			t.Run(fmt.Sprintf("after %d writes, answer lost %v", k, lost), func(t *testing.T) {
				s := newServer(t)
				pods := s.pods(size)
				crash(t, s, pods, k, lost)
				finish(t, s, pods, k)
			})
		}
	}
}

// crash lets an actor carry out k writes of the gang, and no more.
func crash(t *testing.T, s *server, pods []Pod, k int, lost bool) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	allowed := k
	s.setFault(func(c *call) fault {
		switch {
		case !c.write():
			return fault{}
		case allowed == 0:
			cancel()
			return fault{drop: true}
		}
		allowed--
		return fault{lose: lost && allowed == 0}
	})
	h := newHeard()
	a := New(s.client(), Options{Grace: 1, NoEvents: true, Workers: 3}, h)
	a.Do(Work{Units: []Unit{gang("j", "n1", pods...)}})
	go func() {
		for ; ctx.Err() == nil; time.Sleep(time.Millisecond) {
			if st := a.Stats(); st.QueuedBinds == 0 && s.count("configmaps") == 0 {
				cancel() // all was done: nothing is left to crash
			}
		}
	}()
	a.Run(ctx)
	quiet := 0 // what was sent may still be on its way to the server: it must meet the crash, too
	eventually(t, "the server is done with what was on its way", func() bool {
		s.mu.Lock()
		defer s.mu.Unlock()
		if quiet++; s.now != 0 {
			quiet = 0
		}
		return quiet > 50
	})
	s.setFault(nil)
	for uid := range h.bound {
		if s.binds[string(uid)] != 1 {
			t.Errorf("%s was heard to be bound, and was %d times", uid, s.binds[string(uid)])
		}
	}
	if len(h.failed) > 0 {
		t.Errorf("failed: %v", h.failed)
	}
}

// finish is the next leader.
func finish(t *testing.T, s *server, pods []Pod, k int) {
	t.Helper()
	h := newHeard()
	a, stop := running(t, s, Options{NoEvents: true}, h)
	defer stop()
	units, err := a.Intents(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	var unbound []string
	for _, p := range pods {
		if s.pod(p).Spec.NodeName == "" {
			unbound = append(unbound, p.Name)
		}
	}
	switch {
	case len(unbound) == len(pods) && k == 0: // not even recorded
		if len(units) != 0 {
			t.Errorf("there was no record, and %v was read", units)
		}
		return
	case len(unbound) == 0:
		if len(units) != 0 || s.count("configmaps") != 0 {
			t.Errorf("all are bound, and %v is left, %d records", units, s.count("configmaps"))
		}
		return
	case len(units) != 1:
		t.Fatalf("%d units were read, %d pods are to be bound", len(units), len(unbound))
	}
	var rest []string
	for _, b := range units[0].Binds {
		rest = append(rest, b.Pod.Name)
	}
	if !slices.Equal(rest, unbound) || len(units[0].Done) != len(pods)-len(unbound) || units[0].Job != "j" {
		t.Errorf("the rest is %v and %v done, want %v", rest, units[0].Done, unbound)
	}
	a.Do(Work{Units: units})
	eventually(t, "whole", func() bool { return h.boundCount() == len(unbound) && s.count("configmaps") == 0 })
	for _, p := range pods {
		if s.binds[string(p.UID)] != 1 {
			t.Errorf("%s was bound %d times", p.Name, s.binds[string(p.UID)])
		}
	}
}

func TestAbandonRemovesTheRecord(t *testing.T) {
	s := newServer(t)
	pods := s.pods(4)
	crash(t, s, pods, 3, false)
	a := New(s.client(), Options{}, newHeard())
	units, err := a.Intents(t.Context())
	if err != nil || len(units) != 1 {
		t.Fatal(units, err)
	}
	a.Abandon(t.Context(), units[0])
	if s.count("configmaps") != 0 {
		t.Error("the record is still there")
	}
}

// A record that stays is read by the leader after this one, who would bind the gang where it
// was meant to be long ago.
func TestAbandonOutlivesTrouble(t *testing.T) {
	s := newServer(t)
	pods := s.pods(4)
	crash(t, s, pods, 3, false)
	a := New(s.client(), Options{}, newHeard())
	units, err := a.Intents(t.Context())
	if err != nil || len(units) != 1 {
		t.Fatal(units, err)
	}
	var tried atomic.Int32
	s.setFault(func(c *call) fault {
		return fault{status: 500 * b2i(c.verb == http.MethodDelete && tried.Add(1) <= 2)}
	})
	a.Abandon(t.Context(), units[0])
	if n := s.count("configmaps"); n != 0 {
		t.Errorf("the record is still there after %d tries", tried.Load())
	}
}

func TestRecordsThatMakeNoSenseAreRemoved(t *testing.T) {
	s := newServer(t)
	record := func(name, data string) *corev1.ConfigMap {
		return &corev1.ConfigMap{
			ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: name, Labels: map[string]string{IntentLabel: "true"}},
			Data:       map[string]string{intentKey: data},
		}
	}
	good := `{"v":1,"unit":"u","part":0,"parts":1,"job":"j","binds":[{"ns":"team","pod":"p0","uid":"u-p0","task":1,"node":"n"}]}`
	s.pods(1)
	s.add(
		record("good", good), record("empty", ""), record("cut", good[:40]), record("list", "[]"), record("null", "null"),
		record("newer", strings.Replace(good, `"v":1`, `"v":9`, 1)),
		record("part", strings.Replace(strings.Replace(good, `"u"`, `"half"`, 1), `"parts":1`, `"parts":2`, 1)),
		record("negative", strings.Replace(good, `"part":0`, `"part":-1`, 1)),
		record("nobody", strings.Replace(good, `"pod":"p0"`, `"pod":""`, 1)),
		&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "someone-elses"}},
	)
	units, err := New(s.client(), Options{}, newHeard()).Intents(t.Context())
	if err != nil || len(units) != 1 || units[0].Records[0] != "good" || units[0].Binds[0].Task != 1 {
		t.Fatalf("%+v, %v", units, err)
	}
	if n := s.count("configmaps"); n != 2 {
		t.Errorf("%d ConfigMaps are left, want the good one and someone else's", n)
	}
}

func TestIntentsSaysWhenItCannotKnow(t *testing.T) {
	s := newServer(t)
	pods := s.pods(4)
	crash(t, s, pods, 3, false)
	s.setFault(func(c *call) fault { return fault{status: 500 * b2i(c.resource == "pods")} })
	units, err := New(s.client(), Options{}, newHeard()).Intents(t.Context())
	if err == nil || units != nil {
		t.Errorf("%v, %v", units, err)
	}
	if s.count("configmaps") != 1 {
		t.Error("the record must stay")
	}
}

func b2i(b bool) int {
	if b {
		return 1
	}
	return 0
}

// A record that is too large for one object is split, and read back as it was.
func TestRecordsSplitAndJoin(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		u := Unit{Job: rapid.String().Draw(t, "job"), Gang: true}
		for i := range rapid.IntRange(1, 60).Draw(t, "pods") {
			b := Bind{Task: int32(i), Node: rapid.StringN(1, 20, -1).Draw(t, "node"), Because: rapid.String().Draw(t, "why")}
			b.Pod.Namespace, b.Pod.Name, b.Pod.UID = "ns", fmt.Sprint("p", i), "u"
			if rapid.Bool().Draw(t, "claims") {
				b.Claims = []string{"ns/c"}
			}
			u.Binds = append(u.Binds, b)
		}
		limit := rapid.IntRange(300, 5000).Draw(t, "limit")
		var parts []*intent
		for i, data := range encodeIntent("u", &u, limit) {
			in, err := decodeIntent(&corev1.ConfigMap{Data: map[string]string{intentKey: data}})
			if err != nil {
				t.Fatal(err)
			}
			if len(data) > limit && len(in.Binds) > 1 {
				t.Fatalf("part %d has %d bytes, %d are allowed", i, len(data), limit)
			}
			parts = append(parts, in)
		}
		slices.Reverse(parts)
		got, whole := join(parts)
		if !whole || marshal(got) != marshal(u) {
			t.Fatalf("%v\n%s\n%s", whole, marshal(got), marshal(u))
		}
	})
}

func FuzzIntent(f *testing.F) {
	f.Add(`{"v":1,"unit":"u","part":0,"parts":1,"binds":[{"ns":"a","pod":"b","uid":"c","node":"d"}]}`)
	f.Fuzz(func(t *testing.T, data string) {
		in, err := decodeIntent(&corev1.ConfigMap{Data: map[string]string{intentKey: data}})
		if err == nil {
			join([]*intent{in})
		}
	})
}

// Whatever the API server does, every pod ends bound once or reported as not bound, never
// both and never twice, and no record stays.
func TestNothingIsLostOrDoubledInChaos(t *testing.T) {
	s := newServer(t)
	client := s.client()
	rapid.Check(t, func(t *rapid.T) {
		s.mu.Lock()
		clear(s.objects)
		clear(s.binds)
		s.log = nil
		s.mu.Unlock()
		pods := s.pods(24)
		var w Work
		for i := 0; i < len(pods); {
			n := min(rapid.IntRange(1, 6).Draw(t, "size"), len(pods)-i)
			w.Units = append(w.Units, gang(fmt.Sprint("j", i), fmt.Sprint("n", i), pods[i:i+n]...))
			i += n
		}
		chance := rapid.IntRange(0, 60).Draw(t, "chance of a fault, percent")
		script := rapid.SliceOfN(rapid.IntRange(0, 99), 50, 50).Draw(t, "dice")
		doomed := fmt.Sprint("p", rapid.IntRange(0, 40).Draw(t, "doomed"))
		k := 0
		s.setFault(func(c *call) fault {
			if c.is(http.MethodPost, "pods", "binding") && c.name == doomed {
				return fault{status: 403}
			}
			k++
			if die := script[k%len(script)]; die < chance {
				faults := []fault{{status: 429}, {status: 500}, {status: 503}, {status: 504}, {drop: true}, {lose: true}, {delay: 1e6}, {status: 409}}
				switch {
				case !c.write(): // client-go itself waits a second before it reads again
					faults = faults[:4]
				case c.sub != "binding": // nothing else can conflict
					faults = faults[:7]
				}
				return faults[(die+k/len(script))%len(faults)]
			}
			return fault{}
		})
		asked := func() int { s.mu.Lock(); defer s.mu.Unlock(); return k }
		h := newHeard()
		a, stop := runOn(client, Options{Workers: 5, NoEvents: true, Clock: hasty{}, Patience: 10 * time.Minute}, h)
		defer stop()
		a.Do(w)
		for began := time.Now(); h.settled() < len(pods) || s.count("configmaps") > 0; time.Sleep(time.Millisecond) {
			if time.Since(began) > 20*time.Second {
				t.Fatalf("stuck: %+v, records %v", a.Stats(), s.history("create"))
			}
			if asked() > 100*len(pods) {
				s.setFault(nil) // these dice never end
			}
		}
		stop()
		for _, p := range pods {
			node, bound := h.bound[p.UID]
			if is := s.pod(p).Spec.NodeName; is != node || bound == (h.failed[p.UID] != nil) || s.binds[string(p.UID)] > 1 {
				t.Fatalf("%s is on %q (%d binds), heard: bound %q, failed %v", p.Name, is, s.binds[string(p.UID)], node, h.failed[p.UID])
			}
		}
		if len(h.twice) > 0 {
			t.Fatalf("heard twice: %v", h.twice)
		}
	})
}
