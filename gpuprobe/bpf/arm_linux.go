//go:build linux && (amd64 || arm64)

package bpf

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"slices"
	"sync"
	"time"

	"github.com/cilium/ebpf/link"
)

// together is how many links are made or closed at once. Most of the time of each goes by
// in waiting for all CPUs to have passed a quiet state, and they wait together.
const together = 16

// Arm replaces the set of armed pids. A process that has gone meanwhile is left out
// without an error; of several errors each names its pid, and the other pids are armed.
func (p *Probe) Arm(pids []uint32) error {
	p.change.Lock()
	defer p.change.Unlock()
	if p.closed {
		return errClosed
	}
	want := map[uint32]bool{}
	for _, pid := range pids {
		want[pid] = true
	}
	for _, pid := range p.allArmed() {
		// One without an entry has ended, though its event was lost: what has this number
		// now is another process.
		if want[pid] && p.counter.counting(pid) {
			delete(want, pid)
			continue
		}
		p.mu.Lock()
		p.release(pid)
		p.mu.Unlock()
	}
	p.sweep()
	if len(p.libraries) == 0 {
		return nil
	}
	defer p.sweep()
	defer p.publish()
	return p.armAll(slices.Sorted(maps.Keys(want)))
}

func (p *Probe) allArmed() []uint32 {
	p.mu.Lock()
	defer p.mu.Unlock()
	return slices.Sorted(maps.Keys(p.armed))
}

// Armed says since when.
func (p *Probe) Armed(pid uint32) (since time.Time, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	a, ok := p.armed[pid]
	if !ok || a.since.IsZero() {
		return time.Time{}, false
	}
	return a.since, true
}

// armAll arms pids that are not; change is held.
func (p *Probe) armAll(pids []uint32) error {
	errs, sure := make([]error, len(pids)), make([]bool, len(pids))
	for i, pid := range pids {
		sure[i], errs[i] = p.cover(pid)
	}
	parallel(len(pids), func(i int) {
		if errs[i] == nil {
			errs[i] = p.armOne(pids[i], sure[i])
		}
	})
	for i, err := range errs {
		switch {
		case errors.Is(err, os.ErrProcessDone):
			errs[i] = nil
		case err != nil:
			errs[i] = fmt.Errorf("arm pid %d: %w", pids[i], err)
		}
	}
	return errors.Join(errs...)
}

// cover makes sure that every libcuda that a process has is watched: a pid that is armed
// and launches through another copy, or by none (graphics, OpenCL), would look idle. Where
// it can't be told what it has, it is sure of those whose start came by a probe.
func (p *Probe) cover(pid uint32) (sure bool, err error) {
	found, gone, err := p.maps(pid)
	switch {
	case gone:
		return false, os.ErrProcessDone
	case err != nil:
		p.blind = true
		var at uint64
		return p.objs.Started.Lookup(pid, &at) == nil, nil
	case len(found) == 0:
		return false, errors.New("it has no libcuda: what it does on a GPU is not launched by it")
	}
	for _, m := range found {
		file := fmt.Sprintf("/proc/%d/root%s", pid, m.path)
		if _, err := os.Stat(file); err == nil && !m.deleted {
			if err := p.watch(file); err != nil {
				return false, err
			}
		} else if !slices.ContainsFunc(p.libraries, func(l *library) bool { return l.inode == m.inode }) {
			return false, fmt.Errorf("it uses %s, which can't be reached from here to be watched", m.path)
		}
	}
	return true, nil
}

// armOne makes the entry by which launches of the pid count, and then has them counted.
func (p *Probe) armOne(pid uint32, sure bool) error {
	if err := p.counter.enter(pid, p.isArmed); err != nil {
		return err
	}
	a, err := p.attach(pid)
	if err != nil {
		p.counter.forget(pid)
		return err
	}
	p.settle(pid, a, sure)
	return nil
}

// attach puts launch probes on all libraries in one process.
func (p *Probe) attach(pid uint32) (*arming, error) {
	a := &arming{links: map[*library]link.Link{}}
	for _, l := range p.libraries {
		k, err := l.attach(p.objs.Launch, l.launches, pid)
		if err != nil {
			p.mu.Lock()
			p.leave(a)
			p.mu.Unlock()
			if errors.Is(err, os.ErrNotExist) {
				return nil, os.ErrProcessDone
			}
			return nil, err
		}
		a.links[l] = k
	}
	return a, nil
}

// settle notes that a pid is armed. Its end or its overrun may have come before there was
// anything to disarm: then the kernel has removed the entry, or counts no more.
func (p *Probe) settle(pid uint32, a *arming, sure bool) {
	p.mu.Lock()
	if sure {
		a.since = time.Now()
	}
	p.armed[pid] = a
	p.mu.Unlock()
	if !p.counter.counting(pid) {
		p.mu.Lock()
		p.release(pid)
		p.mu.Unlock()
	}
}

// isArmed says whether it has probes, sure or not.
func (p *Probe) isArmed(pid uint32) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.armed[pid] != nil
}

// release disarms a pid at once, though its probes are taken off by the next sweep; mu is
// held.
func (p *Probe) release(pid uint32) {
	if a := p.armed[pid]; a != nil {
		delete(p.armed, pid)
		p.leave(a)
	}
}

// leave has the probes of a pid taken off by the next sweep; mu is held.
func (p *Probe) leave(a *arming) {
	for l, k := range a.links {
		delete(a.links, l)
		if k != nil {
			p.leaving = append(p.leaving, k)
		}
	}
}

// sweep takes off what is leaving; change is held. When it returns no program of these
// links runs any more, so that a pid may be armed anew.
func (p *Probe) sweep() {
	p.mu.Lock()
	links := p.leaving
	p.leaving = nil
	p.mu.Unlock()
	parallel(len(links), func(i int) { _ = links[i].Close() })
}

// parallel calls f(0) to f(n-1), a few at once.
func parallel(n int, f func(i int)) {
	var all sync.WaitGroup
	room := make(chan struct{}, together)
	for i := range n {
		room <- struct{}{}
		all.Go(func() {
			defer func() { <-room }()
			f(i)
		})
	}
	all.Wait()
}
