package view

import (
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// captured is the world's numbers, copied flat on the loop's goroutine. What it points
// to (names, requests, reasons) is never changed once it exists.
type captured struct {
	now      spec.Time
	names    []string // of dimensions
	r        int
	capacity []amount.Amount
	degraded bool
	fairness string

	queues                           []quota.Queue
	used, max, configured, effective []amount.Amount // queue × r
	apps, most                       []int64
	shares                           []amount.Share
	fair                             []cycle.Entitlement // by queue; nil is not known
	measured                         []measurement       // queue × r, nil without probes

	nodes []capturedNode // in order of names
	place []int32        // of a node by its index in the world
	free  []amount.Amount
	jobs  []capturedJob
	// groups of all jobs, one job after the other.
	groups []capturedGroup
	shapes []capturedShape
	tasks  []capturedTask // by nodes
}

type capturedNode struct {
	name, gpuType string
	capacity      amount.List
	typed         int32 // dimension of its GPU type, -1 if it has none
	devices, full int32
	cordoned      bool
	reservedFor   string
}

// capturedJob is a job. Its spec is never written to: what changes it makes another.
type capturedJob struct {
	spec                      *spec.Job
	queue                     quota.Q
	firstGroup, nGroups       int32
	placed, waiting, claiming int32
	reserved                  int32
	attempts, evicted         int64
	checkpoint, reservedUntil spec.Time
	why                       *plan.Why
	refused                   string
}

type capturedGroup struct {
	min, size, wanted, finished int32
	shape                       world.ShapeID
}

// capturedTask has no pointers: there are many.
type capturedTask struct {
	since spec.Time
	job   int32 // index in jobs
	node  int32 // index in nodes
	group int32
	index int32
	state world.State
}

// capturedShape is what the tasks of a group ask for.
type capturedShape struct {
	request amount.List
	types   []string
}

// why is a plan.Why; the view needs no other name for it.
type why = plan.Why

// reason is why the job waits: what the cycle noted, or that rules refused it.
func (j *capturedJob) reason() *why {
	if j.why == nil && j.refused != "" {
		return &why{Code: plan.AdmissionRefused, Text: j.refused}
	}
	return j.why
}

// capture copies what readers want to know. It runs between two turns and must be quick:
// it formats nothing and sorts nothing.
// tasks is how many there may be, at a guess.
func capture(w *world.World, now spec.Time, tasks int) *captured {
	c := &captured{now: now, r: w.R(), names: w.Res.Names()[:w.R():w.R()], degraded: w.Quota.Degraded(), fairness: w.Quota.Fairness}
	c.captureQueues(w.Quota)
	c.fair = cycle.Entitlements(w)
	known := make(map[*world.Job]int32, w.JobCount())
	c.jobs = make([]capturedJob, 0, w.JobCount())
	c.groups = make([]capturedGroup, 0, w.JobCount())
	for q := range w.Quota.Queues {
		for _, j := range w.PendingIn(quota.Q(q)) {
			c.jobIndex(known, j)
		}
	}
	c.captureNodes(w)
	c.tasks = make([]capturedTask, 0, tasks+tasks/8)
	c.captureTasks(w, known)
	c.shapes = make([]capturedShape, len(w.Shapes))
	for i := range w.Shapes {
		c.shapes[i] = capturedShape{w.Shapes[i].Request, w.Shapes[i].Types}
	}
	return c
}

// charge is what a task takes of its node: its request, and the GPUs under their type.
func (c *captured) charge(t *capturedTask) (request amount.List, typed amount.Entry) {
	j := &c.jobs[t.job]
	request = c.shapes[c.groups[j.firstGroup+t.group].shape].request
	dim := c.nodes[t.node].typed
	gpu, ok := request.Get(amount.GPU)
	if _, pinned := request.Get(amount.Dim(max(0, dim))); !ok || dim < 0 || pinned {
		return request, amount.Entry{}
	}
	return request, amount.Entry{Dim: amount.Dim(dim), Amount: gpu}
}

func (c *captured) captureQueues(t *quota.Tree) {
	n := len(t.Queues)
	c.queues = slices.Clone(t.Queues)
	c.capacity = slices.Clone(t.Capacity()[:c.r])
	for _, m := range []*[]amount.Amount{&c.used, &c.max, &c.configured, &c.effective} {
		*m = make([]amount.Amount, 0, n*c.r)
	}
	for i := range n {
		q := quota.Q(i)
		c.used = append(c.used, t.Used(quota.Account(q))[:c.r]...)
		c.max = append(c.max, t.MaxOf(quota.Account(q))[:c.r]...)
		c.configured = append(c.configured, t.Configured(q)[:c.r]...)
		c.effective = append(c.effective, t.Guaranteed(q)[:c.r]...)
		running, most := t.Apps(quota.Account(q))
		c.apps, c.most = append(c.apps, running), append(c.most, most)
		c.shares = append(c.shares, t.Dominant(t.Used(quota.Account(q))))
	}
}

// captureNodes copies nodes in order of names.
func (c *captured) captureNodes(w *world.World) {
	order := w.Order()
	c.nodes = make([]capturedNode, 0, len(order))
	c.free = make([]amount.Amount, 0, len(order)*c.r)
	c.place = make([]int32, len(w.Nodes))
	for _, n := range order {
		nd := &w.Nodes[n]
		if !nd.Present {
			continue
		}
		c.place[n] = int32(len(c.nodes))
		v := capturedNode{
			name: nd.Name, gpuType: nd.Spec.GPUType, capacity: w.Capacity(n), typed: -1,
			devices: nd.Devices, full: w.FullDevices(n), cordoned: nd.Cordoned,
		}
		if nd.HasType {
			v.typed = int32(nd.Typed)
		}
		if nd.ReservedFor != nil {
			v.reservedFor = nd.ReservedFor.Spec.ID
		}
		c.nodes = append(c.nodes, v)
		c.free = append(c.free, w.Free(n)...)
	}
}

// captureTasks copies the tasks that have places. Jobs that hold something and wait for
// nothing are found by them.
func (c *captured) captureTasks(w *world.World, known map[*world.Job]int32) {
	var last *world.Job // neighbours on a node are often of one job
	at := int32(0)
	w.EachPlaced(func(t *world.Task) {
		if t.Job != last {
			last, at = t.Job, c.jobIndex(known, t.Job)
		}
		c.tasks = append(c.tasks, capturedTask{job: at, node: c.place[t.Node], group: t.Group, index: t.Index, state: t.State, since: t.Since})
	})
}

// jobIndex is the index of a job, which is copied when it is first seen.
func (c *captured) jobIndex(known map[*world.Job]int32, j *world.Job) int32 {
	if i, ok := known[j]; ok {
		return i
	}
	i := int32(len(c.jobs))
	known[j] = i
	why, _ := j.Notes.(*plan.Why)
	c.jobs = append(c.jobs, capturedJob{
		spec: j.Spec, queue: j.Queue, firstGroup: int32(len(c.groups)), nGroups: int32(len(j.Groups)),
		placed: j.Placed, waiting: j.Waiting, claiming: j.Claiming, reserved: j.Reserved,
		attempts: j.Attempts, evicted: j.Evicted, checkpoint: j.Checkpoint, reservedUntil: j.ReservedUntil,
		why: why, refused: j.Refused,
	})
	for k := range j.Groups {
		g := &j.Groups[k]
		c.groups = append(c.groups, capturedGroup{min: g.Min, size: max(g.Min, g.Size-g.Absent), wanted: g.Wanted(), finished: g.Finished, shape: g.Shape})
	}
	return i
}
