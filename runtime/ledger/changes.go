package ledger

import (
	"slices"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// The events by which an adapter tells of jobs that change, of what it finds when it
// starts, and of what others do on the nodes.

func (e JobGrown) apply(l *Ledger, _ spec.Time) error {
	j, err := l.job(e.ID)
	if err != nil {
		return err
	}
	whole := *j.Own
	whole.Tasks = append(slices.Clip(whole.Tasks), e.Tasks...)
	if err := whole.Validate(); err != nil {
		return err
	}
	if len(e.Tasks) > 0 {
		l.world.GrowJob(j, e.Tasks)
		j.JudgeAgain()
	}
	return nil
}

func (e JobGang) apply(l *Ledger, _ spec.Time) error {
	j, g, err := l.group(e.ID, e.Group)
	if err != nil {
		return err
	}
	if most := g.Size - g.Released; e.Min < 0 || e.Min > int64(most) {
		return refuse("min-out-of-range", "job %s, group %d: min %d is not between 0 and the %d tasks that it has not given up; bring more back first (TaskAgain, JobGrown)", e.ID, e.Group, e.Min, most)
	}
	if g.Min != int32(e.Min)+g.Released {
		l.world.SetMin(j, int(e.Group), int32(e.Min))
		j.JudgeAgain()
	}
	return nil
}

// group is a group of a known job.
func (l *Ledger) group(id string, index int32) (*world.Job, *world.Group, error) {
	j, err := l.job(id)
	if err != nil {
		return nil, nil, err
	}
	if index < 0 || int(index) >= len(j.Groups) {
		return nil, nil, refuse("unknown-group", "job %s has no group %d", id, index)
	}
	return j, &j.Groups[index], nil
}

func (e TaskAbsent) apply(l *Ledger, _ spec.Time) error {
	t, err := l.task(e.Job, e.Task)
	if err == nil && t.State != world.Absent {
		l.world.Miss(t)
	}
	return err
}

func (e TaskAgain) apply(l *Ledger, _ spec.Time) error {
	t, err := l.task(e.Job, e.Task)
	if err == nil && (t.State == world.Done || t.State == world.Absent) {
		l.world.Again(t)
	}
	return err
}

func (e TaskRunning) apply(l *Ledger, now spec.Time) error {
	t, n, err := l.pending(e.Job, e.Task, e.Node)
	if err != nil {
		return err
	}
	shape, dev := t.Job.Groups[t.Group].Shape, e.Devices
	if !l.world.MayHold(shape, dev) {
		dev = l.world.AnyDevices(shape, n)
	}
	l.world.Epoch++
	l.world.Place(t, n, dev, world.Bound, min(e.Since, now))
	return nil
}

// pending is a task that waits, and a node.
func (l *Ledger) pending(job string, index int32, node string) (*world.Task, world.NodeIx, error) {
	t, err := l.task(job, index)
	if err != nil {
		return nil, 0, err
	}
	n, ok := l.world.NodeNamed(node)
	switch {
	case !ok:
		return nil, 0, refuse("unknown-node", "node %s is not known", node)
	case t.State != world.Pending:
		return nil, 0, refuse("not-pending", "job %s: task %d is %s, not pending", job, index, t.State)
	}
	return t, n, nil
}

func (e TaskClaimed) apply(l *Ledger, now spec.Time) error {
	t, n, err := l.pending(e.Job, e.Task, e.Node)
	if err != nil {
		return err
	}
	shape, dev := t.Job.Groups[t.Group].Shape, e.Devices
	if !l.world.MayHold(shape, dev) {
		dev = l.world.AnyDevices(shape, n)
	}
	v := &verifier{l: l, w: l.world, from: &plan.Plan{Now: now}}
	if why := v.obstacle(t, n, dev, true); why != "" {
		return refuse("no-room", "job %s: task %d can't have its place on %s: %s", e.Job, e.Task, e.Node, why)
	}
	l.world.Epoch++
	l.world.Place(t, n, dev, world.Claimed, now)
	t.Job.ClaimExpiry = max(t.Job.ClaimExpiry, e.Until)
	return nil
}

func (e NodeUsed) apply(l *Ledger, _ spec.Time) error {
	n, ok := l.world.NodeNamed(e.Name)
	if !ok {
		return refuse("unknown-node", "node %s is not known", e.Name)
	}
	if err := e.Used.Validate("what others use on node " + e.Name); err != nil {
		return err
	}
	//muster:anyorder all must hold, whichever is looked at first
	for id, tasks := range e.Counts {
		if tasks < 0 {
			return refuse("negative-count", "node %s: %d tasks count for %s", e.Name, tasks, id)
		}
	}
	//muster:anyorder all must hold, whichever is looked at first
	for term, tasks := range e.Avoids {
		if tasks < 0 {
			return refuse("negative-count", "node %s: %d tasks avoid %s", e.Name, tasks, term.ID)
		}
	}
	if l.world.SetForeign(n, world.Foreign{Used: e.Used, Counts: e.Counts, Avoids: e.Avoids}) {
		l.rescale = true
	}
	return nil
}

func (e JobNear) apply(l *Ledger, _ spec.Time) error {
	j, _, err := l.group(e.ID, e.Group)
	if err != nil {
		return err
	}
	near := spec.Near{Counts: e.Counts}
	if err := near.Validate("job " + e.ID); err != nil {
		return err
	}
	if !slices.Equal(j.Own.Tasks[e.Group].Near.Counts, e.Counts) {
		l.world.SetCounts(j, int(e.Group), e.Counts)
	}
	return nil
}
