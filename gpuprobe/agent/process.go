package agent

import (
	"time"

	"github.com/musterhq/muster/gpuprobe/bpf"
)

// proc is a process that holds a context on at least one GPU.
type proc struct {
	info *procInfo
	seen uint64 // sweep in which NVML last listed it
	born bool   // it was not there in the sweep before

	// What NVML says of it: the most on any GPU, if that is told.
	use  uint32
	told bool
	idle int // sweeps in a row that found it idle

	launches   uint64 // as the watcher counts
	delta      uint64 // since the last sweep
	lastLaunch time.Time

	armed   bool
	armedAt time.Time // by our clock
	since   time.Time // as the watcher says: another since is another arming
	notNow  time.Time // it is not armed before, as it launched too often
	woke    bool      // its first launch was told: the next one is not, until armed again

	// Duty: how many launches there were at the start of a look, and since when every
	// look found none.
	looking bool
	atLook  uint64
	lookAt  time.Time
	silent  time.Time
}

// follow brings the processes in line with the members of all GPUs. Where a GPU does not
// answer, its members of before still count.
func (a *Agent) follow() {
	for _, s := range a.slots {
		for _, g := range s.gpus() {
			for i := range g.members {
				a.followMember(g, &g.members[i])
			}
		}
	}
	for pid, p := range a.procs {
		if p.seen != a.sweep {
			delete(a.procs, pid)
			continue
		}
		p.idle++
		if !p.told || p.use > 0 {
			p.idle = 0
		}
		if p.told && p.use == 0 {
			p.silent = time.Time{}
		}
	}
}

func (a *Agent) followMember(g *gpu, m *member) {
	p := a.procs[m.pid]
	if p == nil || p.info.owner != m.info.owner {
		p = &proc{info: m.info, born: true, told: true}
		a.procs[m.pid] = p
	} else if p.seen != a.sweep {
		p.born = false
	}
	if p.seen != a.sweep {
		p.seen, p.use, p.told = a.sweep, 0, true
	}
	switch {
	case g.perProcess && !m.untold:
		p.use = max(p.use, m.use)
	case g.fresh && g.deviceUse() != nil && (len(g.members) == 1 && !g.strange || *g.deviceUse() == 0):
		p.use = max(p.use, *g.deviceUse()) // nobody does anything, or there is nobody else
	default:
		p.told = false
	}
}

// elsewhere says that a process works on other GPUs than this one, on which it uses so
// much, by the driver's samples of each. A launch does not say on which GPU it is: those of
// such a process are taken to be where it works. One here that was too short for a sample
// would go by unseen, so meanwhile this GPU is not watched.
func (p *proc) elsewhere(g *gpu, use uint32) bool {
	return g.perProcess && use == 0 && p.told && p.use > 0
}

// count reads the watcher's counts.
func (a *Agent) count(now time.Time) {
	if a.c.Watcher == nil {
		return
	}
	counts, err := a.c.Watcher.Counts()
	if err != nil {
		a.c.Log.Warn("launches can't be read", "error", err)
		counts = nil
	}
	for pid, p := range a.procs {
		if c, ok := counts[pid]; ok {
			p.count(c, a.countedAt, now)
		}
		a.checkArmed(pid, p, err == nil, now)
		if p.delta > 0 && (!p.armed || !p.lastLaunch.Before(p.armedAt)) {
			p.woke = true // also if the event was lost
		}
	}
	a.countedAt = now
}

// count takes a count read now; the one before was read at from. The watcher's clock is
// not ours, but the last launch was between the two.
func (p *proc) count(c bpf.Count, from, now time.Time) {
	delta := c.Launches - p.launches
	if c.Launches < p.launches { // it began anew
		delta = c.Launches
	}
	p.launches = c.Launches
	if delta == 0 {
		return
	}
	p.delta += delta
	at := c.Last
	if at.Before(from) || at.After(now) {
		at = now
	}
	p.lastLaunch = at
	p.silent = time.Time{}
}

// checkArmed asks whether every launch of a process is still seen.
func (a *Agent) checkArmed(pid uint32, p *proc, readable bool, now time.Time) {
	since, ok := a.c.Watcher.Armed(pid)
	switch {
	case !ok || !readable:
		p.armed = false
	case !p.armed || !p.since.Equal(since):
		p.armed, p.armedAt, p.since, p.woke = true, now, since, false
	}
}

// coverage of processes: whether all are armed, and since when the last of them is.
func (a *Agent) coverage(list []member) (since time.Time, ok bool) {
	for _, m := range list {
		p := a.procs[m.pid]
		if p == nil || !p.armed {
			return time.Time{}, false
		}
		since = newest(since, p.armedAt)
	}
	return since, true
}
