package agent

import (
	"testing"

	"github.com/musterhq/muster/gpuprobe/nvml"
	"github.com/musterhq/muster/gpuprobe/wire"
)

// gpu of a State by its UUID; each is in it once.
func (n *node) gpu(s *State, uuid string) GPU {
	n.t.Helper()
	var found []GPU
	for _, g := range s.GPUs {
		if g.UUID == uuid {
			found = append(found, g)
		}
	}
	if len(found) != 1 {
		n.t.Fatalf("GPU %s is told of %d times: %+v", uuid, len(found), s.GPUs)
	}
	return found[0]
}

func (n *node) replaceDriver(gpus ...nvml.Identity) *nvml.Fake {
	again := nvml.NewFake(gpus...)
	n.t.Cleanup(func() { _ = again.Close() })
	n.setLibrary(again, nil)
	return again
}

// A GPU falls off the bus and the driver is loaded again: those behind it move up.
func TestGPUsThatMoveUpKeepTheirNames(t *testing.T) {
	n := newNode(t, 3, nil)
	a, b, c := nvml.FakeH100(0), nvml.FakeH100(1), nvml.FakeH100(2)
	n.who.set(2, "pod-b", 1)
	n.put(1, map[uint32]int{2: 400})
	n.run()
	n.sweep()

	again := n.replaceDriver(b, c)
	again.GPU(0).Set(func(s *nvml.FakeState) {
		s.Processes = []nvml.Process{{PID: 2, GI: -1, CI: -1}}
		s.Use, s.Utilization = map[uint32]nvml.ProcessUse{2: {SM: 400, Samples: 9}}, 400
	})
	for range 14 {
		s := n.sweep()
		if g := n.gpu(s, a.UUID); g.Health != wire.Health_FAILED || g.HealthReason != "GpuMissing" || g.At.Equal(s.At) {
			t.Fatalf("the lost one: %+v", g)
		}
		for _, id := range []nvml.Identity{b, c} {
			if g := n.gpu(s, id.UUID); g.Health != wire.Health_HEALTHY || !g.At.Equal(s.At) {
				t.Fatalf("%s is there: %+v", id.UUID, g)
			}
		}
		if u := n.use(s, "pod-b", 1); value(t, u.Busy) != 400 || len(s.Uses) != 1 {
			t.Fatalf("its work is on the same GPU: %+v", s.Uses)
		}
	}

	// It is back, and they move down again.
	n.replaceDriver(a, b, c)
	s := n.sweep()
	for i, id := range []nvml.Identity{a, b, c} {
		if g := n.gpu(s, id.UUID); g.Health != wire.Health_HEALTHY || g.Index != i {
			t.Fatalf("%+v", g)
		}
	}
	if len(s.GPUs) != 3 {
		t.Fatalf("%+v", s.GPUs)
	}
}

// The library is another one (an upgrade has replaced its file), and the driver is not: what
// failed has failed, but for those that were only missing.
func TestAnotherLibraryOfTheSameDriverForgivesNothing(t *testing.T) {
	load := "boot-1/4711"
	n := newNode(t, 3, func(c *Config) { c.Load = func() string { return load } })
	ids := []nvml.Identity{nvml.FakeH100(0), nvml.FakeH100(1), nvml.FakeH100(2)}
	n.gpus.GPU(1).Set(func(s *nvml.FakeState) { s.Status.Recovery = nil }) // an old driver
	n.run()
	n.gpus.Inject(nvml.Event{UUID: ids[1].UUID, Kind: nvml.EventXID, Data: 79, GI: -1, CI: -1})
	n.turning("failed", func(s *State) bool { return s.GPUs[1].Health == wire.Health_FAILED })
	mute := func(gpus ...nvml.Identity) {
		again := n.replaceDriver(gpus...)
		for i := range gpus {
			again.GPU(i).Set(func(s *nvml.FakeState) { s.Status.Recovery = nil })
		}
	}
	mute(ids[:2]...)
	s := n.sweeps(3)
	if n.gpu(s, ids[1].UUID).HealthReason != "Xid79" || n.gpu(s, ids[2].UUID).HealthReason != "GpuMissing" {
		t.Errorf("%+v", s.GPUs)
	}
	mute(ids[0])
	if s = n.sweep(); n.gpu(s, ids[1].UUID).HealthReason != "GpuMissing" {
		t.Errorf("%+v", s.GPUs)
	}
	mute(ids...)
	s = n.sweeps(3)
	if g := n.gpu(s, ids[2].UUID); g.Health != wire.Health_HEALTHY {
		t.Errorf("it is there again: %+v", g)
	}
	if g := n.gpu(s, ids[1].UUID); g.HealthReason != "Xid79" {
		t.Errorf("nobody repaired it: %+v", g)
	}
	load = "boot-1/4712" // now the driver was restarted
	mute(ids...)
	s = n.sweeps(2)
	if g := n.gpu(s, ids[1].UUID); g.Health != wire.Health_HEALTHY {
		t.Errorf("%+v", g)
	}
	// Where one start of the driver can't be told from another, it may have been.
	n.mu.Lock()
	last := n.lib.(*nvml.Fake)
	n.mu.Unlock()
	last.Inject(nvml.Event{UUID: ids[1].UUID, Kind: nvml.EventXID, Data: 79, GI: -1, CI: -1})
	n.turning("failed", func(s *State) bool { return s.GPUs[1].Health == wire.Health_FAILED })
	load = "boot-1/0"
	mute(ids...)
	n.sweep()
	mute(ids...)
	s = n.sweeps(2)
	if g := n.gpu(s, ids[1].UUID); g.Health != wire.Health_HEALTHY {
		t.Errorf("%+v", g)
	}
}

func TestAGPUInThePlaceOfAnotherIsNotTheOther(t *testing.T) {
	n := newNode(t, 2, nil)
	n.run()
	n.gpus.GPU(1).Fail(nvml.CallAny, nvml.ErrGPULost)
	n.sweep()
	n.replaceDriver(nvml.FakeH100(0), nvml.FakeH100(7))
	s := n.sweep()
	if g := n.gpu(s, nvml.FakeH100(7).UUID); g.Health != wire.Health_HEALTHY {
		t.Errorf("the new one: %+v", g)
	}
	if g := n.gpu(s, nvml.FakeH100(1).UUID); g.Health != wire.Health_FAILED || g.HealthReason != "GpuMissing" {
		t.Errorf("the old one does not vanish: %+v", g)
	}
	if !s.Sources[0].Up || s.Sources[0].Detail != "" {
		t.Errorf("%+v", s.Sources[0])
	}
}

// The leader refuses a report that names a GPU twice, and with it all that the node says.
func TestTwoGPUsOfOneNameAreOne(t *testing.T) {
	n := newNode(t, 0, nil)
	n.replaceDriver(nvml.FakeH100(0), nvml.FakeH100(0), nvml.FakeH100(2))
	n.run()
	for range 14 {
		s := n.sweep()
		n.gpu(s, nvml.FakeH100(0).UUID)
		n.gpu(s, nvml.FakeH100(2).UUID)
		if len(s.GPUs) != 2 || s.Sources[0].Detail == "" {
			t.Fatalf("%+v", s)
		}
	}
}

// Until a GPU has said who it is under a new driver, what it says is of nobody.
func TestAfterARestartOfTheDriverAGPUSaysWhoItIsFirst(t *testing.T) {
	n := newNode(t, 2, nil)
	n.run()
	again := n.replaceDriver(nvml.FakeH100(1))
	again.GPU(0).Fail(nvml.CallIdentity, nvml.ErrUnknown)
	s := n.sweeps(2)
	for _, g := range s.GPUs {
		if g.At.Equal(s.At) || g.Health == wire.Health_HEALTHY {
			t.Errorf("%+v", g)
		}
	}
	again.GPU(0).Fail(nvml.CallIdentity, nil)
	s = n.sweep()
	if g := n.gpu(s, nvml.FakeH100(1).UUID); g.Health != wire.Health_HEALTHY {
		t.Errorf("%+v", g)
	}
}
