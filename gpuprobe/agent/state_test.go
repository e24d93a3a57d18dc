package agent

import (
	"math"
	"reflect"
	"testing"
	"time"

	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/wire"
)

func TestUnknownIsUnsetInTheReport(t *testing.T) {
	at := time.Unix(1000, 0)
	s := &State{Node: "n", Boot: "b", At: at, GPUs: []GPU{{UUID: "GPU-1"}}, Uses: []Use{{Owner: "o", GPU: "GPU-1"}}}
	r := s.Report(at.Add(time.Second))
	g, u := r.Gpus[0], r.Uses[0]
	if g.Busy != nil || g.Sm != nil || g.MemoryUsed != nil || g.MemoryTotal != nil || g.PowerMw != nil || g.Throttle != nil || g.LastXid != nil || g.Recovery != nil || g.TemperatureC != nil {
		t.Errorf("%v", g)
	}
	if u.Busy != nil || u.Memory != nil || u.IdleMs != nil || u.Launches != nil || u.Assigned != nil || u.WatchedMs != 0 {
		t.Errorf("%v", u)
	}
	if g.AgeMs != math.MaxUint32 || u.AgeMs != math.MaxUint32 {
		t.Errorf("what never was is as old as can be: %v %v", g.AgeMs, u.AgeMs)
	}
}

func TestTimesAreAges(t *testing.T) {
	at := time.Unix(1000, 0)
	s := &State{
		GPUs: []GPU{{At: at, Health: wire.Health_FAILED, HealthReason: "Xid79", LastXID: to(uint64(79))}},
		Uses: []Use{
			{At: at, LastActive: at.Add(-time.Minute), WatchedSince: at.Add(-30 * time.Second)},
			{At: at.Add(time.Hour), LastActive: at.Add(time.Hour)}, // clocks do not do that; nothing is negative all the same
			{At: at.Add(-100 * 24 * time.Hour)},
		},
	}
	r := s.Report(at.Add(1500 * time.Millisecond))
	if r.Gpus[0].AgeMs != 1500 || r.Gpus[0].Health != wire.Health_FAILED || *r.Gpus[0].LastXid != 79 {
		t.Errorf("%v", r.Gpus[0])
	}
	if u := r.Uses[0]; u.AgeMs != 1500 || *u.IdleMs != 61_500 || u.WatchedMs != 31_500 {
		t.Errorf("%v", u)
	}
	if u := r.Uses[1]; u.AgeMs != 0 || *u.IdleMs != 0 {
		t.Errorf("%v", u)
	}
	if u := r.Uses[2]; u.AgeMs != math.MaxUint32 {
		t.Errorf("%v", u)
	}
	if !r.Full {
		t.Error("it is all there is")
	}
}

// A State that was handed out is not changed by what comes after.
func TestAStateDoesNotChange(t *testing.T) {
	n := newNode(t, 2, nil)
	n.who.set(42, "pod-a", 1)
	n.put(0, map[uint32]int{42: 0})
	n.kube.give(0, "team", "a")
	n.run()
	n.gpus.Inject(nvml.Event{UUID: nvml.FakeH100(0).UUID, Kind: nvml.EventXID, Data: 31, GI: -1, CI: -1})
	s := n.sweeps(2)
	before := s.Report(s.At)
	n.bpf.Launch(42, 1)
	n.put(0, map[uint32]int{42: 700})
	n.gpus.GPU(1).Fail(nvml.CallAny, nvml.ErrGPULost)
	n.gpus.Inject(nvml.Event{UUID: nvml.FakeH100(0).UUID, Kind: nvml.EventXID, Data: 13, GI: -1, CI: -1})
	n.sweeps(3)
	if after := s.Report(s.At); !reflect.DeepEqual(before.String(), after.String()) {
		t.Fatalf("before %v\nafter %v", before, after)
	}
}

func TestAConfigurationThatCanNotWorkIsRefused(t *testing.T) {
	n := newNode(t, 0, nil)
	for name, change := range map[string]func(*Config){
		"no node":                            func(c *Config) { c.Node = "" },
		"no boot":                            func(c *Config) { c.Boot = "" },
		"no library":                         func(c *Config) { c.Library = nil },
		"no finder":                          func(c *Config) { c.Finder = nil },
		"no sink":                            func(c *Config) { c.Sink = nil },
		"a deadline as long as the interval": func(c *Config) { c.Interval, c.Deadline = time.Second, time.Second },
	} {
		c := n.agent.c
		change(&c)
		if _, err := New(c); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	if s := n.agent.State(); s.Sweep != 0 || len(s.Sources) != 4 || s.Sources[0].Reason != "Starting" {
		t.Errorf("before the first sweep: %+v", s)
	}
}
