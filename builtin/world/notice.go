package world

import (
	"slices"

	"github.com/musterhq/muster/builtin/spec"
)

// Notice is a victim that was told to save its work and still runs. Its tasks are
// Releasing; they are ended when the work is saved, at the latest at Deadline.
type Notice struct {
	Job      *Job
	Tasks    []*Task
	For      string // the job that it was evicted for
	Deadline spec.Time
	Saved    bool
	// IdleAfter is how long all GPUs of the victim must have done nothing for its eviction
	// to stand: it was chosen for that, its tasks are revocable, and it stays if they wake
	// up before it is ended. 0 of a victim that was chosen for another reason.
	IdleAfter spec.Duration
	// Missing is how many tasks the gang would lack if the victim stayed: more since, if
	// parts of it have gone.
	Missing int32
}

// NoticeOf is the notice that tasks of a job are under, nil if they are under none.
func (w *World) NoticeOf(j *Job, tasks []int32) *Notice {
	i := slices.IndexFunc(w.Notices, func(n Notice) bool {
		return n.Job == j && slices.ContainsFunc(n.Tasks, func(t *Task) bool { return t.Index == tasks[0] })
	})
	if i < 0 {
		return nil
	}
	return &w.Notices[i]
}

// DropNotice forgets a notice, which NoticeOf has found.
func (w *World) DropNotice(n *Notice) {
	first := n.Tasks[0]
	w.Notices = slices.DeleteFunc(w.Notices, func(o Notice) bool { return o.Tasks[0] == first })
}

// StillIdle says whether a victim that was chosen for being idle is known to be so.
func (w *World) StillIdle(n *Notice, now spec.Time) bool {
	quiet, ok := w.Quiet(n.Tasks, now)
	return ok && quiet >= n.IdleAfter
}

// wakes says whether a measurement of a task revokes the notice that it is under.
func (w *World) wakes(t *Task, u *measured) bool {
	return t.kept && slices.ContainsFunc(w.Notices, func(n Notice) bool {
		return slices.Contains(n.Tasks, t) && (!u.Known || u.quiet() < n.IdleAfter)
	})
}

// NoteSaved records that a job saved its work at a time, and that its notice, if
// it has one, need not wait longer.
func (w *World) NoteSaved(j *Job, at spec.Time) {
	w.Epoch++
	j.Checkpoint = at
	for i := range w.Notices {
		if w.Notices[i].Job == j {
			w.Notices[i].Saved = true
		}
	}
}
