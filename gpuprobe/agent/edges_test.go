package agent

import (
	"errors"
	"sync/atomic"
	"testing"
	"time"

	"github.com/musterhq/muster/gpuprobe/bpf"
	"github.com/musterhq/muster/gpuprobe/cgroup"
)

// deaf is a Watcher that loses the events of one kind, as a ring without room does.
type deaf struct {
	*bpf.Fake
	events chan bpf.Event
	to     atomic.Int32 // the kind
	lost   atomic.Uint64
}

func newDeaf(n *node) *deaf {
	d := &deaf{Fake: n.bpf, events: make(chan bpf.Event)}
	go func() {
		defer close(d.events)
		for e := range n.bpf.Events() {
			if e.Kind == bpf.Kind(d.to.Load()) {
				d.lost.Add(1)
				continue
			}
			d.events <- e
		}
	}()
	n.t.Cleanup(func() { _ = n.bpf.Close() })
	n.agent.c.Watcher = d
	return d
}

func (d *deaf) Events() <-chan bpf.Event { return d.events }
func (d *deaf) Lost() uint64             { return d.lost.Load() }

// A wake-up is told once: if that is lost, the process must be armed anew before the next
// is an edge.
func TestAfterALostWakeUpTheNextIsAnEdge(t *testing.T) {
	n := newNode(t, 1, nil)
	d := newDeaf(n)
	n.who.set(42, "pod-a", 1)
	n.put(0, map[uint32]int{42: 0})
	n.run()
	n.sweeps(2)
	d.to.Store(int32(bpf.Woke))
	n.bpf.Launch(42, 3)
	n.await("it is lost", func(*State) bool { return d.lost.Load() == 1 })
	d.to.Store(0)
	s := n.sweep()
	if u := n.use(s, "pod-a", 0); value(t, u.Launches) != 3 || idleFor(t, s, u) != 5*second || watchedFor(s, u) != 0 {
		t.Fatalf("the count has told: %+v", u)
	}
	n.sweeps(3) // idle again
	n.bpf.Launch(42, 1)
	n.await("the edge", func(s *State) bool { return s.Edge })
}

// The kernel takes probes off by itself, as when the driver's library is replaced.
func TestWhoLostItsProbesGetsThemAgain(t *testing.T) {
	n := newNode(t, 1, nil)
	n.who.set(42, "pod-a", 1)
	n.put(0, map[uint32]int{42: 0})
	n.run()
	n.sweeps(2)
	n.bpf.Gap(42)
	n.sweeps(12)
	s := n.last()
	if u := n.use(s, "pod-a", 0); len(n.bpf.ArmedPIDs()) != 1 || watchedFor(s, u) == 0 || watchedFor(s, u) > 50*second {
		t.Fatalf("armed %v: %+v", n.bpf.ArmedPIDs(), u)
	}
	// Nor is an error for good.
	n.bpf.FailArm(errors.New("no memory"))
	n.bpf.Gap(42)
	n.sweeps(12)
	if got := n.bpf.ArmedPIDs(); len(got) != 0 {
		t.Fatal(got)
	}
	n.bpf.FailArm(nil)
	n.await("armed", func(*State) bool { n.sweep(); return len(n.bpf.ArmedPIDs()) == 1 })
}

// unsure is a Watcher that has probes on everybody, and knows of nobody whether it sees all.
type unsure struct{ *bpf.Fake }

func (unsure) Armed(uint32) (time.Time, bool) { return time.Time{}, false }

func TestWhoIsNotSurelyWatchedWakesAllTheSame(t *testing.T) {
	n := newNode(t, 1, nil)
	n.agent.c.Watcher = unsure{n.bpf}
	n.who.set(42, "pod-a", 1)
	n.put(0, map[uint32]int{42: 0})
	n.run()
	for i := range 3 {
		s := n.sweeps(4)
		if u := n.use(s, "pod-a", 0); watchedFor(s, u) != 0 || idleFor(t, s, u) < 10*second {
			t.Fatalf("%+v", u)
		}
		n.bpf.Launch(42, 1)
		n.await("an edge", func(*State) bool { return n.edges() == i+1 })
	}
}

// A process that has ended before anybody could see whose it was: what it did may have been
// of any pod that has none now.
func TestAStartOfNobodyIsAGapOfEverybody(t *testing.T) {
	n := newNode(t, 2, nil)
	n.kube.give(0, "team", "a")
	n.who.set(42, "pod-b", 1)
	n.put(1, map[uint32]int{42: 0})
	n.run()
	n.sweeps(3)
	n.bpf.Start(77, 0)
	n.bpf.Exit(77)
	n.settle()
	s := n.sweep()
	for u, gpu := range map[string]int{"pod:team/a": 0, "pod-b": 1} {
		if u := n.use(s, u, gpu); watchedFor(s, u) != 0 || idleFor(t, s, u) < 15*second {
			t.Errorf("a start went by, and all were seen, it says: %+v", u)
		}
	}
}

// Its cgroup is still there, and says whose it was.
func TestAStartIsOfTheCgroupThatItWasIn(t *testing.T) {
	n := newNode(t, 2, nil)
	n.agent.c.Finder = remembering{n.who}
	n.agent.lookup = newLookup(&n.agent.c)
	n.kube.give(0, "team", "a")
	n.kube.give(1, "team", "b")
	n.names["uid-a"] = "team a"
	n.run()
	n.sweeps(3)
	n.bpf.Start(77, 4711)
	n.bpf.Exit(77)
	s := n.await("the edge", func(s *State) bool { return s.Edge })
	if u := n.use(s, "pod:team/a", 0); idleFor(t, s, u) != 0 {
		t.Errorf("%+v", u)
	}
	s = n.sweep()
	if u := n.use(s, "pod:team/a", 0); watchedFor(s, u) != 0 {
		t.Errorf("what it launched was not seen: %+v", u)
	}
	if u := n.use(s, "pod:team/b", 1); watchedFor(s, u) < 15*second {
		t.Errorf("it was not of this one: %+v", u)
	}
}

type remembering struct{ *people }

func (remembering) OfCgroup(id uint64) (cgroup.Owner, bool) {
	return cgroup.Owner{Pod: "uid-a"}, id == 4711
}
