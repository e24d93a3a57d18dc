package conformance

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/ledger"
)

// script is a random small world and what happens to it: nodes and a queue tree,
// then steps of some waiting and events of one instant.
type script struct {
	tree  spec.Tree
	steps []step
	// victimsTake is how long victims need to be gone.
	victimsTake spec.Duration
}

type step struct {
	wait   spec.Duration
	events []ledger.Event
}

// writer keeps what a script has brought about so far, so that its events make
// sense; each thing is touched once in a step, so that their order means nothing.
type writer struct {
	t       *rapid.T
	now     spec.Time
	leaves  []string
	nodes   []string
	specs   map[string]spec.Node // as they came
	jobs    []*spec.Job
	touched map[string]bool
	made    int
}

var gpuTypes = []string{"", "H100", "A100"}

func drawScript(t *rapid.T) script {
	w := &writer{t: t, touched: map[string]bool{}, specs: map[string]spec.Node{}}
	s := script{tree: w.tree(), victimsTake: rapid.SampledFrom([]spec.Duration{0, 0, 30 * spec.Second}).Draw(t, "victims take")}
	first := step{}
	for range rapid.IntRange(1, 4).Draw(t, "nodes") {
		first.events = append(first.events, w.newNode())
	}
	s.steps = append(s.steps, first)
	if !w.sometimes("nobody idles", 2) {
		s.steps = append(s.steps, w.idlers(s.tree)...)
	}
	for range rapid.IntRange(3, 14).Draw(t, "steps") {
		s.steps = append(s.steps, w.step())
	}
	return s
}

// idlers fill the pool with jobs of one leaf that are watched to do nothing; a job of
// another, which is guaranteed some GPUs, comes for theirs.
func (w *writer) idlers(tree spec.Tree) []step {
	hoarder, owner := tree.Root.Children[0], tree.Root.Children[1]
	hoarder.Guaranteed, hoarder.IdleAfter, hoarder.Preemption, hoarder.MinRuntime = nil, 100*spec.Second, "", 0
	owner.Guaranteed, owner.Max, owner.PreemptionDelay, owner.Preemption = spec.GPUs(6), nil, 0, ""
	for _, q := range owner.Children {
		q.Guaranteed, q.Max, q.PreemptionDelay = nil, nil, 0
	}
	for _, q := range hoarder.Children {
		q.Guaranteed, q.IdleAfter, q.MinRuntime, q.Preemption = nil, 0, 0, ""
	}
	fill := step{wait: spec.Second}
	w.now += fill.wait
	for range rapid.SampledFrom([]int{12, 6, 3}).Draw(w.t, "idlers") {
		fill.events = append(fill.events, w.plainJob(first(w.leaves, "root."+hoarder.Name)))
	}
	come := step{wait: 400 * spec.Second}
	w.now += come.wait
	for _, j := range w.jobs {
		for i := range tasksOfSpec(j) {
			if !w.sometimes("busy", 4) {
				come.events = append(come.events, ledger.UseMeasured{Job: j.ID, Task: int32(i), Known: true, Idle: 300 * spec.Second, Watched: 300 * spec.Second, At: w.now})
			}
		}
	}
	for range 2 {
		come.events = append(come.events, w.plainJob(first(w.leaves, "root."+owner.Name)))
	}
	more := step{wait: rapid.SampledFrom([]spec.Duration{1, 5, 9, 29}).Draw(w.t, "grace") * spec.Second}
	w.now += more.wait
	w.touched = map[string]bool{}
	for range rapid.IntRange(0, 3).Draw(w.t, "wakes") {
		if j, ok := pick(w, "who", w.jobIDs()); ok {
			more.events = append(more.events, w.use(j, int32(rapid.IntRange(0, 1).Draw(w.t, "which"))))
		}
	}
	return []step{fill, come, more}
}

// plainJob asks for nothing but GPUs.
func (w *writer) plainJob(queue string) ledger.Event {
	ev := w.newJobIn(queue, 0)
	j := w.jobs[len(w.jobs)-1]
	j.NonPreemptible, j.Duration = false, 0
	for i := range j.Tasks {
		g := &j.Tasks[i]
		g.Request, g.GPUTypes, g.Near = spec.GPUs(1), nil, spec.Near{}
		g.Size = min(g.Size, 3)
		g.Min = min(g.Min, g.Size)
	}
	return ev
}

func tasksOfSpec(j *spec.Job) (n int64) {
	for _, g := range j.Tasks {
		n += g.Size
	}
	return n
}

// first is the first leaf at or below a path.
func first(leaves []string, path string) string {
	return leaves[slices.IndexFunc(leaves, func(l string) bool { return l == path || strings.HasPrefix(l, path+".") })]
}

func (w *writer) gpus(label string, most int64) spec.Resources {
	return spec.GPUs(rapid.Int64Range(0, most).Draw(w.t, label))
}

func (w *writer) sometimes(label string, oneIn int) bool {
	return rapid.IntRange(1, oneIn).Draw(w.t, label) == oneIn // small numbers are drawn more often
}

// tree has two or three queues below the root, some of them with two or three
// leaves.
func (w *writer) tree() spec.Tree {
	w.leaves = nil
	root := &spec.Queue{Name: "root", Parent: true}
	for _, name := range []string{"a", "b", "c"}[:rapid.IntRange(2, 3).Draw(w.t, "queues")] {
		q := w.queue(name)
		root.Children = append(root.Children, q)
		if !w.sometimes(name+" is a parent", 3) {
			w.leaves = append(w.leaves, "root."+name)
			continue
		}
		for _, below := range []string{"x", "y"} {
			q.Children = append(q.Children, w.queue(below))
			w.leaves = append(w.leaves, "root."+name+"."+below)
		}
	}
	return spec.Tree{Root: root}
}

func (w *writer) queue(name string) *spec.Queue {
	q := &spec.Queue{Name: name}
	if !w.sometimes("no guarantee", 3) {
		q.Guaranteed = w.gpus("guaranteed", 4)
	}
	if w.sometimes("max", 3) {
		q.Max = w.gpus("max", 10)
		if w.sometimes("typed max", 3) {
			q.Max = q.Max.Set(amount.TypedGPU("H100"), amount.Amount(rapid.Int64Range(0, 8).Draw(w.t, "H100")*1000))
		}
	}
	if w.sometimes("limit", 8) {
		q.Limits = []spec.Limit{{Users: []string{"*"}, Max: w.gpus("limit", 6)}}
	}
	q.JobOrder = rapid.SampledFrom([]string{"", "fifo", "priority-fifo", "fair"}).Draw(w.t, "order")
	q.StrictFIFO = w.sometimes("strict", 8)
	q.Preemption = rapid.SampledFrom([]spec.PreemptionPolicy{"", "", "", "fence", "disabled"}).Draw(w.t, "preemption")
	q.MinRuntime = rapid.SampledFrom([]spec.Duration{0, 0, 0, 120 * spec.Second}).Draw(w.t, "min runtime")
	q.IdleAfter = rapid.SampledFrom([]spec.Duration{0, 0, 40 * spec.Second, 100 * spec.Second}).Draw(w.t, "idle after")
	q.IdleGrace = rapid.SampledFrom([]spec.Duration{0, 30 * spec.Second}).Draw(w.t, "idle grace")
	q.PreemptionDelay = rapid.SampledFrom([]spec.Duration{0, 0, 0, 90 * spec.Second}).Draw(w.t, "delay")
	return q
}

func (w *writer) newNode() ledger.Event {
	w.made++
	n := spec.Node{
		Name:     fmt.Sprintf("n%02d", w.made),
		Capacity: spec.GPUs(rapid.SampledFrom([]int64{4, 8, 8, 3, 0}).Draw(w.t, "gpus")).Set("cpu", amount.Amount(rapid.SampledFrom([]int64{16, 32, 6}).Draw(w.t, "cpu")*1000)),
		GPUType:  rapid.SampledFrom(gpuTypes).Draw(w.t, "type"),
	}
	if zone := rapid.SampledFrom([]string{"1", "2", ""}).Draw(w.t, "zone"); zone != "" {
		n.Labels = map[string]string{"zone": zone}
	}
	w.nodes = append(w.nodes, n.Name)
	w.specs[n.Name] = n
	w.touched[n.Name] = true
	return ledger.NodeAdded{Node: n}
}

func (w *writer) newJob() ledger.Event {
	return w.newJobIn(rapid.SampledFrom(w.leaves).Draw(w.t, "queue"), rapid.Int64Range(0, 2).Draw(w.t, "priority"))
}

func (w *writer) newJobIn(queue string, priority int64) ledger.Event {
	w.made++
	j := &spec.Job{
		ID: fmt.Sprintf("j%02d", w.made), Submit: w.now, Queue: queue, Priority: priority,
		User:     rapid.SampledFrom([]string{"ann", "bob"}).Draw(w.t, "user"),
		Duration: rapid.SampledFrom([]spec.Duration{0, 0, 60 * spec.Second, 400 * spec.Second}).Draw(w.t, "duration"),
		Notice:   rapid.SampledFrom([]spec.Duration{0, 0, 45 * spec.Second}).Draw(w.t, "notice"),
	}
	j.NonPreemptible = w.sometimes("non-preemptible", 8)
	for range rapid.SampledFrom([]int{1, 1, 1, 2}).Draw(w.t, "groups") {
		j.Tasks = append(j.Tasks, w.group())
	}
	w.jobs = append(w.jobs, j)
	return ledger.JobSubmitted{Job: j}
}

func (w *writer) group() spec.TaskGroup {
	g := spec.TaskGroup{Size: rapid.Int64Range(1, 5).Draw(w.t, "size")}
	g.Min = rapid.Int64Range(0, g.Size).Draw(w.t, "min")
	if w.sometimes("whole gang", 2) {
		g.Min = g.Size
	}
	g.Request = spec.Resources{}
	milli := rapid.SampledFrom([]int64{1000, 1000, 1000, 2000, 500, 4000, 0}).Draw(w.t, "milli-GPUs")
	if milli > 0 {
		g.Request = g.Request.Set(amount.GPUName, amount.Amount(milli))
	}
	if cpu := rapid.SampledFrom([]int64{0, 0, 1000, 4000}).Draw(w.t, "cpu"); cpu > 0 || milli == 0 {
		g.Request = g.Request.Set("cpu", amount.Amount(max(1000, cpu)))
	}
	if w.sometimes("typed", 4) {
		g.GPUTypes = []string{"H100"}
	}
	if w.sometimes("near", 4) {
		g.Near = w.near()
	}
	return g
}

// near is one of the ways in which tasks stand to others: apart, spread, all in one
// zone, or with others; and with any of them to those that are there already.
func (w *writer) near() spec.Near {
	id := rapid.SampledFrom([]string{"s", "t"}).Draw(w.t, "term")
	of := spec.Term{ID: id, Topology: rapid.SampledFrom([]string{"", "zone"}).Draw(w.t, "topology")}
	n := spec.Near{Counts: []string{id}}
	switch rapid.IntRange(0, 4).Draw(w.t, "relation") {
	case 0:
		n.Avoids = []spec.Term{of}
	case 1:
		n.Spread = []spec.Spread{{Term: of, MaxSkew: 1, Self: true}}
	case 2:
		n.Needs = []spec.Term{of}
	case 3:
		n.Counts, n.Needs = nil, []spec.Term{of}
	}
	return n
}

func (w *writer) step() step {
	w.touched = map[string]bool{}
	s := step{wait: rapid.SampledFrom([]spec.Duration{0, 1, 9, 50, 130, 400}).Draw(w.t, "wait") * spec.Second}
	w.now += s.wait
	for range rapid.IntRange(1, 4).Draw(w.t, "events") {
		if ev := w.event(); ev != nil {
			s.events = append(s.events, ev)
		}
	}
	s.events = commuting(s.events)
	return s
}

// commuting leaves events of single tasks out where nodes fail or queues change in
// the same instant: whether a task runs, and may be given up, can depend on which
// comes first.
func commuting(events []ledger.Event) []ledger.Event {
	upheaval := slices.ContainsFunc(events, func(ev ledger.Event) bool {
		switch ev.(type) {
		case ledger.NodeRemoved, ledger.QueuesChanged:
			return true
		}
		return false
	})
	return slices.DeleteFunc(events, func(ev ledger.Event) bool {
		switch ev.(type) {
		case ledger.TaskFinished, ledger.TaskLost, ledger.TaskReleased:
			return upheaval
		}
		return false
	})
}

// event draws one event; nil if what it wants to touch was touched already.
func (w *writer) event() ledger.Event {
	kind := rapid.SampledFrom(strings.Fields("submit submit submit submit finish task lose release priority saved fail add queues others use use use use break")).Draw(w.t, "event")
	switch kind {
	case "submit":
		return w.newJob()
	case "add":
		return w.newNode()
	case "fail":
		if n, ok := pick(w, "node", w.nodes); ok {
			return ledger.NodeRemoved{Name: n}
		}
		return nil
	case "queues":
		return w.newTree()
	case "break":
		if n, ok := pick(w, "node", w.nodes); ok {
			return w.broken(n)
		}
		return nil
	case "others":
		if n, ok := pick(w, "node", w.nodes); ok {
			return w.others(n)
		}
		return nil
	}
	j, ok := pick(w, "job", w.jobIDs())
	if !ok {
		return nil
	}
	task := int32(rapid.IntRange(0, 4).Draw(w.t, "task"))
	switch kind {
	case "finish":
		return ledger.JobGone{ID: j}
	case "task":
		return ledger.TaskFinished{Job: j, Task: task}
	case "lose":
		return ledger.TaskLost{Job: j, Task: task}
	case "release":
		return ledger.TaskReleased{Job: j, Task: task}
	case "saved":
		return ledger.Saved{Job: j}
	case "use":
		return w.use(j, task)
	}
	return ledger.JobPriority{ID: j, Priority: rapid.Int64Range(0, 2).Draw(w.t, "new priority")}
}

// others use a node. GPUs are left out: which devices they are taken to hold depends on
// which are free just then, and so on the order of the events of an instant.
func (w *writer) others(node string) ledger.Event {
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
	old := w.leaves
	tree := w.tree()
	root := &spec.Queue{Name: "root", Parent: true}
	for _, path := range old { // the old leaves, with new settings
		parts := strings.Split(path, ".")[1:]
		at := root
		for _, p := range parts {
			at = childOf(at, p, tree.Root)
		}
	}
	w.leaves = old
	return ledger.QueuesChanged{Tree: spec.Tree{Root: root}}
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
