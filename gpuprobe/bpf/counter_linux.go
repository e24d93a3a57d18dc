//go:build linux && (amd64 || arm64)

package bpf

import (
	"errors"
	"sync"
	"syscall"
	"time"
	"unsafe"

	"github.com/cilium/ebpf"
)

// count is struct count of c/watch.c.
type count struct {
	Launches, Last, Cgroup, Window uint64
	Burst, Woke, Over, Pad         uint32
}

// counter is the map of counts.
type counter struct {
	m, missed *ebpf.Map
	mu        sync.Mutex // of the buffers, and held by close
	keys      []uint32
	values    []count
	closed    bool
	last      uint64 // lost events when it was closed
}

func newCounter(o *objects) counter {
	n := o.Counts.MaxEntries()
	return counter{m: o.Counts, missed: o.Lost, keys: make([]uint32, n), values: make([]count, n)}
}

func (c *counter) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	_ = c.missed.Lookup(uint32(0), &c.last)
	c.closed = true
}

func (c *counter) lost() uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.closed {
		_ = c.missed.Lookup(uint32(0), &c.last)
	}
	return c.last
}

// all calls f for each entry.
func (c *counter) all(f func(pid uint32, n count)) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return errClosed
	}
	var cursor ebpf.MapBatchCursor
	for {
		n, err := c.m.BatchLookup(&cursor, c.keys, c.values, nil)
		for i := range n {
			f(c.keys[i], c.values[i])
		}
		switch {
		case errors.Is(err, ebpf.ErrKeyNotExist): // that was the last one
			return nil
		case err != nil:
			return err
		}
	}
}

// enter has launches of a pid counted, on top of what was counted before. No program may
// be counting for it now.
func (c *counter) enter(pid uint32, armed func(uint32) bool) error {
	var n count
	if err := c.m.Lookup(pid, &n); err != nil && !errors.Is(err, ebpf.ErrKeyNotExist) {
		return err
	}
	n.Window, n.Burst, n.Woke, n.Over = 0, 0, 0, 0
	err := c.m.Put(pid, n)
	if errors.Is(err, syscall.E2BIG) {
		c.purge(armed)
		err = c.m.Put(pid, n)
	}
	return err
}

// purge forgets all that are not armed now.
func (c *counter) purge(armed func(uint32) bool) {
	var old []uint32
	_ = c.all(func(pid uint32, _ count) { old = append(old, pid) })
	for _, pid := range old {
		if !armed(pid) {
			c.forget(pid)
		}
	}
}

func (c *counter) forget(pid uint32) { _ = c.m.Delete(pid) }

// counting tells whether launches of an entered pid still count: not after its end, nor
// after an overrun.
func (c *counter) counting(pid uint32) bool {
	var n count
	return c.m.Lookup(pid, &n) == nil && n.Over == 0
}

// Counts are those of the pids that are armed, and of those that were and still live. Who
// is found to be counted no more is armed no more, as the event of its overrun or its end
// was lost.
func (p *Probe) Counts() (map[uint32]Count, error) {
	counts := map[uint32]Count{}
	counting := map[uint32]bool{}
	wall := wallClock()
	err := p.counter.all(func(pid uint32, n count) {
		counting[pid] = n.Over == 0
		c := Count{Launches: n.Launches}
		if p.cgroups {
			c.Cgroup = n.Cgroup
		}
		if n.Last != 0 {
			c.Last = wall(n.Last)
		}
		counts[pid] = c
	})
	if err == nil {
		p.releaseLost(counting)
	}
	return counts, err
}

// releaseLost disarms who is not counted (any more).
func (p *Probe) releaseLost(counting map[uint32]bool) {
	for _, pid := range p.allArmed() {
		// It may have been armed since the counts were read.
		if !counting[pid] && !p.counter.counting(pid) {
			p.mu.Lock()
			p.release(pid)
			p.mu.Unlock()
			p.wakeTender()
		}
	}
}

// wallClock turns nanoseconds of CLOCK_MONOTONIC, near now, into times.
func wallClock() func(uint64) time.Time {
	var t syscall.Timespec
	now := time.Now()
	// It can't fail: the clock exists on every Linux, and t is there.
	_, _, _ = syscall.RawSyscall(syscall.SYS_CLOCK_GETTIME, 1, uintptr(unsafe.Pointer(&t)), 0)
	return func(at uint64) time.Time { return now.Add(time.Duration(at) - time.Duration(t.Nano())) }
}
