package world

import (
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// AddNode registers a node, or applies a change of a known one: labels, taints
// and capacity may change while tasks run on it. Call Quota.Rescale after a batch.
func (w *World) AddNode(s spec.Node) NodeIx {
	w.Epoch++
	list, typed := w.capacityOf(s)
	n, known := w.nodeIx[s.Name]
	if !known {
		n = w.newNode(s.Name)
	}
	nd := &w.Nodes[n]
	w.chargeAll(n, -1)
	w.leaveDomains(n)
	w.share(n, -1)
	w.takeForeign(n, -1)
	w.leaveClass(nd)
	w.resize(n, list)
	nd.Spec, nd.Present, nd.Cordoned, nd.capacity = s, true, s.Unschedulable, list
	nd.HasType, nd.Typed = typed != "", 0
	if nd.HasType {
		nd.Typed, _ = w.Res.Lookup(typed)
	}
	nd.Class = w.classOf(nd)
	w.takeForeign(n, 1)
	w.share(n, 1)
	w.chargeAll(n, 1)
	w.joinDomains(n)
	w.grew(nd.Class)
	w.touch(n)
	return n
}

// newNode gives a name an index: that of a node that is gone, if there is one, so
// that nodes which come and go under new names take no more room.
func (w *World) newNode(name string) NodeIx {
	w.sorted = false
	n := NodeIx(len(w.Nodes))
	if last := len(w.spare) - 1; last >= 0 {
		n, w.spare = w.spare[last], w.spare[:last]
		old := &w.Nodes[n]
		w.Nodes[n] = Node{Name: name, devOff: old.devOff, devRoom: old.devRoom}
	} else {
		w.Nodes = append(w.Nodes, Node{Name: name})
		w.full = append(w.full, 0)
		for range w.r {
			w.free = append(w.free, 0)
		}
	}
	w.nodeIx[name] = n
	return n
}

// chargeAll charges everything that sits on a node once more (1), or takes it back
// (-1): a node that changes its class counts its GPUs under another type.
func (w *World) chargeAll(n NodeIx, sign int64) {
	for t := w.Nodes[n].head; t != nil; t = t.next {
		list := w.Charge(t.Job.Groups[t.Group].Shape, w.Nodes[n].Class)
		row := w.Free(n)
		for _, e := range list {
			row[e.Dim] = row[e.Dim].Sub(e.Amount.Mul(sign))
		}
		if charged(t.State) {
			w.Quota.Charge(t.Job.Chain, list, sign)
		}
		if t.kept {
			w.Quota.Keep(t.Job.Chain, list, sign)
		}
	}
}

// capacityOf interns the node's resources and adds the typed GPU amount. A node keeps its
// type when its last GPU has failed: those who still sit on it go on counting there.
func (w *World) capacityOf(s spec.Node) (list amount.List, typed string) {
	caps := slices.Clone(s.Capacity)
	if s.GPUType != "" {
		typed = amount.TypedGPU(s.GPUType)
		g, _ := caps.Get(amount.GPUName)
		caps = caps.Set(typed, g)
	}
	for _, c := range caps {
		w.Res.Intern(c.Name)
	}
	w.Grow()
	return w.List(caps), typed
}

// List turns named amounts into a sparse vector of this world.
func (w *World) List(rs spec.Resources) amount.List {
	l := make(amount.List, 0, len(rs))
	for _, r := range rs {
		l = append(l, amount.Entry{Dim: w.Res.Intern(r.Name), Amount: r.Amount})
	}
	slices.SortFunc(l, func(a, b amount.Entry) int { return int(a.Dim) - int(b.Dim) })
	return l
}

// resize adds the difference of the new capacity to what is free.
func (w *World) resize(n NodeIx, list amount.List) {
	row := w.Free(n)
	for _, e := range w.Nodes[n].capacity {
		row[e.Dim] = row[e.Dim].Sub(e.Amount)
	}
	for _, e := range list {
		row[e.Dim] = row[e.Dim].Add(e.Amount)
	}
	gpus, _ := list.Get(amount.GPU)
	w.resizeDevices(n, int32(gpus/1000))
}

// resizeDevices keeps the devices that stay as they are. Devices that go leave
// the tasks on them with a mask beyond the end, which release ignores; if they
// come back, the tasks that are still there hold them.
func (w *World) resizeDevices(n NodeIx, devices int32) {
	nd := &w.Nodes[n]
	if nd.Devices == devices {
		return
	}
	if devices > nd.devRoom {
		nd.devOff, nd.devRoom = int32(len(w.dev)), devices
		w.dev = append(w.dev, make([]int32, devices)...)
	}
	nd.Devices = devices
	for i := range w.Dev(n) {
		w.dev[int(nd.devOff)+i] = 1000
	}
	w.full[n] = devices
	for t := nd.head; t != nil; t = t.next {
		w.takeDevices(n, t.Dev, w.perDevice(t.Job.Groups[t.Group].Shape))
	}
}

// RemoveNode takes a node out of the pool and returns the tasks that were on it,
// in order of job and index. They are taken off: the caller decides what becomes
// of them. Call Quota.Rescale after a batch.
func (w *World) RemoveNode(n NodeIx) []*Task {
	w.Epoch++
	nd := &w.Nodes[n]
	tasks := w.TasksOn(n)
	for _, t := range tasks {
		w.Release(t)
	}
	if nd.ReservedFor != nil {
		w.Reserve(n, nil)
	}
	w.share(n, -1)
	w.leaveDomains(n)
	w.dropForeign(n)
	w.leaveClass(nd)
	w.resize(n, nil)
	nd.capacity, nd.Present, nd.Cordoned = nil, false, true
	delete(w.nodeIx, nd.Name)
	w.spare = append(w.spare, n)
	w.touch(n)
	return tasks
}

// TasksOn lists the tasks on a node in order of job id, group and index.
func (w *World) TasksOn(n NodeIx) []*Task {
	var ts []*Task
	for t := w.Nodes[n].head; t != nil; t = t.next {
		ts = append(ts, t)
	}
	slices.SortFunc(ts, compareTasks)
	return ts
}

func compareTasks(a, b *Task) int {
	if c := strings.Compare(a.Job.Spec.ID, b.Job.Spec.ID); c != 0 {
		return c
	}
	return int(a.Index) - int(b.Index)
}

// Order brings the positions of nodes up to date: names in ascending order.
// Positions are what breaks ties, whatever the order in which nodes arrived.
func (w *World) Order() []NodeIx {
	if w.sorted {
		return w.byOrder
	}
	w.byOrder = w.byOrder[:0]
	for i := range w.Nodes {
		w.byOrder = append(w.byOrder, NodeIx(i))
	}
	slices.SortFunc(w.byOrder, func(a, b NodeIx) int { return strings.Compare(w.Nodes[a].Name, w.Nodes[b].Name) })
	for i, n := range w.byOrder {
		w.Nodes[n].order = int32(i)
	}
	w.sorted = true
	w.touchGen++ // whoever indexed nodes by position starts over
	w.touched = w.touched[:0]
	return w.byOrder
}

// Position is a node's place in Order.
func (w *World) Position(n NodeIx) int32 { return w.Nodes[n].order }

// Reserve keeps every job but one off a node; nil lifts it. It is undone by
// Rollback.
func (w *World) Reserve(n NodeIx, j *Job) {
	nd := &w.Nodes[n]
	w.log(change{op: opReserve, node: n, job: nd.ReservedFor})
	w.setReserved(n, j)
}

func (w *World) setReserved(n NodeIx, j *Job) {
	w.Changes++
	nd := &w.Nodes[n]
	if nd.ReservedFor != nil {
		nd.ReservedFor.Reserved--
		w.grew(nd.Class)
	}
	nd.ReservedFor = j
	if j != nil {
		j.Reserved++
	}
	w.touch(n)
}

// Usable says whether a job may use a node at all, apart from room: present, not
// cordoned, not reserved for another.
func (w *World) Usable(n NodeIx, j *Job) bool {
	nd := &w.Nodes[n]
	return nd.Present && !nd.Cordoned && (nd.ReservedFor == nil || nd.ReservedFor == j)
}

// Describe prints a node for failures of tests and for people.
func (w *World) Describe(n NodeIx) string {
	return fmt.Sprintf("%s free=%v dev=%v", w.Nodes[n].Name, w.Free(n), w.Dev(n))
}
