package conformance

import (
	"fmt"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
)

// witness looks at a world after every turn and notes what must not be.
type witness struct {
	tale  *Tale
	found []string
	// highest is what each queue used at the last look: a max that is lowered
	// below it evicts nobody, but the queue must not grow.
	highest map[string]amount.Amount
	// cut has the jobs that gave up a place which was kept for one of them: others took
	// what it needs, and the rest goes on without it until there is room.
	cut map[string]bool
	// less has the jobs that have lost a part of their gang, from outside: whoever of them is
	// to go can't stay, since the rest can't work.
	less map[string]bool
	// room is what each node, before the last turn, had beyond what ran on it, by
	// resource, and had: nobody may run where a broken GPU has left too little, but those
	// who were there.
	room map[string]nodeRoom
	// forced says that somebody outside has put tasks where they are, or has said that a
	// node is of another type, since the last instant at rest: usage may be above its max
	// by that. crowded nodes may have less than nothing left for the same reason.
	forced  bool
	crowded map[string]bool
	started map[started]bool // what those who started in the last turn take
	running map[string]bool  // the jobs that held something at the last look
	// told has how long those must have been idle who were chosen for it, by job and first
	// task.
	told map[string]spec.Duration
}

func newWitness(tale *Tale) *witness {
	return &witness{
		tale: tale, cut: map[string]bool{}, less: map[string]bool{}, room: map[string]nodeRoom{}, told: map[string]spec.Duration{},
		crowded: map[string]bool{}, running: map[string]bool{},
	}
}

// expect notes what an event may bring about that is none of the scheduler's doing.
func (w *witness) expect(ev ledger.Event) {
	if job := jobOf(ev); job != "" {
		w.cut[job], w.less[job] = true, true
	}
	switch e := ev.(type) {
	case ledger.NodeRemoved:
		if n, ok := w.tale.world().NodeNamed(e.Name); ok {
			for _, t := range w.tale.world().TasksOn(n) {
				w.less[t.Job.Spec.ID] = true
			}
		}
	case ledger.JobGrown:
		delete(w.less, e.ID)
	case ledger.JobGang:
		delete(w.less, e.ID)
	case ledger.TaskRunning:
		w.forced, w.crowded[e.Node] = true, true
	case ledger.NodeAdded:
		state := w.tale.world()
		if n, ok := state.NodeNamed(e.Node.Name); ok && state.Nodes[n].Spec.GPUType != e.Node.GPUType {
			w.forced, w.crowded[e.Node.Name] = true, true
		}
	}
}

type nodeRoom struct {
	left     []amount.Amount
	capacity amount.List
}

func (w *witness) note(format string, args ...any) {
	w.found = append(w.found, fmt.Sprintf("at %s: ", clockText(w.tale.now()))+fmt.Sprintf(format, args...))
}

func (w *witness) look(t loop.Turn) {
	state := w.tale.world()
	now := map[string]amount.Amount{}
	w.queues(state, now)
	w.limits(state, now)
	w.highest = now
	for _, e := range t.Taken.Events {
		if e.Code == plan.EventExpired {
			w.cut[e.Job] = true
		}
	}
	w.starts(state, t.Taken)
	for _, j := range state.Jobs() {
		w.job(j)
	}
	for n := range state.Nodes {
		w.node(state, world.NodeIx(n))
	}
	w.reclaim(state, t.Taken)
	w.idle(state, t.Taken)
}

func (w *witness) audit() {
	for _, text := range w.tale.world().Audit() {
		w.note("%s", text)
	}
}

// queues: usage stays within max everywhere, and a parent is the sum of its
// children.
func (w *witness) queues(state *world.World, now map[string]amount.Amount) {
	tree := state.Quota
	for q := range tree.Queues {
		used, most := tree.Used(quota.Account(q)), tree.MaxOf(quota.Account(q))
		for d := range used {
			key := fmt.Sprintf("%s %s", tree.Queues[q].Path, tree.Res.Name(amount.Dim(d)))
			taken := used[d] + tree.Kept(quota.Account(q), amount.Dim(d)) // whoever stays finds its quota
			now[key] = taken
			if taken > most[d] && taken > w.highest[key] && !w.forced {
				w.note("%s: uses %d of max %d", key, taken, most[d])
			}
			var sum amount.Amount
			for _, c := range tree.Queues[q].Children {
				sum += tree.Used(quota.Account(c))[d]
			}
			if !tree.Queues[q].Leaf && len(tree.Queues[q].Children) > 0 && sum != used[d] {
				w.note("%s: uses %d, its children %d", key, used[d], sum)
			}
			if used[d] < 0 {
				w.note("%s: uses %d", key, used[d])
			}
		}
	}
}

// starts: no account of a job that gets places is above its max by them, with what is kept
// in it, nor are there more running jobs than it may have.
func (w *witness) starts(state *world.World, p *plan.Plan) {
	start := func(job string, task int32) {
		j := state.Job(job)
		if j == nil || j.Tasks[task].Node == world.NoNode || j.Tasks[task].State == world.Releasing {
			return // given up again in the same turn
		}
		t, tree := &j.Tasks[task], state.Quota
		for _, a := range j.Chain {
			queue, kind, who := tree.Describe(a)
			for _, e := range state.Charge(j.Groups[t.Group].Shape, state.Nodes[t.Node].Class) {
				if taken, most := tree.Used(a)[e.Dim]+tree.Kept(a, e.Dim), tree.MaxOf(a)[e.Dim]; e.Amount > 0 && taken > most {
					w.note("%s starts though %s %s %s has %d of %d of %s", job, queue, kind, who, taken, most, state.Res.Name(e.Dim))
				}
			}
			if apps, most := tree.Apps(a); most > 0 && apps+tree.KeptApps(a) > most && !w.running[job] && !w.forced {
				w.note("%s starts though %s %s %s has %d running jobs of %d", job, queue, kind, who, apps, most)
			}
		}
	}
	w.started = map[started]bool{}
	for _, b := range p.Binds {
		w.noteStart(state, b)
		if !b.Nominated {
			start(b.Job, b.Task)
		}
	}
	for _, c := range p.Claims {
		start(c.Job, c.Task)
	}
	clear(w.running)
	for _, j := range state.Jobs() {
		w.running[j.Spec.ID] = j.Placed > 0
	}
}

// started is a resource of a node, or if device is not negative, that GPU of it.
type started struct {
	node   string
	dim    amount.Dim
	device int
}

func (w *witness) noteStart(state *world.World, b plan.Bind) {
	j := state.Job(b.Job)
	if j == nil || j.Tasks[b.Task].State != world.Bound {
		return
	}
	for _, e := range state.Shapes[j.Groups[b.Group].Shape].Request {
		if e.Amount > 0 {
			w.started[started{b.Node, e.Dim, -1}] = true
		}
	}
	for i := range 64 {
		if b.Devices&(1<<i) != 0 {
			w.started[started{b.Node, 0, i}] = true
		}
	}
}

// limits: no user holds more GPUs in a queue than its limit for each user says, with what
// is kept for those who may stay.
func (w *witness) limits(state *world.World, now map[string]amount.Amount) {
	tree := state.Quota
	for q := range tree.Queues {
		held := map[string]amount.Amount{}
		state.EachPlaced(func(t *world.Task) {
			if (t.State == world.Bound || t.State == world.Claimed || t.Revocable()) && below(tree, t.Job.Queue, quota.Q(q)) {
				held[t.Job.Spec.User] += state.GPUs(t)
			}
		})
		for user, used := range held {
			key := tree.Queues[q].Path + " " + user
			now[key] = used
			for _, l := range tree.Queues[q].Spec.Limits {
				eachUser := len(l.Users) == 1 && l.Users[0] == "*" && len(tree.Queues[q].Spec.Limits) == 1
				if most, ok := l.Max.Get(amount.GPUName); eachUser && ok && used > most && used > w.highest[key] && !w.forced {
					w.note("%s uses %d GPUs of %d", key, used, most)
				}
			}
		}
	}
}

func below(tree *quota.Tree, q, top quota.Q) bool {
	for ; q != quota.None; q = tree.Queues[q].Parent {
		if q == top {
			return true
		}
	}
	return false
}

// job: a gang is whole or absent, but for places that were cut, and what a job counts is what its tasks say.
func (w *witness) job(j *world.Job) {
	placed, waiting := int32(0), int32(0)
	for i := range j.Tasks {
		switch j.Tasks[i].State {
		case world.Claimed, world.Bound:
			placed++
		case world.Pending:
			waiting++
		}
	}
	if placed != j.Placed || waiting != j.Waiting {
		w.note("%s counts %d placed and %d waiting, its tasks %d and %d", j.Spec.ID, j.Placed, j.Waiting, placed, waiting)
	}
	if missing := j.GangMissing(); missing == 0 || j.HoldsNothing() {
		delete(w.cut, j.Spec.ID)
	} else if j.Incomplete() && !w.cut[j.Spec.ID] {
		w.note("%s holds %d tasks, and %d of its gang are missing", j.Spec.ID, placed, missing)
	}
}

// node: what runs or still runs fits, on the node and on each device; and what is
// free is what nobody holds.
func (w *witness) node(state *world.World, n world.NodeIx) {
	nd := &state.Nodes[n]
	if !nd.Present {
		return
	}
	free := make([]amount.Amount, state.R())
	for _, e := range state.Capacity(n) {
		free[e.Dim] = e.Amount
	}
	running := append([]amount.Amount(nil), free...) // left of the node by ours that run
	others, held := state.ForeignUse(n)
	for _, e := range others {
		free[e.Dim] -= e.Amount
	}
	dev, busy := make([]int32, nd.Devices), make([]int32, nd.Devices)
	for _, t := range state.TasksOn(n) {
		shape := t.Job.Groups[t.Group].Shape
		each := int32(1000)
		if m := state.Shapes[shape].Milli; m > 0 {
			each = m
		}
		for _, e := range state.Charge(shape, nd.Class) {
			free[e.Dim] -= e.Amount
			if t.State != world.Claimed {
				running[e.Dim] -= e.Amount
			}
		}
		for i := range dev {
			if t.Dev&(1<<i) != 0 {
				dev[i] += each
				if t.State != world.Claimed {
					busy[i] += each
				}
			}
		}
	}
	crowded := false
	for d := range free {
		if amount.IsGPU(state.Res.Name(amount.Dim(d))) && amount.Dim(d) != amount.GPU && (!nd.HasType || amount.Dim(d) != nd.Typed) {
			continue // who asked for another type was there when the node still had it
		}
		least := w.leastRoom(nd, amount.Dim(d))
		foreign, _ := others.Get(amount.Dim(d)) // GPUs are looked at one by one
		crowded = crowded || running[d] < 0
		if w.started[started{nd.Name, amount.Dim(d), -1}] && running[d] < foreign && !amount.IsGPU(state.Res.Name(amount.Dim(d))) {
			w.note("%s has %d of %s less than nothing left, and somebody starts there\n%s", nd.Name, foreign-running[d], state.Res.Name(amount.Dim(d)), state.Digest())
		}
		if running[d] < least && !w.crowded[nd.Name] { // others ask nobody
			w.note("%s runs %d too much of %s; at least %d may be left\n%s", nd.Name, -running[d], state.Res.Name(amount.Dim(d)), least, state.Digest())
		}
		if free[d] != state.Free(n)[d] {
			w.note("%s says that %d of %s are free, it is %d", nd.Name, state.Free(n)[d], state.Res.Name(amount.Dim(d)), free[d])
		}
	}
	w.room[nd.Name] = nodeRoom{running, state.Capacity(n)}
	for i := range dev {
		if held&(1<<i) != 0 {
			dev[i] += 1000
		}
		crowded = crowded || busy[i] > 1000
		if over := busy[i] > 1000 || busy[i] > 0 && held&(1<<i) != 0; over && w.started[started{nd.Name, 0, i}] {
			w.note("%s runs %d thousandths on device %d, others %v, and somebody starts there\n%s", nd.Name, busy[i], i, held&(1<<i) != 0, state.Digest())
		}
		if busy[i] > 1000 && !w.crowded[nd.Name] {
			w.note("%s runs %d thousandths on device %d", nd.Name, busy[i], i)
		}
		if 1000-dev[i] != state.Dev(n)[i] {
			w.note("%s says that %d of device %d are free, it is %d", nd.Name, state.Dev(n)[i], i, 1000-dev[i])
		}
	}
	w.crowded[nd.Name] = w.crowded[nd.Name] && crowded
}

// leastRoom is what a node must have left at least beyond what runs there: nothing, or
// what it had less before the last turn, less what has broken since.
func (w *witness) leastRoom(nd *world.Node, d amount.Dim) amount.Amount {
	if amount.IsGPU(w.tale.world().Res.Name(d)) {
		d = amount.GPU // without any GPU, a node has no type
	}
	before, ok := w.room[nd.Name]
	if !ok || int(d) >= len(before.left) {
		return 0
	}
	had, _ := before.capacity.Get(d)
	has, _ := w.tale.world().Capacity(w.index(nd)).Get(d)
	return min(0, before.left[d]+min(0, has-had))
}

func (w *witness) index(nd *world.Node) world.NodeIx {
	n, _ := w.tale.world().NodeNamed(nd.Name)
	return n
}

// idle: who was chosen for being idle is ended only if it still is, whoever stays runs and
// is not evicted by the same plan, and what is kept is the quota of those who may stay.
func (w *witness) idle(state *world.World, p *plan.Plan) {
	first := func(job string, tasks []int32) string { return fmt.Sprintf("%s/%d", job, tasks[0]) }
	for _, e := range p.Ends {
		after, chosen := w.told[first(e.Job, e.Tasks)]
		if quiet, ok := state.Quiet(tasksIn(state, e.Job, e.Tasks), p.Now); chosen && (!ok || quiet < after) && !w.less[e.Job] {
			w.note("%s is ended for being idle, and is so for %s (%v)", e.Job, clockText(quiet), ok)
		}
	}
	for _, s := range p.Stays {
		delete(w.told, first(s.Job, s.Tasks))
		for _, t := range tasksIn(state, s.Job, s.Tasks) {
			if t.State != world.Bound {
				w.note("task %d of %s stays and is %s", t.Index, s.Job, t.State)
			}
		}
		for _, e := range p.Evictions {
			if e.Job == s.Job {
				w.note("%s stays and is evicted", s.Job)
			}
		}
	}
	for _, e := range p.Evictions {
		delete(w.told, first(e.Job, e.Tasks))
		if j := state.Job(e.Job); e.Idle > 0 && j != nil {
			w.told[first(e.Job, e.Tasks)] = state.Quota.Queues[j.Queue].IdleAfter
			if e.Rule != plan.RuleReclaim || e.Idle < state.Quota.Queues[j.Queue].IdleAfter || !e.Notify {
				w.note("%s is evicted for being idle: %+v", e.Job, e)
			}
		}
	}
	w.kept(state)
}

func tasksIn(state *world.World, job string, tasks []int32) (out []*world.Task) {
	if j := state.Job(job); j != nil {
		for _, i := range tasks {
			out = append(out, &j.Tasks[i])
		}
	}
	return out
}

func (w *witness) kept(state *world.World) {
	sums := make([]amount.Amount, len(state.Quota.Queues)*state.R())
	state.EachPlaced(func(t *world.Task) {
		if !t.Revocable() {
			return
		}
		for q := t.Job.Queue; q != quota.None; q = state.Quota.Queues[q].Parent {
			for _, e := range state.Charge(t.Job.Groups[t.Group].Shape, state.Nodes[t.Node].Class) {
				sums[int(q)*state.R()+int(e.Dim)] += e.Amount
			}
		}
	})
	for i, sum := range sums {
		q, d := i/state.R(), i%state.R()
		if kept := state.Quota.Kept(quota.Account(q), amount.Dim(d)); kept != sum {
			w.note("%s keeps %d of %s, those who may stay hold %d", state.Quota.Queues[q].Path, kept, state.Res.Name(amount.Dim(d)), sum)
		}
	}
}

// reclaim: just below the common ancestor, no queue falls below its guarantee of
// GPUs by reclaim, but for the one unit that straddled it.
func (w *witness) reclaim(state *world.World, p *plan.Plan) {
	tree := state.Quota
	excused := map[quota.Q]bool{}
	sides := map[quota.Q]string{}
	for _, e := range p.Evictions {
		from, by := state.Job(e.Job), state.Job(e.For)
		if e.Rule != plan.RuleReclaim || by == nil || from == nil {
			for q := from.Queue; q != quota.None; q = tree.Queues[q].Parent {
				excused[q] = true
			}
			continue
		}
		if gpu := asksGPU(state, by); gpu {
			side := tree.Below(from.Queue, tree.CommonAncestor(from.Queue, by.Queue))
			sides[side] = e.Job + " for " + e.For
		}
	}
	for q := range tree.Queues {
		pair, hit := sides[quota.Q(q)]
		g := tree.Guaranteed(quota.Q(q))[amount.GPU]
		if used := tree.Used(quota.Account(q))[amount.GPU]; hit && !excused[quota.Q(q)] && g != quota.Unset && used < g {
			w.note("%s is left with %d of its guarantee %d by reclaim of %s", tree.Queues[q].Path, used, g, pair)
		}
	}
}

func asksGPU(state *world.World, j *world.Job) bool {
	for i := range j.Groups {
		if _, ok := state.Shapes[j.Groups[i].Shape].Request.Get(amount.GPU); !ok {
			return false
		}
	}
	return true
}
