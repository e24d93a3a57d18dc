package conformance

import (
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/ledger"
)

// What a writer of scripts lets happen. The events of one step come in one instant and in
// any order, so they touch different things; what can't stand beside others comes alone,
// and what only makes sense in an order is a sequence.

// sequence is events that come one right after the other.
type sequence struct {
	ledger.Event // never used: a sequence is taken apart before it is applied
	events       []ledger.Event
}

func inOrder(events ...ledger.Event) ledger.Event { return sequence{events: events} }

// flat takes sequences apart.
func flat(events []ledger.Event) (out []ledger.Event) {
	for _, ev := range events {
		if s, ok := ev.(sequence); ok {
			out = append(out, flat(s.events)...)
			continue
		}
		out = append(out, ev)
	}
	return out
}

var waits = []spec.Duration{0, 1, 9, 50, 130, 400, 3600, 3 * 24 * 3600}

func (w *writer) step() step {
	w.touched = map[string]bool{}
	s := step{wait: rapid.SampledFrom(waits).Draw(w.t, "wait") * spec.Second}
	w.now += s.wait
	if w.sometimes("rules", 20) {
		s.rules = rapid.IntRange(1, 3).Draw(w.t, "version")
	}
	for range rapid.IntRange(1, 4).Draw(w.t, "events") {
		ev, alone := w.event()
		switch {
		case ev == nil || alone && len(s.events) > 0:
			continue
		case alone:
			return step{s.wait, []ledger.Event{ev}, s.rules}
		}
		s.events = append(s.events, ev)
	}
	s.events = commuting(s.events)
	return s
}

// commuting leaves events of single tasks, and those that change what a gang is, out where
// nodes fail or queues change in the same instant: whether a task runs, and may be given
// up, can depend on which comes first.
func commuting(events []ledger.Event) []ledger.Event {
	upheaval := slices.ContainsFunc(flat(events), func(ev ledger.Event) bool {
		switch ev.(type) {
		case ledger.NodeRemoved, ledger.QueuesChanged:
			return true
		}
		return false
	})
	return slices.DeleteFunc(events, func(ev ledger.Event) bool { return upheaval && jobOf(ev) != "" })
}

// jobOf is the job of an event that may make a gang whole or break it up by itself, "" of
// other events.
func jobOf(ev ledger.Event) string {
	switch e := ev.(type) {
	case ledger.TaskFinished:
		return e.Job
	case ledger.TaskLost:
		return e.Job
	case ledger.TaskReleased:
		return e.Job
	case ledger.TaskAbsent:
		return e.Job
	case ledger.TaskAgain:
		return e.Job
	case ledger.TaskRunning:
		return e.Job
	case ledger.TaskClaimed:
		return e.Job
	case ledger.Evicted:
		return e.Job
	case ledger.BindFailed:
		return e.Job
	case ledger.JobGang:
		return e.ID
	case ledger.JobGrown:
		return e.ID
	}
	return ""
}

const (
	jobKinds  = "finish task lose release priority saved use use use use grow gang counted absent again evicted failed-bind moved resubmit"
	nodeKinds = "fail break others change replace gpus"
)

// event draws one event; nil if what it wants to touch was touched already, or must be
// alone and is not.
func (w *writer) event() (ev ledger.Event, alone bool) {
	kind := rapid.SampledFrom(strings.Fields("submit submit submit submit add queues tree found "+jobKinds+" "+nodeKinds)).Draw(w.t, "event")
	switch kind {
	case "submit":
		return w.newJob(), false
	case "add":
		return w.newNode(), false
	case "queues":
		return w.newTree(), w.replanted
	case "tree":
		return w.otherQueues(), true
	case "found":
		return w.found(), true
	}
	if slices.Contains(strings.Fields(nodeKinds), kind) {
		if n, ok := pick(w, "node", w.nodes); ok {
			return w.ofNode(kind, n)
		}
		return nil, false
	}
	if j, ok := pick(w, "job", w.jobIDs()); ok {
		return w.ofJob(kind, j)
	}
	return nil, false
}

// ofNode happens to a node. Which devices others are taken to hold depends on which are
// free just then: what may choose them comes alone.
func (w *writer) ofNode(kind, node string) (ev ledger.Event, alone bool) {
	switch kind {
	case "fail":
		return ledger.NodeRemoved{Name: node}, false
	case "break":
		return w.broken(node), w.foreign[node]
	case "others":
		return w.others(node), w.foreign[node]
	case "gpus":
		w.foreign[node] = true
		e := w.others(node)
		e.Used = e.Used.Set(amount.GPUName, amount.Amount(rapid.SampledFrom([]int64{1000, 2000, 500, 9000, 0}).Draw(w.t, "GPUs of others")))
		return e, true
	case "replace":
		return inOrder(ledger.NodeRemoved{Name: node}, ledger.NodeAdded{Node: w.drawNode(node)}), w.foreign[node]
	}
	return ledger.NodeAdded{Node: w.changed(node)}, w.foreign[node]
}

// changed is a node of which something else is said than before, while tasks run on it.
func (w *writer) changed(name string) spec.Node {
	n := w.specs[name]
	drawn := w.drawNode(name)
	switch rapid.IntRange(0, 5).Draw(w.t, "what") {
	case 0:
		n.GPUType = drawn.GPUType
	case 1:
		n.Labels = drawn.Labels
	case 2:
		n.Taints = drawn.Taints
	case 3:
		n.Unschedulable = !n.Unschedulable
	case 4:
		n.Capacity = drawn.Capacity
	case 5:
		n = drawn
	}
	w.specs[name] = n
	return n
}

func (w *writer) ofJob(kind, j string) (ev ledger.Event, alone bool) {
	task := int32(rapid.IntRange(0, 4).Draw(w.t, "task"))
	switch kind {
	case "finish":
		return ledger.JobGone{ID: j}, false
	case "task":
		return ledger.TaskFinished{Job: j, Task: task}, false
	case "lose":
		return ledger.TaskLost{Job: j, Task: task}, false
	case "release":
		return ledger.TaskReleased{Job: j, Task: task}, false
	case "saved":
		return ledger.Saved{Job: j}, false
	case "use":
		return w.use(j, task), false
	case "priority":
		return ledger.JobPriority{ID: j, Priority: rapid.Int64Range(0, 2).Draw(w.t, "new priority")}, false
	case "absent":
		return ledger.TaskAbsent{Job: j, Task: task}, false
	case "again":
		return ledger.TaskAgain{Job: j, Task: task}, false
	case "evicted":
		return ledger.Evicted{Job: j, Tasks: []int32{task, task / 2}}, false
	case "failed-bind":
		return ledger.BindFailed{Job: j, Tasks: []int32{task}}, false
	case "moved":
		return w.moved(j, task), true
	}
	return w.another(kind, j), false
}

// another makes a job, or a group of it, another one.
func (w *writer) another(kind, j string) ledger.Event {
	group := int32(rapid.IntRange(0, 2).Draw(w.t, "group"))
	switch kind {
	case "gang":
		return ledger.JobGang{ID: j, Group: group, Min: rapid.Int64Range(0, 5).Draw(w.t, "new min")}
	case "counted":
		return ledger.JobNear{ID: j, Group: group, Counts: rapid.SampledFrom([][]string{nil, {"s"}, {"s", "t"}}).Draw(w.t, "counts")}
	case "resubmit":
		at := slices.IndexFunc(w.jobs, func(o *spec.Job) bool { return o.ID == j })
		w.jobs = slices.Delete(w.jobs, at, at+1)
		again := w.submit(w.drawJob(j, w.leaf(), rapid.Int64Range(0, 2).Draw(w.t, "priority")))
		if w.sometimes("twice", 3) {
			return again // refused if the first is still there
		}
		return inOrder(ledger.JobGone{ID: j}, again)
	}
	return ledger.JobGrown{ID: j, Tasks: []spec.TaskGroup{w.group()}}
}

func (w *writer) leaf() string { return rapid.SampledFrom(w.leaves).Draw(w.t, "queue") }

// moved is a task that is lost here and found again somewhere, running or with its place
// still kept.
func (w *writer) moved(job string, task int32) ledger.Event {
	events := []ledger.Event{ledger.TaskAbsent{Job: job, Task: task}, ledger.TaskAgain{Job: job, Task: task}}
	if n, ok := pick(w, "node", w.nodes); ok {
		events = append(events, w.place(job, task, n))
	}
	return inOrder(events...)
}

func (w *writer) place(job string, task int32, node string) ledger.Event {
	devices := rapid.SampledFrom([]uint64{0, 0, 1, 6}).Draw(w.t, "devices")
	if w.sometimes("kept", 2) {
		return ledger.TaskClaimed{Job: job, Task: task, Node: node, Devices: devices, Until: w.now + 60*spec.Second}
	}
	return ledger.TaskRunning{Job: job, Task: task, Node: node, Devices: devices, Since: max(0, w.now-100*spec.Second)}
}

// found is a job of which some tasks are found on nodes when it is first heard of.
func (w *writer) found() ledger.Event {
	events := []ledger.Event{w.newJob()}
	j := w.jobs[len(w.jobs)-1]
	for i := range min(3, tasksOfSpec(j)) {
		if n, ok := pick(w, "node", w.nodes); ok && w.sometimes("is found", 2) {
			events = append(events, w.place(j.ID, int32(i), n))
		}
	}
	return inOrder(events...)
}

// others use a node, but no GPUs.
func (w *writer) others(node string) ledger.NodeUsed {
	e := ledger.NodeUsed{Name: node, Used: spec.Resources{{Name: "cpu", Amount: amount.Amount(rapid.Int64Range(0, 8).Draw(w.t, "cpu") * 1000)}}}
	e.Counts = map[string]int32{"s": rapid.Int32Range(0, 2).Draw(w.t, "count")}
	if w.sometimes("they avoid", 2) {
		e.Avoids = map[spec.Term]int32{{ID: "t", Topology: "zone"}: 1}
	}
	return e
}

// use is what is measured of a task: mostly that it has been idle for long.
func (w *writer) use(job string, task int32) ledger.Event {
	e := ledger.UseMeasured{Job: job, Task: task, At: w.now, Known: !w.sometimes("unknown", 8)}
	e.Idle = rapid.SampledFrom([]spec.Duration{500, 500, 500, 60, 0}).Draw(w.t, "idle") * spec.Second
	e.Watched = rapid.SampledFrom([]spec.Duration{500, 500, 500, 50, 0}).Draw(w.t, "watched") * spec.Second
	return e
}

// broken is a node of which some GPUs have failed, or work again.
func (w *writer) broken(name string) ledger.Event {
	n := w.specs[name]
	left := rapid.Int64Range(0, 8).Draw(w.t, "GPUs left")
	if has, _ := n.Capacity.Get(amount.GPUName); amount.Amount(left*1000) < has {
		n.Capacity = slices.Clone(n.Capacity).Set(amount.GPUName, amount.Amount(left*1000))
	}
	return ledger.NodeAdded{Node: n}
}

// newTree changes settings of the queues but not which there are.
func (w *writer) newTree() ledger.Event {
	if w.touched["queues"] {
		return nil
	}
	w.touched["queues"] = true
	other := w.drawTree()
	root := *other.Root
	root.Children = nil
	for _, path := range leavesOf(w.tree) { // the old leaves, with new settings
		at := &root
		for _, part := range strings.Split(path, ".")[1:] {
			at = childOf(at, part, other.Root)
		}
	}
	w.tree = spec.Tree{Root: &root, UseMaxAge: rapid.SampledFrom([]spec.Duration{0, 0, 30 * spec.Second}).Draw(w.t, "use max age")}
	return ledger.QueuesChanged{Tree: w.tree}
}

// otherQueues is another tree: some queues are gone and others have come, in another
// order. It is refused if one that has jobs is no leaf of it.
func (w *writer) otherQueues() ledger.Event {
	tree := w.drawTree()
	if w.sometimes("one more", 2) {
		tree.Root.Children = append(tree.Root.Children, w.queue("d"))
	}
	slices.Reverse(tree.Root.Children)
	for _, leaf := range leavesOf(tree) {
		if !slices.Contains(w.leaves, leaf) {
			w.leaves = append(w.leaves, leaf)
		}
	}
	w.tree, w.replanted = tree, true
	return ledger.QueuesChanged{Tree: tree}
}

// childOf finds or makes a child, with the settings of any queue of that name.
func childOf(q *spec.Queue, name string, from *spec.Queue) *spec.Queue {
	for _, c := range q.Children {
		if c.Name == name {
			return c
		}
	}
	c := &spec.Queue{Name: name}
	if s := named(from, name); s != nil {
		*c = *s
		c.Children = nil
	}
	q.Children = append(q.Children, c)
	return c
}

func named(q *spec.Queue, name string) *spec.Queue {
	for _, c := range q.Children {
		if c.Name == name {
			return c
		}
		if s := named(c, name); s != nil {
			return s
		}
	}
	return nil
}

func (w *writer) jobIDs() (ids []string) {
	for _, j := range w.jobs {
		if j.Submit < w.now {
			ids = append(ids, j.ID)
		}
	}
	return ids
}

// pick draws one of the names that this step has not touched.
func pick(w *writer, label string, names []string) (string, bool) {
	var free []string
	for _, n := range names {
		if !w.touched[n] {
			free = append(free, n)
		}
	}
	if len(free) == 0 {
		return "", false
	}
	n := rapid.SampledFrom(free).Draw(w.t, label)
	w.touched[n] = true
	return n, true
}
