package simulate

import (
	"context"
	"errors"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"google.golang.org/protobuf/proto"

	"github.com/musterhq/muster/gpuprobe/agent"
	"github.com/musterhq/muster/gpuprobe/push"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/usage"
)

var start = time.Unix(1_000_000, 0)

// played is a node of 2 GPUs with a pod that sleeps after 30 s and wakes up at 100 s, and
// one that is busy.
func played(t *testing.T, faults ...string) *Node {
	t.Helper()
	o := NodeOptions{Name: "n", GPUs: 2, Start: start}
	for _, s := range faults {
		f, err := ParseFault(s)
		if err != nil {
			t.Fatal(err)
		}
		o.Faults = append(o.Faults, f)
	}
	n, err := NewNode(o)
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []Pod{
		{UID: "sleepy", Namespace: "ns", Name: "s", GPUs: []int{0}, Start: start, Pattern: MustPattern("busy for 30s, idle for 70s, busy")},
		{UID: "worker", Namespace: "ns", Name: "w", GPUs: []int{1}, Start: start, Pattern: MustPattern("busy=0.8")},
	} {
		if err := n.Run(p); err != nil {
			t.Fatal(err)
		}
	}
	return n
}

func after(d time.Duration) time.Time { return start.Add(d) }

func useOf(s *agent.State, owner string) *agent.Use {
	i := slices.IndexFunc(s.Uses, func(u agent.Use) bool { return u.Owner == owner })
	return &s.Uses[i]
}

func TestANodeSaysWhatItsPodsDo(t *testing.T) {
	n := played(t)
	s := n.State(after(62 * time.Second))
	if !s.At.Equal(after(60 * time.Second)) {
		t.Fatalf("swept at %v", s.At.Sub(start))
	}
	u := useOf(s, "sleepy")
	if *u.Busy != 0 || !u.LastActive.Equal(after(30*time.Second)) || !u.WatchedSince.Equal(after(35*time.Second)) || u.Launches == nil || !*u.Assigned {
		t.Errorf("%+v", u)
	}
	w := useOf(s, "worker")
	if *w.Busy != 800 || !w.LastActive.Equal(s.At) || !w.WatchedSince.IsZero() || w.Launches != nil {
		t.Errorf("%+v", w)
	}
	if *s.GPUs[1].Busy != 800 || s.GPUs[0].Health != wire.Health_HEALTHY {
		t.Errorf("%+v", s.GPUs)
	}
}

func TestAHangIsBusyAndSilent(t *testing.T) {
	n := played(t)
	if err := n.Run(Pod{UID: "stuck", Namespace: "ns", Name: "x", GPUs: []int{1}, Start: start, Pattern: MustPattern("busy for 20s, hang")}); err != nil {
		t.Fatal(err)
	}
	for at, want := range map[time.Duration]time.Time{22 * time.Second: {}, 62 * time.Second: after(20 * time.Second)} {
		u := useOf(n.State(after(at)), "stuck")
		if *u.Busy != 1000 || !u.NoLaunchSince.Equal(want) {
			t.Errorf("after %v: busy %d, silent since %v", at, *u.Busy, u.NoLaunchSince)
		}
	}
	if u := useOf(n.State(after(62*time.Second)), "worker"); !u.NoLaunchSince.IsZero() {
		t.Errorf("one that works is silent since %v", u.NoLaunchSince)
	}
}

func TestAWakeUpIsAnEdgeAndSeenBetweenSweeps(t *testing.T) {
	n := played(t)
	at, ok := n.NextEdge(after(40 * time.Second))
	if !ok || !at.Equal(after(100*time.Second)) {
		t.Fatalf("edge at %v %v", at.Sub(start), ok)
	}
	if _, ok := n.NextEdge(at); ok {
		t.Error("there is another")
	}
	n.o.Start = start.Add(-2 * time.Second) // sweeps at 98 s, 103 s, …
	u := useOf(n.State(after(99*time.Second)), "sleepy")
	if !u.LastActive.Equal(after(30 * time.Second)) {
		t.Errorf("active at %v before it woke up", u.LastActive.Sub(start))
	}
	u = useOf(n.State(after(101*time.Second)), "sleepy")
	if !u.LastActive.Equal(after(100*time.Second)) || !u.At.Equal(after(98*time.Second)) {
		t.Errorf("active at %v, measured at %v", u.LastActive.Sub(start), u.At.Sub(start))
	}
}

func TestFaultsDegradeOneThing(t *testing.T) {
	for fault, check := range map[string]func(s *agent.State) bool{
		"hang gpu 1 at 30s": func(s *agent.State) bool {
			return s.GPUs[1].Health == wire.Health_UNRESPONSIVE && s.GPUs[1].At.Equal(after(30*time.Second)) &&
				s.GPUs[0].Health == wire.Health_HEALTHY && s.GPUs[0].At.Equal(s.At)
		},
		"gpu-lost gpu 0 at 30s": func(s *agent.State) bool {
			u := useOf(s, "sleepy")
			return s.GPUs[0].Health == wire.Health_FAILED && s.GPUs[0].Busy == nil && u.Busy == nil && u.LastActive.IsZero()
		},
		"xid=79 gpu 0 at 30s": func(s *agent.State) bool {
			return s.GPUs[0].HealthReason == "Xid79" && s.GPUs[0].Health == wire.Health_FAILED && *s.GPUs[0].LastXID == 79
		},
		"xid=31 at 30s":           func(s *agent.State) bool { return s.GPUs[0].Health == wire.Health_HEALTHY && *s.GPUs[0].LastXID == 31 },
		"xid=79 at 10s for 5s":    func(s *agent.State) bool { return s.GPUs[0].Health == wire.Health_HEALTHY },
		"driver-gone at 30s":      func(s *agent.State) bool { return !s.Sources[0].Up && len(s.GPUs) == 2 && s.GPUs[0].Health == 0 },
		"podresources-gone at 1s": func(s *agent.State) bool { return !s.Sources[2].Up && useOf(s, "worker").Assigned == nil },
		"ebpf-gone at 1s": func(s *agent.State) bool {
			u := useOf(s, "sleepy")
			return !s.Sources[1].Up && u.WatchedSince.IsZero() && u.Launches == nil && u.Busy != nil
		},
	} {
		if s := played(t, fault).State(after(62 * time.Second)); !check(s) {
			t.Errorf("%s: %+v", fault, s)
		}
	}
}

func TestFaultsThatCantBeReadSayWhy(t *testing.T) {
	for _, s := range []string{"", "hang", "hang at", "hang at x", "flood at 1s", "xid at 1s", "hang=1 at 1s", "xid=x at 1s", "hang gpu -1 at 1s", "hang on 1s"} {
		_, err := ParseFault(s)
		var wrong *PatternError
		if !errors.As(err, &wrong) {
			t.Errorf("%q: %v", s, err)
		}
	}
}

func FuzzFault(f *testing.F) {
	f.Add("hang gpu 3 at 30s for 1m")
	f.Add("lie=other at 5s")
	f.Fuzz(func(t *testing.T, s string) {
		_, err := ParseFault(s)
		var wrong *PatternError
		if err != nil && !errors.As(err, &wrong) {
			t.Fatal(err)
		}
	})
}

func TestNodesAndPodsThatCantBe(t *testing.T) {
	if _, err := NewNode(NodeOptions{}); err == nil {
		t.Error("a node without a name")
	}
	n := played(t)
	for _, p := range []Pod{{UID: "x", GPUs: []int{2}, Pattern: MustPattern("busy")}, {GPUs: []int{0}, Pattern: MustPattern("busy")}, {UID: "x"}} {
		if n.Run(p) == nil {
			t.Errorf("pod %+v runs", p)
		}
	}
	n.Stop("worker")
	if free := n.FreeGPUs(); !slices.Equal(free, []int{1}) {
		t.Errorf("free are %v", free)
	}
}

// What nodes say is taken, what is forged is refused.
func TestTheSchedulerTakesWhatNodesSayUnlessItIsForged(t *testing.T) {
	for fault, code := range map[string]string{
		"hang gpu 1 at 10s": "", "driver-gone at 10s": "", "gpu-lost at 10s": "", "ebpf-gone at 1s": "",
		"lie=other at 1s": "other-node", "garbage at 1s": "*",
	} {
		n := played(t, fault)
		c := clock.NewVirtual(start.UnixNano())
		table := usage.NewTable(nil, usage.TableOptions{Clock: c})
		for i := range 30 {
			now := after(time.Duration(i+2) * 4100 * time.Millisecond)
			c.Advance(now.UnixNano())
			s, _ := table.Open("n")
			r := Live{n}.Report(now)
			r.Seq = 1
			_, err := s.Apply(r)
			var refused *usage.Refusal
			if errors.As(err, &refused) != (code != "") || refused != nil && code != "*" && refused.Code != code {
				t.Fatalf("%s: %v", fault, err)
			}
		}
	}
}

// heard is a sink that counts.
type heard struct {
	mu   sync.Mutex
	pods map[string]usage.PodUse
}

func (h *heard) Used(_ string, uses []usage.PodUse) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, u := range uses {
		h.pods[u.UID] = u
	}
}

func (h *heard) Health(string, []usage.GPUHealth) {}

func (h *heard) of(uid string) usage.PodUse {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.pods[uid]
}

// eventually polls until something holds.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for deadline := time.Now().Add(30 * time.Second); !ok(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it never came to " + what)
		}
	}
}

// serve runs a leading server on loopback until the test ends.
func serve(t *testing.T, sink usage.Sink) (s *usage.Server, address string) {
	t.Helper()
	s, err := usage.NewServer(usage.Options{Sink: sink, Identify: usage.NamedByToken})
	if err != nil {
		t.Fatal(err)
	}
	s.SetLeading(true)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.Serve(ctx, l) }()
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	return s, l.Addr().String()
}

func TestAFleetReportsEdgesAtOnceAndPodsThatCome(t *testing.T) {
	sink := &heard{pods: map[string]usage.PodUse{}}
	server, address := serve(t, sink)
	began := time.Now()
	var nodes []*Node
	for _, name := range []string{"a", "b", "c"} {
		n, err := NewNode(NodeOptions{Name: name, GPUs: 1, Start: began.Add(-time.Hour)})
		if err != nil {
			t.Fatal(err)
		}
		nodes = append(nodes, n)
	}
	f, err := NewFleet(nodes, FleetOptions{Push: func(n *Node) push.Options {
		return push.Options{
			Addresses: []string{address}, Token: func() (string, error) { return n.Name(), nil }, Jitter: -1, Interval: time.Hour,
		}
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- f.Run(ctx) }()
	defer func() {
		cancel()
		if err := <-ended; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}()
	eventually(t, "three streams", func() bool { return server.Stats().Full >= 3 })
	// it wakes up soon, having slept for an hour; nothing but an edge tells of it
	wake := time.Now().Add(time.Hour + 200*time.Millisecond)
	pod := Pod{UID: "p", GPUs: []int{0}, Start: wake.Add(-2 * time.Hour), Pattern: MustPattern("idle for 1h, busy")}
	if err := nodes[1].Run(pod); err != nil {
		t.Fatal(err)
	}
	eventually(t, "p being busy", func() bool { u := sink.of("p"); return u.Known && u.Idle == 0 })
	if s := f.Status(); s.Connected != 3 || s.Edges != 1 {
		t.Errorf("%+v", s)
	}
	if r := (Live{nodes[1]}).Report(time.Now()); proto.Size(r) == 0 {
		t.Error("nothing to say")
	}
}
