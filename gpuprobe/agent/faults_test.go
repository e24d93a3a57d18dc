package agent

import (
	"fmt"
	"testing"
	"time"

	"github.com/musterhq/muster/gpuprobe/bpf"
	"github.com/musterhq/muster/gpuprobe/cgroup"
	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/wire"
)

func TestAHungGPUIsUnresponsiveAndTheOthersGoOn(t *testing.T) {
	for _, guarded := range []bool{false, true} {
		t.Run(fmt.Sprintf("guarded=%v", guarded), func(t *testing.T) {
			n := newNode(t, 2, nil)
			if guarded {
				g := nvml.Guard(n.gpus, 20*time.Millisecond)
				t.Cleanup(func() { _ = g.Close() })
				n.setLibrary(g, nil)
			}
			n.who.set(1, "pod-a", 1)
			n.put(0, map[uint32]int{1: 400})
			n.run()
			release := n.gpus.GPU(0).Hang(nvml.CallMemory)
			t.Cleanup(release)
			hungAt := n.now()
			n.pass(5 * second)
			s := n.await("unresponsive", func(s *State) bool {
				if !guarded { // then it is the agent's own deadline
					n.pass(100 * time.Millisecond)
				}
				return s.GPUs[0].Health == wire.Health_UNRESPONSIVE
			})
			if !s.Edge || s.GPUs[0].HealthReason != "DriverUnresponsive" || !s.Sources[0].Up {
				t.Fatalf("%+v", s)
			}
			if g := s.GPUs[0]; value(t, g.Busy) != 400 || !g.At.Equal(hungAt) {
				t.Fatalf("the old values are kept, with their time: %+v", g)
			}
			if g := s.GPUs[1]; g.Health != wire.Health_HEALTHY || g.At.Equal(hungAt) {
				t.Fatalf("the other goes on: %+v", g)
			}
			u := n.use(s, "pod-a", 0)
			if !u.LastActive.IsZero() || value(t, u.Busy) != 400 || !u.At.Equal(hungAt) {
				t.Fatalf("whether it runs is not known, so nobody calls it idle: %+v", u)
			}
			edges := n.edges()
			s = n.sweeps(2)
			if n.edges() != edges || s.GPUs[0].Health != wire.Health_UNRESPONSIVE {
				t.Fatal("that was told once")
			}
			if calls := n.gpus.GPU(0).AtOnce(); calls > 1 {
				t.Fatalf("%d calls in a GPU that hangs", calls)
			}
			release()
			n.await("healthy again", func(*State) bool {
				return n.sweep().GPUs[0].Health == wire.Health_HEALTHY
			})
		})
	}
}

func TestALibraryThatHangsInOpeningIsGivenUp(t *testing.T) {
	gate := make(chan struct{})
	n := newNode(t, 1, nil)
	inner := n.agent.c.Library
	n.agent.c.Library = func() (nvml.Library, error) {
		<-gate
		return inner()
	}
	go func() { // the first sweep only ends at its deadline
		for n.last().Sweep == 0 {
			n.pass(second)
			time.Sleep(5 * time.Millisecond)
		}
	}()
	s := n.run()
	if s.Sources[0].Up || s.Sources[0].Reason != "Unresponsive" || len(s.GPUs) != 0 {
		t.Fatalf("%+v", s)
	}
	close(gate)
	n.await("it is there", func(*State) bool { return len(n.sweep().GPUs) == 1 })
}

func TestNoGPUIsNoError(t *testing.T) {
	n := newNode(t, 0, nil)
	n.setLibrary(nil, fmt.Errorf("dlopen: %w", nvml.ErrLibraryNotFound))
	s := n.run()
	if s.Sources[0].Reason != "LibraryNotFound" || len(s.GPUs) != 0 || len(s.Uses) != 0 {
		t.Fatalf("%+v", s)
	}
	n.setLibrary(n.gpus, nil)
	if s = n.sweep(); !s.Sources[0].Up {
		t.Fatalf("a driver that was installed later: %+v", s.Sources[0])
	}
}

func TestGPUsStayWhenTheDriverIsGone(t *testing.T) {
	n := newNode(t, 2, nil)
	n.who.set(1, "pod-a", 1)
	n.put(0, map[uint32]int{1: 400})
	n.run()
	n.gpus.Inject(nvml.Event{UUID: nvml.FakeH100(1).UUID, Kind: nvml.EventXID, Data: 79, GI: -1, CI: -1})
	n.gpus.GPU(1).Set(func(s *nvml.FakeState) { s.Status.Recovery = nil })
	n.turning("failed", func(s *State) bool { return s.GPUs[1].Health == wire.Health_FAILED })

	n.setLibrary(nil, nvml.ErrDriverNotLoaded)
	s := n.sweep()
	if s.Sources[0].Up || s.Sources[0].Reason != "DriverNotLoaded" {
		t.Fatalf("%+v", s.Sources[0])
	}
	if g := s.GPUs[0]; g.Health != wire.Health_HEALTH_UNKNOWN || value(t, g.Busy) != 400 {
		t.Fatalf("%+v", g)
	}
	if g := s.GPUs[1]; g.Health != wire.Health_FAILED {
		t.Fatalf("what failed stays so: %+v", g)
	}

	// Another driver, which lists one GPU less.
	again := nvml.NewFake(nvml.FakeH100(0))
	t.Cleanup(func() { _ = again.Close() })
	n.setLibrary(again, nil)
	s = n.sweep()
	if len(s.GPUs) != 2 || s.GPUs[0].Health != wire.Health_HEALTHY {
		t.Fatalf("%+v", s.GPUs)
	}
	if g := s.GPUs[1]; g.Health != wire.Health_FAILED || g.HealthReason != "GpuMissing" {
		t.Fatalf("a GPU does not vanish: %+v", g)
	}
	// And one that has it again.
	whole := nvml.NewFake(nvml.FakeH100(0), nvml.FakeH100(1))
	t.Cleanup(func() { _ = whole.Close() })
	n.setLibrary(whole, nil)
	if s = n.sweep(); s.GPUs[1].Health != wire.Health_HEALTHY {
		t.Fatalf("a restart of the driver ends it: %+v", s.GPUs[1])
	}
}

// turning waits while time goes by.
func (n *node) turning(what string, ok func(*State) bool) *State {
	n.t.Helper()
	return n.await(what, func(s *State) bool {
		n.pass(time.Millisecond)
		return ok(s)
	})
}

func TestAGPUThatFailsIsToldAtOnce(t *testing.T) {
	n := newNode(t, 2, nil)
	n.run()
	n.gpus.GPU(1).Set(func(s *nvml.FakeState) { s.Status.Recovery = to(uint32(1)) })
	n.gpus.Inject(nvml.Event{UUID: nvml.FakeH100(1).UUID, Kind: nvml.EventXID, Data: 48, GI: -1, CI: -1})
	s := n.turning("the edge", func(s *State) bool { return s.Edge })
	g := s.GPUs[1]
	if s.Sweep != 1 || g.Health != wire.Health_FAILED || g.HealthReason != "RecoveryReset" || value(t, g.LastXID) != 48 || value(t, g.Recovery) != 1 {
		t.Fatalf("%+v", g)
	}
	if s.GPUs[0].Health != wire.Health_HEALTHY || s.GPUs[0].XIDs != nil {
		t.Fatalf("%+v", s.GPUs[0])
	}
}

func TestAnApplicationErrorIsOnlyCounted(t *testing.T) {
	n := newNode(t, 1, func(c *Config) { c.IgnoreXIDs = []uint64{119} })
	n.gpus.GPU(0).Set(func(s *nvml.FakeState) { s.Status.Recovery = nil })
	n.run()
	for _, xid := range []uint64{31, 13, 31, 119} {
		n.gpus.Inject(nvml.Event{UUID: nvml.FakeH100(0).UUID, Kind: nvml.EventXID, Data: xid, GI: -1, CI: -1})
	}
	n.await("they are counted", func(*State) bool { return len(n.sweep().GPUs[0].XIDs) == 3 && n.last().GPUs[0].XIDs[1].Count == 2 })
	g := n.last().GPUs[0]
	if g.Health != wire.Health_HEALTHY || g.XIDs[1] != (XIDCount{31, 2}) || n.edges() != 0 {
		t.Fatalf("%+v", g)
	}
}

func TestALostGPUKeepsItsPlace(t *testing.T) {
	n := newNode(t, 2, nil)
	n.run()
	n.gpus.GPU(0).Fail(nvml.CallAny, nvml.ErrGPULost)
	s := n.sweep()
	if g := s.GPUs[0]; !s.Edge || g.Health != wire.Health_FAILED || g.HealthReason != "GpuLost" || g.UUID != nvml.FakeH100(0).UUID {
		t.Fatalf("%+v", g)
	}
	n.gpus.GPU(0).Fail(nvml.CallAny, nil)
	if s = n.sweep(); s.GPUs[0].Health != wire.Health_FAILED {
		t.Fatalf("once is not enough: %+v", s.GPUs[0])
	}
	if s = n.sweep(); s.GPUs[0].Health != wire.Health_HEALTHY {
		t.Fatalf("it answers, and says twice that there is nothing to recover: %+v", s.GPUs[0])
	}
}

func TestAPidThatIsUsedAgainIsAnotherProcess(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(42, "pod-a", 100)
	n.put(0, map[uint32]int{42: 0})
	n.run()
	n.sweeps(3)
	n.bpf.Launch(42, 7)
	n.await("awake", func(s *State) bool { return s.Edge })
	n.sweeps(3)

	// It ends, and nobody sees it; its number goes to a process of another pod.
	n.who.set(42, "pod-b", 200)
	s := n.sweep()
	if len(s.Uses) != 1 {
		t.Fatalf("%+v", s.Uses)
	}
	u := n.use(s, "pod-b", 0)
	if idleFor(t, s, u) != 0 {
		t.Fatalf("it inherits no idleness: %+v", u)
	}
	// The same pod, too: another start is another process.
	n.sweeps(3)
	n.who.set(42, "pod-b", 300)
	s = n.sweep()
	if idle := idleFor(t, s, n.use(s, "pod-b", 0)); idle != 0 {
		t.Fatalf("a process has just started, and the pod is idle for %v", idle)
	}
}

func TestValuesThatCanNotBeAreUnknown(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(1, "pod-a", 1)
	n.put(0, map[uint32]int{1: 400})
	n.gpus.GPU(0).Set(func(s *nvml.FakeState) {
		s.Utilization = 1001
		s.SM = to(-1)
		s.Memory.Used = s.Memory.Total + 1
		s.Processes[0].Memory = to(uint64(1) << 62)
		s.Status.PowerMilliwatts = to(uint32(0xFFFFFFFF))
		s.Status.TemperatureC = to(uint32(4000))
		s.Status.SMClockMHz = to(uint32(1755))
	})
	n.run()
	s := n.last()
	g := s.GPUs[0]
	if g.Busy != nil || g.SM != nil || g.MemoryUsed != nil || g.PowerMW != nil || g.TemperatureC != nil || value(t, g.SMClockMHz) != 1755 || value(t, g.MemoryTotal) != 80<<30 {
		t.Fatalf("%+v", g)
	}
	if u := n.use(s, "pod-a", 0); u.Memory != nil || value(t, u.Busy) != 400 {
		t.Fatalf("%+v", u)
	}
	if s.Counts.Garbage != 6 {
		t.Fatalf("garbage: %d", s.Counts.Garbage)
	}
}

func TestUseOfMIGIsByInstance(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(1, "pod-a", 1)
	n.who.set(2, "pod-b", 1)
	n.put(0, map[uint32]int{1: 0, 2: 0}) // the whole GPU lists them as well
	parts := n.gpus.GPU(0).SetMIG(
		nvml.Identity{UUID: "MIG-1", Profile: "3g.40gb", Memory: 40 << 30, GI: 1},
		nvml.Identity{UUID: "MIG-2", Profile: "4g.40gb", Memory: 40 << 30, GI: 2},
	)
	for i, pid := range []uint32{1, 2} {
		parts[i].Set(func(s *nvml.FakeState) {
			s.Processes = []nvml.Process{{PID: pid, Memory: to(uint64(2 << 30)), GI: i + 1, CI: 0}}
			s.SM = to(250 * i)
		})
	}
	n.run()
	s := n.sweeps(2)
	if len(s.GPUs) != 3 || !s.GPUs[0].MIG || s.GPUs[2].UUID != "MIG-2" || s.GPUs[2].Parent != s.GPUs[0].UUID || s.GPUs[2].Health != wire.Health_HEALTHY {
		t.Fatalf("%+v", s.GPUs)
	}
	if len(s.Uses) != 2 {
		t.Fatalf("%+v", s.Uses)
	}
	a, b := s.Uses[0], s.Uses[1]
	if a.GPU != "MIG-1" || a.Basis != wire.Basis_MIG || value(t, a.Busy) != 0 || value(t, a.Memory) != 2<<30 || s.At.Sub(a.LastActive) != 10*second {
		t.Fatalf("%+v", a)
	}
	if b.GPU != "MIG-2" || value(t, b.Busy) != 250 || !b.LastActive.Equal(b.At) {
		t.Fatalf("%+v", b)
	}
	// The administrator cuts it otherwise.
	n.gpus.GPU(0).SetMIG(nvml.Identity{UUID: "MIG-7", Profile: "7g.80gb", Memory: 80 << 30, GI: 0})
	n.gpus.Inject(nvml.Event{UUID: s.GPUs[0].UUID, Kind: nvml.EventMIGChange, GI: -1, CI: -1})
	n.await("the new cut", func(*State) bool { return len(n.sweep().GPUs) == 2 })
	if s = n.last(); s.GPUs[1].UUID != "MIG-7" || len(s.Uses) != 0 {
		t.Fatalf("%+v", s)
	}
}

func TestAKubeletThatHangsHoldsNobodyUp(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(1, "pod-a", 1)
	n.put(0, map[uint32]int{1: 400})
	n.run()
	gate := make(chan struct{})
	n.kube.mu.Lock()
	n.kube.hang = gate
	n.kube.mu.Unlock()
	for range 6 {
		next := n.last().Sweep + 1
		n.pass(5 * second)
		n.await("sweeps go on", func(s *State) bool { return s.Sweep >= next })
	}
	s := n.await("and it is told", func(s *State) bool {
		n.pass(second)
		return !s.Sources[2].Up
	})
	if s.GPUs[0].Health != wire.Health_HEALTHY {
		t.Fatalf("%+v", s.GPUs[0])
	}
	close(gate)
}

func TestNoOwnerIsFoundWithoutHostPID(t *testing.T) {
	n := newNode(t, 1, nil)
	n.put(0, map[uint32]int{7: 400})
	s := n.run()
	if p := s.Sources[3]; p.Up || p.Reason != "NoOwners" || len(s.Uses) != 0 || s.Counts.Unowned == 0 {
		t.Fatalf("%+v", s)
	}
	n.who.set(7, "pod-a", 1)
	if s = n.sweep(); !s.Sources[3].Up || len(s.Uses) != 1 {
		t.Fatalf("%+v", s)
	}
}

func TestEBPFThatEndsIsOneFieldLess(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(42, "pod-a", 1)
	n.put(0, map[uint32]int{42: 0})
	n.run()
	n.sweep()
	n.bpf.SetStatus(bpf.Status{Reason: bpf.AttachFailed, Detail: "the library was removed"})
	_ = n.bpf.Close()
	s := n.sweeps(2)
	u := n.use(s, "pod-a", 0)
	if watchedFor(s, u) != 0 || idleFor(t, s, u) != 15*second || u.Launches != nil || s.Sources[1].Up {
		t.Fatalf("%+v", u)
	}
}

func TestTenThousandProcesses(t *testing.T) {
	const many = 10_000
	n := newNode(t, 8, func(c *Config) { c.MaxArmed = 512 })
	for gpu := range 8 {
		use := map[uint32]int{}
		for i := range many / 8 {
			pid := uint32(gpu*many + i + 1)
			n.who.set(pid, fmt.Sprintf("pod-%d-%d", gpu, i%100), 1)
			use[pid] = 0
		}
		n.put(gpu, use)
	}
	n.run()
	s := n.sweeps(2)
	if len(s.Uses) != 800 || s.Counts.ArmedPIDs != 512 || s.Counts.Dropped != 0 {
		t.Fatalf("%d uses, %+v", len(s.Uses), s.Counts)
	}
	// They end; nothing is kept of them.
	for gpu := range 8 {
		n.put(gpu, nil)
	}
	s = n.sweeps(3)
	if len(s.Uses) != 0 || s.Counts.ArmedPIDs != 0 {
		t.Fatalf("%d uses, %+v", len(s.Uses), s.Counts)
	}
	if len(n.agent.procs) != 0 || len(n.agent.uses) != 0 || len(n.agent.lookup.known) != 0 {
		t.Fatalf("kept: %d processes, %d uses, %d looked up", len(n.agent.procs), len(n.agent.uses), len(n.agent.lookup.known))
	}
}

func TestMoreProcessesThanThereIsRoomForAreDropped(t *testing.T) {
	n := newNode(t, 1, func(c *Config) { c.MaxProcesses = 10 })
	use := map[uint32]int{}
	for pid := uint32(1); pid <= 25; pid++ {
		n.who.set(pid, fmt.Sprintf("pod-%d", pid), 1)
		use[pid] = 1
	}
	n.put(0, use)
	s := n.run()
	if len(s.Uses) != 10 || s.Counts.Dropped != 15 {
		t.Fatalf("%d uses, %+v", len(s.Uses), s.Counts)
	}
}

// A leader takes no report of more uses than 4,096: then nothing of the node would be known.
func TestPodsAreToldOfBeforeTheRestWhereThereAreTooMany(t *testing.T) {
	n := newNode(t, 2, nil)
	for gpu := range 2 {
		use := map[uint32]int{}
		for i := range 3000 {
			pid := uint32(i + 1)
			n.who.set(pid, fmt.Sprintf("pod-%04d", i), 1)
			if i >= 100 {
				n.who.mu.Lock()
				n.who.of[pid] = cgroup.Owner{Path: fmt.Sprintf("/slurm/%d", i), Start: 1}
				n.who.mu.Unlock()
			}
			use[pid] = 1
		}
		n.put(gpu, use)
	}
	s := n.run()
	if len(s.Uses) != 200 || s.Counts.Dropped != 5800 || s.Uses[0].Owner != "pod-0000" {
		t.Fatalf("%d uses, %+v", len(s.Uses), s.Counts)
	}
	many := &State{}
	for i := range 3 * maxUses {
		many.Uses = append(many.Uses, Use{Owner: fmt.Sprintf("pod-%05d", i/3), GPU: fmt.Sprint(i % 3)})
	}
	if dropped := many.bound(); len(many.Uses) != maxUses/3*3 || dropped != uint64(3*maxUses-len(many.Uses)) {
		t.Fatalf("all of a pod or none: %d uses, %d dropped", len(many.Uses), dropped)
	}
}

func TestAnAdministratorsWordCounts(t *testing.T) {
	n := newNode(t, 2, nil)
	n.run()
	n.agent.Follow(Orders{Cordoned: []string{nvml.FakeH100(1).UUID}, IgnoreXIDs: []uint64{79}})
	s := n.await("cordoned", func(s *State) bool { return s.Edge && s.GPUs[1].HealthReason == "Cordoned" })
	if s.GPUs[1].Health != wire.Health_FAILED || s.GPUs[0].Health != wire.Health_HEALTHY {
		t.Fatalf("%+v", s.GPUs)
	}
	n.gpus.GPU(0).Set(func(s *nvml.FakeState) { s.Status.Recovery = nil })
	n.gpus.Inject(nvml.Event{UUID: nvml.FakeH100(0).UUID, Kind: nvml.EventXID, Data: 79, GI: -1, CI: -1})
	n.await("it is counted", func(*State) bool { return len(n.sweep().GPUs[0].XIDs) == 1 })
	n.agent.Follow(Orders{})
	n.await("and healthy, as is the other that is free again", func(*State) bool {
		s := n.sweep()
		return s.GPUs[0].Health == wire.Health_HEALTHY && s.GPUs[1].Health == wire.Health_HEALTHY
	})
}
