package world

import "github.com/musterhq/muster/builtin/spec"

// Notice is a victim that was told to save its work and still runs. Its tasks are
// Releasing; they are ended when the work is saved, at the latest at Deadline.
type Notice struct {
	Job      *Job
	Tasks    []*Task
	Deadline spec.Time
	Saved    bool
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
