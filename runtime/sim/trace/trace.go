// Package trace reads recorded and made-up workloads of many formats into one
// model: nodes, a queue tree, and jobs with their true run times.
//
// Every reader reports all problems of a file at once, with place, code and
// hint, and returns nothing when there is one: half a trace would give figures
// that look right. docs/trace-format.md describes Muster's own two formats and
// what each importer makes of the foreign ones.
package trace

import (
	"cmp"
	"slices"
	"strconv"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/pattern"
)

// Trace is a workload that the simulator can play.
type Trace struct {
	Name   string
	Format string // what it was read from, one of Formats
	Nodes  []spec.Node
	Queues spec.Tree
	// Jobs are sorted by Submit; jobs of one instant keep the order of the file.
	Jobs []Job
	// Start is the first instant of the trace. End is where the recording stops,
	// 0 when the trace says nothing: then it ends with its last job.
	Start, End spec.Time
	// Offset was added to every time of the file, so that none is negative:
	// file time 0 is trace time Offset.
	Offset spec.Duration
	// Static marks a fill without time: all jobs come at 0, one after another in
	// this order, and none ends.
	Static bool
	// Notes say, for people, what was dropped, derived or assumed.
	Notes []string
}

// Job is a job together with what the scheduler may not know.
type Job struct {
	spec.Job
	// Run is the true run time, without restarts and waiting; 0 runs for ever.
	Run spec.Duration
	// Use is what the GPUs of each task really do, from the start of the job on; of the
	// zero pattern nobody knows, as on nodes without a probe.
	Use pattern.Pattern
	// Warmup jobs load the cluster but do not count in any per-job metric.
	Warmup bool
}

// MilliGPUs is what the job asks for with all its tasks, in milli-GPUs.
func (j *Job) MilliGPUs() amount.Amount {
	var sum amount.Amount
	for _, g := range j.Tasks {
		a, _ := g.Request.Get(amount.GPUName)
		sum = sum.Add(a.Mul(g.Size))
	}
	return sum
}

// MilliGPUs is the capacity of all nodes, in milli-GPUs.
func (t *Trace) MilliGPUs() amount.Amount {
	var sum amount.Amount
	for _, n := range t.Nodes {
		a, _ := n.Capacity.Get(amount.GPUName)
		sum = sum.Add(a)
	}
	return sum
}

// Measured says whether it is known of any job what its GPUs do.
func (t *Trace) Measured() bool {
	return slices.ContainsFunc(t.Jobs, func(j Job) bool { return !j.Use.IsZero() })
}

// Unmeasured returns the same workload on nodes without probes: of no job it is known
// what its GPUs do.
func (t *Trace) Unmeasured() *Trace {
	out := *t
	out.Jobs = slices.Clone(t.Jobs)
	for i := range out.Jobs {
		out.Jobs[i].Use = pattern.Pattern{}
	}
	out.Notes = append(slices.Clone(t.Notes), "no probes: what GPUs do is not known")
	return &out
}

// Leaf is a queue without children, with its full path and its GPU amounts.
type Leaf struct {
	Path string
	// Guaranteed is 0 where there is no guarantee, Max amount.Max where there is
	// no limit; both in milli-GPUs.
	Guaranteed, Max amount.Amount
}

// Leaves lists the leaf queues in the order of the tree.
func (t *Trace) Leaves() []Leaf {
	var out []Leaf
	if t.Queues.Root != nil {
		walkLeaves(t.Queues.Root, t.Queues.Root.Name, &out)
	}
	return out
}

func walkLeaves(q *spec.Queue, path string, out *[]Leaf) {
	if len(q.Children) == 0 {
		l := Leaf{Path: path, Max: amount.Max}
		l.Guaranteed, _ = q.Guaranteed.Get(amount.GPUName)
		if m, ok := q.Max.Get(amount.GPUName); ok {
			l.Max = m
		}
		*out = append(*out, l)
	}
	for _, c := range q.Children {
		walkLeaves(c, path+"."+c.Name, out)
	}
}

// Partitioned returns the same workload with every leaf closed at its
// guarantee: the static partitions that sharing is compared with.
func (t *Trace) Partitioned() *Trace {
	out := *t
	out.Queues.Root = mapLeaves(t.Queues.Root, func(q *spec.Queue) {
		g, _ := q.Guaranteed.Get(amount.GPUName)
		q.Max = spec.Resources{{Name: amount.GPUName, Amount: g}}
	})
	out.Notes = append(slices.Clone(t.Notes), "static partitions: max set to the guarantee in every leaf queue")
	return &out
}

// Pooled returns the same workload in one queue without guarantee or limit.
func (t *Trace) Pooled() *Trace {
	out := *t
	out.Queues.Root = oneQueue()
	out.Jobs = slices.Clone(t.Jobs)
	for i := range out.Jobs {
		out.Jobs[i].Queue = onlyQueue
	}
	out.Notes = append(slices.Clone(t.Notes), "one pool: all jobs in "+onlyQueue)
	return &out
}

// onlyQueue holds the jobs of formats that know no queues.
const onlyQueue = "root.default"

func oneQueue() *spec.Queue {
	return &spec.Queue{Name: "root", Parent: true, Children: []*spec.Queue{{Name: "default"}}}
}

func mapLeaves(q *spec.Queue, f func(*spec.Queue)) *spec.Queue {
	c := *q
	if len(q.Children) == 0 {
		f(&c)
		return &c
	}
	c.Children = make([]*spec.Queue, len(q.Children))
	for i := range q.Children {
		c.Children[i] = mapLeaves(q.Children[i], f)
	}
	return &c
}

func (t *Trace) note(text string) { t.Notes = append(t.Notes, text) }

// settle sorts the jobs and moves time so that no submit is negative.
func (t *Trace) settle() {
	slices.SortStableFunc(t.Jobs, func(a, b Job) int { return cmp.Compare(a.Submit, b.Submit) })
	if len(t.Jobs) > 0 && t.Jobs[0].Submit < 0 {
		t.shift(-t.Jobs[0].Submit)
	}
}

func (t *Trace) shift(by spec.Duration) {
	t.Offset += by
	for i := range t.Jobs {
		t.Jobs[i].Submit += by
		if t.Jobs[i].Deadline != 0 {
			t.Jobs[i].Deadline += by
		}
	}
	t.note("second 0 of the file is second " + strconv.FormatInt(by/spec.Second, 10) + " of the trace")
}

// nodesOf makes n nodes of g whole GPUs each, named as the YAML form does.
func nodesOf(n, g int64) []spec.Node {
	out := make([]spec.Node, n)
	for i := range out {
		out[i] = spec.Node{Name: numbered("n", int64(i), n), Capacity: spec.GPUs(g)}
	}
	return out
}

// numbered is prefix and i, padded with zeros to the width of count-1.
func numbered(prefix string, i, count int64) string {
	s, w := strconv.FormatInt(i, 10), len(strconv.FormatInt(count-1, 10))
	for len(s) < w {
		s = "0" + s
	}
	return prefix + s
}

// gangOf is the task group of a job of g GPUs on nodes of perNode GPUs: one
// task where it fits a node, else the fewest equal tasks that fit one each
// (16 is 2 x 8, 12 is 2 x 6, 20 is 4 x 5), so that the total stays exact.
func gangOf(g, perNode int64) spec.TaskGroup {
	n := (g + perNode - 1) / perNode
	for g%n != 0 {
		n++
	}
	return spec.TaskGroup{Name: "worker", Min: n, Size: n, Request: spec.GPUs(g / n)}
}
