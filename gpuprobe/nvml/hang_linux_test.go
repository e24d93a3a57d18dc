//go:build linux && (amd64 || arm64)

package nvml

import (
	"errors"
	"sync"
	"testing"
	"time"
)

// The guard over a library in C whose calls block in C, where nobody can wake them.
func TestADriverThatBlocksInOneGPULeavesTheOthers(t *testing.T) {
	s := newStub(t)
	inner, err := Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	const deadline = 200 * time.Millisecond
	g := Guard(inner, deadline)
	list, err := g.Devices()
	if err != nil {
		t.Fatal(err)
	}
	s.set(3, keyHang, 1)
	for range 3 {
		if _, err := list[3].Memory(); !errors.Is(err, ErrUnresponsive) {
			t.Fatal(err)
		}
	}
	var wait sync.WaitGroup
	for i, d := range list {
		wait.Go(func() {
			for range 20 {
				_, memory := d.Memory()
				_, status := d.Status()
				if err := errors.Join(memory, status); errors.Is(err, ErrUnresponsive) != (i == 3) {
					t.Errorf("GPU %d: %v", i, err)
				}
			}
		})
	}
	wait.Wait()
	if again, err := g.Devices(); err != nil || len(again) != 8 {
		t.Error(again, err)
	}
	if n := s.mostInside(); n != 1 {
		t.Errorf("%d calls were in the driver for one GPU", n)
	}
	if err := g.Close(); !errors.Is(err, ErrUnresponsive) || s.inits() != 1 {
		t.Error("the library was unloaded under the call:", err)
	}
	s.set(3, keyHang, 0)
	if err := eventually(g.Close); err != nil || s.inits() != 0 {
		t.Error(err, s.inits())
	}
}

func eventually(f func() error) (err error) {
	for range 100 {
		if err = f(); err == nil {
			return nil
		}
	}
	return err
}

func TestTheReopenerFollowsADriverInC(t *testing.T) {
	s := newStub(t)
	r := NewReopener(func() (Library, error) { return Open(s.path) }, time.Minute)
	now := time.Now()
	r.now = func() time.Time { return now }
	first, err := r.Library()
	if err != nil {
		t.Fatal(err)
	}
	now = now.Add(time.Hour)
	s.set(0, keyVersionRC, int(ErrLibraryVersion)) // the module was replaced
	s.set(0, keyInitRC, int(ErrDriverNotLoaded))   // and the new one is not there yet
	if _, err := first.System(); !errors.Is(err, ErrLibraryVersion) {
		t.Fatal(err)
	}
	if _, err := r.Library(); !errors.Is(err, ErrDriverNotLoaded) || s.inits() != 0 {
		t.Fatal(err, s.inits())
	}
	s.set(0, keyVersionRC, 0)
	s.set(0, keyInitRC, 0)
	now = now.Add(time.Second)
	second, err := r.Library()
	if err != nil || second == first {
		t.Fatal(err)
	}
	if sys, err := second.System(); err != nil || sys.Driver != "580.95.05" {
		t.Error(sys, err)
	}
	if err := r.Close(); err != nil || s.inits() != 0 {
		t.Error(err, s.inits())
	}
}
