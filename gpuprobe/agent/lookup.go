package agent

import (
	"sync"

	"github.com/musterhq/muster/gpuprobe/cgroup"
)

// procInfo is what is known of a process. It does not change once it was handed out.
type procInfo struct {
	owner cgroup.Owner
	name  string // of the owner, as it is reported
	proxy bool   // see Config.Proxy
}

// lookup finds out about processes, for the readers of all devices: a process that uses
// eight GPUs is looked up once a sweep. It holds no lock while it asks the kernel.
type lookup struct {
	finder cgroup.Finder
	proxy  func(uint32) bool
	limit  int

	mu      sync.Mutex
	known   map[uint32]entry // at most limit
	dropped uint64
	looked  uint64
	unowned uint64
}

type entry struct {
	sweep uint64
	info  *procInfo // nil if no owner was found
	ended bool      // it had an owner before
}

func newLookup(c *Config) *lookup {
	return &lookup{finder: c.Finder, proxy: c.Proxy, limit: c.MaxProcesses, known: map[uint32]entry{}}
}

// look returns what is known of a process in this sweep, nil if it has no owner (it ended,
// or lives in a pid namespace that can't be seen).
func (l *lookup) look(pid uint32, sweep uint64) *procInfo {
	l.mu.Lock()
	e, known := l.known[pid]
	if known && e.sweep == sweep {
		l.mu.Unlock()
		return e.info
	}
	if !known && len(l.known) >= l.limit {
		l.dropped++
		l.mu.Unlock()
		return nil
	}
	l.mu.Unlock()

	e = l.find(pid, e)
	e.sweep = sweep
	l.mu.Lock()
	l.known[pid] = e
	l.looked++
	if e.info == nil {
		l.unowned++
	}
	l.mu.Unlock()
	return e.info
}

// find asks for the owner. A pid that has another owner or start is another process.
func (l *lookup) find(pid uint32, e entry) entry {
	owner, err := l.finder.Owner(pid)
	switch {
	case err != nil:
		return entry{ended: e.ended || e.info != nil}
	case e.info == nil || e.info.owner != owner:
		return entry{info: &procInfo{owner: owner, name: owner.Name(), proxy: l.proxy(pid)}}
	}
	return e
}

// forget drops what was looked up neither in the sweep nor in the one before it.
func (l *lookup) forget(sweep uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for pid, e := range l.known {
		if e.sweep+1 < sweep {
			delete(l.known, pid)
		}
	}
}

// exited forgets one process, but that it was known: the driver may have samples of it.
func (l *lookup) exited(pid uint32) {
	l.finder.Exited(pid)
	l.mu.Lock()
	defer l.mu.Unlock()
	if e, known := l.known[pid]; known {
		// The sweep before: its number may be another's by now, who was not looked up.
		l.known[pid] = entry{sweep: e.sweep - 1, ended: e.ended || e.info != nil}
	}
}

// hasEnded says of a process without owner that it had one, the sweep before or in this.
func (l *lookup) hasEnded(pid uint32) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.known[pid].ended
}

// counts since the start: processes asked about, without owner, and without room.
func (l *lookup) counts() (looked, unowned, dropped uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.looked, l.unowned, l.dropped
}
