package agent

import (
	"errors"
	"strings"
	"testing"

	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/wire"
)

// What can't be told must not be called idle: an idle pod is the first to be evicted.

func unknown(t *testing.T, what string, u Use) {
	t.Helper()
	if !u.LastActive.IsZero() || u.Busy != nil && *u.Busy == 0 && u.Basis != wire.Basis_BASIS_UNKNOWN {
		t.Errorf("%s: nobody knows whether it works, and it is called idle: %+v", what, u)
	}
}

// Without hostPID the driver's pids are of nobody, and every pod looks as if it had no
// process. One of them has its GPU busy.
func TestAProcessOfNobodyMayBeThePods(t *testing.T) {
	n := newNode(t, 1, nil)
	n.kube.give(0, "team", "a")
	n.run()
	n.sweeps(3)
	n.put(0, map[uint32]int{7: 900})
	s := n.sweeps(3)
	unknown(t, "the driver lists a process, and nobody knows whose", n.use(s, "pod:team/a", 0))

	// It does nothing, and neither does the GPU: then nor does the pod, whoever it is.
	n.put(0, map[uint32]int{7: 0})
	s = n.sweeps(3)
	if u := n.use(s, "pod:team/a", 0); idleFor(t, s, u) != 10*second || value(t, u.Busy) != 0 {
		t.Errorf("%+v", u)
	}
}

// The one that can't be named may be a second process of a pod whose first one sleeps.
func TestAProcessOfNobodyMayBeOfWhoSleepsThere(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(1, "pod-a", 1)
	n.put(0, map[uint32]int{1: 0})
	n.run()
	n.sweeps(3) // it is idle, and watched
	n.put(0, map[uint32]int{1: 0, 7: 900})
	unknown(t, "somebody works on its GPU", n.use(n.sweeps(2), "pod-a", 0))
}

// A GPU that works for nobody: a sandbox that hides its processes, a list that is late.
func TestAGPUThatIsBusyWithoutAProcessIsNotIdle(t *testing.T) {
	n := newNode(t, 1, nil)
	n.kube.give(0, "team", "a")
	n.run()
	n.sweeps(3)
	n.gpus.GPU(0).Set(func(s *nvml.FakeState) { s.Utilization = 800 })
	unknown(t, "the GPU is busy", n.use(n.sweeps(3), "pod:team/a", 0))
}

// Some drivers answer the question for samples, and have none.
func TestSamplesThatDoNotExplainTheDeviceTellNothing(t *testing.T) {
	n := newNode(t, 1, func(c *Config) { c.Watcher = nil })
	n.who.set(1, "pod-a", 1)
	n.put(0, map[uint32]int{1: 0})
	n.gpus.GPU(0).Set(func(s *nvml.FakeState) { s.Utilization = 950 })
	n.run()
	s := n.sweeps(2)
	if u := n.use(s, "pod-a", 0); value(t, u.Busy) != 950 || u.Basis != wire.Basis_EXCLUSIVE || idleFor(t, s, u) != 0 {
		t.Errorf("who is alone is the one: %+v", u)
	}
	n.who.set(2, "pod-b", 1)
	n.put(0, map[uint32]int{1: 0, 2: 0})
	n.gpus.GPU(0).Set(func(s *nvml.FakeState) { s.Utilization = 950 })
	s = n.sweeps(2)
	unknown(t, "one of two", n.use(s, "pod-a", 0))
	unknown(t, "one of two", n.use(s, "pod-b", 0))
}

func TestAValueOfAProcessThatCanNotBeIsUnknown(t *testing.T) {
	for what, bad := range map[string]nvml.ProcessUse{
		"no sample of use": {}, "out of range": {SM: 5000, Samples: 1}, "negative": {SM: -1, Samples: 1},
	} {
		n := newNode(t, 1, func(c *Config) { c.Watcher = nil })
		n.who.set(1, "pod-a", 1)
		n.who.set(2, "pod-b", 1)
		n.put(0, map[uint32]int{1: 0, 2: 300})
		n.gpus.GPU(0).Set(func(s *nvml.FakeState) { s.Use[1] = bad })
		n.run()
		s := n.sweeps(2)
		unknown(t, what, n.use(s, "pod-a", 0))
		if u := n.use(s, "pod-b", 0); value(t, u.Busy) != 300 || idleFor(t, s, u) != 0 {
			t.Errorf("%s: the other is known: %+v", what, u)
		}
	}
}

// A kernel may run for hours, and be launched once. Where the driver can't say whose work
// it is, that nothing was launched since does not make its owner idle.
func TestAKernelThatRunsOnIsNotIdleForWantOfLaunches(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(1, "pod-a", 1)
	n.who.set(2, "pod-b", 1)
	n.put(0, map[uint32]int{1: 0, 2: 0})
	n.gpus.GPU(0).Fail(nvml.CallProcessUtilization, nvml.ErrNotSupported)
	n.run()
	s := n.sweeps(3)
	if u := n.use(s, "pod-a", 0); idleFor(t, s, u) < 10*second || watchedFor(s, u) < 10*second {
		t.Fatalf("the device does nothing: %+v", u)
	}
	n.bpf.Launch(1, 1)
	n.gpus.GPU(0).Set(func(s *nvml.FakeState) { s.Utilization = 1000 })
	s = n.sweeps(6)
	unknown(t, "its kernel may still run", n.use(s, "pod-a", 0))
	if u := n.use(s, "pod-b", 0); idleFor(t, s, u) < 40*second {
		t.Errorf("nothing of it ran when that was last told, and it launched nothing since: %+v", u)
	}
	n.gpus.GPU(0).Set(func(s *nvml.FakeState) { s.Utilization = 0 })
	s = n.sweeps(3)
	if u := n.use(s, "pod-a", 0); idleFor(t, s, u) != 10*second {
		t.Errorf("it has ended: %+v", u)
	}
}

// Who shares a GPU with processes that come and go is idle all the same: what they did is
// theirs as long as they were known.
func TestTheEndOfAKnownProcessLeavesTheOthersIdle(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(1, "pod-a", 1)
	n.who.set(2, "pod-b", 1)
	n.put(0, map[uint32]int{1: 0, 2: 300})
	n.run()
	n.sweeps(2)
	for pid := uint32(2); pid < 6; pid++ {
		n.who.end(pid) // its samples are still there
		n.bpf.Exit(pid)
		n.settle()
		n.sweep()
		n.who.set(pid+1, "pod-b", 1)
		n.put(0, map[uint32]int{1: 0, pid + 1: 300})
		n.sweep()
	}
	s := n.last()
	if u := n.use(s, "pod-a", 0); idleFor(t, s, u) != 50*second {
		t.Errorf("%+v", u)
	}
}

// A question that the driver fails to answer is one field; a driver that answers nothing
// at all is not healthy.
func TestAnErrorOfOneQuestionIsOneField(t *testing.T) {
	const deprecated = nvml.Error(26)
	for call, known := range map[nvml.Call]func(g GPU, u Use) bool{
		nvml.CallProcessUtilization: func(g GPU, u Use) bool { return *u.Busy == 400 && u.Basis == wire.Basis_EXCLUSIVE },
		nvml.CallUtilization:        func(g GPU, u Use) bool { return g.Busy == nil && *u.Busy == 400 },
		nvml.CallMemory:             func(g GPU, u Use) bool { return g.MemoryUsed == nil && *u.Busy == 400 },
		nvml.CallGPM:                func(g GPU, u Use) bool { return g.SM == nil && *u.Busy == 400 },
		nvml.CallStatus:             func(g GPU, u Use) bool { return g.PowerMW == nil && *u.Busy == 400 },
	} {
		for _, err := range []error{nvml.ErrUnknown, deprecated, nvml.ErrNoPermission, nvml.ErrInsufficientSize} {
			n := newNode(t, 1, nil)
			n.who.set(1, "pod-a", 1)
			n.put(0, map[uint32]int{1: 400})
			n.gpus.GPU(0).Fail(call, err)
			n.run()
			s := n.sweeps(2)
			g, u := s.GPUs[0], n.use(s, "pod-a", 0)
			if g.Health != wire.Health_HEALTHY || u.Busy == nil || !known(g, u) || !g.At.Equal(s.At) {
				t.Errorf("%s says %v: %+v %+v", call, err, g, u)
			}
			if s := s.Sources[0]; !s.Up || errors.Is(err, nvml.ErrUnknown) && !strings.Contains(s.Detail, "GPU 0: NVML: an unknown error") {
				t.Errorf("nobody is told that %s says %v: %+v", call, err, s)
			}
		}
	}
	n := newNode(t, 1, nil)
	n.who.set(1, "pod-a", 1)
	n.put(0, map[uint32]int{1: 400})
	n.run()
	n.gpus.GPU(0).Fail(nvml.CallAny, nvml.ErrUnknown)
	s := n.sweeps(2)
	if g := s.GPUs[0]; g.Health != wire.Health_HEALTH_UNKNOWN || g.HealthReason != "NvmlError" {
		t.Errorf("%+v", g)
	}
	unknown(t, "the driver answers nothing", n.use(s, "pod-a", 0))
}
