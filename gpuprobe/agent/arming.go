package agent

import (
	"cmp"
	"context"
	"slices"
	"time"
)

// Why a process is armed; the first are served first.
const (
	awaited = iota // the server waits for its owner to wake up
	idling         // NVML calls it idle: its next launch is an edge
	untold         // nothing tells what it does; an Overrun ends that if it is busy
	looked         // Duty
	never
)

// armJob is a set to be armed. again are those of it that have to be disarmed first, so
// that their next launch is an edge once more.
type armJob struct{ pids, again []uint32 }

// arm has those processes armed whose next launch is worth an edge. At the end of a sweep
// it also arms those again that woke and are idle again.
func (a *Agent) arm(now time.Time, swept bool) {
	if a.c.Watcher == nil {
		return
	}
	job := armJob{pids: a.toArm(now)}
	retry := false // who has lost its probes, or did not get them, is tried again
	for _, pid := range job.pids {
		p := a.procs[pid]
		_, was := slices.BinarySearch(a.wanted, pid)
		// It woke and went idle again. Nothing ran for a sweep, so the moment in which
		// it is not armed most likely hides nothing; it counts as a gap all the same.
		if swept && was && p.woke && p.delta == 0 {
			job.again = append(job.again, pid)
			p.woke = false
		}
		retry = retry || swept && !p.armed && a.sweep%retryEach == 0
	}
	if len(job.again) == 0 && !retry && slices.Equal(job.pids, a.wanted) {
		return
	}
	a.wanted = job.pids
	select { // only the latest set matters
	case old := <-a.armJobs:
		job.again = append(job.again, old.again...)
	default:
		a.arming++
	}
	a.armJobs <- job
}

// toArm chooses, sorted by pid.
func (a *Agent) toArm(now time.Time) []uint32 {
	type candidate struct {
		why   int
		fresh bool // not armed yet: those who are stay, if there are too many
		pid   uint32
	}
	var list []candidate
	for pid, p := range a.procs {
		if why := a.why(p, now); why < never {
			list = append(list, candidate{why, !p.armed, pid})
		}
	}
	slices.SortFunc(list, func(x, y candidate) int {
		fresh := 0
		if x.fresh != y.fresh {
			fresh = 1
			if y.fresh {
				fresh = -1
			}
		}
		return cmp.Or(cmp.Compare(x.why, y.why), fresh, cmp.Compare(x.pid, y.pid))
	})
	pids := make([]uint32, 0, min(len(list), a.c.MaxArmed))
	for _, c := range list[:min(len(list), a.c.MaxArmed)] {
		pids = append(pids, c.pid)
	}
	slices.Sort(pids)
	return pids
}

func (a *Agent) why(p *proc, now time.Time) int {
	switch {
	case now.Before(p.notNow):
		return never
	case a.watched[p.info.name]:
		return awaited
	case p.told && p.idle > 0:
		return idling
	case !p.told:
		return untold
	case p.looking:
		return looked
	}
	return never
}

// armer arms on a goroutine of its own: the kernel takes milliseconds for a probe.
func (a *Agent) armer(ctx context.Context) {
	for {
		select {
		case <-ctx.Done():
			return
		case job := <-a.armJobs:
			err := a.armNow(job)
			send(ctx, a.armed, err)
		}
	}
}

func (a *Agent) armNow(job armJob) error {
	if len(job.again) > 0 {
		rest := slices.DeleteFunc(slices.Clone(job.pids), func(pid uint32) bool { return slices.Contains(job.again, pid) })
		if err := a.c.Watcher.Arm(rest); err != nil {
			return err
		}
	}
	return a.c.Watcher.Arm(job.pids)
}

// takeArmed notes from when on processes are armed.
func (a *Agent) takeArmed(err error, now time.Time) {
	if err != nil && (a.armErr == nil || a.armErr.Error() != err.Error()) {
		a.c.Log.Warn("not every idle process can be watched", "error", err)
	}
	a.armErr = err
	a.arming--
	for pid, p := range a.procs {
		a.checkArmed(pid, p, true, now)
		if p.looking && p.armed && p.lookAt.IsZero() {
			p.lookAt = now
		}
	}
}

// duty begins and ends looks at busy processes.
func (a *Agent) duty(now time.Time) {
	if a.c.Duty <= 0 || a.c.Watcher == nil || now.Before(a.nextDuty) {
		return
	}
	if a.looking = !a.looking; a.looking {
		a.nextDuty = now.Add(a.c.DutyLook)
	} else {
		a.nextDuty = now.Add(a.c.Duty - a.c.DutyLook)
		a.count(now)
	}
	for _, p := range a.procs {
		if a.looking {
			p.looking = p.told && p.use > 0 && !p.armed
			p.atLook, p.lookAt = p.launches, time.Time{}
		} else if p.looking {
			p.endLook()
		}
	}
	a.arm(now, false)
}

// endLook: a process that was busy and watched, and launched nothing.
func (p *proc) endLook() {
	p.looking = false
	switch {
	case p.lookAt.IsZero() || !p.armed: // nobody looked
	case p.launches != p.atLook:
		p.silent = time.Time{}
	case p.silent.IsZero():
		p.silent = p.lookAt
	}
}
