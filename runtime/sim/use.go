package sim

import (
	"slices"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/gpuprobe/pattern"
	"github.com/musterhq/muster/runtime/ledger"
)

// The simulated probes. Every sweep they look at the GPUs of each job that has a pattern
// and runs; they tell of it as the scheduler's usage table does (runtime/usage): when
// something has changed that matters, and anew before a measurement grows too old. A
// wake-up after a sweep of nothing is told at once.
const (
	sweep    = 5 * spec.Second
	busyStep = amount.One / 20
)

// look is when the probes next have something to tell of a job.
type look struct {
	id  string
	run uint64
}

// seen is what the probes told last of a job.
type seen struct {
	at   spec.Time // 0 is nothing yet
	busy amount.Share
	idle spec.Duration // at at
}

// began is since when nothing ran, if anything is idle.
func (s seen) began() spec.Time { return s.at - s.idle }

// glance is what probes see of a job that runs since a time: its mean use over the last
// sweep, and for how long nothing has run.
func glance(use *pattern.Pattern, since, at spec.Time) seen {
	t := time.Duration(at - since)
	last, _ := use.LastActive(t) // one that never did anything is idle since its start
	return seen{at: at, busy: amount.ShareOf(amount.Amount(use.Busy(t, time.Duration(sweep))), 1000), idle: int64(t - last)}
}

// matters says whether anybody could decide differently than by what was told.
func (s seen) matters(old seen) bool {
	switch {
	case old.at == 0 || (s.idle > 0) != (old.idle > 0):
		return true
	case max(s.busy-old.busy, old.busy-s.busy) > busyStep:
		return true
	case s.idle > 0 && s.began() > old.began(): // it was busy in between
		return true
	}
	return s.idle-old.idle >= max(sweep, old.idle/8)
}

// watch has the probes look at a job that has just started, or that got a task more.
func (e *engine) watch(j *job, now spec.Time) {
	if j.t.Use.IsZero() {
		return
	}
	next := (now/sweep + 1) * sweep
	if !slices.Contains(e.watched, j) {
		e.watched = append(e.watched, j)
		j.told = seen{}
	} else if j.look <= next {
		return
	}
	e.lookAt(j, next)
}

// lookAt makes a time the next one at which the probes tell of a job.
func (e *engine) lookAt(j *job, at spec.Time) {
	j.look = at
	e.queue.add(at, look{j.t.ID, j.run})
}

// unwatch ends it.
func (e *engine) unwatch(j *job) {
	if i := slices.Index(e.watched, j); i >= 0 {
		e.watched = slices.Delete(e.watched, i, i+1)
	}
}

// tell posts what the probes see of a job now, for each of its tasks that run.
func (e *engine) tell(j *job, now spec.Time) {
	j.told = glance(&j.t.Use, j.startAt, now)
	for i := range e.running(j) {
		e.loop.Post(ledger.UseMeasured{
			Job: j.t.ID, Task: i, Known: true, Busy: j.told.busy, Idle: j.told.idle, Watched: now - j.startAt, At: now,
		})
	}
	e.looked = true
	e.lookAt(j, e.nextLook(j, now))
}

// running are the tasks of a job that run; victims do until they are gone.
func (e *engine) running(j *job) func(yield func(int32, *world.Task) bool) {
	return func(yield func(int32, *world.Task) bool) {
		w := e.loop.Ledger().World().Job(j.t.ID)
		if w == nil {
			return
		}
		for i := range w.Tasks {
			t := &w.Tasks[i]
			if (t.State == world.Bound || t.State == world.Releasing) && !yield(int32(i), t) {
				return
			}
		}
	}
}

// nextLook is when there is something to tell of a job again. All jobs are told of anew
// in the same instants, so that refreshing a thousand costs no more turns than one.
func (e *engine) nextLook(j *job, now spec.Time) spec.Time {
	again := max(sweep, e.loop.Ledger().World().Quota.UseMaxAge/2/sweep*sweep)
	last := (now/again + 1) * again
	if woken, ok := j.t.Use.NextWake(time.Duration(now-j.startAt), time.Duration(sweep)); ok {
		last = min(last, j.startAt+int64(woken))
	}
	for at := (now/sweep + 1) * sweep; at < last; at += sweep {
		if glance(&j.t.Use, j.startAt, at).matters(j.told) {
			return at
		}
	}
	return last
}
