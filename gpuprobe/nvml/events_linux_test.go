//go:build linux && (amd64 || arm64)

package nvml

import (
	"errors"
	"testing"
	"time"
)

func TestEventsOfAllGPUsArriveInOneWait(t *testing.T) {
	s := newStub(t)
	d := s.open(t)
	if _, err := d.Events(0); !errors.Is(err, ErrTimeout) {
		t.Fatal(err)
	}
	if got := EventKind(s.registered(7)); got != EventXID|EventSingleBitECC|EventDoubleBitECC|EventRecoveryAction {
		t.Errorf("asked for %#x", uint64(got))
	}
	s.event(6, uint64(EventXID), 94, none32, none32)
	s.event(1, uint64(EventRecoveryAction), 2, 3, 0)
	for _, want := range []Event{
		{UUID: "GPU-6", Kind: EventXID, Data: 94, GI: -1, CI: -1},
		{UUID: "GPU-1", Kind: EventRecoveryAction, Data: 2, GI: 3, CI: 0},
	} {
		if got, err := d.Events(time.Second); err != nil || got != want {
			t.Errorf("%+v, %v; want %+v", got, err, want)
		}
	}
	arrived := make(chan Event)
	go func() {
		e, _ := d.Events(time.Minute)
		arrived <- e
	}()
	time.Sleep(gpmWindow)
	s.event(3, uint64(EventXID), 48, none32, none32)
	if e := <-arrived; e.UUID != "GPU-3" || e.Data != 48 {
		t.Errorf("%+v", e)
	}
}

func TestAfterALostGPUEventsAreWaitedForAnew(t *testing.T) {
	s := newStub(t)
	d := s.open(t)
	_, _ = d.Events(0)
	s.set(0, keyEventRC, int(ErrGPULost))
	if _, err := d.Events(time.Minute); !errors.Is(err, ErrGPULost) {
		t.Fatal(err)
	}
	if s.sets() != 0 {
		t.Error("the set was not freed")
	}
	s.set(0, keyEventRC, 0)
	_, _ = d.Events(0)
	s.event(2, uint64(EventXID), 13, none32, none32)
	if e, err := d.Events(time.Second); err != nil || e.UUID != "GPU-2" {
		t.Error(e, err)
	}
}

func TestWithoutAGPUThatHasEventsNobodyWaits(t *testing.T) {
	s := newStub(t)
	s.set(0, keyCount, 1)
	s.set(0, keyNoEvents, 1)
	if _, err := s.open(t).Events(time.Hour); !errors.Is(err, ErrNotSupported) || s.sets() != 0 {
		t.Error(err, s.sets())
	}
}

func TestCloseEndsAWaitAndAllThatFollows(t *testing.T) {
	s := newStub(t)
	lib, err := Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	list, _ := lib.Devices()
	done := make(chan error)
	go func() { done <- second(lib.Events(time.Hour)) }()
	for s.sets() == 0 {
		time.Sleep(time.Millisecond)
	}
	if err := errors.Join(lib.Close(), lib.Close()); err != nil {
		t.Error(err)
	}
	if err := <-done; !errors.Is(err, ErrUninitialized) {
		t.Error(err)
	}
	for what, err := range map[string]error{
		"System": second(lib.System()), "Devices": second(lib.Devices()), "Events": second(lib.Events(0)),
		"Memory": second(list[0].Memory()),
	} {
		if !errors.Is(err, ErrUninitialized) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if s.sets() != 0 || s.inits() != 0 {
		t.Error("left open:", s.sets(), s.inits())
	}
}
