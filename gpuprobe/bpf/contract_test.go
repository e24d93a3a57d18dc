//go:build linux && (amd64 || arm64)

package bpf

import (
	"testing"
	"time"
)

// actor is a process, real or told of.
type actor interface {
	start()
	launches(n int)
	end()
	number() uint32
}

func (p *process) start()         { p.tell("call cuInit 1") }
func (p *process) launches(n int) { p.launch(n) }
func (p *process) end()           { p.exit() }
func (p *process) number() uint32 { return p.pid }

type told struct {
	f   *Fake
	pid uint32
}

func (a told) start()         { a.f.Start(a.pid, 7) }
func (a told) launches(n int) { a.f.Launch(a.pid, n) }
func (a told) end()           { a.f.Exit(a.pid) }
func (a told) number() uint32 { return a.pid }

// TestProbeAndFakeTellTheSameStory: what the agent is tested with does as the kernel does.
func TestProbeAndFakeTellTheSameStory(t *testing.T) {
	t.Run("Fake", func(t *testing.T) {
		f := NewFake(time.Now)
		defer func() { _ = f.Close() }()
		story(t, f, told{f, 1}, told{f, 2})
	})
	t.Run("Probe", func(t *testing.T) {
		needKernel(t)
		lib := fakeDriver(t, t.TempDir(), push)
		p := watch(t, Options{Libraries: []string{lib}, Overrun: 2000})
		story(t, p, startCaller(t, lib), startCaller(t, lib))
	})
}

func story(t *testing.T, w Watcher, a, b actor) {
	t.Helper()
	next := func(who actor, want Kind) {
		t.Helper()
		if e := wait(t, w, who.number()); e.Kind != want || e.At.IsZero() {
			t.Fatalf("%+v, want kind %d", e, want)
		}
	}
	launched := func(who actor, want uint64) {
		t.Helper()
		if c := counted(t, w, who.number()); c.Launches != want || (want > 0) == c.Last.IsZero() {
			t.Fatalf("%+v, want %d", c, want)
		}
	}
	a.start()
	a.start()
	next(a, Started)
	a.launches(5)
	quiet(t, w, a.number())
	launched(a, 0)

	mustArm(t, w, a.number(), b.number())
	launched(a, 0)
	a.launches(5)
	next(a, Woke)
	a.launches(5)
	quiet(t, w, a.number())
	launched(a, 10)

	mustArm(t, w, b.number())
	a.launches(5)
	launched(a, 10)
	mustArm(t, w, a.number(), b.number())
	a.launches(1)
	next(a, Woke)
	launched(a, 11)

	a.launches(10_000)
	next(a, Overrun)
	if _, ok := w.Armed(a.number()); ok {
		t.Fatal("armed after an overrun")
	}
	launched(a, 11+2000) // the one before is in the same second

	a.end()
	next(a, Exited)
	b.end() // was armed, though it never started
	next(b, Exited)
	if counts, err := w.Counts(); err != nil || len(counts) != 0 {
		t.Fatalf("%v %v", counts, err)
	}
}

func TestAFakeThatIsDownDoesNothing(t *testing.T) {
	f := NewFake(time.Now)
	mustArm(t, f, 1)
	f.SetStatus(Status{Reason: NoCapability})
	_ = f.Arm([]uint32{1, 2})
	f.Start(3, 1)
	f.Launch(1, 1)
	f.Exit(1)
	if len(f.ArmedPIDs()) != 0 || len(f.Events()) != 0 {
		t.Errorf("%v, %d events", f.ArmedPIDs(), len(f.Events()))
	}
	_ = f.Close()
	_ = f.Close()
}

func TestADownWatcherSaysWhy(t *testing.T) {
	w := newDown(NoCapability, "CAP_BPF missing")
	if s := w.Status(); s.Up || s.Reason != NoCapability || s.Detail == "" {
		t.Errorf("%+v", s)
	}
	if err := w.Arm([]uint32{1}); err != nil {
		t.Error(err)
	}
	if err := w.Library("/x"); err != nil {
		t.Error(err)
	}
	if counts, err := w.Counts(); len(counts) != 0 || err != nil {
		t.Errorf("%v %v", counts, err)
	}
	_ = w.Close()
	_ = w.Close()
	for range w.Events() {
	}
}
