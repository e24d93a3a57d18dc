package conformance

import (
	"fmt"
	"slices"
	"strings"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/pack"
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
	placement   pack.Strategy
}

type step struct {
	wait   spec.Duration
	events []ledger.Event
	rules  int // the version of the rules from here on, 0 as before; see rulesOf
}

// writer keeps what a script has brought about so far, so that its events make
// sense; each thing is touched once in a step, so that their order means nothing.
type writer struct {
	t      *rapid.T
	now    spec.Time
	leaves []string
	nodes  []string
	specs  map[string]spec.Node // as they came
	jobs   []*spec.Job
	// foreign are the nodes of which others use GPUs.
	foreign map[string]bool
	tree    spec.Tree // as it was drawn last
	// replanted says that queues may have come or gone: nobody knows if they did, since
	// such a change may be refused.
	replanted bool
	touched   map[string]bool
	made      int
	steady    bool // time alone moves nobody: orders and shares that depend on it are left out
}

var gpuTypes = []string{"", "H100", "A100"}

func drawScript(t *rapid.T) script { return (&writer{t: t}).script() }

// drawSteadyScript draws one in which the mere passing of time changes no order.
func drawSteadyScript(t *rapid.T) script { return (&writer{t: t, steady: true}).script() }

func (w *writer) script() script {
	t := w.t
	w.touched, w.specs, w.foreign = map[string]bool{}, map[string]spec.Node{}, map[string]bool{}
	s := script{tree: w.newPool(), victimsTake: rapid.SampledFrom([]spec.Duration{0, 0, 30 * spec.Second}).Draw(t, "victims take")}
	s.placement = rapid.SampledFrom([]pack.Strategy{pack.Fragmentation, pack.BinPack, pack.Spread}).Draw(t, "placement")
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
	t.Log(s.String())
	return s
}

// String tells a script to those who read of a failure.
func (s script) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "placement %s, victims take %s\n%s", s.placement, clockText(s.victimsTake), treeText(s.tree))
	at := spec.Time(0)
	for _, st := range s.steps {
		at += st.wait
		fmt.Fprintf(&b, "%s", clockText(at))
		if st.rules > 0 {
			fmt.Fprintf(&b, " %s", rulesOf(st.rules).Digest())
		}
		b.WriteByte('\n')
		for _, ev := range flat(st.events) {
			switch e := ev.(type) {
			case ledger.JobSubmitted:
				fmt.Fprintf(&b, "  submit %+v\n", *e.Job)
			case ledger.QueuesChanged:
				fmt.Fprintf(&b, "  queues, use max age %s\n%s", clockText(e.Tree.UseMaxAge), treeText(e.Tree))
			default:
				fmt.Fprintf(&b, "  %T %+v\n", ev, ev)
			}
		}
	}
	return b.String()
}

func treeText(tree spec.Tree) string {
	var b strings.Builder
	var walk func(q *spec.Queue, indent string)
	walk = func(q *spec.Queue, indent string) {
		plain := *q
		plain.Children = nil
		fmt.Fprintf(&b, "%s%+v\n", indent, plain)
		for _, c := range q.Children {
			walk(c, indent+"  ")
		}
	}
	walk(tree.Root, "    ")
	return b.String()
}

// idlers fill the pool with jobs of one leaf that are watched to do nothing; a job of
// another, which is guaranteed some GPUs, comes for theirs.
func (w *writer) idlers(tree spec.Tree) []step {
	hoarder, owner := tree.Root.Children[0], tree.Root.Children[1]
	hoarder.Guaranteed, hoarder.IdleAfter, hoarder.Preemption, hoarder.MinRuntime = nil, 100*spec.Second, "", 0
	owner.Guaranteed, owner.Max, owner.PreemptionDelay, owner.Preemption = spec.GPUs(6), nil, 0, ""
	for _, q := range []*spec.Queue{hoarder, owner} {
		q.MaxApps, q.Limits = 0, nil
	}
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
		g.Request, g.GPUTypes, g.Near, g.NodeSelector = spec.GPUs(1), nil, spec.Near{}, nil
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

// newPool is the tree that a script begins with.
func (w *writer) newPool() spec.Tree {
	w.tree = w.drawTree()
	w.leaves = leavesOf(w.tree)
	return w.tree
}

// drawTree has two or three queues below the root, some of them with two leaves.
func (w *writer) drawTree() spec.Tree {
	root := &spec.Queue{Name: "root", Parent: true}
	if w.sometimes("another fairness", 3) {
		root.Fairness = w.name("fairness", "guaranteed-fair drf kai-proportion priority yunikorn-fair", "decayed-fair")
	}
	root.Victims = w.name("victims", "least-lost-work least-lost-work lowest-priority-first youngest-first most-over-share checkpoint-aware idle-first", "")
	for _, name := range []string{"a", "b", "c"}[:rapid.IntRange(2, 3).Draw(w.t, "queues")] {
		q := w.queue(name)
		root.Children = append(root.Children, q)
		if !w.sometimes(name+" is a parent", 3) {
			continue
		}
		for _, below := range []string{"x", "y"} {
			q.Children = append(q.Children, w.queue(below))
		}
	}
	return spec.Tree{Root: root}
}

// name draws one of the names; those of the second list only where time may count.
func (w *writer) name(label, names, timely string) string {
	all := strings.Fields(names)
	if !w.steady {
		all = append(all, strings.Fields(timely)...)
	}
	return rapid.SampledFrom(all).Draw(w.t, label)
}

// leavesOf lists the paths of the leaves.
func leavesOf(tree spec.Tree) (paths []string) {
	var walk func(q *spec.Queue, path string)
	walk = func(q *spec.Queue, path string) {
		if len(q.Children) == 0 {
			paths = append(paths, path)
		}
		for _, c := range q.Children {
			walk(c, path+"."+c.Name)
		}
	}
	walk(tree.Root, "root")
	return paths
}

func (w *writer) queue(name string) *spec.Queue {
	q := &spec.Queue{Name: name}
	if !w.sometimes("no guarantee", 3) {
		q.Guaranteed = w.gpus("guaranteed", 4)
		if w.sometimes("cpu too", 6) {
			q.Guaranteed = q.Guaranteed.Set("cpu", amount.Amount(rapid.Int64Range(0, 20).Draw(w.t, "cpu")*1000))
		}
	}
	if w.sometimes("max", 3) {
		q.Max = w.gpus("max", 10)
		if w.sometimes("typed max", 3) {
			q.Max = q.Max.Set(amount.TypedGPU("H100"), amount.Amount(rapid.Int64Range(0, 8).Draw(w.t, "H100")*1000))
		}
	}
	if w.sometimes("max of jobs", 8) {
		q.MaxApps = rapid.Int64Range(1, 3).Draw(w.t, "jobs")
	}
	if w.sometimes("limit", 6) {
		q.Limits = w.limits()
	}
	q.Weight = rapid.SampledFrom([]int64{0, 0, 0, 1, 3}).Draw(w.t, "weight")
	q.JobOrder = w.name("order", "fifo fifo priority-fifo fair shortest-first", "sjf-aged deadline-first slurm-multifactor")
	q.StrictFIFO = w.sometimes("strict", 8)
	q.ReserveAfter = rapid.SampledFrom([]spec.Duration{0, 0, 60 * spec.Second, -1}).Draw(w.t, "reserve after")
	q.Preemption = rapid.SampledFrom([]spec.PreemptionPolicy{"", "", "", "fence", "disabled"}).Draw(w.t, "preemption")
	q.MinRuntime = rapid.SampledFrom([]spec.Duration{0, 0, 0, 120 * spec.Second}).Draw(w.t, "min runtime")
	q.IdleAfter = rapid.SampledFrom([]spec.Duration{0, 0, 40 * spec.Second, 100 * spec.Second}).Draw(w.t, "idle after")
	q.IdleGrace = rapid.SampledFrom([]spec.Duration{0, 30 * spec.Second}).Draw(w.t, "idle grace")
	q.PreemptionDelay = rapid.SampledFrom([]spec.Duration{0, 0, 0, 90 * spec.Second}).Draw(w.t, "delay")
	return q
}

// limits bind each user, one user, a group, or all groups together.
func (w *writer) limits() (list []spec.Limit) {
	for range rapid.IntRange(1, 2).Draw(w.t, "limits") {
		l := spec.Limit{Max: w.gpus("limit", 6)}
		if w.sometimes("of jobs", 4) {
			l.MaxApps = rapid.Int64Range(1, 2).Draw(w.t, "jobs")
		}
		switch rapid.IntRange(0, 3).Draw(w.t, "who") {
		case 0:
			l.Users = []string{"*"}
		case 1:
			l.Users = []string{"ann"}
		case 2:
			l.Groups = []string{"lab", "guests"}
		case 3:
			l.Groups = []string{"*"}
		}
		list = append(list, l)
	}
	return list
}

func (w *writer) newNode() ledger.Event {
	w.made++
	n := w.drawNode(fmt.Sprintf("n%02d", w.made))
	w.nodes = append(w.nodes, n.Name)
	w.touched[n.Name] = true
	return ledger.NodeAdded{Node: n}
}

func (w *writer) drawNode(name string) spec.Node {
	n := spec.Node{
		Name:     name,
		Capacity: spec.GPUs(rapid.SampledFrom([]int64{4, 8, 8, 3, 0}).Draw(w.t, "gpus")).Set("cpu", amount.Amount(rapid.SampledFrom([]int64{16, 32, 6}).Draw(w.t, "cpu")*1000)),
		GPUType:  rapid.SampledFrom(gpuTypes).Draw(w.t, "type"),
		Labels:   map[string]string{},
	}
	if zone := rapid.SampledFrom([]string{"1", "2", ""}).Draw(w.t, "zone"); zone != "" {
		n.Labels["zone"] = zone
	}
	if w.sometimes("spot", 5) {
		n.Taints = []spec.Taint{{Key: "spot"}}
	}
	n.Unschedulable = w.sometimes("cordoned", 8)
	w.specs[name] = n
	return n
}

func (w *writer) newJob() ledger.Event {
	return w.newJobIn(rapid.SampledFrom(w.leaves).Draw(w.t, "queue"), rapid.Int64Range(0, 2).Draw(w.t, "priority"))
}

func (w *writer) newJobIn(queue string, priority int64) ledger.Event {
	w.made++
	return w.submit(w.drawJob(fmt.Sprintf("j%02d", w.made), queue, priority))
}

func (w *writer) submit(j *spec.Job) ledger.Event {
	w.jobs = append(w.jobs, j)
	return ledger.JobSubmitted{Job: j}
}

func (w *writer) drawJob(id, queue string, priority int64) *spec.Job {
	j := &spec.Job{
		ID: id, Submit: w.now, Queue: queue, Priority: priority,
		User:     rapid.SampledFrom([]string{"ann", "bob"}).Draw(w.t, "user"),
		Duration: rapid.SampledFrom([]spec.Duration{0, 0, 60 * spec.Second, 400 * spec.Second}).Draw(w.t, "duration"),
		Notice:   rapid.SampledFrom([]spec.Duration{0, 0, 45 * spec.Second}).Draw(w.t, "notice"),
	}
	j.Groups = rapid.SampledFrom([][]string{nil, {"lab"}, {"guests", "lab"}, {"others"}}).Draw(w.t, "groups of the user")
	j.NonPreemptible = w.sometimes("non-preemptible", 8)
	j.NeverPreempts = w.sometimes("never preempts", 8)
	j.CheckpointEvery = rapid.SampledFrom([]spec.Duration{0, 0, 60 * spec.Second}).Draw(w.t, "checkpoints")
	j.RestartCost = rapid.SampledFrom([]spec.Duration{0, 0, 30 * spec.Second}).Draw(w.t, "restart cost")
	if w.sometimes("deadline", 5) {
		j.Deadline = w.now + 500*spec.Second
	}
	for range rapid.SampledFrom([]int{1, 1, 1, 2, 3}).Draw(w.t, "groups") {
		j.Tasks = append(j.Tasks, w.group())
	}
	return j
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
	g.GPUTypes = rapid.SampledFrom([][]string{nil, nil, nil, {"H100"}, {"A100", "H100"}}).Draw(w.t, "types")
	if w.sometimes("selects", 8) {
		g.NodeSelector = map[string]string{"zone": "1"}
	}
	if w.sometimes("tolerates", 2) {
		g.Tolerations = []spec.Toleration{{Key: "spot"}}
	}
	g.Leader = w.sometimes("leader", 8)
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
