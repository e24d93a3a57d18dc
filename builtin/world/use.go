package world

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Use is one measurement of the GPUs of a running task.
type Use struct {
	Known bool
	Busy  amount.Share
	Idle  spec.Duration // at At
	// Watched is for how long, at At, no use could have gone unseen.
	Watched spec.Duration
	At      spec.Time
}

// measured is the last measurement of a task. It holds for one start of the task and
// for Quota.UseMaxAge.
type measured struct {
	Use
	started spec.Time
}

// quiet is for how long the GPUs of a task, since it has them, have certainly done
// nothing: they were watched all the while.
func (m *measured) quiet() spec.Duration { return min(m.Idle, m.Watched, m.At-m.started) }

// NoteUse takes a measurement of a running task. One from before its start, or older
// than what is known, says nothing new. It counts as a change where idle becomes busy,
// busy idle, or either unknown, and where a victim that was chosen for being idle is so no
// more: no decision waits for a percent.
func (w *World) NoteUse(t *Task, u Use) {
	j := t.Job
	if !runs(t) || u.At < t.Since {
		return
	}
	if j.use == nil {
		j.use = make([]measured, len(j.Tasks))
		w.Measured = true
	}
	m := &j.use[t.Index]
	fresh := m.started != t.Since
	if !fresh && u.At < m.At {
		return
	}
	was := *m
	*m = measured{u, t.Since}
	if fresh || was.Known != u.Known || (was.Idle > 0) != (u.Idle > 0) || w.wakes(t, m) {
		w.Epoch++
	}
}

// runs says whether a task is in a state in which its GPUs can be measured. Victims run
// until they are gone.
func runs(t *Task) bool { return t.State == Bound || t.State == Releasing }

// UseOf is how busy the GPUs of a task are known to be now, and for how long they have
// been idle. It is not ok, which is no zero, if nobody measured them since the task
// started, if that was too long ago, and while the task does not run.
func (w *World) UseOf(t *Task, now spec.Time) (busy amount.Share, idle spec.Duration, ok bool) {
	m := w.known(t, now)
	if m == nil {
		return 0, 0, false
	}
	return m.Busy, m.Idle, true
}

// known is the measurement of a task that holds now, nil if there is none.
func (w *World) known(t *Task, now spec.Time) *measured {
	if t.Job.use == nil {
		return nil
	}
	m := &t.Job.use[t.Index]
	if !m.Known || !runs(t) || m.started != t.Since || m.At+w.Quota.UseMaxAge < now {
		return nil
	}
	return m
}

// Quiet is for how long all GPUs of the tasks have certainly done nothing: since when
// they are held, measured to be idle, and watched so closely that no use could have gone
// unseen. It is not ok if one of them is not known, or if there are none.
func (w *World) Quiet(tasks []*Task, now spec.Time) (quiet spec.Duration, ok bool) {
	for _, t := range tasks {
		if w.GPUs(t) == 0 {
			continue
		}
		m := w.known(t, now)
		if m == nil {
			return 0, false
		}
		if !ok || m.quiet() < quiet {
			quiet, ok = m.quiet(), true
		}
	}
	return quiet, ok
}

// KnownUntil is until when what Quiet says of tasks holds unless they are measured anew;
// 0 if one of them is not known, or if there are none.
func (w *World) KnownUntil(tasks []*Task, now spec.Time) (until spec.Time) {
	for _, t := range tasks {
		if w.GPUs(t) == 0 {
			continue
		}
		m := w.known(t, now)
		if m == nil {
			return 0
		}
		if end := m.At + w.Quota.UseMaxAge; until == 0 || end < until {
			until = end
		}
	}
	return until
}

// UseSum is the measured use of several tasks. The zero value is that of none.
type UseSum struct {
	GPU     int64 // milli-GPU that the tasks hold
	busy    int64 // milli-GPU × share; a million GPUs at most
	idle    spec.Duration
	unknown bool
}

// Add counts one more task. Tasks without GPUs have no use.
func (s *UseSum) Add(w *World, t *Task, now spec.Time) {
	gpu := int64(w.GPUs(t))
	if gpu == 0 {
		return
	}
	busy, idle, ok := w.UseOf(t, now)
	s.unknown = s.unknown || !ok
	if s.GPU == 0 || idle < s.idle {
		s.idle = idle
	}
	s.GPU += gpu
	s.busy += gpu * int64(busy)
}

// Mean is the part of the GPUs that is busy, and for how long all of them have been
// idle. It is not ok if there are none, or if one of them is not known.
func (s *UseSum) Mean() (busy amount.Share, idle spec.Duration, ok bool) {
	if s.unknown || s.GPU == 0 {
		return 0, 0, false
	}
	return amount.Share(s.busy / s.GPU), s.idle, true
}

// Busy is how many milli-GPUs are busy: 0 of none, not ok if one is not known.
func (s *UseSum) Busy() (milli int64, ok bool) {
	return s.busy >> 32, !s.unknown
}

// Merge counts the tasks of another sum too.
func (s *UseSum) Merge(o *UseSum) {
	if o.GPU == 0 {
		return
	}
	if s.GPU == 0 || o.idle < s.idle {
		s.idle = o.idle
	}
	s.GPU += o.GPU
	s.busy += o.busy
	s.unknown = s.unknown || o.unknown
}

// UseOfJob adds up the tasks that hold GPUs for a job, those too that do not run yet.
func (w *World) UseOfJob(j *Job, now spec.Time) (s UseSum) {
	for i := range j.Tasks {
		if t := &j.Tasks[i]; charged(t.State) {
			s.Add(w, t, now)
		}
	}
	return s
}

// UseOfLeaves adds what the tasks of each leaf hold to sums, which has a place for
// each queue.
func (w *World) UseOfLeaves(now spec.Time, sums []UseSum) {
	w.EachPlaced(func(t *Task) {
		if charged(t.State) {
			sums[t.Job.Queue].Add(w, t, now)
		}
	})
}
