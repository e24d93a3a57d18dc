package victim

import (
	"cmp"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// unit is what is evicted together: all that a gang holds, or one surplus task.
type unit struct {
	since spec.Time // when its youngest task started
	gpu   int64
	leaf  quota.Q
	// whole units take everything their job holds; surplus units leave its gang
	// as it is.
	whole, leader, veto bool
	job                 *world.Job
	tasks               []*world.Task // in order of their index
	cost, lost          int64
	running             spec.Duration // since its first task started
	use, idle           int64         // see VictimBatch
	quiet               spec.Duration // 0, or how long it was idle if its queue has such units go first
	woken               bool          // it was to go for being idle, and woke up not long ago
	policy              string
	stay                string // why it must not be evicted, "" if it may
}

// pool is all units that some job might be allowed to evict, in order of job id,
// first task and size; the place in it is a unit's number in every tie-break.
type pool struct {
	ready     bool
	units     []unit
	tasks     []*world.Task // backing of unit.tasks
	releasing []*world.Task // on their way out, for whomever
	jobs      []*world.Job  // that hold something, by id; kept between cycles
	known     map[*world.Job]bool
	fresh     []*world.Job
	batch     policies.VictimBatch
	rows      []int32 // units of the batch
	asked     []Candidate
	lists     []nodeList
	quiet     int // units that go first for being idle
	woken     int // units that go last
}

// gather lists and prices the units, once per cycle.
func (s *Search) gather() {
	p := &s.pool
	if p.ready {
		return
	}
	p.ready = true
	for i := range p.lists {
		p.lists[i].ready = false
	}
	p.collectJobs(s.w)
	p.units, p.tasks, p.quiet, p.woken = p.units[:0], p.tasks[:0], 0, 0
	for _, j := range p.jobs {
		q := &s.w.Quota.Queues[j.Queue]
		if !j.Spec.NonPreemptible && !q.VictimsDisabled {
			p.addJob(j, s.now)
		}
	}
	for i := range p.units {
		s.measure(&p.units[i])
	}
	s.protectAll()
	s.priceAll()
}

// collectJobs brings the list of jobs that hold something up to date, and lists
// the tasks that are on their way out.
func (p *pool) collectJobs(w *world.World) {
	if p.known == nil {
		p.known = map[*world.Job]bool{}
	}
	p.jobs = slices.DeleteFunc(p.jobs, func(j *world.Job) bool {
		gone := j.Placed == 0 || w.Job(j.Spec.ID) != j
		if gone {
			delete(p.known, j)
		}
		return gone
	})
	p.fresh, p.releasing = p.fresh[:0], p.releasing[:0]
	w.EachPlaced(func(t *world.Task) {
		if t.State == world.Releasing {
			p.releasing = append(p.releasing, t)
		} else if !p.known[t.Job] {
			p.known[t.Job] = true
			p.fresh = append(p.fresh, t.Job)
		}
	})
	if len(p.fresh) > 0 {
		p.jobs = append(p.jobs, p.fresh...)
		slices.SortFunc(p.jobs, func(a, b *world.Job) int { return strings.Compare(a.Spec.ID, b.Spec.ID) })
		clear(p.fresh)
	}
}

// addJob lists the units of one job: the surplus tasks, the last ones first by
// right to stay, and the whole of it if it has a gang. While some of its tasks
// are claimed or leaving, only surplus that runs is offered.
func (p *pool) addJob(j *world.Job, now spec.Time) {
	first := len(p.units)
	bound, gang := int32(0), false
	for gi := range j.Groups {
		g := &j.Groups[gi]
		keep := max(0, g.Min-g.Finished)
		gang = gang || keep > 0
		for i := g.First; i < g.First+g.Size; i++ {
			t := &j.Tasks[i]
			if t.State != world.Bound {
				continue
			}
			bound++
			if keep > 0 {
				keep--
				continue
			}
			p.tasks = append(p.tasks, t)
			p.addUnit(j, p.tasks[len(p.tasks)-1:len(p.tasks):len(p.tasks)], false, now)
		}
	}
	if !gang || bound != j.Placed || leaving(j) {
		return
	}
	from := len(p.tasks)
	for i := range j.Tasks {
		if t := &j.Tasks[i]; t.State == world.Bound {
			p.tasks = append(p.tasks, t)
		}
	}
	p.addUnit(j, p.tasks[from:len(p.tasks):len(p.tasks)], true, now)
	slices.SortStableFunc(p.units[first:], func(a, b unit) int { return cmp.Compare(a.tasks[0].Index, b.tasks[0].Index) })
}

func leaving(j *world.Job) bool {
	for i := range j.Tasks {
		if j.Tasks[i].State == world.Releasing {
			return true
		}
	}
	return false
}

// addUnit adds a unit, unless one of its tasks has started in this very instant:
// the same plan may be about to start it.
func (p *pool) addUnit(j *world.Job, tasks []*world.Task, whole bool, now spec.Time) {
	u := unit{job: j, leaf: j.Queue, tasks: tasks, whole: whole, since: tasks[0].Since}
	for _, t := range tasks {
		u.since = max(u.since, t.Since)
		u.leader = u.leader || j.Spec.Tasks[t.Group].Leader
	}
	if u.since < now {
		p.units = append(p.units, u)
	}
}

// alive says whether the unit is still what it was when it was gathered.
func (u *unit) alive() bool {
	for _, t := range u.tasks {
		if t.State != world.Bound {
			return false
		}
	}
	if u.whole {
		return int(u.job.Placed) == len(u.tasks)
	}
	g := &u.job.Groups[u.tasks[0].Group]
	return g.Placed > g.Min-g.Finished
}

// priceAll asks each victim policy once, for all units of the queues that use it.
func (s *Search) priceAll() {
	tree := s.w.Quota
	var names []string
	for q := range tree.Queues {
		name := tree.Queues[q].Victims
		if !tree.Queues[q].Leaf || slices.Contains(names, name) {
			continue
		}
		names = append(names, name)
		s.priceOne(quota.Q(q), name)
	}
}

func (s *Search) priceOne(leaf quota.Q, name string) {
	p := &s.pool
	p.rows = p.rows[:0]
	for i := range p.units {
		if p.units[i].stay == "" && s.w.Quota.Queues[p.units[i].job.Queue].Victims == name {
			p.rows = append(p.rows, int32(i))
		}
	}
	if len(p.rows) == 0 {
		return
	}
	b := &p.batch
	resize(b, len(p.rows), s.w.R())
	b.Now = s.now
	var last *world.Job
	number := uint32(0)
	for row, i := range p.rows {
		u := &p.units[i]
		if u.job != last {
			last, number = u.job, number+1
		}
		s.fillRow(b, row, u)
		b.Job[row], b.Gang[row] = number-1, number-1
	}
	policy := s.price(leaf, b)
	for row, i := range p.rows {
		u := &p.units[i]
		u.cost, u.veto, u.policy = max(0, b.Cost[row]), b.Veto[row] != 0, policy
	}
}

// measure computes what batches and rules say of a unit. Where the tasks of a unit
// started at different times, each counts its own time in what would be lost.
func (s *Search) measure(u *unit) {
	j, w := u.job, s.w
	started := u.since
	var gpu, lost amount.Amount // lost in milli-GPU × ms
	var use world.UseSum
	for _, t := range u.tasks {
		started = min(started, t.Since)
		gpu = gpu.Add(w.GPUs(t))
		if w.Measured {
			use.Add(w, t, s.now)
		}
	}
	for _, t := range u.tasks {
		weight := w.GPUs(t)
		if gpu == 0 {
			weight = s.cores(t)
		}
		lost = lost.Add(weight.Mul((s.now - max(t.Since, j.Checkpoint)) / 1e6))
	}
	u.lost, u.gpu, u.running = int64(max(0, lost)/1000), int64(gpu), s.now-started
	u.use, u.idle = policies.Unset, policies.Unset
	if busy, idle, ok := use.Mean(); ok {
		u.use, u.idle = int64(busy), idle
	}
	s.listen(u)
}

// cores is what the cores of a task count where there are no GPUs, in milli-GPU.
func (s *Search) cores(t *world.Task) amount.Amount {
	c, _ := s.w.Shapes[t.Job.Groups[t.Group].Shape].Request.Get(amount.CPU)
	return c / 100
}

// fillRow describes a unit as the fields of VictimBatch say.
func (s *Search) fillRow(b *policies.VictimBatch, row int, u *unit) {
	j, w := u.job, s.w
	freed := b.Freed[row*b.R:][:b.R]
	clear(freed)
	var cpu amount.Amount
	for _, t := range u.tasks {
		shape := j.Groups[t.Group].Shape
		for _, e := range w.Charge(shape, w.Nodes[t.Node].Class) {
			freed[e.Dim] += int64(e.Amount)
		}
		c, _ := w.Shapes[shape].Request.Get(amount.CPU)
		cpu = cpu.Add(c)
	}
	weight := amount.Amount(u.gpu)
	if u.gpu == 0 {
		weight = cpu / 100
	}
	b.Queue[row] = uint32(j.Queue)
	b.Tasks[row] = int64(len(u.tasks))
	b.GPUs[row] = u.gpu
	b.Priority[row] = j.Spec.Priority
	b.Running[row] = u.running
	b.SinceCheckpoint[row] = max(0, min(u.running, s.now-j.Checkpoint))
	b.Lost[row] = u.lost
	b.RestartCost[row] = int64(weight.Mul(j.Spec.RestartCost/1e6) / 1000)
	b.Surplus[row] = flag(!u.whole)
	b.Leader[row] = flag(u.leader)
	b.Excess[row] = int64(w.Quota.Excess(j.Queue, amount.GPU))
	b.Evicted[row] = j.Evicted
	b.Use[row], b.Idle[row] = u.use, u.idle
	b.Cost[row], b.Veto[row], b.Reason[row] = 0, 0, 0
}

func flag(b bool) uint8 {
	if b {
		return 1
	}
	return 0
}

// resize gives all columns n elements.
func resize(b *policies.VictimBatch, n, r int) {
	b.N, b.R = n, r
	b.Freed = grown(b.Freed, n*r)
	for _, c := range []*[]int64{
		&b.Tasks, &b.GPUs, &b.Priority, &b.Running, &b.SinceCheckpoint, &b.Lost, &b.RestartCost,
		&b.Excess, &b.Evicted, &b.Use, &b.Idle, &b.Cost,
	} {
		*c = grown(*c, n)
	}
	for _, c := range []*[]uint32{&b.Job, &b.Queue, &b.Gang, &b.Reason} {
		*c = grown(*c, n)
	}
	for _, c := range []*[]uint8{&b.Surplus, &b.Leader, &b.Veto} {
		*c = grown(*c, n)
	}
}

func grown[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
