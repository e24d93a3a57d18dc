package world

import (
	"cmp"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// A what-if is Mark, any number of Place, Release, Evict, Stay, Bind and Reserve, and
// Rollback. The log has one entry for each, not for each number changed: every
// operation has an exact inverse, since amounts are integers that can't saturate
// (inputs are at most amount.Limit).

type op uint8

const (
	opPlace   op = iota // task was pending, now sits on node
	opRelease           // task sat on node, now is pending
	opState             // task changed its state in place
	opEvict             // bound task became releasing
	opVacate            // kept task left its node, and its quota stayed kept
	opReserve
)

type change struct {
	op    op
	state State // before
	kept  bool  // likewise
	task  *Task
	node  NodeIx
	dev   uint64
	since spec.Time
	job   *Job
	// grown is World.Grown before the change, class and classGrown the age of the
	// class of its node: a try that is taken back helped nobody.
	grown, classGrown uint64
	class             ClassID
}

// Mark is a position in the undo log.
type Mark int

// Mark opens a what-if. Marks nest; each is closed by Rollback or Keep, the last
// opened first.
func (w *World) Mark() Mark {
	w.marks++
	return Mark(w.undo.n)
}

// Keep closes a mark and keeps what was done since; an outer mark can still take
// it back.
func (w *World) Keep(Mark) {
	if w.marks--; w.marks == 0 {
		w.undo.cut(0)
	}
}

// Rollback closes a mark and undoes what was done since, in reverse order.
func (w *World) Rollback(m Mark) {
	for i := w.undo.n - 1; i >= int(m); i-- {
		w.revert(w.undo.at(i))
	}
	w.undo.cut(int(m))
	w.marks--
}

// undoLog is a list of changes in blocks, so that a long cycle never copies it.
type undoLog struct {
	blocks [][]change
	n      int
}

const undoBlock = 1024

func (u *undoLog) at(i int) *change { return &u.blocks[i/undoBlock][i%undoBlock] }

// next returns a place for one more change.
func (u *undoLog) next() *change {
	if u.n == len(u.blocks)*undoBlock {
		u.blocks = append(u.blocks, make([]change, undoBlock))
	}
	u.n++
	return u.at(u.n - 1)
}

// cut forgets all but the first n changes, and what they point to.
func (u *undoLog) cut(n int) {
	for b := n / undoBlock; b*undoBlock < u.n; b++ {
		clear(u.blocks[b][max(0, n-b*undoBlock):min(undoBlock, u.n-b*undoBlock)])
	}
	u.n = n
}

func (w *World) log(c change) {
	if w.marks == 0 {
		return
	}
	n := c.node
	if c.task != nil && c.op != opPlace {
		n = c.task.Node
	}
	c.class = w.Nodes[n].Class
	c.grown, c.classGrown = w.Grown, w.growth[c.class]
	*w.undo.next() = c
}

func (w *World) revert(c *change) {
	changes, moved := w.Changes, w.Moved
	switch c.op {
	case opPlace:
		w.lift(c.task, Pending)
	case opRelease:
		w.put(c.task, c.node, c.dev, c.state, c.since)
	case opVacate:
		w.put(c.task, c.node, c.dev, c.state, c.since)
		c.task.kept = true
	case opState, opEvict:
		w.setState(c.task, c.state)
		c.task.Since = c.since
	case opReserve:
		w.setReserved(c.node, c.job)
	}
	if c.kept && c.op != opVacate {
		w.keep(c.task)
	}
	w.Grown, w.growth[c.class] = c.grown, c.classGrown
	// To undo something counts as often as it did: take both back.
	w.Changes, w.Moved = 2*changes-w.Changes, 2*moved-w.Moved
}

// Place puts a pending task on a node, in state Claimed or Bound, on the given
// devices. The caller has checked that it may; room may be missing only where
// victims still hold what will be freed.
func (w *World) Place(t *Task, n NodeIx, dev uint64, s State, now spec.Time) {
	w.log(change{op: opPlace, task: t, node: n})
	w.put(t, n, dev, s, now)
}

// Release takes a task off its node; it is pending again.
func (w *World) Release(t *Task) {
	w.log(change{op: opRelease, task: t, node: t.Node, dev: t.Dev, state: t.State, since: t.Since, kept: t.kept})
	w.lift(t, Pending)
}

// Bind turns a claimed task into a running one.
func (w *World) Bind(t *Task, now spec.Time) {
	w.log(change{op: opState, task: t, state: t.State, since: t.Since})
	w.setState(t, Bound)
	t.Since = now
}

// Hold turns a running task whose pod was lost into a claimed one: its place is
// kept for the replacement.
func (w *World) Hold(t *Task) {
	w.log(change{op: opState, task: t, state: t.State, since: t.Since})
	w.setState(t, Claimed)
}

// Evict makes a running task a victim: its queue gets the quota back now, the
// node when the task is gone (Release).
func (w *World) Evict(t *Task) {
	w.log(change{op: opEvict, task: t, state: t.State, since: t.Since})
	w.setState(t, Releasing)
}

// put is the inverse of lift.
func (w *World) put(t *Task, n NodeIx, dev uint64, s State, now spec.Time) {
	t.Node, t.Dev, t.Since = n, dev, now
	nd := &w.Nodes[n]
	t.prev, t.next = nil, nd.head
	if nd.head != nil {
		nd.head.prev = t
	}
	nd.head = t
	w.Changes++
	w.take(t, 1)
	w.settle(t, 1)
	t.Job.Waiting--
	t.State = Pending
	w.setState(t, s)
	w.touch(n)
}

// lift takes a task off its node, whatever its state, leaving it pending.
func (w *World) lift(t *Task, s State) {
	n := t.Node
	w.setState(t, s)
	if t.prev != nil {
		t.prev.next = t.next
	} else {
		w.Nodes[n].head = t.next
	}
	if t.next != nil {
		t.next.prev = t.prev
	}
	t.prev, t.next = nil, nil
	w.Changes++
	w.take(t, -1)
	w.settle(t, -1)
	t.Node, t.Dev = NoNode, 0
	j := t.Job
	if j.Waiting++; j.Waiting == 1 && w.jobs[j.Spec.ID] == j {
		w.insertPending(j)
	}
	g := &j.Groups[t.Group]
	g.hint = min(g.hint, t.Index)
	w.grew(w.Nodes[n].Class)
	w.touch(n)
}

// take moves a task's request (sign 1) out of what its node has free, or back.
func (w *World) take(t *Task, sign int32) {
	n := t.Node
	nd := &w.Nodes[n]
	shape := t.Job.Groups[t.Group].Shape
	row := w.Free(n)
	for _, e := range w.Charge(shape, nd.Class) {
		if sign > 0 {
			row[e.Dim] = row[e.Dim].Sub(e.Amount)
		} else {
			row[e.Dim] = row[e.Dim].Add(e.Amount)
		}
	}
	if t.Dev != 0 {
		w.takeDevices(n, t.Dev, sign*w.perDevice(shape))
	}
}

func (w *World) perDevice(s ShapeID) int32 {
	if m := w.Shapes[s].Milli; m > 0 {
		return m
	}
	return 1000
}

func (w *World) takeDevices(n NodeIx, mask uint64, milli int32) {
	dev, full := w.Dev(n), w.full[n]
	for i := range dev {
		if mask&(1<<i) == 0 {
			continue
		}
		if dev[i] == 1000 {
			full--
		}
		dev[i] -= milli
		if dev[i] == 1000 {
			full++
		}
	}
	w.setFull(n, full)
}

// charged says whether a task in the state counts as its queue's usage.
func charged(s State) bool { return s == Claimed || s == Bound }

// setState moves a task between states and charges or refunds its queue.
func (w *World) setState(t *Task, s State) {
	was := t.State
	if was == s {
		return
	}
	j := t.Job
	if charged(was) != charged(s) {
		w.charge(t, charged(s))
	}
	if was == Claimed {
		if j.Claiming--; j.Claiming == 0 {
			w.claims = without(w.claims, j)
		}
	}
	if s == Claimed {
		if j.Claiming++; j.Claiming == 1 {
			w.claims = append(w.claims, j)
		}
	}
	t.State = s
	if t.kept {
		w.letGo(t)
	}
}

func (w *World) charge(t *Task, on bool) {
	j := t.Job
	g := &j.Groups[t.Group]
	list := w.Charge(g.Shape, w.Nodes[t.Node].Class)
	if !on {
		w.Quota.Charge(j.Chain, list, -1)
		g.Placed--
		if j.Placed--; j.Placed == 0 {
			w.Quota.ChargeApps(j.Chain, -1)
			w.keepApp(j, 1)
		}
		w.Grown++ // quota came free
		return
	}
	w.Quota.Charge(j.Chain, list, 1)
	g.Placed++
	if j.Placed++; j.Placed == 1 {
		w.Quota.ChargeApps(j.Chain, 1)
		w.keepApp(j, -1)
	}
}

// FreeOf is what is free of one resource on a node.
func (w *World) FreeOf(n NodeIx, d amount.Dim) amount.Amount { return w.free[int(n)*w.r+int(d)] }

// Settled says whether nothing that a claimed task waits for is still held by
// somebody else. What was claimed on the node after it does not count: whoever
// came first starts first.
//
// On a node that has lost devices which somebody still runs on, what each device has free
// is not enough: the others count against the node as a whole.
func (w *World) Settled(t *Task) bool {
	if w.LacksDevice(t) {
		return false
	}
	row, whole := w.Free(t.Node), w.lacksDevices(t.Node)
	for _, e := range w.Shapes[t.Job.Groups[t.Group].Shape].Request {
		if amount.IsGPU(w.Res.Name(e.Dim)) && t.Dev != 0 && !whole {
			continue // devices are looked at one by one
		}
		if row[e.Dim] < 0 && row[e.Dim].Add(w.claimedAfter(t, e.Dim)) < 0 {
			return false
		}
	}
	for i, d := range w.Dev(t.Node) {
		if t.Dev&(1<<i) != 0 && d < 0 && d+w.deviceClaimedAfter(t, i) < 0 {
			return false
		}
	}
	return true
}

// LacksDevice says whether a task holds, or is to have, a device that its node has lost.
func (w *World) LacksDevice(t *Task) bool { return t.Dev>>w.Nodes[t.Node].Devices != 0 }

func (w *World) lacksDevices(n NodeIx) bool {
	for t := w.Nodes[n].head; t != nil; t = t.next {
		if w.LacksDevice(t) {
			return true
		}
	}
	return false
}

// deviceClaimedAfter is what tasks that were claimed after t take of a device.
func (w *World) deviceClaimedAfter(t *Task, device int) (milli int32) {
	for o := w.Nodes[t.Node].head; o != nil; o = o.next {
		if o.State == Claimed && o.Dev&(1<<device) != 0 && laterClaim(o, t) {
			milli += w.perDevice(o.Job.Groups[o.Group].Shape)
		}
	}
	return milli
}

// claimedAfter is what tasks that were claimed on t's node after it ask for.
func (w *World) claimedAfter(t *Task, d amount.Dim) (sum amount.Amount) {
	for o := w.Nodes[t.Node].head; o != nil; o = o.next {
		if o.State == Claimed && laterClaim(o, t) {
			a, _ := w.Charge(o.Job.Groups[o.Group].Shape, w.Nodes[t.Node].Class).Get(d)
			sum = sum.Add(a)
		}
	}
	return sum
}

// laterClaim is a total order, so that of two claims one is always the first.
func laterClaim(a, b *Task) bool {
	return cmp.Or(cmp.Compare(a.Since, b.Since), CompareJobs(a.Job, b.Job), cmp.Compare(a.Index, b.Index)) > 0
}
