package world

import (
	"slices"

	"github.com/musterhq/muster/builtin/spec"
)

// SetCounts replaces what the tasks of a group count for.
func (w *World) SetCounts(j *Job, group int, counts []string) {
	w.Epoch++
	j.respec(func(s *spec.Job) {
		s.Tasks = slices.Clone(s.Tasks)
		s.Tasks[group].Near.Counts = counts
	})
}
