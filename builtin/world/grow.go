package world

import (
	"slices"

	"github.com/musterhq/muster/builtin/spec"
)

// How a job changes while it waits or runs. None of this is for what-ifs: no mark may
// be open, since tasks move in memory.

// GrowJob adds groups of tasks to a job, which are pending. Its tasks so far keep their
// indexes.
func (w *World) GrowJob(j *Job, groups []spec.TaskGroup) {
	defer w.askMore(j)()
	w.Epoch++
	j.respec(func(s *spec.Job) { s.Tasks = append(slices.Clip(s.Tasks), groups...) })
	total := int32(len(j.Tasks))
	w.addGroups(j, groups)
	grown := make([]Task, len(j.Tasks), int(total)+tasksOf(j.Groups[len(j.Groups)-len(groups):]))
	copy(grown, j.Tasks)
	w.relink(j, grown)
	j.Tasks = grown
	j.appendTasks(len(j.Groups) - len(groups))
	if j.use != nil {
		j.use = append(j.use, make([]measured, len(j.Tasks)-len(j.use))...)
	}
	j.Shape = signature(j)
	w.wait(j, int32(len(j.Tasks))-total)
}

func tasksOf(groups []Group) (n int) {
	for i := range groups {
		n += int(groups[i].Size)
	}
	return n
}

// respec changes what a job says itself, and what decides too. The spec that came from
// outside stays as it is: others hold it.
func (j *Job) respec(change func(*spec.Job)) {
	own := *j.Own
	change(&own)
	if j.Spec == j.Own {
		j.Spec = &own
	} else { // rules have changed its priority, and nothing that is changed here
		decides := *j.Spec
		decides.Tasks = own.Tasks
		j.Spec = &decides
	}
	j.Own = &own
}

// relink makes everything that points to a task of the job point to its copy.
func (w *World) relink(j *Job, to []Task) {
	for i := range to {
		t := &to[i]
		if t.Node == NoNode {
			continue
		}
		if t.prev == nil {
			w.Nodes[t.Node].head = t
		}
		for _, link := range [...]**Task{&t.prev, &t.next} {
			if o := *link; o != nil && o.Job == j {
				*link = &to[o.Index]
			}
		}
		if t.prev != nil {
			t.prev.next = t
		}
		if t.next != nil {
			t.next.prev = t
		}
	}
	for i := range w.Notices {
		if w.Notices[i].Job == j {
			for k, t := range w.Notices[i].Tasks {
				w.Notices[i].Tasks[k] = &to[t.Index]
			}
		}
	}
}

// SetMin changes how many tasks of a group must run together, those that have finished
// included.
func (w *World) SetMin(j *Job, group int, least int32) {
	defer w.askMore(j)()
	w.Epoch++
	j.respec(func(s *spec.Job) {
		s.Tasks = slices.Clone(s.Tasks)
		s.Tasks[group].Min = int64(least)
	})
	g := &j.Groups[group]
	g.Min = least + g.Released
	j.Shape = signature(j)
}

// askMore is called before the gang of a job becomes another one, and what it returns
// after: a victim that may stay does so no less because its gang has grown, for it has lost
// nothing.
func (w *World) askMore(j *Job) (done func()) {
	missing := make([]int32, len(w.Notices))
	each := func(f func(i int, missing int32)) {
		for i := range w.Notices {
			n := &w.Notices[i]
			if n.Job == j && n.IdleAfter > 0 && !slices.ContainsFunc(n.Tasks, func(t *Task) bool { return !t.Revocable() }) {
				f(i, w.MissingWith(j, n.Tasks))
			}
		}
	}
	each(func(i int, now int32) { missing[i] = now })
	return func() { each(func(i int, now int32) { w.Notices[i].Missing += now - missing[i] }) }
}

// Finish takes a task off its node for good.
func (w *World) Finish(t *Task) { w.end(t, Done) }

// Miss takes a task that has no pod off its node, until it is wanted Again.
func (w *World) Miss(t *Task) { w.end(t, Absent) }

// ReleaseSurplus ends a task that its job has given up. It counts as finished, but has
// done no part of the gang's work: as many others are needed as before.
func (w *World) ReleaseSurplus(t *Task) {
	w.end(t, Done)
	g := &t.Job.Groups[t.Group]
	t.released = true
	g.Released++
	g.Min++
}

// Again makes a task that is done or absent pending.
func (w *World) Again(t *Task) {
	if w.recall(t); t.State == Pending {
		w.wait(t.Job, 1)
	}
}

// end brings a task, whatever its state, into one in which it holds nothing and is not
// wanted.
func (w *World) end(t *Task, s State) {
	w.Epoch++
	if t.Node != NoNode {
		w.lift(t, Pending)
	}
	if t.State == s {
		return
	}
	if t.State == Pending {
		t.Job.Waiting--
	} else {
		w.recall(t)
	}
	t.State = s
	t.Job.Groups[t.Group].count(t, 1)
}

// recall takes back that a task is done or absent; it does not wait yet.
func (w *World) recall(t *Task) {
	if t.State != Done && t.State != Absent {
		return
	}
	w.Epoch++
	g := &t.Job.Groups[t.Group]
	g.count(t, -1)
	if t.released {
		t.released = false
		g.Released--
		g.Min--
	}
	t.State = Pending
	g.hint = min(g.hint, t.Index)
}

// count counts a task that is not wanted.
func (g *Group) count(t *Task, n int32) {
	if t.State == Done {
		g.Finished += n
	} else {
		g.Absent += n
	}
}

// wait counts tasks that have become pending.
func (w *World) wait(j *Job, tasks int32) {
	if j.Waiting += tasks; j.Waiting == tasks && w.jobs[j.Spec.ID] == j {
		w.insertPending(j)
	}
}
