package sim

import (
	"slices"
	"time"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/sim/score"
)

// Act is the simulated cluster: it carries out a plan in no time, but for the
// time that victims take.
func (e *engine) Act(now spec.Time, r ledger.Result) {
	p := r.Taken
	for _, v := range p.Stays {
		e.stays(now, v)
	}
	for _, v := range p.Evictions {
		e.evicted(now, v)
	}
	for _, v := range p.Ends {
		e.noticeOver(now, v)
		e.queueOrPost(now+e.o.EvictionTime, ledger.Evicted{Job: v.Job, Tasks: v.Tasks})
		e.stop(now, v.Job, v.Saved)
	}
	for i := range p.Binds {
		if i == 0 || p.Binds[i].Job != p.Binds[i-1].Job {
			e.start(now, p.Binds[i].Job)
		}
	}
}

func (e *engine) queueOrPost(at spec.Time, ev ledger.Event) {
	if at > e.clock.Now() {
		e.queue.add(at, ev)
		return
	}
	e.loop.Post(ev)
}

// evicted takes a victim off its nodes, at once or after its notice. One under notice
// runs on, and has lost nothing before it ends.
func (e *engine) evicted(now spec.Time, v plan.Eviction) {
	j := e.jobs[v.Job]
	if j == nil {
		return // it ended at this instant
	}
	if v.Notify {
		j.notices = append(j.notices, v)
		if e.o.SaveAfter > 0 && now+e.o.SaveAfter < v.Deadline {
			e.queue.add(now+e.o.SaveAfter, jobSaved{v.Job, j.run})
		}
		return
	}
	if !j.t.Use.IsZero() {
		v.LostMS = e.lost(now, j, v.Tasks)
	}
	e.record(now, v)
	e.queueOrPost(now+e.o.EvictionTime, ledger.Evicted{Job: v.Job, Tasks: v.Tasks})
	if v.Whole {
		e.stop(now, v.Job, false)
	}
}

// record counts a victim that goes now.
func (e *engine) record(now spec.Time, v plan.Eviction) {
	if e.o.More == nil {
		e.rec.rec.Evicted(score.Eviction{
			At: now, Job: v.Job, Queue: v.Queue, Tasks: int64(len(v.Tasks)), MilliGPUs: v.GPUs,
			LostGPUSeconds: float64(v.LostMS) / 1000, Idle: v.Idle > 0,
		})
	}
}

// noticeOver counts a victim whose notice has come to its end: what it loses is what it
// has done since it last saved its work, be it before or after it was told.
func (e *engine) noticeOver(now spec.Time, v plan.End) {
	j := e.jobs[v.Job]
	if j == nil {
		return
	}
	if told, ok := j.dropNotice(v.Tasks); ok {
		if told.Tasks = v.Tasks; told.GPUs > 0 || v.Saved {
			told.LostMS = e.lost(now, j, v.Tasks)
		}
		e.record(now, told)
	}
}

// stays takes an eviction back.
func (e *engine) stays(now spec.Time, v plan.Stay) {
	j := e.jobs[v.Job]
	if j == nil {
		return
	}
	if told, ok := j.dropNotice(v.Tasks); ok && e.o.More == nil {
		e.rec.rec.Withdrawn(now, told.Queue)
	}
}

// dropNotice forgets the notice that tasks are under.
func (j *job) dropNotice(tasks []int32) (told plan.Eviction, ok bool) {
	i := slices.IndexFunc(j.notices, func(v plan.Eviction) bool { return slices.Contains(v.Tasks, tasks[0]) })
	if i < 0 {
		return told, false
	}
	told = j.notices[i]
	j.notices = slices.Delete(j.notices, i, i+1)
	return told, true
}

// lost is the work that tasks have not saved, in GPU-milliseconds: the time for which
// they have held GPUs since, and where it is known what these do, the part of it in which
// they computed.
func (e *engine) lost(now spec.Time, j *job, tasks []int32) (ms int64) {
	w := e.loop.Ledger().World()
	wj := w.Job(j.t.ID)
	for _, i := range tasks {
		t := &wj.Tasks[i]
		work := max(0, now-max(t.Since, wj.Checkpoint))
		if !j.t.Use.IsZero() {
			work = work / 1000 * int64(j.t.Use.Busy(time.Duration(now-j.startAt), time.Duration(work)))
		}
		ms += int64(w.GPUs(t)) * (work / 1e6)
	}
	return ms / 1000
}

// start begins or continues a job whose gang has come together.
func (e *engine) start(now spec.Time, id string) {
	j := e.jobs[id]
	w := e.loop.Ledger().World().Job(id)
	if w == nil || w.GangMissing() > 0 || w.Placed == 0 {
		return
	}
	if j.running {
		e.watch(j, now) // it got a task more
		return
	}
	j.running, j.since, j.startAt, j.notices = true, now, now, nil
	j.pending += now - j.idleAt
	j.run++
	if !j.started {
		j.started, j.first = true, now
	}
	if j.t.Run > 0 {
		e.queue.add(now+j.left, jobEnd{id, j.run})
	}
	if every := j.t.CheckpointEvery; every > 0 {
		for at := now + every; at < now+j.left && j.t.Run > 0; at += every {
			e.queue.add(at, jobSaved{id, j.run})
		}
	}
	e.watch(j, now)
}

// stop ends a job's run before its time. What it had not saved is to be done
// again, and its start-up too.
func (e *engine) stop(now spec.Time, id string, saved bool) {
	j := e.jobs[id]
	if !j.running {
		return
	}
	w := e.loop.Ledger().World().Job(id)
	if w != nil && w.GangMissing() == 0 && w.Placed > 0 {
		return // only surplus went
	}
	kept := j.since
	switch {
	case saved:
		kept = now
	case j.saved > j.since:
		kept = j.saved
	}
	done := max(0, kept-j.since-j.t.RestartCost)
	j.left = max(1, j.left-j.t.RestartCost-done) + j.t.RestartCost
	j.running, j.idleAt = false, now
	j.run++
	e.unwatch(j)
}

func (e *engine) endJob(j *job, now spec.Time) {
	j.ended, j.running, j.end = true, false, now
	e.done++
	e.unwatch(j)
	e.loop.Post(ledger.JobGone{ID: j.t.ID})
	if e.o.More != nil {
		delete(e.jobs, j.t.ID)
	}
}
