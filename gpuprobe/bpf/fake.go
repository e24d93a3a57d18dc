package bpf

import (
	"slices"
	"sync"
	"time"
)

// Fake is a Watcher without a kernel, for tests of the agent and for the simulator: what
// processes do is told to it. It keeps the rules of Probe: only armed pids count, the
// first launch wakes, too many in a second disarm.
type Fake struct {
	now func() time.Time

	mu        sync.Mutex
	status    Status
	overrun   int
	armError  error
	libraries []string
	started   map[uint32]uint64 // cgroup
	armed     map[uint32]*fakeArming
	counts    map[uint32]Count
	events    chan Event
	lost      uint64
	closed    bool
}

type fakeArming struct {
	since, window time.Time
	burst         int
	woke          bool
}

var _ Watcher = (*Fake)(nil)

// NewFake returns a Fake that is up. now is asked for the time of all that happens.
func NewFake(now func() time.Time) *Fake {
	return &Fake{
		now: now, status: Status{Up: true}, overrun: 2000, started: map[uint32]uint64{},
		armed: map[uint32]*fakeArming{}, counts: map[uint32]Count{}, events: make(chan Event, 1024),
	}
}

// SetStatus changes what Status says. One that is not up disarms all.
func (f *Fake) SetStatus(s Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.status = s
	if !s.Up {
		clear(f.armed)
	}
}

// FailArm has Arm return an error, and arm nobody new, until it is given nil.
func (f *Fake) FailArm(err error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.armError = err
}

// Start is the first cuInit of a process.
func (f *Fake) Start(pid uint32, cgroup uint64) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, known := f.started[pid]; known || !f.status.Up {
		return
	}
	f.started[pid] = cgroup
	f.tell(Started, pid, cgroup)
}

// Launch is n launches of a process at once. Nobody sees them if it is not armed.
func (f *Fake) Launch(pid uint32, n int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.armed[pid]
	if a == nil || n <= 0 {
		return
	}
	now := f.now()
	if now.Sub(a.window) > time.Second {
		a.window, a.burst = now, 0
	}
	n = min(n, f.overrun+1-a.burst) // what comes after is not counted
	a.burst += n
	c := f.counts[pid]
	c.Launches, c.Last, c.Cgroup = c.Launches+uint64(n), now, f.started[pid]
	f.counts[pid] = c
	if !a.woke {
		a.woke = true
		f.tell(Woke, pid, c.Cgroup)
	}
	if a.burst > f.overrun {
		delete(f.armed, pid)
		f.tell(Overrun, pid, c.Cgroup)
	}
}

// Exit is the end of a process. It is told of one that was started or armed.
func (f *Fake) Exit(pid uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	cgroup, started := f.started[pid]
	_, counted := f.counts[pid]
	delete(f.started, pid)
	delete(f.counts, pid)
	delete(f.armed, pid)
	if (started || counted) && f.status.Up {
		f.tell(Exited, pid, cgroup)
	}
}

// Gap disarms a pid without a word, as when a library was replaced.
func (f *Fake) Gap(pid uint32) {
	f.mu.Lock()
	defer f.mu.Unlock()
	delete(f.armed, pid)
}

// ArmedPIDs lists who is armed, sorted.
func (f *Fake) ArmedPIDs() []uint32 {
	f.mu.Lock()
	defer f.mu.Unlock()
	var pids []uint32
	for pid := range f.armed {
		pids = append(pids, pid)
	}
	slices.Sort(pids)
	return pids
}

// Libraries lists the paths that Library was given.
func (f *Fake) Libraries() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.libraries)
}

// tell queues an event, or loses it; mu is held.
func (f *Fake) tell(kind Kind, pid uint32, cgroup uint64) {
	if f.closed {
		return
	}
	select {
	case f.events <- Event{Kind: kind, PID: pid, Cgroup: cgroup, At: f.now()}:
	default:
		f.lost++
	}
}

// Status is that of SetStatus.
func (f *Fake) Status() Status {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.status
}

// Library notes the path.
func (f *Fake) Library(path string) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.status.Up && !slices.Contains(f.libraries, path) {
		f.libraries = append(f.libraries, path)
	}
	return nil
}

// Arm replaces the set of armed pids.
func (f *Fake) Arm(pids []uint32) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	for pid := range f.armed {
		if !slices.Contains(pids, pid) {
			delete(f.armed, pid)
		}
	}
	if f.armError != nil || !f.status.Up {
		return f.armError
	}
	for _, pid := range pids {
		if f.armed[pid] == nil {
			f.armed[pid] = &fakeArming{since: f.now()}
			before := f.counts[pid]
			f.counts[pid] = before // from now on it is listed, if only with zero
		}
	}
	return nil
}

// Armed says since when.
func (f *Fake) Armed(pid uint32) (since time.Time, ok bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	a := f.armed[pid]
	if a == nil {
		return time.Time{}, false
	}
	return a.since, true
}

// Counts are those of the pids that are armed, and of those that were and still live.
func (f *Fake) Counts() (map[uint32]Count, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	counts := map[uint32]Count{}
	for pid, c := range f.counts {
		counts[pid] = c
	}
	return counts, nil
}

// Events is closed by Close.
func (f *Fake) Events() <-chan Event { return f.events }

// Lost counts events for which the channel had no room.
func (f *Fake) Lost() uint64 {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.lost
}

// Close closes Events.
func (f *Fake) Close() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	if !f.closed {
		f.closed = true
		close(f.events)
	}
	return nil
}
