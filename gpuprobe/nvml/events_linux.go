//go:build linux && (amd64 || arm64)

package nvml

import (
	"slices"
	"sync"
	"time"
)

// events waits for all GPUs in one set of the driver.
type events struct {
	mu    sync.Mutex // one waits at a time
	set   uintptr
	known map[uintptr]string // UUIDs of the GPUs in the set, by handle
	heard int                // how many of them have events at all
}

// Events returns at once if there is no way to wait: who asks again leaves some time
// between, after any error but ErrTimeout.
func (d *Driver) Events(timeout time.Duration) (Event, error) {
	d.events.mu.Lock()
	defer d.events.mu.Unlock()
	until := time.Now().Add(timeout)
	for {
		left := max(time.Until(until), 0)
		event, err := d.wait(min(left, slice))
		if err != ErrTimeout || left == 0 {
			return event, err.orNil()
		}
	}
}

// wait holds the library open for one call.
func (d *Driver) wait(timeout time.Duration) (Event, Error) {
	if d.enter() != nil {
		return Event{}, ErrUninitialized
	}
	defer d.mu.RUnlock()
	e := &d.events
	if rc := e.register(d); rc != 0 {
		return Event{}, rc
	}
	data := eventData{gi: none32, ci: none32} // older drivers leave them alone
	rc := d.eventWait(e.set, &data, uint32(timeout.Milliseconds()))
	if rc == ErrTimeout {
		return Event{}, rc
	}
	if rc != 0 { // a lost GPU would answer so for ever: make a new set without it
		e.drop(d)
		return Event{}, rc
	}
	return Event{
		UUID: e.known[data.device], Kind: EventKind(data.kind), Data: data.data,
		GI: instance(data.gi), CI: instance(data.ci),
	}, 0
}

// register adds the GPUs that are not in the set yet.
func (e *events) register(d *Driver) Error {
	if e.set == 0 {
		if rc := d.eventSet(&e.set); rc != 0 {
			return rc
		}
		e.known, e.heard = map[uintptr]string{}, 0
	}
	for _, g := range d.present() {
		if _, ok := e.known[g.handle]; !ok {
			e.add(d, g)
		}
	}
	if e.heard == 0 {
		e.drop(d)
		return ErrNotSupported
	}
	return 0
}

func (e *events) add(d *Driver, g *gpu) {
	uuid, rc := g.text(d.uuid)
	if rc != 0 {
		return // tried again next time
	}
	e.known[g.handle] = uuid
	kinds := uint64(EventSingleBitECC | EventDoubleBitECC | EventXID)
	if rc := d.eventKinds(g.handle, &kinds); rc != 0 && rc != ErrNoSymbol {
		return
	}
	kinds &= uint64(wantedEventKinds)
	if kinds != 0 && d.eventRegister(g.handle, kinds, e.set) == 0 {
		e.heard++
	}
}

// present are the GPUs that have a handle; lists them if nobody has yet.
func (d *Driver) present() []*gpu {
	d.gpusMu.Lock()
	gpus := slices.Clone(d.gpus)
	d.gpusMu.Unlock()
	if len(gpus) == 0 {
		gpus, _ = d.list() // without GPUs there are no events either
	}
	var there []*gpu
	for _, g := range gpus {
		if g.absent == 0 {
			there = append(there, g)
		}
	}
	return there
}

func (e *events) drop(d *Driver) {
	if e.set != 0 {
		_ = d.eventSetFree(e.set) // there is nothing to do about it
	}
	e.set, e.known = 0, nil
}
