package agent

import (
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/gpuprobe/wire"
)

// use is what one owner does with one GPU, over time.
type use struct {
	Use
	touched uint64 // sweep in which it was last there

	active time.Time // see Use.LastActive
	blind  bool      // nothing tells now whether it runs
	// runs says that something ran when that was last told, or was launched since: it may
	// run on without another launch.
	runs  bool
	gap   time.Time // when something could last have run unseen by the watcher
	total uint64    // launches
	// unseen says that a process of the owner, or of who knows, started since the last sweep.
	unseen bool
}

// evidence is what one sweep found out about a use.
type evidence struct {
	at      time.Time
	fresh   bool // busy and memory are of now; else those of before are kept
	busy    *uint32
	basis   wire.Basis
	memory  *uint64
	ran     bool // something ran since the last sweep
	told    bool // if it had, we would know
	launch  time.Time
	covered bool // every launch is seen
	since   time.Time
}

// judge the uses of one GPU.
func (a *Agent) judge(g *gpu, now time.Time) {
	slices.SortStableFunc(g.members, func(x, y member) int { return strings.Compare(x.info.name, y.info.name) })
	owners := 0
	for list := g.members; len(list) > 0; owners++ {
		list = list[ofOneOwner(list):]
	}
	shares := a.launchShares(g, owners)
	for list := g.members; len(list) > 0; {
		n := ofOneOwner(list)
		mine := list[:n]
		list = list[n:]
		u := a.useOf(mine[0].info.name, g.UUID, now)
		e := a.evidence(g, mine, owners == 1, shares, now)
		for _, m := range mine {
			p := a.procs[m.pid]
			u.total += p.delta
			e.ran = e.ran || p.born
			switch {
			case p.elsewhere(g, m.use):
				e.covered = false
			case !p.lastLaunch.Before(a.sweptAt): // earlier ones were taken in before
				e.launch = newest(e.launch, p.lastLaunch)
			}
		}
		u.Processes = n
		u.judge(e, a.sweptAt, now)
		u.Launches = nil
		if a.anyArmed(mine) {
			u.Launches = to(u.total)
		}
		u.NoLaunchSince = time.Time{}
		if e.busy == nil || *e.busy > 0 {
			u.NoLaunchSince = a.silence(mine)
		}
		u.touched = a.sweep
	}
}

func ofOneOwner(list []member) int {
	n := 1
	for n < len(list) && list[n].info.name == list[0].info.name {
		n++
	}
	return n
}

// evidence of an owner's members on a GPU. alone says that nobody else is on it; shares
// are the launches of all owners together, 0 if those don't tell.
func (a *Agent) evidence(g *gpu, mine []member, alone bool, shares uint64, now time.Time) evidence {
	e := evidence{at: g.At, fresh: g.fresh, memory: memoryOf(mine)}
	e.since, e.covered = a.coverage(mine)
	e.covered = e.covered && !g.strange
	if !g.fresh {
		return e
	}
	device := g.deviceUse()
	sum, sure := uint32(0), !g.strange
	for _, m := range mine {
		sum, sure = sum+m.use, sure && !m.untold
	}
	switch {
	case g.perProcess && (sum > 0 || sure):
		e.busy, e.basis, e.ran, e.told = to(min(sum, 1000)), wire.Basis_PROCESS, sum > 0, true
	case device == nil:
	case alone && !g.strange || *device == 0:
		e.busy, e.basis, e.ran, e.told = device, wire.Basis_EXCLUSIVE, *device > 0, true
		if g.Parent != "" {
			e.basis = wire.Basis_MIG
		}
		if !alone {
			e.basis = wire.Basis_LAUNCH_SHARE
		}
	case shares > 0:
		e.busy = to(uint32(uint64(*device) * a.launched(mine) / shares))
		e.basis = wire.Basis_LAUNCH_SHARE
	}
	return e
}

// deviceUse is the use of the whole device: for instances only GPM tells.
func (g *gpu) deviceUse() *uint32 {
	if g.Parent != "" {
		return g.SM
	}
	return g.Busy
}

// launchShares is the number of launches of all members since the last sweep, if all of
// them were counted all the time; else 0.
func (a *Agent) launchShares(g *gpu, owners int) uint64 {
	if owners < 2 || g.perProcess {
		return 0
	}
	if since, ok := a.coverage(g.members); !ok || since.After(a.sweptAt) {
		return 0
	}
	return a.launched(g.members)
}

func (a *Agent) launched(list []member) (sum uint64) {
	for _, m := range list {
		sum += a.procs[m.pid].delta
	}
	return sum
}

func (a *Agent) anyArmed(list []member) bool {
	return slices.ContainsFunc(list, func(m member) bool { return a.procs[m.pid].armed })
}

// memoryOf is unknown if that of one of them is.
func memoryOf(list []member) *uint64 {
	sum := uint64(0)
	for _, m := range list {
		if m.memory == nil {
			return nil
		}
		sum += *m.memory
	}
	return &sum
}

// silence is from when on all of them were busy and launched nothing.
func (a *Agent) silence(list []member) (since time.Time) {
	for _, m := range list {
		p := a.procs[m.pid]
		if p.silent.IsZero() {
			return time.Time{}
		}
		since = newest(since, p.silent)
	}
	return since
}

// useOf finds or makes a use. What is new may have run until now.
func (a *Agent) useOf(owner, gpu string, now time.Time) *use {
	key := Key{owner, gpu}
	u := a.uses[key]
	if u == nil {
		u = &use{Use: Use{Owner: owner, GPU: gpu}, active: now, gap: now, runs: true}
		a.uses[key] = u
	}
	return u
}

// judge takes the evidence of the time between two sweeps. That there was no launch says
// that nothing runs only where nothing ran before: a kernel may take hours.
func (u *use) judge(e evidence, before, now time.Time) {
	if e.fresh {
		u.At, u.Busy, u.Basis, u.Memory = e.at, e.busy, e.basis, e.memory
	}
	if e.ran {
		u.active = newest(u.active, e.at)
	}
	u.active = newest(u.active, e.launch)
	u.runs = u.runs && !e.told || e.ran || !e.launch.IsZero()
	told := e.told || e.covered && !e.since.After(before) && !u.runs
	if u.blind || !told {
		u.active = now // it may have run up to now
	}
	u.blind = !told
	u.LastActive = u.active
	if u.blind {
		u.LastActive = time.Time{}
	}
	if u.unseen {
		u.gap, u.unseen = now, false
	}
	u.cover(e.covered, e.since, now)
}

func (u *use) cover(covered bool, since, now time.Time) {
	u.WatchedSince = time.Time{}
	if !covered {
		u.gap = now
		return
	}
	u.WatchedSince = newest(u.gap, since)
}

// touch notes that something runs now, and says whether that is news: it was idle for an
// interval.
func (u *use) touch(now time.Time, interval time.Duration) (edge bool) {
	edge = !u.blind && now.Sub(u.active) >= interval
	u.active, u.runs = newest(u.active, now), true
	if !u.blind {
		u.LastActive = u.active
	}
	return edge
}
