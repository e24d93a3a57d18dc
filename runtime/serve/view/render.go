package view

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/hostabi"
)

// render turns captured numbers into a snapshot. It runs beside the loop.
func render(c *captured) *Snapshot {
	s := &Snapshot{
		At:   stamp(c.now),
		Pool: Pool{Capacity: c.row(c.capacity), Degraded: c.degraded, Nodes: len(c.nodes), PolicyABI: PolicyABI, ProbeWire: ProbeWire},
	}
	order := c.jobOrder()
	s.renderNodes(c)
	s.renderJobs(c, order)
	s.renderQueues(c)
	return s
}

// What this process speaks: with policies, and with probes.
var (
	PolicyABI = fmt.Sprintf("%d.%d", hostabi.Major, hostabi.Minor)
	ProbeWire = string(wire.File_report_proto.Package())
)

// row names the amounts of a dense row that are not zero.
func (c *captured) row(row []amount.Amount) Amounts {
	out := make(Amounts, 4)
	for d, a := range row {
		if a != 0 {
			out[c.names[d]] = int64(a)
		}
	}
	return out
}

func (c *captured) list(l amount.List) Amounts {
	out := make(Amounts, len(l))
	for _, e := range l {
		if int(e.Dim) < len(c.names) {
			out[c.names[e.Dim]] = int64(e.Amount)
		}
	}
	return out
}

// jobOrder gives, for each captured job, its place by (submit, id).
func (c *captured) jobOrder() (place []int32) {
	byAge := make([]int32, len(c.jobs))
	for i := range byAge {
		byAge[i] = int32(i)
	}
	slices.SortFunc(byAge, func(a, b int32) int {
		x, y := &c.jobs[a], &c.jobs[b]
		if n := cmp.Compare(x.spec.Submit, y.spec.Submit); n != 0 {
			return n
		}
		return strings.Compare(x.spec.ID, y.spec.ID)
	})
	place = make([]int32, len(c.jobs))
	for at, i := range byAge {
		place[i] = int32(at)
	}
	return place
}

func (s *Snapshot) renderNodes(c *captured) {
	s.Nodes = make([]Node, len(c.nodes))
	s.nodeIx = make(map[string]int, len(c.nodes))
	foreign := c.foreign()
	for i := range c.nodes {
		v := &c.nodes[i]
		s.Nodes[i] = Node{
			Name: v.name, GPUType: v.gpuType, Capacity: c.list(v.capacity), Free: c.freeOf(i), Foreign: c.row(foreign[i*c.r:][:c.r]),
			Devices: v.devices, FreeDevices: v.full, Cordoned: v.cordoned, ReservedFor: v.reservedFor,
		}
		s.nodeIx[v.name] = i
	}
	for i := range c.tasks {
		s.Nodes[c.tasks[i].node].Tasks++
	}
}

// freeOf names what is free of everything that the node has, zero included.
func (c *captured) freeOf(node int) Amounts {
	out := make(Amounts, len(c.nodes[node].capacity))
	for _, e := range c.nodes[node].capacity {
		out[c.names[e.Dim]] = int64(c.free[node*c.r+int(e.Dim)])
	}
	return out
}

// foreign is what neither is free nor held by a task of ours, node × r.
func (c *captured) foreign() []amount.Amount {
	out := make([]amount.Amount, len(c.nodes)*c.r)
	for i := range c.nodes {
		for _, e := range c.nodes[i].capacity {
			out[i*c.r+int(e.Dim)] = e.Amount.Sub(c.free[i*c.r+int(e.Dim)])
		}
	}
	for i := range c.tasks {
		request, typed := c.charge(&c.tasks[i])
		row := out[int(c.tasks[i].node)*c.r:][:c.r]
		for _, e := range request {
			row[e.Dim] = max(0, row[e.Dim].Sub(e.Amount))
		}
		row[typed.Dim] = max(0, row[typed.Dim].Sub(typed.Amount))
	}
	return out
}

func (s *Snapshot) renderJobs(c *captured, place []int32) {
	s.Jobs = make([]Job, len(c.jobs))
	s.tasksOf = make([][]Task, len(c.jobs))
	s.jobIx = make(map[string]int, len(c.jobs))
	requests := make([]Amounts, len(c.shapes)) // groups of one shape share one
	groups := make([]Group, len(c.groups))
	for i := range c.jobs {
		v, at := &c.jobs[i], int(place[i])
		s.Jobs[at] = Job{
			ID: v.spec.ID, Queue: c.queues[v.queue].Path, User: v.spec.User, Priority: v.spec.Priority, Submit: stamp(v.spec.Submit),
			Groups: groups[v.firstGroup:][:v.nGroups:v.nGroups], Attempts: v.attempts, Evicted: v.evicted, Saved: stamp(v.checkpoint),
			ReservedNodes: int(v.reserved), NonPreemptible: v.spec.NonPreemptible, why: v.reason(),
		}
		if v.reserved > 0 {
			s.Jobs[at].ReservedUntil = stamp(v.reservedUntil)
		}
		for k := range s.Jobs[at].Groups {
			s.Jobs[at].Groups[k] = c.renderGroup(v, k, requests)
		}
		s.jobIx[v.spec.ID] = at
	}
	s.addTasks(c, place)
	for i := range c.jobs {
		s.Jobs[place[i]].settle(&c.jobs[i])
	}
	s.pendings = make([]int, len(c.queues))
	s.number(c)
}

func (c *captured) renderGroup(j *capturedJob, k int, requests []Amounts) Group {
	v := &c.groups[int(j.firstGroup)+k]
	shape := &c.shapes[v.shape]
	if requests[v.shape] == nil {
		requests[v.shape] = c.list(shape.request)
	}
	g := Group{Min: v.min, Size: v.size, Finished: v.finished, Waiting: v.wanted, Request: requests[v.shape], GPUTypes: shape.types}
	if k < len(j.spec.Tasks) {
		g.Name = j.spec.Tasks[k].Name
	}
	return g
}

// addTasks sorts the tasks that have places to their jobs.
func (s *Snapshot) addTasks(c *captured, place []int32) {
	for i := range c.tasks {
		t := &c.tasks[i]
		at := place[t.job]
		s.tasksOf[at] = append(s.tasksOf[at], Task{Index: t.index, Group: t.group, State: t.state.String(), Node: c.nodes[t.node].name, Since: stamp(t.since)})
	}
	for i := range c.jobs {
		slices.SortFunc(s.tasksOf[place[i]], func(a, b Task) int { return cmp.Compare(a.Index, b.Index) })
		s.count(int(place[i]))
	}
	for i := range c.tasks {
		t := &c.tasks[i]
		request, _ := c.charge(t)
		if gpu, ok := request.Get(amount.GPU); ok && t.state != world.Releasing {
			s.Jobs[place[t.job]].GPUs += int64(gpu)
		}
	}
}

// count fills what a job's tasks say about it.
func (s *Snapshot) count(at int) {
	j, last := &s.Jobs[at], ""
	var nodes []string
	for _, t := range s.tasksOf[at] {
		g := &j.Groups[t.Group]
		switch t.State {
		case "claimed":
			g.Starting++
		case "releasing":
			g.Leaving++
			g.Waiting = max(0, g.Waiting-1) // it counts as not placed, and does not wait yet
		default:
			g.Running++
			if j.Since.IsZero() || t.Since.Before(j.Since) {
				j.Since = t.Since
			}
		}
		if t.Node != last {
			nodes, last = append(nodes, t.Node), t.Node
		}
	}
	slices.Sort(nodes)
	j.Nodes = len(slices.Compact(nodes))
}

// settle says where the job stands as a whole.
func (j *Job) settle(v *capturedJob) {
	bound, leaving := v.placed-v.claiming, int32(0)
	for i := range j.Groups {
		leaving += j.Groups[i].Leaving
	}
	switch {
	case v.claiming > 0 && bound == 0:
		j.State = Starting
	case bound > 0 && (v.waiting > 0 || v.claiming > 0):
		j.State = Growing
	case bound > 0:
		j.State = Running
	case leaving > 0:
		j.State = Leaving
	default:
		j.State = Pending
	}
	if j.why != nil && j.State.Waits() {
		j.Reason = &Reason{Code: string(j.why.Code), Text: j.why.Sentence()}
		return
	}
	j.why = nil
}

// number gives the jobs that wait their places in their queues, and counts them in
// every queue above.
func (s *Snapshot) number(c *captured) {
	last := map[string]int{}
	leaf := map[string]quota.Q{}
	for q := range c.queues {
		leaf[c.queues[q].Path] = quota.Q(q)
	}
	for i := range s.Jobs {
		j := &s.Jobs[i]
		if !j.State.Waits() {
			s.Pool.Running++
			continue
		}
		if j.State == Growing {
			s.Pool.Running++
		} else {
			s.Pool.Pending++
		}
		last[j.Queue]++
		j.Place = last[j.Queue]
		for q := leaf[j.Queue]; q != quota.None; q = c.queues[q].Parent {
			s.pendings[q]++
		}
	}
}

func (s *Snapshot) renderQueues(c *captured) {
	pending, claims := c.pending(), c.claims()
	promised := c.promised()
	s.Queues = make([]Queue, len(c.queues))
	s.queueIx = make(map[string]int, len(c.queues))
	for i := range c.queues {
		v := &c.queues[i]
		q := Queue{
			Path: v.Path, Depth: v.Depth, Leaf: v.Leaf, RunningJobs: c.apps[i], MaxJobs: c.most[i], PendingJobs: s.pendings[i],
			Share:      float64(c.shares[i]) / float64(amount.One),
			Policies:   QueuePolicies{JobOrder: v.JobOrder, Fairness: c.fairness, Victims: v.Victims},
			StrictFIFO: v.StrictFIFO, Fenced: v.Fenced, NoVictims: v.VictimsDisabled,
			Resources: c.resources(i, pending[i*c.r:][:c.r], claims[i*c.r:][:c.r], promised[i*c.r:][:c.r]),
		}
		if v.Parent != quota.None {
			q.Parent = c.queues[v.Parent].Path
		}
		if c.fair != nil {
			q.Rank = &c.fair[i].Rank
		}
		s.Queues[i] = q
	}
	s.Queues = inTreeOrder(s.Queues, c.queues)
	for i := range s.Queues {
		s.queueIx[s.Queues[i].Path] = i
	}
}

// inTreeOrder lists each queue with its subtree before its next sibling.
func inTreeOrder(queues []Queue, tree []quota.Queue) []Queue {
	out := make([]Queue, 0, len(queues))
	var visit func(quota.Q)
	visit = func(q quota.Q) {
		out = append(out, queues[q])
		for _, c := range tree[q].Children {
			visit(c)
		}
	}
	visit(quota.Root)
	return out
}

// pending is what the tasks that wait ask for, queue × r, up the tree. Refused jobs
// ask for nothing.
func (c *captured) pending() []amount.Amount {
	out := make([]amount.Amount, len(c.queues)*c.r)
	for i := range c.jobs {
		j := &c.jobs[i]
		if j.waiting == 0 || j.refused != "" {
			continue
		}
		for _, g := range c.groups[j.firstGroup:][:j.nGroups] {
			for _, e := range c.shapes[g.shape].request {
				at := int(j.queue)*c.r + int(e.Dim)
				out[at] = out[at].Add(e.Amount.Mul(int64(g.wanted)))
			}
		}
	}
	for q := len(c.queues) - 1; q > 0; q-- { // children come after their parents
		up := int(c.queues[q].Parent)
		for d := range c.r {
			out[up*c.r+d] = out[up*c.r+d].Add(out[q*c.r+d])
		}
	}
	return out
}

// claims is what each queue can count on, queue × r: its effective guarantee, else the
// sum of those inside it (as quota.Tree.Rescale has it).
func (c *captured) claims() []amount.Amount {
	out := make([]amount.Amount, len(c.queues)*c.r)
	for q := len(c.queues) - 1; q >= 0; q-- { // children come after their parents
		for d := range c.r {
			at := q*c.r + d
			if g := c.effective[at]; g != quota.Unset {
				out[at] = g
			}
			if up := c.queues[q].Parent; up != quota.None {
				out[int(up)*c.r+d] = out[int(up)*c.r+d].Add(out[at])
			}
		}
	}
	return out
}

// promised says of which resources something is guaranteed to a queue or inside it,
// queue × r.
func (c *captured) promised() []bool {
	out := make([]bool, len(c.queues)*c.r)
	for q := len(c.queues) - 1; q >= 0; q-- { // children come after their parents
		for d := range c.r {
			at, up := q*c.r+d, c.queues[q].Parent
			out[at] = out[at] || c.configured[at] != quota.Unset
			if up != quota.None && out[at] {
				out[int(up)*c.r+d] = true
			}
		}
	}
	return out
}

// borrows says whether what a queue uses of a resource above its claim is borrowed: not
// of a GPU type that nobody was promised, where GPUs in total are what is promised.
func (c *captured) borrows(d int, promised []bool) bool {
	typed := amount.IsGPU(c.names[d]) && amount.Dim(d) != amount.GPU
	return promised[d] || !typed || !promised[amount.GPU]
}

// resources lists what a queue has a bound on, uses or waits for; the root lists all
// that the pool has.
func (c *captured) resources(q int, pending, claims []amount.Amount, promised []bool) []QueueResource {
	out := make([]QueueResource, 0, 4)
	for d := range c.r {
		at := q*c.r + d
		r := QueueResource{Resource: c.names[d], Used: int64(c.used[at]), Pending: int64(pending[d]), Measured: c.measuredOf(quota.Q(q), d)}
		if g := c.configured[at]; g != quota.Unset {
			r.Guaranteed, r.Effective = ref(g), ref(c.effective[at])
		}
		if m := c.max[at]; m != amount.Max {
			r.Max = ref(m)
		}
		if q != 0 && c.borrows(d, promised) { // the root has nobody to borrow from
			r.Borrowed = int64(max(0, c.used[at].Sub(claims[d])))
		}
		if c.fair != nil && d < len(c.fair[q].Entitled) {
			r.Entitled = ref(c.fair[q].Entitled[d])
		}
		if r.Guaranteed == nil && r.Max == nil && r.Used == 0 && r.Pending == 0 && (q != 0 || c.capacity[d] == 0) {
			continue
		}
		out = append(out, r)
	}
	slices.SortFunc(out, func(a, b QueueResource) int { return strings.Compare(a.Resource, b.Resource) })
	return out
}

func ref(a amount.Amount) *int64 {
	v := int64(a)
	return &v
}

// ages are the times that reasons began, by job; see Recorder.
type ages func(job, code string) spec.Time

func (s *Snapshot) date(since ages) {
	for i := range s.Jobs {
		if r := s.Jobs[i].Reason; r != nil {
			r.Since = stamp(since(s.Jobs[i].ID, r.Code))
		}
	}
}
