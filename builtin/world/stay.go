package world

import "github.com/musterhq/muster/builtin/amount"

// Victims that may yet stay. They are Releasing like others, and their queue is not
// charged; but their quota is kept (quota.Keep): nobody may take it before they are gone,
// the job that they are evicted for neither. So whenever one stays, there is quota for it
// in every account, and room on its node, which it never left: what was claimed there in
// the hope of its going is given up (Overcommitted).

// EvictRevocably makes a running task a victim that may yet stay.
func (w *World) EvictRevocably(t *Task) {
	w.Evict(t)
	w.keep(t)
}

// Revocable says whether a task is a victim that may yet stay.
func (t *Task) Revocable() bool { return t.kept }

// Stay takes the eviction of a revocable victim back: it runs as if nothing had been.
func (w *World) Stay(t *Task) {
	w.log(change{op: opState, task: t, state: t.State, since: t.Since, kept: t.kept})
	w.setState(t, Bound)
}

// StayAll does so with all tasks under a notice, and gives up what was claimed in the
// hope of their going: it returns the jobs that lost their places by it, in order. It is
// not ok, and nothing has changed, if the gang has lost more since they were told: the
// rest can't work.
func (w *World) StayAll(n *Notice) (lost []*Job, ok bool) {
	m := w.Mark()
	for _, t := range n.Tasks {
		w.Stay(t)
	}
	if n.Job.GangMissing() > n.Missing {
		w.Rollback(m)
		return nil, false
	}
	for _, t := range n.Tasks {
		for j := w.Overcommitted(t.Node); j != nil; j = w.Overcommitted(t.Node) {
			w.GiveUpClaims(j)
			lost = append(lost, j)
		}
	}
	w.Keep(m)
	return lost, true
}

// GiveUpClaims makes the tasks of a job pending that are claimed.
func (w *World) GiveUpClaims(j *Job) {
	for i := range j.Tasks {
		if t := &j.Tasks[i]; t.State == Claimed {
			w.Release(t)
		}
	}
}

// MissingWith is how many tasks the gang of a job lacks if a victim stays.
func (w *World) MissingWith(j *Job, victims []*Task) int32 {
	m := w.Mark()
	defer w.Rollback(m)
	for _, t := range victims {
		w.Stay(t)
	}
	return j.GangMissing()
}

// Condemn makes an eviction one that can't be taken back any more: its quota is free.
func (w *World) Condemn(t *Task) {
	if t.kept {
		w.log(change{op: opState, task: t, state: t.State, since: t.Since, kept: true})
		w.letGo(t)
	}
}

// Awaited says whether anybody waits for room on the node of a task.
func (w *World) Awaited(t *Task) bool {
	for o := w.Nodes[t.Node].head; o != nil; o = o.next {
		if o.State == Claimed && !w.Settled(o) {
			return true
		}
	}
	return false
}

// Vacate is Release for a trial of what will be once victims are gone: the quota of one
// that may yet stay is kept even so. The trial must be rolled back.
func (w *World) Vacate(t *Task) {
	if !t.kept {
		w.Release(t)
		return
	}
	w.log(change{op: opVacate, task: t, node: t.Node, dev: t.Dev, state: t.State, since: t.Since, kept: true})
	t.kept = false // so that lift does not let it go
	w.lift(t, Pending)
}

func (w *World) keep(t *Task) {
	j := t.Job
	t.kept = true
	w.Quota.Keep(j.Chain, w.Charge(j.Groups[t.Group].Shape, w.Nodes[t.Node].Class), 1)
	if j.kept++; j.kept == 1 && j.Placed == 0 {
		w.Quota.KeepApps(j.Chain, 1)
	}
}

// letGo is the inverse of keep.
func (w *World) letGo(t *Task) {
	j := t.Job
	t.kept = false
	w.Quota.Keep(j.Chain, w.Charge(j.Groups[t.Group].Shape, w.Nodes[t.Node].Class), -1)
	if j.kept--; j.kept == 0 && j.Placed == 0 {
		w.Quota.KeepApps(j.Chain, -1)
	}
	w.Grown++ // quota came free
}

// keepApp keeps (1) the place among the running ones of a job that has stopped to hold
// anything and may yet stay, or lets it go (-1): it is charged for it again.
func (w *World) keepApp(j *Job, n int64) {
	if j.kept > 0 {
		w.Quota.KeepApps(j.Chain, n)
	}
}

// Overcommitted is a job that can't have the places claimed for it on a node, even once
// all victims there are gone: the one that claimed last of those; nil if there is none.
func (w *World) Overcommitted(n NodeIx) *Job {
	var last *Task
	for t := w.Nodes[n].head; t != nil; t = t.next {
		if t.State == Claimed && (last == nil || laterClaim(t, last)) && w.inVain(t) {
			last = t
		}
	}
	if last == nil {
		return nil
	}
	return last.Job
}

// inVain says whether a claimed task asks for something of which its node will have too
// little when all victims are gone.
func (w *World) inVain(t *Task) bool {
	row := w.Free(t.Node)
	for _, e := range w.Charge(t.Job.Groups[t.Group].Shape, w.Nodes[t.Node].Class) {
		if row[e.Dim] < 0 && row[e.Dim].Add(w.leavingOf(t.Node, e.Dim)) < 0 {
			return true
		}
	}
	for i, free := range w.Dev(t.Node) {
		if t.Dev&(1<<i) != 0 && free < 0 && free+w.leavingDevice(t.Node, i) < 0 {
			return true
		}
	}
	return false
}

// leavingOf is what victims on a node will leave of a resource.
func (w *World) leavingOf(n NodeIx, d amount.Dim) (sum amount.Amount) {
	for t := w.Nodes[n].head; t != nil; t = t.next {
		if t.State == Releasing {
			a, _ := w.Charge(t.Job.Groups[t.Group].Shape, w.Nodes[n].Class).Get(d)
			sum = sum.Add(a)
		}
	}
	return sum
}

func (w *World) leavingDevice(n NodeIx, device int) (milli int32) {
	for t := w.Nodes[n].head; t != nil; t = t.next {
		if t.State == Releasing && t.Dev&(1<<device) != 0 {
			milli += w.perDevice(t.Job.Groups[t.Group].Shape)
		}
	}
	return milli
}
