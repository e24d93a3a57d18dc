package world

import (
	"fmt"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
)

// Audit counts everything anew that the world keeps a count of, from what was said of
// nodes and where the tasks are, and tells what does not agree; nothing if all is well.
// It is for tests, between cycles: no mark may be open.
func (w *World) Audit() []string {
	a := &audit{w: w}
	if w.marks != 0 || w.undo.n != 0 {
		a.note("%d marks are open, %d changes could be undone", w.marks, w.undo.n)
	}
	a.capacity()
	for n := range w.Nodes {
		a.node(NodeIx(n))
	}
	a.classes()
	for _, j := range w.Jobs() {
		a.job(j)
	}
	a.pending()
	a.accounts()
	a.notices()
	a.places()
	return a.found
}

type audit struct {
	w     *World
	found []string
}

func (a *audit) note(format string, args ...any) {
	a.found = append(a.found, fmt.Sprintf(format, args...))
}

// agree compares a count with what was counted anew.
func agree[T comparable](a *audit, what string, kept, counted T) {
	if kept != counted {
		a.note("%s: %v is kept, %v was counted", what, kept, counted)
	}
}

// capacity: the queues share what nodes have and others do not use.
func (a *audit) capacity() {
	sums := make([]amount.Amount, a.w.r)
	for n := range a.w.Nodes {
		others, _ := a.w.ForeignUse(NodeIx(n))
		for _, e := range a.w.Nodes[n].capacity {
			used, _ := others.Get(e.Dim)
			sums[e.Dim] += max(0, e.Amount-used)
		}
	}
	for d, sum := range sums {
		agree(a, "capacity in "+a.w.Res.Name(amount.Dim(d)), a.w.Quota.Capacity()[d], sum)
	}
}

// node: what is free is what nobody holds; a node that is gone has and holds nothing.
func (a *audit) node(n NodeIx) {
	w := a.w
	nd := &w.Nodes[n]
	if !nd.Present && (nd.head != nil || nd.capacity != nil || nd.Devices != 0 || nd.foreign != nil || nd.indexed || nd.ReservedFor != nil || !slices.Contains(w.spare, n)) {
		a.note("%s is gone, and is not empty", nd.Name)
	}
	if at, ok := w.nodeIx[nd.Name]; nd.Present && (!ok || at != n) {
		a.note("%s is not found by its name", nd.Name)
	}
	free, dev := make([]amount.Amount, w.r), make([]int32, nd.Devices)
	for i := range dev {
		dev[i] = 1000
	}
	for _, e := range nd.capacity {
		free[e.Dim] += e.Amount
	}
	others, held := w.ForeignUse(n)
	for _, e := range others {
		free[e.Dim] -= e.Amount
	}
	hold(dev, held, 1000)
	var last *Task
	for t := nd.head; t != nil; last, t = t, t.next {
		if t.Node != n || t.prev != last || w.jobs[t.Job.Spec.ID] != t.Job || &t.Job.Tasks[t.Index] != t {
			a.note("%s: task %d of %s is not linked well", nd.Name, t.Index, t.Job.Spec.ID)
		}
		shape := t.Job.Groups[t.Group].Shape
		for _, e := range w.Charge(shape, nd.Class) {
			free[e.Dim] -= e.Amount
		}
		hold(dev, t.Dev, w.perDevice(shape))
	}
	full := int32(0)
	for i := range dev {
		if dev[i] == 1000 {
			full++
		}
	}
	if !slices.Equal(free, w.Free(n)) || !slices.Equal(dev, w.Dev(n)) || full != w.full[n] {
		a.note("%s: %v %v (%d full) is kept as free, %v %v (%d) was counted", nd.Name, w.Free(n), w.Dev(n), w.full[n], free, dev, full)
	}
}

func hold(dev []int32, mask uint64, milli int32) {
	for i := range dev {
		if mask&(1<<i) != 0 {
			dev[i] -= milli
		}
	}
}

// classes: each node is in the index of its class, where its free devices say, and
// nowhere else.
func (a *audit) classes() {
	w := a.w
	nodes := make([]int32, len(w.Classes))
	for n := range w.Nodes {
		nd := &w.Nodes[n]
		if !nd.Present {
			continue
		}
		nodes[nd.Class]++
		class := &w.Classes[nd.Class]
		if w.classKey[classKey(nd)] != nd.Class || class.Devices != nd.Devices || class.HasType != nd.HasType || class.Typed != nd.Typed {
			a.note("%s is not of its class", nd.Name)
		}
	}
	for c := range w.Classes {
		agree(a, fmt.Sprintf("nodes of class %d", c), w.Classes[c].Nodes, nodes[c])
		for full := range w.Classes[c].free {
			w.EachFree(ClassID(c), int32(full), func(n NodeIx) {
				if nd := &w.Nodes[n]; !nd.Present || !nd.indexed || nd.Class != ClassID(c) || w.full[n] < int32(full) {
					a.note("%s is in the index of class %d with %d free", nd.Name, c, full)
				}
			})
		}
		indexed := int32(0)
		w.EachFree(ClassID(c), 0, func(NodeIx) { indexed++ })
		agree(a, fmt.Sprintf("nodes in the index of class %d", c), indexed, nodes[c])
	}
}

// job: what a job counts is what its tasks say.
func (a *audit) job(j *Job) {
	w := a.w
	if w.jobs[j.Spec.ID] != j || j.Spec.ID != j.Own.ID || len(j.Own.Tasks) != len(j.Groups) || j.use != nil && len(j.use) != len(j.Tasks) {
		a.note("job %s is not what it says", j.Spec.ID)
	}
	var placed, waiting, claiming, kept, reserved, next int32
	for gi := range j.Groups {
		placed += a.group(j, gi, next)
		next += j.Groups[gi].Size
	}
	for i := range j.Tasks {
		t := &j.Tasks[i]
		switch t.State {
		case Pending:
			waiting++
		case Claimed:
			claiming++
		}
		if t.kept {
			kept++
		}
		sits := t.State == Claimed || t.State == Bound || t.State == Releasing
		if sits != (t.Node != NoNode) || !sits && t.Dev != 0 || t.kept && t.State != Releasing || t.released && t.State != Done || t.Index != int32(i) || t.Job != j {
			a.note("task %d of %s is %s on %s with devices %x", i, j.Spec.ID, t.State, w.nodeName(t.Node), t.Dev)
		}
	}
	for n := range w.Nodes {
		if w.Nodes[n].ReservedFor == j {
			reserved++
		}
	}
	agree(a, j.Spec.ID+" placed, waiting, claiming, kept, reserved, tasks",
		[6]int32{j.Placed, j.Waiting, j.Claiming, j.kept, j.Reserved, int32(len(j.Tasks))},
		[6]int32{placed, waiting, claiming, kept, reserved, next})
	agree(a, j.Spec.ID+": its claims are known", slices.Contains(w.claims, j), claiming > 0)
	agree(a, j.Spec.ID+": what it asks for", j.Shape, signature(j))
}

// group recounts one group, whose first task is given.
func (a *audit) group(j *Job, gi int, first int32) (placed int32) {
	g := &j.Groups[gi]
	var done, released, absent int32
	pending := first + g.Size
	for i := first; i < first+g.Size; i++ {
		t := &j.Tasks[i]
		switch t.State {
		case Claimed, Bound:
			placed++
		case Done:
			done++
		case Absent:
			absent++
		case Pending:
			pending = min(pending, i)
		}
		if t.released {
			released++
		}
		agree(a, fmt.Sprintf("group of task %d of %s", i, j.Spec.ID), int(t.Group), gi)
	}
	least, size := j.Own.Tasks[gi].Min, j.Own.Tasks[gi].Size
	agree(a, fmt.Sprintf("%s, group %d: first, min, size, placed, done, given up, absent", j.Spec.ID, gi),
		[7]int32{g.First, g.Min, g.Size, g.Placed, g.Finished, g.Released, g.Absent},
		[7]int32{first, int32(least) + released, int32(size), placed, done, released, absent})
	if g.hint > pending {
		a.note("%s, group %d: the first pending task is said to be %d, and is %d", j.Spec.ID, gi, g.hint, pending)
	}
	agree(a, fmt.Sprintf("shape of group %d of %s", gi, j.Spec.ID), g.Shape, a.w.shapeOf(&j.Own.Tasks[gi], j.Only))
	return placed
}

// pending: who waits is listed once in its leaf, in order.
func (a *audit) pending() {
	w := a.w
	tasks := make([]int64, len(w.Shapes))
	for _, j := range w.Jobs() {
		if j.Waiting > 0 && !slices.Contains(w.pending[j.Queue], j) {
			a.note("%s waits, and is not among those of its queue", j.Spec.ID)
		}
		for i := range j.Groups {
			tasks[j.Groups[i].Shape] += int64(j.Groups[i].Size)
		}
	}
	for s := range w.Shapes {
		agree(a, fmt.Sprintf("tasks of shape %d", s), w.Shapes[s].Tasks, tasks[s])
	}
	for q, list := range w.pending {
		for i, j := range list {
			if w.jobs[j.Spec.ID] != j || j.Queue != quota.Q(q) || i > 0 && CompareJobs(list[i-1], j) >= 0 {
				a.note("%s does not belong where it is among those who wait in %s", j.Spec.ID, w.Quota.Queues[q].Path)
			}
		}
	}
	for _, j := range w.claims {
		if w.jobs[j.Spec.ID] != j {
			a.note("%s is gone, and keeps places", j.Spec.ID)
		}
	}
}

// accounts: what an account holds and keeps is what the tasks of its jobs do.
func (a *audit) accounts() {
	w, t := a.w, a.w.Quota
	type sums struct{ apps, keptApps int64 }
	apps := make([]sums, t.Accounts())
	used, kept := make([]amount.Amount, t.Accounts()*w.r), make([]amount.Amount, t.Accounts()*w.r)
	for _, j := range w.Jobs() {
		if !slices.Equal(j.Chain, t.ChainFor(j.Queue, j.Spec)) {
			a.note("%s is not charged where it belongs", j.Spec.ID)
		}
		for _, acc := range j.Chain {
			if j.Placed > 0 {
				apps[acc].apps++
			} else if j.kept > 0 {
				apps[acc].keptApps++
			}
		}
	}
	w.EachPlaced(func(o *Task) {
		for _, e := range w.Charge(o.Job.Groups[o.Group].Shape, w.Nodes[o.Node].Class) {
			for _, acc := range o.Job.Chain {
				if charged(o.State) {
					used[int(acc)*w.r+int(e.Dim)] += e.Amount
				}
				if o.kept {
					kept[int(acc)*w.r+int(e.Dim)] += e.Amount
				}
			}
		}
	})
	for acc := range apps {
		queue, kind, who := t.Describe(quota.Account(acc))
		name := queue + " " + kind + " " + who
		running, _ := t.Apps(quota.Account(acc))
		agree(a, "jobs in "+name, sums{running, t.KeptApps(quota.Account(acc))}, apps[acc])
		for d := range w.r {
			agree(a, name+" "+w.Res.Name(amount.Dim(d)), t.Used(quota.Account(acc))[d], used[acc*w.r+d])
			agree(a, name+" keeps "+w.Res.Name(amount.Dim(d)), t.Kept(quota.Account(acc), amount.Dim(d)), kept[acc*w.r+d])
		}
	}
}

// notices: who is told to go exists; tasks that may yet stay are under a notice.
func (a *audit) notices() {
	told := map[*Task]bool{}
	for i := range a.w.Notices {
		n := &a.w.Notices[i]
		for _, t := range n.Tasks {
			if a.w.jobs[n.Job.Spec.ID] != n.Job || t.Job != n.Job || &n.Job.Tasks[t.Index] != t || told[t] {
				a.note("the notice of task %d of %s is void", t.Index, n.Job.Spec.ID)
			}
			told[t] = true
		}
	}
	a.w.EachPlaced(func(t *Task) {
		if t.kept && !told[t] {
			a.note("task %d of %s may stay, and is under no notice", t.Index, t.Job.Spec.ID)
		}
	})
}
