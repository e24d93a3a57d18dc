package nvml

import (
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
)

// fileFake is a fake that came from a file.
type fileFake struct {
	*Fake
	changed atomic.Bool
}

func (f *fileFake) Path() string  { return "libnvidia-ml.so.1" }
func (f *fileFake) ID() FileID    { return FileID{1, 2} }
func (f *fileFake) Changed() bool { return f.changed.Load() }

func TestALibraryIsOpenedOnceAndKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeOf(1)
		r := NewReopener(f.Open, 0)
		first, err := r.Library()
		if err != nil {
			t.Fatal(err)
		}
		list, err := first.Devices()
		if err != nil {
			t.Fatal(err)
		}
		f.GPU(0).Fail(CallMemory, ErrGPULost) // of the GPU, not of the driver
		_, _ = list[0].Memory()
		if again, err := r.Library(); err != nil || again != first || f.Opens() != 1 {
			t.Error(again == first, err, f.Opens())
		}
		if err := errors.Join(r.Close(), r.Close()); err != nil || !f.Closed() {
			t.Error(err)
		}
		if _, err := r.Library(); !errors.Is(err, ErrUninitialized) {
			t.Error(err)
		}
	})
}

func TestAMissingDriverIsTriedAgainWithPauses(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeOf(1)
		f.Fail(CallOpen, ErrDriverNotLoaded)
		r := NewReopener(f.Open, 0)
		var tries []time.Duration
		start := time.Now()
		for time.Since(start) < 2*time.Minute {
			before := f.Calls(CallOpen)
			if _, err := r.Library(); !errors.Is(err, ErrDriverNotLoaded) {
				t.Fatal(err)
			}
			if f.Calls(CallOpen) > before {
				tries = append(tries, time.Since(start))
			}
			time.Sleep(time.Second / 2)
		}
		want := []time.Duration{0, 1, 3, 7, 15, 31, 61, 91}
		for i := range want {
			want[i] *= time.Second
		}
		if len(tries) != len(want) {
			t.Fatal(tries)
		}
		for i := range want {
			if tries[i] != want[i] {
				t.Error(tries)
			}
		}
		f.Fail(CallOpen, nil)
		time.Sleep(lastPause)
		if _, err := r.Library(); err != nil {
			t.Error("the driver is there:", err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestARestartOfTheDriverIsFollowed(t *testing.T) {
	for _, gone := range []error{ErrLibraryVersion, ErrDriverNotLoaded, ErrUninitialized} {
		synctest.Test(t, func(t *testing.T) {
			f := fakeOf(1)
			r := NewReopener(f.Open, 0)
			old, _ := r.Library()
			list, _ := old.Devices()
			time.Sleep(time.Minute)
			f.GPU(0).Fail(CallStatus, gone)
			if _, err := list[0].Status(); !errors.Is(err, gone) {
				t.Fatal(err)
			}
			f.GPU(0).Fail(CallStatus, nil)
			fresh, err := r.Library()
			if err != nil || fresh == old || f.Opens() != 2 {
				t.Fatal(gone, err, fresh == old, f.Opens())
			}
			if _, err := list[0].Status(); !errors.Is(err, ErrUninitialized) {
				t.Error("a device of the driver before:", err)
			}
			if now, err := fresh.Devices(); err != nil || second(now[0].Status()) != nil {
				t.Error(err)
			}
			if err := r.Close(); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestADriverThatStaysBrokenIsNotReopenedAllTheTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeOf(1)
		f.Fail(CallSystem, ErrLibraryVersion) // opens well, and then this
		r := NewReopener(f.Open, 0)
		for range 600 {
			if lib, err := r.Library(); err == nil {
				_, _ = lib.System()
			} else if !errors.Is(err, ErrLibraryVersion) {
				t.Fatal(err)
			}
			time.Sleep(time.Second)
		}
		if n := f.Opens(); n < 10 || n > 30 {
			t.Error("opened", n, "times in ten minutes")
		}
		f.Fail(CallSystem, nil)
		time.Sleep(lastPause)
		lib, err := r.Library()
		if err != nil || second(lib.System()) != nil {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAnotherFileIsOpenedButNotUnderACallThatHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := &fileFake{Fake: fakeOf(2)}
		r := NewReopener(func() (Library, error) {
			f.changed.Store(false)
			_, err := f.Open()
			return f, err
		}, 0)
		old, _ := r.Library()
		list, _ := old.Devices()
		time.Sleep(time.Minute)
		release := f.GPU(0).Hang(CallMemory)
		_, _ = list[0].Memory()
		f.changed.Store(true)
		if lib, err := r.Library(); lib != old || err != nil || f.Closed() {
			t.Error("the library was changed while a call is in it:", err)
		}
		if _, err := list[1].Memory(); err != nil {
			t.Error("the other GPU goes on:", err)
		}
		release()
		synctest.Wait()
		if lib, err := r.Library(); lib == old || err != nil || f.Opens() != 2 {
			t.Error(lib == old, err, f.Opens())
		}
		if err := r.Close(); err != nil {
			t.Error(err)
		}
	})
}

func TestAnOpenThatHangsHangsNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeOf(1)
		release := f.Hang(CallOpen)
		r := NewReopener(f.Open, 0)
		start := time.Now()
		if _, err := r.Library(); !errors.Is(err, ErrUnresponsive) || time.Since(start) != DefaultDeadline {
			t.Error(err, time.Since(start))
		}
		start = time.Now()
		for range 10 {
			if _, err := r.Library(); !errors.Is(err, ErrUnresponsive) {
				t.Error(err)
			}
		}
		if time.Since(start) != 0 || f.Calls(CallOpen) != 1 {
			t.Error(time.Since(start), f.Calls(CallOpen))
		}
		release()
		synctest.Wait()
		if _, err := r.Library(); err != nil || f.Calls(CallOpen) != 1 {
			t.Error("what came late is taken:", err)
		}
		if err := r.Close(); err != nil || !f.Closed() {
			t.Error(err)
		}
	})
}

func TestALibraryThatComesAfterCloseIsClosed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		f := fakeOf(1)
		release := f.Hang(CallOpen)
		r := NewReopener(f.Open, 0)
		_, _ = r.Library()
		if err := r.Close(); err != nil {
			t.Error(err)
		}
		release()
		synctest.Wait()
		if f.Opens() != 1 || !f.Closed() {
			t.Error(f.Opens(), f.Closed())
		}
	})
}
