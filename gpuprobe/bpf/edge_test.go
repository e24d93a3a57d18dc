//go:build linux && (amd64 || arm64)

package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"
)

func sh(script string) error {
	b, err := exec.Command("sh", "-ec", script).CombinedOutput()
	if err != nil {
		return fmt.Errorf("%w: %s", err, b)
	}
	return nil
}

func root(pid uint32, path string) string { return fmt.Sprintf("/proc/%d/root%s", pid, path) }

func TestTheFirstLaunchSinceItWasArmedIsTold(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	c := startCaller(t, lib)
	c.launch(10)
	for range 2 {
		mustArm(t, p, c.pid)
		before := time.Now()
		c.launch(10)
		e := wait(t, p, c.pid)
		if e.Kind != Woke || e.At.Before(before.Add(-time.Millisecond)) || e.At.After(time.Now()) {
			t.Fatalf("%+v, between %s and now", e, before)
		}
		c.launch(10)
		quiet(t, p, c.pid)
		mustArm(t, p)
	}
}

func TestWhoLaunchesTooOftenIsDisarmed(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}, Overrun: 2000})
	busy, calm := startCaller(t, lib), startCaller(t, lib)
	original := busy.code("cuLaunchKernel")
	mustArm(t, p, busy.pid, calm.pid)
	calm.tell("pace cuLaunchKernel 2500 600") // 1,667 a second, for one and a half
	busy.launch(50_000)
	if e := wait(t, p, busy.pid); e.Kind != Woke {
		t.Fatalf("%+v", e)
	}
	if e := wait(t, p, busy.pid); e.Kind != Overrun {
		t.Fatalf("%+v", e)
	}
	if _, ok := p.Armed(busy.pid); ok {
		t.Error("still armed")
	}
	if n := counted(t, p, busy.pid).Launches; n != 2001 {
		t.Errorf("counted %d, want those up to the one that was too many", n)
	}
	eventually(t, "its probes are taken off", func() bool { return bytes.Equal(busy.code("cuLaunchKernel"), original) })
	if _, ok := p.Armed(calm.pid); !ok || counted(t, p, calm.pid).Launches != 2500 {
		t.Errorf("the calm one: armed %v, %+v", ok, counted(t, p, calm.pid))
	}
	mustArm(t, p, busy.pid, calm.pid)
	busy.launch(100)
	if e := wait(t, p, busy.pid); e.Kind != Woke || counted(t, p, busy.pid).Launches != 2101 {
		t.Errorf("armed again: %+v %+v", e, counted(t, p, busy.pid))
	}
}

func TestWhatHappensWhileItIsStillBeingArmedDisarms(t *testing.T) {
	for want, happens := range map[Kind]func(*process){
		Overrun: func(c *process) { c.launch(50) },
		Exited:  (*process).exit,
	} {
		needKernel(t)
		lib := fakeDriver(t, t.TempDir(), push)
		p := watch(t, Options{Libraries: []string{lib}, Overrun: 10})
		c := startCaller(t, lib)
		if err := p.counter.enter(c.pid, p.isArmed); err != nil {
			t.Fatal(err)
		}
		a, err := p.attach(c.pid)
		if err != nil {
			t.Fatal(err)
		}
		happens(c)
		for wait(t, p, c.pid).Kind != want {
		}
		p.settle(c.pid, a, true)
		if _, ok := p.Armed(c.pid); ok {
			t.Errorf("armed after event %d", want)
		}
	}
}

func TestStartsAndExitsAreToldOnce(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	user, bystander, armed := startCaller(t, lib), startCaller(t, lib), startCaller(t, lib)
	user.tell("call cuInit 3 4")
	user.tell("call cuDevicePrimaryCtxRetain 5")
	mustArm(t, p, armed.pid)
	if e := wait(t, p, user.pid); e.Kind != Started {
		t.Fatalf("%+v", e)
	}
	quiet(t, p, user.pid)
	bystander.exit() // never used a GPU: nobody's business
	quiet(t, p, bystander.pid)
	user.exit()
	if e := wait(t, p, user.pid); e.Kind != Exited {
		t.Fatalf("%+v", e)
	}
	armed.exit()
	if e := wait(t, p, armed.pid); e.Kind != Exited {
		t.Fatalf("%+v", e)
	}
	if _, ok := p.Armed(armed.pid); ok {
		t.Error("still armed after its end")
	}
	counts, err := p.Counts()
	if err != nil || len(counts) != 0 {
		t.Errorf("counts of who has gone: %v %v", counts, err)
	}
}

func TestTheEndOfAThreadIsNotTheEndOfItsProcess(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	c := startCaller(t, lib)
	mustArm(t, p, c.pid)
	c.tell("call cuLaunchKernel 100 8") // eight threads, all of which end
	if e := wait(t, p, c.pid); e.Kind != Woke {
		t.Fatalf("%+v", e)
	}
	quiet(t, p, c.pid)
	c.launch(1)
	if n := counted(t, p, c.pid).Launches; n != 801 {
		t.Errorf("counted %d of 801", n)
	}
}

func TestAProcessLivesOnWithoutItsFirstThread(t *testing.T) {
	needKernel(t)
	if !thisKernel().atLeast(6, 16) {
		t.Skip("before 6.16 the end of the first thread is taken for that of the process")
	}
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	armed, late := startCaller(t, lib), startCaller(t, lib)
	mustArm(t, p, armed.pid)
	armed.tell("leave")
	late.tell("leave")
	quiet(t, p, armed.pid)
	armed.launch(33)
	if n := counted(t, p, armed.pid).Launches; n != 33 {
		t.Errorf("counted %d of 33", n)
	}
	// The kernel would put no probes into the memory of one without a first thread.
	eventually(t, "its first thread is gone", func() bool {
		_, gone, _ := mappedLibraries(late.pid)
		return gone
	})
	if err := p.Arm([]uint32{armed.pid, late.pid}); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Armed(late.pid); ok {
		t.Error("armed, though none of its launches would be seen")
	}
	armed.exit()
	for _, want := range []Kind{Woke, Exited} {
		if e := wait(t, p, armed.pid); e.Kind != want {
			t.Errorf("%+v", e)
		}
	}
}

func TestANewProcessWithAnOldNumberIsAnotherOne(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	for range 100 {
		old := startCaller(t, lib)
		mustArm(t, p, old.pid)
		old.launch(10)
		old.exit()
		if err := os.WriteFile("/proc/sys/kernel/ns_last_pid", fmt.Append(nil, old.pid-1), 0o644); err != nil {
			missing(t, "pids can't be chosen: %v", err)
		}
		reborn := startCaller(t, lib)
		if reborn.pid != old.pid {
			continue
		}
		reborn.launch(1000)
		if n := counted(t, p, reborn.pid).Launches; n != 0 {
			t.Errorf("counted %d launches of a process that was never armed", n)
		}
		reborn.tell("call cuInit 1")
		var kinds []Kind
		for len(kinds) < 3 {
			kinds = append(kinds, wait(t, p, reborn.pid).Kind)
		}
		if !slices.Equal(kinds, []Kind{Woke, Exited, Started}) {
			t.Errorf("told %v", kinds)
		}
		mustArm(t, p, reborn.pid)
		reborn.launch(5)
		if n := counted(t, p, reborn.pid).Launches; n != 5 {
			t.Errorf("counted %d of 5", n)
		}
		return
	}
	missing(t, "no pid came twice in 100 tries")
}

func TestArmingWhoHasGoneIsNoError(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	gone, c := startCaller(t, lib), startCaller(t, lib)
	gone.exit()
	if err := p.Arm([]uint32{gone.pid, c.pid, 1 << 30}); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Armed(gone.pid); ok {
		t.Error("armed who has gone")
	}
	if _, ok := p.Armed(c.pid); !ok {
		t.Error("the other is not armed")
	}
}

func TestAnEventThatWasLostDoesNotLeaveAnotherProcessBlind(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	c := startCaller(t, lib)
	mustArm(t, p, c.pid)
	// As if it had ended, its event had been lost, and the number had come again.
	p.counter.forget(c.pid)
	mustArm(t, p, c.pid)
	c.launch(12)
	if n := counted(t, p, c.pid).Launches; n != 12 {
		t.Errorf("counted %d of 12", n)
	}
}

// After an overrun nothing is counted any more: an armed process without launches.
func TestWhoIsNotCountedAnyMoreIsNotWatchedThoughTheEventWasLost(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	over, ended, calm := startCaller(t, lib), startCaller(t, lib), startCaller(t, lib)
	mustArm(t, p, over.pid, ended.pid, calm.pid)
	original := calm.code("cuLaunchKernel")
	// As the kernel leaves the map, when its ring has no room for the event.
	var n count
	if err := p.counter.m.Lookup(over.pid, &n); err != nil {
		t.Fatal(err)
	}
	n.Over = 1
	if err := p.counter.m.Put(over.pid, n); err != nil {
		t.Fatal(err)
	}
	p.counter.forget(ended.pid)
	over.launch(100)
	ended.launch(100)
	if n := counted(t, p, over.pid).Launches; n != 0 {
		t.Fatalf("counted %d", n)
	}
	for _, c := range []*process{over, ended} {
		if _, ok := p.Armed(c.pid); ok {
			t.Error("a hundred launches went by unseen, and every launch is seen, it says")
		}
		eventually(t, "its probes are taken off", func() bool { return !bytes.Equal(c.code("cuLaunchKernel"), original) })
	}
	if _, ok := p.Armed(calm.pid); !ok {
		t.Error("the other is disarmed")
	}
}

func TestEventsWithoutRoomAreCounted(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}, Overrun: 10, room: 1})
	c := startCaller(t, lib)
	mustArm(t, p, c.pid)
	c.launch(20)
	eventually(t, "the loss is counted", func() bool { return p.Lost() == 1 })
	if e := wait(t, p, c.pid); e.Kind != Woke {
		t.Errorf("%+v, though the overrun was lost", e)
	}
	eventually(t, "it was disarmed all the same", func() bool { return !p.isArmed(c.pid) })
}

func TestAfterCloseNothingIsLeft(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	c := startCaller(t, lib)
	original := c.code("cuLaunchKernel")
	mustArm(t, p, c.pid)
	for range 2 {
		if err := p.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if got := c.code("cuLaunchKernel"); !bytes.Equal(got, original) {
		t.Errorf("a probe is left: % x", got)
	}
	for range p.Events() { // ends, as the channel is closed
	}
	if _, err := p.Counts(); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if err := errors.Join(p.Arm([]uint32{c.pid}), p.Library(lib)); !errors.Is(err, os.ErrClosed) {
		t.Error(err)
	}
	if p.Status().Up {
		t.Error("up")
	}
}
