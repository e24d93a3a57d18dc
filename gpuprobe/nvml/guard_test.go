package nvml

import (
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// In a bubble of synctest time goes on when everybody waits: a deadline takes no time,
// and nothing is late by chance.

func guardedFake(t *testing.T, gpus int) (*Fake, *Guarded, []Device) {
	t.Helper()
	f := fakeOf(gpus)
	g := Guard(f, 0)
	list, err := g.Devices()
	if err != nil || len(list) != gpus {
		t.Fatal(list, err)
	}
	return f, g, list
}

func fakeOf(gpus int) *Fake {
	ids := make([]Identity, gpus)
	for i := range ids {
		ids[i] = FakeH100(i)
	}
	return NewFake(ids...)
}

func mustClose(t *testing.T, l Library) {
	t.Helper()
	if err := l.Close(); err != nil {
		t.Error(err)
	}
}

func TestACallThatHangsIsGivenUpAndTheOthersGoOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, list := guardedFake(t, 2)
		defer mustClose(t, g)
		release := f.GPU(0).Hang(CallProcesses)
		start := time.Now()
		if _, err := list[0].Processes(); !errors.Is(err, ErrUnresponsive) || time.Since(start) != DefaultDeadline {
			t.Fatal(err, time.Since(start))
		}
		start = time.Now()
		for what, err := range map[string]error{
			"the same call": second(list[0].Processes()), "another": second(list[0].Memory()),
			"identity": second(list[0].Identity()), "instances": second(list[0].MIG()),
		} {
			if !errors.Is(err, ErrUnresponsive) {
				t.Errorf("%s: %v", what, err)
			}
		}
		if time.Since(start) != 0 {
			t.Error("later calls must fail at once, not after", time.Since(start))
		}
		if _, err := list[1].Memory(); err != nil {
			t.Error("the other GPU:", err)
		}
		if _, err := g.System(); err != nil {
			t.Error("the system:", err)
		}
		if g.Stuck() != 1 || f.GPU(0).Calls(CallAny) != 1 || f.GPU(0).AtOnce() != 1 {
			t.Error("a second call went into the driver:", f.GPU(0).Calls(CallAny))
		}
		release()
		synctest.Wait()
		if _, err := list[0].Memory(); err != nil || g.Stuck() != 0 {
			t.Error("the driver has come back:", err)
		}
	})
}

func TestTheErrorNamesTheGPUAndTheCallAndSinceWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, list := guardedFake(t, 4)
		defer mustClose(t, g)
		defer f.GPU(3).Hang(CallStatus)()
		_, _ = list[3].Status()
		time.Sleep(9 * time.Second)
		_, err := list[3].Memory()
		if err == nil || err.Error() != "GPU 3: the driver does not answer: Status has not returned for 12s" {
			t.Error(err)
		}
	})
}

func TestCallsOfOneGPUWaitForOneAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, list := guardedFake(t, 1)
		defer mustClose(t, g)
		release := f.GPU(0).Hang(CallMemory)
		var wait sync.WaitGroup
		for range 10 {
			wait.Go(func() {
				if _, err := list[0].Memory(); err != nil {
					t.Error(err)
				}
			})
		}
		time.Sleep(2 * time.Second)
		if n := f.GPU(0).Calls(CallMemory); n != 1 {
			t.Error(n, "calls at once")
		}
		release()
		wait.Wait()
		if f.GPU(0).AtOnce() != 1 || f.GPU(0).Calls(CallMemory) != 10 {
			t.Error(f.GPU(0).AtOnce(), f.GPU(0).Calls(CallMemory))
		}
	})
}

func TestWhoWaitsBehindACallThatHangsIsGivenUpToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, list := guardedFake(t, 1)
		defer mustClose(t, g)
		release := f.GPU(0).Hang(CallMemory)
		var wait sync.WaitGroup
		for i := range 5 {
			wait.Go(func() {
				time.Sleep(time.Duration(i) * time.Second / 2)
				if _, err := list[0].Memory(); !errors.Is(err, ErrUnresponsive) {
					t.Error(err)
				}
			})
		}
		wait.Wait()
		release()
		synctest.Wait()
		if n := f.GPU(0).Calls(CallMemory); n != 1 {
			t.Error("a call that was given up went into the driver later:", n)
		}
	})
}

func TestInstancesShareTheGoroutineOfTheirGPU(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, list := guardedFake(t, 2)
		defer mustClose(t, g)
		f.GPU(0).SetMIG(Identity{UUID: "MIG-1", Profile: "1g.10gb"}, Identity{UUID: "MIG-2", Profile: "2g.20gb", GI: 1})
		instances, err := list[0].MIG()
		if err != nil || len(instances) != 2 {
			t.Fatal(instances, err)
		}
		if id, err := instances[1].Identity(); err != nil || id.Profile != "2g.20gb" || id.Parent != FakeH100(0).UUID {
			t.Fatal(id, err)
		}
		defer f.GPU(0).Hang(CallStatus)()
		_, _ = list[0].Status()
		if _, err := instances[0].Memory(); !errors.Is(err, ErrUnresponsive) {
			t.Error(err)
		}
	})
}

func TestTheListOfDevicesSurvivesADriverThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, list := guardedFake(t, 2)
		defer mustClose(t, g)
		releaseGPU := f.GPU(0).Hang(CallAny)
		_, _ = list[0].Memory()
		before := f.Calls(CallDevices)
		if again, err := g.Devices(); err != nil || len(again) != 2 || again[1] != list[1] {
			t.Error(again, err)
		}
		if f.Calls(CallDevices) != before {
			t.Error("listing the GPUs touches the one that hangs")
		}
		releaseGPU()
		synctest.Wait()
		release := f.Hang(CallDevices)
		if again, err := g.Devices(); !errors.Is(err, ErrUnresponsive) || len(again) != 2 {
			t.Error(again, err)
		}
		if _, err := list[1].Memory(); err != nil {
			t.Error(err)
		}
		release()
		synctest.Wait()
		f.Fail(CallDevices, ErrNoPermission)
		if again, err := g.Devices(); !errors.Is(err, ErrNoPermission) || again != nil {
			t.Error(again, err)
		}
	})
}

func TestAWaitForEventsHasItsOwnTimeAndEndsWithClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, list := guardedFake(t, 1)
		start := time.Now()
		if _, err := g.Events(time.Minute); !errors.Is(err, ErrTimeout) || time.Since(start) != time.Minute {
			t.Error(err, time.Since(start))
		}
		go f.Inject(Event{UUID: "GPU-1", Kind: EventXID, Data: 79})
		if e, err := g.Events(time.Minute); err != nil || e.Data != 79 {
			t.Error(e, err)
		}
		if _, err := list[0].Memory(); err != nil {
			t.Error(err)
		}
		release := f.Hang(CallEvents)
		start = time.Now()
		if _, err := g.Events(time.Minute); !errors.Is(err, ErrUnresponsive) || time.Since(start) != slice+DefaultDeadline {
			t.Error(err, time.Since(start))
		}
		release()
		time.Sleep(2 * slice) // the call that hung now waits for its slice
		done := make(chan error)
		go func() { done <- second(g.Events(time.Hour)) }()
		time.Sleep(time.Minute + slice/3)
		start = time.Now()
		mustClose(t, g)
		if took := time.Since(start); took == 0 || took > time.Second {
			t.Error("Close waits for the call that is inside, a second at most:", took)
		}
		if err := <-done; !errors.Is(err, ErrUninitialized) {
			t.Error("a wait that Close ended:", err)
		}
	})
}

func TestCloseNeverHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, list := guardedFake(t, 2)
		release := f.GPU(1).Hang(CallMemory)
		_, _ = list[1].Memory()
		start := time.Now()
		if err := g.Close(); !errors.Is(err, ErrUnresponsive) || time.Since(start) != DefaultDeadline {
			t.Error(err, time.Since(start))
		}
		if f.Closed() {
			t.Error("the library was closed under a call that is in it")
		}
		for what, err := range map[string]error{
			"a GPU": second(list[0].Memory()), "the system": second(g.System()),
			"devices": second(g.Devices()), "events": second(g.Events(time.Hour)),
		} {
			if !errors.Is(err, ErrUninitialized) && what != "devices" {
				t.Errorf("%s: %v", what, err)
			}
		}
		release()
		synctest.Wait()
		if !f.Closed() {
			t.Error("it was to be closed when the call returned")
		}
		mustClose(t, g)
	})
}

func TestCloseOfALibraryThatHangsInClose(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, _ := guardedFake(t, 1)
		release := f.Hang(CallClose)
		if err := g.Close(); !errors.Is(err, ErrUnresponsive) {
			t.Error(err)
		}
		release()
		synctest.Wait()
		f.Fail(CallClose, nil)
		mustClose(t, g)
	})
}

func TestGuardUnderManyGoroutinesAndFaults(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, list := guardedFake(t, 4)
		var wait sync.WaitGroup
		for i := range 4 {
			wait.Go(func() { // the driver hangs now and then
				for range 20 {
					release := f.GPU(i).Hang(CallAny)
					time.Sleep(time.Duration(1+i) * time.Second)
					release()
					time.Sleep(time.Second)
				}
			})
			for range 3 {
				wait.Go(func() {
					for range 100 {
						_, _ = list[i].Memory()
						_, _ = list[i].Status()
						time.Sleep(time.Second / 3)
					}
				})
			}
		}
		wait.Wait()
		synctest.Wait()
		for i := range 4 {
			if n := f.GPU(i).AtOnce(); n != 1 {
				t.Errorf("GPU %d: %d calls at once", i, n)
			}
			if _, err := list[i].Memory(); err != nil {
				t.Errorf("GPU %d: %v", i, err)
			}
		}
		mustClose(t, g)
	})
}

func TestErrorsOfTheDriverPassThrough(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f, g, list := guardedFake(t, 1)
		defer mustClose(t, g)
		for _, want := range []error{ErrGPULost, ErrResetRequired, ErrNotSupported, Error(4711)} {
			f.GPU(0).Fail(CallAny, want)
			if _, err := list[0].Memory(); !errors.Is(err, want) {
				t.Error(err, "want", want)
			}
		}
		f.GPU(0).Fail(CallAny, nil)
		if m, err := list[0].Memory(); err != nil || m.Total != 80<<30 {
			t.Error(m, err)
		}
	})
}
