package agent

import (
	"cmp"
	"context"
	"strings"
	"time"

	"github.com/musterhq/muster/gpuprobe/nvml"
)

// opened is the answer to a question for the library; devices are set if it is another
// one than before.
type opened struct {
	library nvml.Library
	err     error
	system  nvml.System
	load    string // see Config.Load
	devices []nvml.Device
}

// start begins a sweep: it asks for the library, then every GPU that has answered the
// sweep before.
func (a *Agent) start(ctx context.Context, now time.Time) {
	a.sweep++
	a.running, a.began, a.deadline = true, now, now.Add(a.c.Deadline)
	a.nextSweep = now.Add(a.c.Interval)
	for _, s := range a.slots {
		for _, g := range s.gpus() {
			g.fresh = false
		}
	}
	if a.asked { // it hangs since the last sweep
		return
	}
	a.asked = true
	before := a.library
	go func() { send(ctx, a.libraries, a.open(before)) }()
}

func (a *Agent) open(before nvml.Library) (o opened) {
	o.library, o.err = a.c.Library()
	if o.err != nil || o.library == before {
		return o
	}
	if o.devices, o.err = o.library.Devices(); o.err == nil {
		o.system, _ = o.library.System() // only for people
		o.load = a.c.Load()
	}
	return o
}

// takeLibrary takes the answer, and sends out the readers.
func (a *Agent) takeLibrary(ctx context.Context, o opened) {
	a.asked = false
	a.libErr = o.err
	switch {
	case o.err != nil:
		a.dropLibrary()
		return
	case o.library != a.library:
		a.dropLibrary()
		a.adopt(ctx, o)
	}
	if a.running {
		for i, s := range a.slots {
			a.read(ctx, i, s)
		}
	}
}

// dropLibrary forgets the library and the handles of its devices, not the GPUs.
func (a *Agent) dropLibrary() {
	if a.eventsStop != nil {
		a.eventsStop()
		a.eventsStop = nil
	}
	a.library = nil
	a.gen++
	for _, s := range a.slots {
		s.device, s.mig, s.busy = nil, nil, false
		s.stale()
		s.health.unknown()
	}
}

// adopt takes a library and its devices. A GPU that it does not list any more stays, and
// failed: what has vanished is not to be taken for what never was.
func (a *Agent) adopt(ctx context.Context, o opened) {
	a.library = o.library
	if a.system.Load != o.load {
		a.recall.gpus = nil // of the driver before
	}
	same := sameDriver(a.system.Load, o.load)
	a.system = System{Driver: o.system.Driver, NVML: o.system.NVML, CUDA: o.system.CUDA, Load: o.load}
	for len(a.slots) < len(o.devices) {
		a.slots = append(a.slots, &slot{})
	}
	for i, s := range a.slots {
		s.restarted, s.sameDriver = s.whole != nil, same
		if i >= len(o.devices) {
			s.health.missing()
			continue
		}
		s.device, s.migAt = o.devices[i], 0
	}
	events, cancel := context.WithCancel(ctx)
	a.eventsStop, a.eventsDetail = cancel, ""
	go a.listen(events, o.library)
}

// sameDriver says of two loads that they certainly are one, so that only the library is
// another: an upgrade has replaced its file.
func sameDriver(before, now string) bool {
	return before != "" && before == now && !strings.HasSuffix(now, LoadUnsure)
}

// read sends a reader to a GPU, unless one is still inside.
func (a *Agent) read(ctx context.Context, i int, s *slot) {
	if s.device == nil || s.busy {
		return
	}
	s.busy = true
	a.waiting++
	q := s.question(a.sweep)
	d, known, isMIG := s.device, s.mig, s.whole != nil && s.whole.MIG
	r := &reading{slot: i, gen: a.gen, sweep: a.sweep}
	go func() {
		a.lookup.ask(d, q, isMIG, r)
		if r.identity != nil {
			isMIG = r.identity.MIGEnabled
		}
		if r.err == nil && isMIG {
			a.lookup.askInstances(d, q, known, r)
		}
		r.at = a.now()
		for i := range r.instances {
			r.instances[i].at = r.at
		}
		send(ctx, a.readings, r)
	}()
}

// takeReading takes one, also one that comes after its sweep was given up.
func (a *Agent) takeReading(r *reading) {
	if r.gen != a.gen {
		return
	}
	s := a.slots[r.slot]
	s.busy = false
	if a.running && r.sweep == a.sweep {
		a.waiting--
	}
	if r.err == nil && !a.seat(r) {
		a.counts.Garbage++
		r = &reading{err: cmp.Or(r.odd, error(nvml.ErrUnknown)), odd: r.odd}
	}
	a.counts.Garbage += s.apply(r)
}

// giveUp ends the wait for readers, and for the library.
func (a *Agent) giveUp(time.Time) {
	if a.asked {
		a.libErr = nvml.ErrUnresponsive
		for _, s := range a.slots {
			s.health.reading(nvml.ErrUnresponsive, nil)
			s.stale()
		}
	}
	for _, s := range a.slots {
		if s.busy {
			s.health.reading(nvml.ErrUnresponsive, nil)
			s.stale()
		}
	}
	a.finish(a.now())
}

// finish makes a State of what the sweep found.
func (a *Agent) finish(now time.Time) {
	a.running, a.waiting = false, 0
	if at := a.assignments.at; !at.IsZero() && now.Sub(at) > a.c.ListKeep {
		a.assignments.at, a.assignments.list = time.Time{}, nil
	}
	a.checkSources(now)
	a.checkLost(now)
	a.follow()
	a.count(now)
	a.resolve()
	a.judgeAll(now)
	a.label()
	a.remember(now)
	for _, s := range a.slots {
		a.obey(s)
		a.edge = s.health.verdict(now) || a.edge
	}
	a.arm(now, true)
	for _, p := range a.procs {
		p.delta = 0
	}
	a.lookup.forget(a.sweep)
	a.sweptAt = now
	a.counts.LastSweep = now.Sub(a.began)
	a.counts.SweepTime += a.counts.LastSweep
	a.publish(now, a.edge)
	a.edge = false
}

// judgeAll brings the uses up to now, and notes pods that begin.
func (a *Agent) judgeAll(now time.Time) {
	owners := map[string]bool{}
	for _, s := range a.slots {
		for _, g := range s.gpus() {
			a.judge(g, now)
			a.idlers(g, now)
			for _, m := range g.members {
				if m.info.owner.Pod != "" {
					owners[m.info.name] = true
				}
			}
		}
	}
	for owner := range owners {
		// Not in the first sweep: then everybody is new.
		a.edge = a.edge || a.sweep > 1 && !a.owners[owner]
	}
	a.owners = owners
	for key, u := range a.uses {
		if u.touched != a.sweep {
			delete(a.uses, key)
		}
	}
}

// checkLost: events were lost, so a start may have gone by unseen.
func (a *Agent) checkLost(now time.Time) {
	if a.c.Watcher == nil {
		return
	}
	if lost := a.c.Watcher.Lost(); lost != a.counts.LostEvents {
		a.counts.LostEvents = lost
		for _, u := range a.uses {
			u.gap = now
		}
	}
}
