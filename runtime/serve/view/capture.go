package view

import (
	"slices"

	"github.com/musterhq/muster/builtin/amount"
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
	fair                             Shares

	nodes []capturedNode // in order of names
	free  []amount.Amount
	jobs  []capturedJob
	// groups of all jobs, one job after the other.
	groups []capturedGroup
	tasks  []capturedTask // in order of nodes
}

type capturedNode struct {
	name, gpuType     string
	capacity          amount.List
	devices, full     int32
	cordoned          bool
	reservedFor       string
	firstTask, nTasks int
}

type capturedJob struct {
	id, user                  string
	queue                     quota.Q
	priority                  int64
	submit                    spec.Time
	nonPreemptible            bool
	firstGroup, nGroups       int
	placed, waiting, claiming int32
	reserved                  int32
	attempts, evicted         int64
	checkpoint, reservedUntil spec.Time
	why                       *plan.Why
	refused                   string
}

type capturedGroup struct {
	name                        string
	min, size, placed, finished int32
	request                     amount.List
	types                       []string
}

type capturedTask struct {
	job    int32 // index in jobs
	node   int32 // index in nodes
	group  int32
	index  int32
	state  world.State
	since  spec.Time
	charge amount.List
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

// Shares is what the fairness policy answered last: rows by queue and dimension, in the
// order of the tree. Empty is not known.
type Shares struct {
	Entitled []int64 // queue × R
	R        int
	Rank     []int64 // queue
}

// capture copies what readers want to know. It runs between two turns and must be quick:
// it formats nothing and sorts nothing.
func capture(w *world.World, now spec.Time, shares func(*world.World) Shares) *captured {
	c := &captured{now: now, r: w.R(), names: w.Res.Names()[:w.R():w.R()], degraded: w.Quota.Degraded(), fairness: w.Quota.Fairness}
	c.captureQueues(w.Quota)
	if shares != nil {
		got := shares(w)
		c.fair = Shares{slices.Clone(got.Entitled), got.R, slices.Clone(got.Rank)}
	}
	known := make(map[*world.Job]int32, w.JobCount())
	c.jobs = make([]capturedJob, 0, w.JobCount())
	c.groups = make([]capturedGroup, 0, w.JobCount())
	for q := range w.Quota.Queues {
		for _, j := range w.PendingIn(quota.Q(q)) {
			c.jobIndex(w, known, j)
		}
	}
	c.captureNodes(w, known)
	return c
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

// captureNodes copies nodes in order of names, and the tasks on them. Jobs that hold
// something are found by their tasks.
func (c *captured) captureNodes(w *world.World, known map[*world.Job]int32) {
	order := w.Order()
	c.nodes = make([]capturedNode, 0, len(order))
	c.free = make([]amount.Amount, 0, len(order)*c.r)
	at := make([]int32, len(w.Nodes))
	for _, n := range order {
		nd := &w.Nodes[n]
		at[n] = -1
		if !nd.Present {
			continue
		}
		at[n] = int32(len(c.nodes))
		v := capturedNode{
			name: nd.Name, gpuType: nd.Spec.GPUType, capacity: w.Capacity(n),
			devices: nd.Devices, full: w.FullDevices(n), cordoned: nd.Cordoned,
		}
		if nd.ReservedFor != nil {
			v.reservedFor = nd.ReservedFor.Spec.ID
		}
		c.nodes = append(c.nodes, v)
		c.free = append(c.free, w.Free(n)...)
	}
	c.tasks = make([]capturedTask, 0, 2*len(c.nodes))
	w.EachPlaced(func(t *world.Task) {
		c.tasks = append(c.tasks, capturedTask{
			job: c.jobIndex(w, known, t.Job), node: at[t.Node], group: t.Group, index: t.Index, state: t.State, since: t.Since,
			charge: w.Charge(t.Job.Groups[t.Group].Shape, w.Nodes[t.Node].Class),
		})
	})
}

// jobIndex is the index of a job, which is copied when it is first seen.
func (c *captured) jobIndex(w *world.World, known map[*world.Job]int32, j *world.Job) int32 {
	if i, ok := known[j]; ok {
		return i
	}
	i := int32(len(c.jobs))
	known[j] = i
	why, _ := j.Notes.(*plan.Why)
	c.jobs = append(c.jobs, capturedJob{
		id: j.Spec.ID, user: j.Spec.User, queue: j.Queue, priority: j.Spec.Priority, submit: j.Spec.Submit,
		nonPreemptible: j.Spec.NonPreemptible, firstGroup: len(c.groups), nGroups: len(j.Groups),
		placed: j.Placed, waiting: j.Waiting, claiming: j.Claiming, reserved: j.Reserved,
		attempts: j.Attempts, evicted: j.Evicted, checkpoint: j.Checkpoint, reservedUntil: j.ReservedUntil,
		why: why, refused: j.Refused,
	})
	for k := range j.Groups {
		g, s := &j.Groups[k], &w.Shapes[j.Groups[k].Shape]
		v := capturedGroup{min: g.Min, size: g.Size, placed: g.Placed, finished: g.Finished, request: s.Request, types: s.Types}
		if k < len(j.Spec.Tasks) {
			v.name = j.Spec.Tasks[k].Name
		}
		c.groups = append(c.groups, v)
	}
	return i
}
