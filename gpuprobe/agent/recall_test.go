package agent

import (
	"bytes"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/wire"
)

const thisLoad = "boot-1/4711"

// notes is a log to be read.
type notes struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *notes) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(b)
}

func (l *notes) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// recalling is a node with two GPUs whose driver does not know what is to be recovered.
func recalling(t *testing.T) (*node, *notes) {
	log := &notes{}
	n := newNode(t, 2, func(c *Config) {
		c.Recall, c.Log, c.IgnoreXIDs = true, slog.New(slog.NewTextHandler(log, nil)), []uint64{119}
		c.Load = func() string { return thisLoad }
	})
	for i := range 2 {
		n.gpus.GPU(i).Set(func(s *nvml.FakeState) { s.Status.Recovery = nil })
	}
	return n, log
}

// before is what an agent said of GPU 1, an hour before the epoch.
func before(h wire.Health, reason string) Past {
	id := nvml.FakeH100(1)
	return Past{Load: thisLoad, GPUs: []PastGPU{
		{UUID: nvml.FakeH100(0).UUID, Health: wire.Health_HEALTHY},
		{UUID: id.UUID, Index: 1, Product: id.Product, PCI: id.PCI, Health: h, Reason: reason, Since: time.Unix(0, epoch).Add(-time.Hour)},
	}}
}

func TestWhatFailedStaysFailedOverARestartOfTheAgent(t *testing.T) {
	for reason, h := range map[string]wire.Health{
		"Xid79": wire.Health_FAILED, "EccDoubleBit": wire.Health_FAILED, "GpuLost": wire.Health_FAILED, "GpuMissing": wire.Health_FAILED,
		"RecoveryReset": wire.Health_FAILED, "Xid63": wire.Health_DEGRADED,
	} {
		t.Run(reason, func(t *testing.T) {
			n, log := recalling(t)
			n.agent.Recall(before(h, reason))
			s := n.run()
			n.sweeps(5)
			for _, s := range n.states {
				if g := s.GPUs[1]; g.Health != h || g.HealthReason != reason || s.GPUs[0].Health != wire.Health_HEALTHY || s.Recalling {
					t.Fatalf("%+v", s)
				}
			}
			if since := s.GPUs[1].HealthSince; !since.Equal(time.Unix(0, epoch).Add(-time.Hour)) {
				t.Errorf("since %v", since)
			}
			if !log.has("was not repaired since") {
				t.Error("nobody says so")
			}
		})
	}
}

func TestThePastThatDoesNotHold(t *testing.T) {
	failed := func(change func(*Past)) Past {
		p := before(wire.Health_FAILED, "Xid79")
		change(&p)
		return p
	}
	for name, c := range map[string]struct {
		past Past
		said string
	}{
		"the machine was started again":       {failed(func(p *Past) { p.Load = "boot-0/4711" }), "was restarted since"},
		"the driver was loaded again":         {failed(func(p *Past) { p.Load = "boot-1/4242" }), "was restarted since"},
		"nobody knows whether they were":      {failed(func(p *Past) { p.Load = "" }), "can't be told from another"},
		"it can't be read":                    {failed(func(p *Past) { p.Unknown = "odd status" }), "odd status"},
		"the GPU was replaced":                {failed(func(p *Past) { p.GPUs[1].UUID = "GPU-old" }), ""},
		"a GPU without a name":                {failed(func(p *Past) { p.GPUs[1].UUID = "" }), ""},
		"it was cordoned":                     {before(wire.Health_FAILED, "Cordoned"), ""},
		"it did not answer":                   {before(wire.Health_UNRESPONSIVE, "DriverUnresponsive"), ""},
		"it was hot":                          {before(wire.Health_DEGRADED, "HardwareSlowdown"), ""},
		"it was not known":                    {before(wire.Health_HEALTH_UNKNOWN, "NvmlDown"), ""},
		"that XID is ignored now":             {before(wire.Health_FAILED, "Xid119"), ""},
		"an XID that is none":                 {before(wire.Health_FAILED, "Xid-1"), ""},
		"a reason that nobody has heard of":   {before(wire.Health_FAILED, "Oops"), ""},
		"a state that nobody has heard of":    {before(wire.Health(99), "Xid79"), ""},
		"there was no agent before this one":  {Past{}, ""},
		"a GPU that is healthy for no reason": {before(wire.Health_HEALTHY, "Xid79"), ""},
	} {
		t.Run(name, func(t *testing.T) {
			n, log := recalling(t)
			n.agent.Recall(c.past)
			n.run()
			if s := n.sweep(); s.GPUs[1].Health != wire.Health_HEALTHY || s.Recalling || len(s.GPUs) != 2 {
				t.Errorf("%+v", s.GPUs)
			}
			if !log.has(c.said) {
				t.Errorf("nobody says %q:\n%s", c.said, log.text.String())
			}
		})
	}
}

func TestWhileThePastMayStillBecomeKnownNoGPUIsCalledHealthy(t *testing.T) {
	n, log := recalling(t)
	n.gpus.GPU(0).Set(func(s *nvml.FakeState) { s.Status.Recovery = to(uint32(1)) })
	s := n.run()
	if g := s.GPUs[1]; g.Health != wire.Health_HEALTH_UNKNOWN || g.HealthReason != "Recalling" || !s.Recalling {
		t.Fatalf("%+v", g)
	}
	if g := s.GPUs[0]; g.Health != wire.Health_FAILED {
		t.Fatalf("what is seen to be broken is said: %+v", g)
	}
	if s = n.sweeps(5); !s.Recalling {
		t.Fatal("25 s are not 30")
	}
	if s = n.sweeps(2); s.Recalling || s.GPUs[1].Health != wire.Health_HEALTHY || !log.has("nobody told within 30s") {
		t.Fatalf("%+v\n%s", s.GPUs, log.text.String())
	}
	// Better late than never: it is told at once.
	n.agent.Recall(before(wire.Health_FAILED, "Xid79"))
	n.await("it failed", func(s *State) bool { return s.Edge && s.GPUs[1].HealthReason == "Xid79" })
}

func TestThePastIsKeptUntilThereIsADriver(t *testing.T) {
	n, _ := recalling(t)
	n.setLibrary(nil, nvml.ErrDriverNotLoaded)
	n.agent.Recall(before(wire.Health_FAILED, "Xid79"))
	n.run()
	n.sweeps(10)
	n.setLibrary(n.gpus, nil)
	if s := n.sweep(); s.GPUs[1].HealthReason != "Xid79" {
		t.Fatalf("%+v", s.GPUs)
	}
}

func TestADriverThatWasRestartedMakesThePastVoid(t *testing.T) {
	load := thisLoad
	n, _ := recalling(t)
	n.agent.c.Load = func() string { return load }
	n.agent.Recall(before(wire.Health_FAILED, "Xid79"))
	n.run()
	again := nvml.NewFake(nvml.FakeH100(0), nvml.FakeH100(1))
	t.Cleanup(func() { _ = again.Close() })
	load = "boot-1/4712" // read by the agent after it has found the library that follows
	n.setLibrary(again, nil)
	if s := n.sweep(); s.GPUs[1].Health != wire.Health_HEALTHY || s.System.Load != load {
		t.Fatalf("%+v, %+v", s.GPUs, s.System)
	}
}

func TestADriverThatHasNothingToRecoverMakesThePastVoid(t *testing.T) {
	n, _ := recalling(t)
	n.gpus.GPU(1).Set(func(s *nvml.FakeState) { s.Status.Recovery = new(uint32) })
	n.agent.Recall(before(wire.Health_FAILED, "Xid79"))
	n.run()
	if s := n.sweeps(3); s.GPUs[1].Health != wire.Health_HEALTHY {
		t.Fatalf("%+v", s.GPUs)
	}
}

// A GPU that fell off the bus tells nothing, not even who it is. An agent that starts then
// would not report it, and nobody would miss it.
func TestAGPUThatIsLostWhenTheAgentStartsIsReported(t *testing.T) {
	for name, c := range map[string]struct {
		past Past
		uuid string
	}{
		"it was there before": {before(wire.Health_HEALTHY, ""), nvml.FakeH100(1).UUID},
		"nobody knows it":     {Past{}, "index-1"},
	} {
		t.Run(name, func(t *testing.T) {
			n, _ := recalling(t)
			n.agent.Recall(c.past)
			n.gpus.GPU(1).Fail(nvml.CallAny, nvml.ErrGPULost)
			n.run()
			s := n.sweep()
			if len(s.GPUs) != 2 || s.GPUs[1].UUID != c.uuid || s.GPUs[1].Index != 1 || s.GPUs[1].HealthReason != "GpuLost" {
				t.Fatalf("%+v", s.GPUs)
			}
			n.gpus.GPU(1).Fail(nvml.CallAny, nil)
			if s = n.sweep(); s.GPUs[1].UUID != nvml.FakeH100(1).UUID || s.GPUs[1].Health != wire.Health_FAILED || s.GPUs[1].At.IsZero() {
				t.Fatalf("it answers: %+v", s.GPUs)
			}
		})
	}
}

// The agent that found it lost under no name was restarted as well, and now it answers.
func TestWhatWasKnownByItsPlaceOnlyIsFoundAgain(t *testing.T) {
	n, _ := recalling(t)
	n.agent.Recall(Past{Load: thisLoad, GPUs: []PastGPU{{UUID: "index-1", Index: 1, Health: wire.Health_FAILED, Reason: "GpuLost"}}})
	n.run()
	if s := n.sweep(); s.GPUs[1].UUID != nvml.FakeH100(1).UUID || s.GPUs[1].HealthReason != "GpuLost" {
		t.Fatalf("%+v", s.GPUs)
	}
}

func TestARepairedGPUIsHealthyIfItIs(t *testing.T) {
	n, _ := recalling(t)
	n.agent.Recall(before(wire.Health_FAILED, "Xid79"))
	n.run()
	repaired := func(at time.Time) { n.agent.Follow(Orders{Repaired: map[string]time.Time{nvml.FakeH100(1).UUID: at}}) }
	repaired(time.Unix(0, epoch).Add(-2 * time.Hour))
	if s := n.sweeps(2); s.GPUs[1].Health != wire.Health_FAILED {
		t.Fatalf("it failed after that: %+v", s.GPUs)
	}
	repaired(n.now())
	if s := n.sweeps(2); s.GPUs[1].Health != wire.Health_HEALTHY {
		t.Fatalf("%+v", s.GPUs)
	}
	n.gpus.Inject(nvml.Event{UUID: nvml.FakeH100(1).UUID, Kind: nvml.EventXID, Data: 79, GI: -1, CI: -1})
	n.turning("it fails again", func(s *State) bool { return s.GPUs[1].HealthReason == "Xid79" })
	n.sweeps(2)

	n.gpus.GPU(1).Fail(nvml.CallAny, nvml.ErrGPULost)
	n.sweep()
	edges := n.edges()
	repaired(n.now())
	if s := n.sweeps(2); s.GPUs[1].Health != wire.Health_FAILED || s.GPUs[1].HealthReason != "GpuLost" {
		t.Fatalf("it is still lost: %+v, %d edges", s.GPUs, n.edges()-edges)
	}
	for _, s := range n.states {
		if s.Sweep > n.last().Sweep-3 && s.GPUs[1].Health == wire.Health_HEALTHY {
			t.Fatal("it was called healthy in between")
		}
	}
}
