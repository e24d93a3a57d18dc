package agent

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/musterhq/muster/gpuprobe/bpf"
	"github.com/musterhq/muster/gpuprobe/nvml"
)

// started is a process that began to use a GPU, and whose it is.
type started struct {
	pid  uint32
	info *procInfo // nil if that can't be told: it ended already
}

// takeEdges takes an event and those that wait behind it: many processes may wake at once,
// and one State tells of all.
func (a *Agent) takeEdges(ctx context.Context, e bpf.Event, more <-chan bpf.Event) {
	edge := false
	for range cap(a.starts) {
		edge = a.takeEdge(ctx, e) || edge
		var ok bool
		select {
		case e, ok = <-more:
		default:
		}
		if !ok {
			break
		}
	}
	if edge {
		a.publish(a.now(), true)
	}
}

func (a *Agent) takeEdge(ctx context.Context, e bpf.Event) (edge bool) {
	now := a.now()
	p := a.procs[e.PID]
	switch e.Kind {
	case bpf.Started:
		a.lookUp(ctx, e.PID, e.Cgroup)
	case bpf.Exited:
		a.left(e.PID)
		go a.lookup.exited(e.PID) // its lock may be held while the kernel is asked
	case bpf.Overrun:
		if p != nil {
			p.armed, p.notNow = false, now.Add(rearmAfter)
			p.silent = time.Time{}
			a.eachUse(p.info.name, e.PID, func(u *use, elsewhere bool) {
				edge = !elsewhere && u.touch(now, a.c.Interval) || edge
				u.cover(false, time.Time{}, now)
			})
			a.arm(now, false)
		}
	case bpf.Woke:
		if p == nil {
			a.lookUp(ctx, e.PID, e.Cgroup)
			return false
		}
		p.woke, p.silent = true, time.Time{}
		p.lastLaunch = newest(p.lastLaunch, now)
		a.eachUse(p.info.name, e.PID, func(u *use, elsewhere bool) {
			edge = !elsewhere && u.touch(now, a.c.Interval) || edge // the sweep has ended its watch
		})
		edge = edge || a.watched[p.info.name]
	}
	return edge
}

// eachUse calls f for the uses of an owner on the GPUs that one of its processes is on, or
// with pid 0 for all of its uses. elsewhere is that of the process.
func (a *Agent) eachUse(owner string, pid uint32, f func(u *use, elsewhere bool)) {
	for _, s := range a.slots {
		for _, g := range s.gpus() {
			i := slices.IndexFunc(g.members, func(m member) bool { return m.pid == pid })
			if u := a.uses[Key{owner, g.UUID}]; u != nil && (i >= 0 || pid == 0) {
				f(u, i >= 0 && a.procs[pid].elsewhere(g, g.members[i].use))
			}
		}
	}
}

// left forgets a process that ended.
func (a *Agent) left(pid uint32) {
	if a.procs[pid] == nil {
		return
	}
	delete(a.procs, pid)
	for _, s := range a.slots {
		for _, g := range s.gpus() {
			g.left(pid)
		}
	}
}

// lookUp asks whose a process is, by its cgroup if it has ended, on a goroutine of its own;
// at most as many at once as there is room for their answers.
func (a *Agent) lookUp(ctx context.Context, pid uint32, cgroup uint64) {
	a.hurry(a.now())
	if a.lookingUp >= cap(a.starts) {
		a.unseen("") // the sweep will find it, if it lives so long
		return
	}
	a.lookingUp++
	sweep := a.sweep
	go func() {
		info := a.lookup.look(pid, sweep)
		if info == nil && cgroup != 0 {
			if owner, ok := a.c.Finder.OfCgroup(cgroup); ok {
				info = &procInfo{owner: owner, name: owner.Name()}
			}
		}
		send(ctx, a.starts, started{pid, info})
	}()
}

// unseen notes that what a process of an owner ("": of anybody) launches till the next sweep
// is not seen, as it is not armed.
func (a *Agent) unseen(owner string) {
	for _, u := range a.uses {
		u.unseen = u.unseen || owner == "" || u.Owner == owner
	}
}

// takeStart: whoever starts a process is about to use a GPU.
func (a *Agent) takeStart(s started) {
	a.lookingUp--
	if s.info == nil {
		a.unseen("")
		return
	}
	names := []string{s.info.name}
	if ns, name, ok := a.c.PodName(s.info.owner.Pod); ok {
		names = append(names, "pod:"+ns+"/"+name)
	}
	now, edge := a.now(), false
	for _, name := range names {
		a.unseen(name)
		a.eachUse(name, 0, func(u *use, _ bool) { edge = u.touch(now, a.c.Interval) || edge })
	}
	if edge {
		a.publish(now, true)
	}
}

// listen waits for health events of a library, until it is replaced.
func (a *Agent) listen(ctx context.Context, lib nvml.Library) {
	for ctx.Err() == nil {
		before := a.c.Clock.Now()
		e, err := lib.Events(a.c.Interval)
		switch {
		case err == nil:
			send(ctx, a.events, e)
			continue
		case errors.Is(err, nvml.ErrNotSupported), errors.Is(err, nvml.ErrNoSymbol):
			send(ctx, a.eventsEnd, "no health events: "+err.Error())
			return
		case errors.Is(err, nvml.ErrTimeout) && a.c.Clock.Now()-before > int64(a.c.Interval/2):
			continue
		}
		select { // it did not wait: leave it some time
		case <-a.c.Clock.Wake(a.c.Clock.Now() + int64(time.Second)):
		case <-ctx.Done():
		}
	}
}

// polled is what a GPU said of itself when it was asked for a reason.
type polled struct {
	slot   int
	gen    uint64
	status nvml.Status
	err    error
}

// takeEvent takes a health event. What it means the driver is asked at once.
func (a *Agent) takeEvent(ctx context.Context, e nvml.Event) {
	for i, s := range a.slots {
		if s.whole == nil || e.UUID != "" && e.UUID != s.whole.UUID && !s.has(e.UUID) {
			continue
		}
		if e.Kind == nvml.EventMIGChange {
			s.migAt = 0
			a.hurry(a.now())
		}
		a.obey(s)
		if !s.health.event(e) || s.device == nil || s.restarted { // then its device may be another's
			continue
		}
		a.poll(ctx, i, s.device)
	}
}

// has says whether an instance is the slot's.
func (s *slot) has(uuid string) bool {
	for _, g := range s.instances {
		if g.UUID == uuid {
			return true
		}
	}
	return false
}

// poll asks a GPU for its status; where it does not answer in time, that is the answer.
func (a *Agent) poll(ctx context.Context, i int, d nvml.Device) {
	p := polled{slot: i, gen: a.gen}
	late := a.c.Clock.Wake(a.c.Clock.Now() + int64(a.c.Deadline))
	answer := make(chan polled, 1)
	go func() {
		p := p
		p.status, p.err = d.Status()
		answer <- p
	}()
	go func() {
		select {
		case got := <-answer:
			send(ctx, a.polls, &got)
		case <-late:
			p.err = nvml.ErrUnresponsive
			send(ctx, a.polls, &p)
		case <-ctx.Done():
		}
	}()
}

func (a *Agent) takePoll(p *polled) {
	if p.gen != a.gen {
		return
	}
	s := a.slots[p.slot]
	if fatal(p.err) {
		s.health.reading(p.err, nil)
	} else {
		s.health.reading(nil, &p.status)
	}
	now := a.now()
	if s.health.verdict(now) {
		a.publish(now, true)
	}
}
