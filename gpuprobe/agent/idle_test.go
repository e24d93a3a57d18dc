package agent

import (
	"testing"
	"time"

	"github.com/musterhq/muster/gpuprobe/bpf"
	"github.com/musterhq/muster/gpuprobe/cgroup"
	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/podresources"
	"github.com/musterhq/muster/gpuprobe/wire"
)

const second = time.Second

// idleFor and watchedFor are ages at the State.
func idleFor(t *testing.T, s *State, u Use) time.Duration {
	t.Helper()
	if u.LastActive.IsZero() {
		t.Fatalf("idleness is not known: %+v", u)
	}
	return s.At.Sub(u.LastActive)
}

func watchedFor(s *State, u Use) time.Duration {
	if u.WatchedSince.IsZero() {
		return 0
	}
	return s.At.Sub(u.WatchedSince)
}

func value[T any](t *testing.T, p *T) T {
	t.Helper()
	if p == nil {
		t.Fatal("the value is unknown")
	}
	return *p
}

func TestAnIdleProcessIsWatchedAndItsWakingIsAnEdge(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(42, "pod-a", 1)
	n.put(0, map[uint32]int{42: 0})
	n.run()
	if got := n.bpf.ArmedPIDs(); len(got) != 1 || got[0] != 42 {
		t.Fatalf("armed after a sweep that found it idle: %v", got)
	}
	s := n.sweeps(3)
	u := n.use(s, "pod-a", 0)
	if idleFor(t, s, u) != 15*second || watchedFor(s, u) != 15*second || value(t, u.Launches) != 0 || s.Counts.ArmedPIDs != 1 {
		t.Fatalf("after 15 s: %+v", u)
	}

	n.pass(2 * second)
	n.bpf.Launch(42, 1)
	s = n.await("the edge", func(s *State) bool { return s.Edge })
	if u = n.use(s, "pod-a", 0); idleFor(t, s, u) != 0 || s.Sweep != 4 {
		t.Fatalf("at the edge, before any sweep: sweep %d, %+v", s.Sweep, u)
	}

	// It does nothing again, and wakes again: that is an edge, too.
	s = n.sweeps(3)
	if u = n.use(s, "pod-a", 0); idleFor(t, s, u) != 15*second || value(t, u.Launches) != 1 {
		t.Fatalf("15 s after the launch: %v %+v", s.At.Sub(u.LastActive), u)
	}
	if w := watchedFor(s, u); w < 5*second || w > idleFor(t, s, u) {
		t.Fatalf("it was armed anew for the next edge: watched for %v", w)
	}
	n.bpf.Launch(42, 1)
	n.await("the second edge", func(*State) bool { return n.edges() == 2 })
}

func TestABusyProcessPaysNothing(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(42, "pod-a", 1)
	n.put(0, map[uint32]int{42: 730})
	n.run()
	s := n.sweeps(2)
	u := n.use(s, "pod-a", 0)
	if value(t, u.Busy) != 730 || u.Basis != wire.Basis_PROCESS || value(t, u.Memory) != 1<<30 || u.Processes != 1 {
		t.Fatalf("%+v", u)
	}
	if got := n.bpf.ArmedPIDs(); len(got) != 0 {
		t.Fatalf("a busy process is armed: %v", got)
	}
	if idleFor(t, s, u) != 0 || watchedFor(s, u) != 0 || u.Launches != nil {
		t.Fatalf("it is active, not watched, and nobody counts: %+v", u)
	}
	if n.edges() != 0 {
		t.Fatal("nothing was an edge")
	}
}

func TestAProcessThatIsPlainlyBusyIsDisarmedForAWhile(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(42, "pod-a", 1)
	n.put(0, map[uint32]int{42: 0}) // too little for NVML's samples
	n.run()
	n.sweep()
	n.bpf.Launch(42, 3000)
	n.await("the edge", func(s *State) bool { return s.Edge })
	n.settle()
	s := n.sweep()
	u := n.use(s, "pod-a", 0)
	if got := n.bpf.ArmedPIDs(); len(got) != 0 {
		t.Fatalf("armed again at once: %v", got)
	}
	if idleFor(t, s, u) != 5*second || watchedFor(s, u) != 0 {
		t.Fatalf("its launches are not seen now: %+v", u)
	}
	if n.sweeps(6); len(n.bpf.ArmedPIDs()) != 1 {
		t.Fatal("after 30 s it is tried again")
	}
}

func TestAGapIsNotCovered(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(42, "pod-a", 1)
	n.put(0, map[uint32]int{42: 0})
	n.run()
	s := n.sweeps(2)
	if watchedFor(s, n.use(s, "pod-a", 0)) != 10*second {
		t.Fatal("watched from the first sweep on")
	}
	n.bpf.Gap(42)
	s = n.sweep()
	u := n.use(s, "pod-a", 0)
	if watchedFor(s, u) != 0 || idleFor(t, s, u) != 15*second {
		t.Fatalf("idleness is only sampled now: %+v", u)
	}
}

func TestLaunchesBetweenSamplesAreSeenByTheCounts(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(42, "pod-a", 1)
	n.put(0, map[uint32]int{42: 0})
	n.run()
	n.sweeps(2)
	n.bpf.Launch(42, 1)
	n.await("the edge", func(s *State) bool { return s.Edge })
	n.pass(second)
	n.bpf.Launch(42, 5) // no event: it is awake
	n.pass(-0)
	next := n.last().Sweep + 1
	n.pass(4 * second)
	s := n.await("the sweep", func(s *State) bool { return s.Sweep == next })
	u := n.use(s, "pod-a", 0)
	if idleFor(t, s, u) != 4*second || value(t, u.Launches) != 6 {
		t.Fatalf("%v %+v", s.At.Sub(u.LastActive), u)
	}
}

func TestWithoutEBPFIdlenessIsSampled(t *testing.T) {
	n := newNode(t, 1, func(c *Config) {
		c.Watcher, c.NoWatcher = nil, bpf.Status{Reason: bpf.KernelTooOld, Detail: "5.15"}
	})
	n.who.set(42, "pod-a", 1)
	n.put(0, map[uint32]int{42: 0})
	n.run()
	s := n.sweeps(4)
	u := n.use(s, "pod-a", 0)
	if idleFor(t, s, u) != 20*second || watchedFor(s, u) != 0 || u.Launches != nil {
		t.Fatalf("%+v", u)
	}
	if e := s.Sources[1]; e.Name != SourceEBPF || e.Up || e.Reason != bpf.KernelTooOld {
		t.Fatalf("%+v", e)
	}
}

// A driver that tells nothing by process and has the device busy with two owners: nobody
// can say who of them works.
func TestWhatCanNotBeToldIsUnknown(t *testing.T) {
	n := newNode(t, 1, func(c *Config) { c.Watcher = nil })
	n.who.set(1, "pod-a", 1)
	n.who.set(2, "pod-b", 1)
	n.put(0, map[uint32]int{1: 300, 2: 300})
	n.gpus.GPU(0).Fail(nvml.CallProcessUtilization, nvml.ErrNotSupported)
	n.run()
	s := n.sweeps(2)
	if u := n.use(s, "pod-a", 0); u.Busy != nil || u.Basis != wire.Basis_BASIS_UNKNOWN || !u.LastActive.IsZero() {
		t.Fatalf("%+v", u)
	}
	// The device does nothing at all: then neither does.
	n.gpus.GPU(0).Set(func(s *nvml.FakeState) { s.Utilization = 0 })
	s = n.sweep()
	if u := n.use(s, "pod-b", 0); value(t, u.Busy) != 0 || idleFor(t, s, u) != 0 {
		t.Fatalf("it may have run until now: %+v", u)
	}
	if s = n.sweep(); idleFor(t, s, n.use(s, "pod-b", 0)) != 5*second {
		t.Fatal("it is idle since it can be told")
	}
}

func TestAnExclusiveDeviceIsItsOwners(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(1, "pod-a", 1)
	n.who.set(2, "pod-a", 1)
	n.put(0, map[uint32]int{1: 300, 2: 300})
	n.gpus.GPU(0).Fail(nvml.CallProcessUtilization, nvml.ErrNotSupported)
	n.run()
	s := n.sweep()
	if u := n.use(s, "pod-a", 0); value(t, u.Busy) != 600 || u.Basis != wire.Basis_EXCLUSIVE || u.Processes != 2 || value(t, u.Memory) != 2<<30 {
		t.Fatalf("%+v", u)
	}
}

func TestASharedDeviceIsSplitByLaunches(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(1, "pod-a", 1)
	n.who.set(2, "pod-b", 1)
	n.put(0, map[uint32]int{1: 300, 2: 300})
	n.gpus.GPU(0).Fail(nvml.CallProcessUtilization, nvml.ErrNotSupported)
	n.run() // nothing tells who works: both are armed
	n.sweep()
	n.bpf.Launch(1, 300)
	n.bpf.Launch(2, 100)
	s := n.sweep()
	a, b := n.use(s, "pod-a", 0), n.use(s, "pod-b", 0)
	if value(t, a.Busy) != 450 || value(t, b.Busy) != 150 || a.Basis != wire.Basis_LAUNCH_SHARE {
		t.Fatalf("%+v %+v", a, b)
	}
}

func TestTheServerOfMPSDoesNotMakeItsClientsIdle(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(1, "pod-a", 1)
	n.who.set(9, "", 1) // the server works for the client, and holds no context of its own
	n.put(0, map[uint32]int{1: 0})
	n.gpus.GPU(0).Set(func(s *nvml.FakeState) {
		s.Use[9] = nvml.ProcessUse{SM: 800, Samples: 9}
		s.Utilization = 800
	})
	n.run()
	s := n.sweeps(2)
	if u := n.use(s, "pod-a", 0); value(t, u.Busy) != 800 || u.Basis != wire.Basis_EXCLUSIVE || idleFor(t, s, u) != 0 {
		t.Fatalf("%+v", u)
	}
}

func TestAPodThatNeverStartsIsIdleAndWatched(t *testing.T) {
	n := newNode(t, 1, nil)
	n.kube.give(0, "team", "trainer-0")
	n.run()
	s := n.sweeps(4)
	u := n.use(s, "pod:team/trainer-0", 0)
	if u.Namespace != "team" || u.Pod != "trainer-0" || !value(t, u.Assigned) || u.Processes != 0 || value(t, u.Busy) != 0 {
		t.Fatalf("%+v", u)
	}
	if idle := idleFor(t, s, u); idle < 15*second || watchedFor(s, u) != idle {
		t.Fatalf("idle %v, watched %v", idle, watchedFor(s, u))
	}

	// Its first process: the GPU has an owner with a UID now, and that is news.
	n.who.set(42, "uid-a", 7)
	n.put(0, map[uint32]int{42: 0})
	n.bpf.Start(42, 0)
	n.settle()
	edges := n.edges()
	s = n.sweep()
	u = n.use(s, "uid-a", 0)
	if u.Pod != "trainer-0" || !value(t, u.Assigned) || idleFor(t, s, u) > 5*second || len(s.Uses) != 1 {
		t.Fatalf("%+v", s.Uses)
	}
	if n.edges() == edges {
		t.Fatal("nobody was told at once")
	}

	// It ends: the GPU is still the pod's, which is known by its UID now.
	n.who.end(42)
	n.put(0, nil)
	n.bpf.Exit(42)
	s = n.sweeps(3)
	if u = n.use(s, "uid-a", 0); u.Processes != 0 || !value(t, u.Assigned) || u.Pod != "trainer-0" || idleFor(t, s, u) < 10*second {
		t.Fatalf("%+v", u)
	}
	// The pod ends.
	n.kube.set(nil, nil)
	if s = n.sweeps(3); len(s.Uses) != 0 {
		t.Fatalf("%+v", s.Uses)
	}
}

func TestAStartWakesAPodThatIsKnown(t *testing.T) {
	n := newNode(t, 1, nil)
	n.kube.give(0, "team", "a")
	n.names["uid-a"] = "team a"
	n.run()
	n.sweeps(3)
	n.who.set(42, "uid-a", 7)
	sweep := n.last().Sweep
	n.bpf.Start(42, 0) // its context is not in NVML's list yet
	s := n.await("the edge", func(s *State) bool { return s.Edge })
	if u := n.use(s, "pod:team/a", 0); s.Sweep != sweep || idleFor(t, s, u) != 0 {
		t.Fatalf("%+v", u)
	}
}

func TestUseWithoutARequestIsTold(t *testing.T) {
	n := newNode(t, 2, nil)
	n.kube.give(0, "team", "a")
	n.who.set(1, "uid-a", 1)
	n.who.set(2, "uid-thief", 1)
	n.who.set(3, "", 1)
	n.put(0, map[uint32]int{1: 500, 2: 100, 3: 0})
	n.put(1, map[uint32]int{2: 100})
	n.run()
	s := n.sweeps(2)
	if u := n.use(s, "uid-a", 0); !value(t, u.Assigned) || u.Pod != "a" {
		// The thief is on a GPU that nobody was given, so it is not the pod.
		t.Fatalf("%+v", u)
	}
	for _, u := range []Use{n.use(s, "uid-thief", 0), n.use(s, "uid-thief", 1), n.use(s, "host:/system.slice", 0)} {
		if value(t, u.Assigned) || u.Pod != "" {
			t.Errorf("%+v", u)
		}
	}
}

func TestWithoutAKubeletNothingIsSaidAboutAssignment(t *testing.T) {
	n := newNode(t, 1, nil)
	n.kube.give(0, "team", "a")
	n.who.set(1, "uid-a", 1)
	n.put(0, map[uint32]int{1: 500})
	n.run()
	n.sweeps(2)
	n.kube.set(nil, &podresources.Error{Reason: "NoSocket", Err: cgroup.ErrGone})
	s := n.sweeps(8)
	if u := n.use(s, "uid-a", 0); !value(t, u.Assigned) {
		t.Fatalf("what was known holds for a minute: %+v", u)
	}
	if p := s.Sources[2]; p.Up || p.Reason != "NoSocket" {
		t.Fatalf("%+v", p)
	}
	s = n.sweeps(8)
	if u := n.use(s, "uid-a", 0); u.Assigned != nil || value(t, u.Busy) != 500 {
		t.Fatalf("%+v", u)
	}
	n.kube.set(nil, nil)
	n.kube.give(0, "team", "a")
	if s = n.sweeps(4); !s.Sources[2].Up || !value(t, n.use(s, "uid-a", 0).Assigned) {
		t.Fatalf("%+v", s.Sources)
	}
}

func TestTheServerMayAskToWatchABusyOwner(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(1, "uid-a", 1)
	n.who.set(2, "uid-b", 1)
	n.put(0, map[uint32]int{1: 500, 2: 300})
	n.run()
	n.agent.Watch([]string{"uid-a"})
	n.await("it is armed", func(*State) bool { return len(n.bpf.ArmedPIDs()) == 1 })
	if got := n.bpf.ArmedPIDs(); got[0] != 1 {
		t.Fatalf("armed: %v", got)
	}
	n.settle()
	n.bpf.Launch(1, 1)
	n.await("its next launch is an edge, though it is busy", func(s *State) bool { return s.Edge })
	n.agent.Watch(nil)
	n.await("it is not any more", func(*State) bool { return len(n.bpf.ArmedPIDs()) == 0 })
}

func TestWhoIsAwaitedComesFirstWhenThereAreTooMany(t *testing.T) {
	n := newNode(t, 1, func(c *Config) { c.MaxArmed = 3 })
	use := map[uint32]int{}
	for pid := uint32(1); pid <= 10; pid++ {
		n.who.set(pid, "pod-"+string(rune('a'+pid)), 1)
		use[pid] = 0
	}
	n.put(0, use)
	n.run()
	n.sweep()
	if got := n.bpf.ArmedPIDs(); len(got) != 3 {
		t.Fatalf("armed: %v", got)
	}
	n.agent.Watch([]string{"pod-" + string(rune('a'+9))})
	n.await("the awaited one is armed", func(*State) bool {
		got := n.bpf.ArmedPIDs()
		return len(got) == 3 && got[2] == 9
	})
}

func TestAKernelThatNeverEndsIsFoundByDuty(t *testing.T) {
	n := newNode(t, 1, func(c *Config) { c.Duty = 20 * second })
	n.who.set(1, "hangs", 1)
	n.who.set(2, "works", 1)
	n.put(0, map[uint32]int{1: 1000, 2: 900})
	n.run()
	for range 12 { // a second at a time: looks last that long
		for range 5 {
			n.pass(second)
			n.settle()
			n.bpf.Launch(2, 10)
			n.settle()
		}
	}
	s := n.sweep()
	u := n.use(s, "hangs", 0)
	if u.NoLaunchSince.IsZero() || s.At.Sub(u.NoLaunchSince) < 30*second {
		t.Fatalf("%+v", u)
	}
	if u := n.use(s, "works", 0); !u.NoLaunchSince.IsZero() {
		t.Fatalf("%+v", u)
	}
	if len(n.bpf.ArmedPIDs()) > 2 {
		t.Fatal("looks end")
	}
}

// What is launched does not say where. A look at a process that works on one GPU of two
// must not make the other look used.
func TestLaunchesCountWhereTheProcessWorks(t *testing.T) {
	n := newNode(t, 2, func(c *Config) { c.Duty = 20 * second })
	n.who.set(1, "pod-a", 1)
	n.put(0, map[uint32]int{1: 800})
	n.put(1, map[uint32]int{1: 0})
	n.run()
	looks := 0
	for range 60 {
		n.pass(second)
		n.settle()
		looks += len(n.bpf.ArmedPIDs())
		n.bpf.Launch(1, 10)
		n.settle()
	}
	s := n.sweep()
	if looks == 0 {
		t.Fatal("nobody looked")
	}
	if u := n.use(s, "pod-a", 0); idleFor(t, s, u) != 0 {
		t.Fatalf("%+v", u)
	}
	u := n.use(s, "pod-a", 1)
	if idleFor(t, s, u) < 55*second || !u.WatchedSince.IsZero() {
		t.Fatalf("it is idle, as far as samples tell, and not watched: %+v", u)
	}

	// That holds also while all its launches are seen, as the scheduler awaits them.
	n.agent.Watch([]string{"pod-a"})
	n.await("it is armed", func(*State) bool { return len(n.bpf.ArmedPIDs()) == 1 })
	s = n.sweeps(3)
	if a, b := n.use(s, "pod-a", 0), n.use(s, "pod-a", 1); a.WatchedSince.IsZero() || !b.WatchedSince.IsZero() || idleFor(t, s, b) < 70*second {
		t.Fatalf("%+v\n%+v", a, b)
	}
	n.agent.Watch(nil)
	n.await("it is not any more", func(*State) bool { return len(n.bpf.ArmedPIDs()) == 0 })

	// It does nothing on either, and its next launch may be on each of them.
	n.put(0, map[uint32]int{1: 0})
	s = n.sweeps(4)
	if u := n.use(s, "pod-a", 1); u.WatchedSince.IsZero() || watchedFor(s, u) > idleFor(t, s, u) {
		t.Fatalf("%+v", u)
	}
	n.pass(second)
	n.bpf.Launch(1, 1)
	s = n.await("the edge", func(s *State) bool { return s.Edge })
	for gpu := range 2 {
		if u := n.use(s, "pod-a", gpu); idleFor(t, s, u) != 0 {
			t.Errorf("%+v", u)
		}
	}
}

// Of a process that hangs on one GPU, the other is idle.
func TestAHangIsOfTheGPUThatIsBusy(t *testing.T) {
	n := newNode(t, 2, func(c *Config) { c.Duty = 20 * second })
	n.who.set(1, "hangs", 1)
	n.put(0, map[uint32]int{1: 1000})
	n.put(1, map[uint32]int{1: 0})
	n.run()
	for range 60 {
		n.pass(second)
		n.settle()
	}
	s := n.sweep()
	if a, b := n.use(s, "hangs", 0), n.use(s, "hangs", 1); a.NoLaunchSince.IsZero() || !b.NoLaunchSince.IsZero() {
		t.Fatalf("%+v\n%+v", a, b)
	}
}
