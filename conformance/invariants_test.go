package conformance

import (
	"fmt"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
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
	for _, j := range state.Jobs() {
		w.job(j)
	}
	for n := range state.Nodes {
		w.node(state, world.NodeIx(n))
	}
	w.reclaim(state, t.Taken)
}

// queues: usage stays within max everywhere, and a parent is the sum of its
// children.
func (w *witness) queues(state *world.World, now map[string]amount.Amount) {
	tree := state.Quota
	for q := range tree.Queues {
		used, most := tree.Used(quota.Account(q)), tree.MaxOf(quota.Account(q))
		for d := range used {
			key := fmt.Sprintf("%s %s", tree.Queues[q].Path, tree.Res.Name(amount.Dim(d)))
			now[key] = used[d]
			if used[d] > most[d] && used[d] > w.highest[key] {
				w.note("%s: uses %d of max %d", key, used[d], most[d])
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

// limits: no user holds more GPUs in a queue than its limit for each user says.
func (w *witness) limits(state *world.World, now map[string]amount.Amount) {
	tree := state.Quota
	for q := range tree.Queues {
		held := map[string]amount.Amount{}
		state.EachPlaced(func(t *world.Task) {
			if (t.State == world.Bound || t.State == world.Claimed) && below(tree, t.Job.Queue, quota.Q(q)) {
				held[t.Job.Spec.User] += state.GPUs(t)
			}
		})
		for user, used := range held {
			key := tree.Queues[q].Path + " " + user
			now[key] = used
			for _, l := range tree.Queues[q].Spec.Limits {
				if most, ok := l.Max.Get(amount.GPUName); ok && used > most && used > w.highest[key] {
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
	if !j.Incomplete() {
		delete(w.cut, j.Spec.ID)
	} else if missing := j.GangMissing(); !w.cut[j.Spec.ID] {
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
	others, held := state.ForeignUse(n)
	for _, e := range others {
		free[e.Dim] -= e.Amount
	}
	running := append([]amount.Amount(nil), free...)
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
	for d := range free {
		if foreign, _ := others.Get(amount.Dim(d)); running[d] < min(0, -foreign) { // others ask nobody
			w.note("%s runs %d too much of %s", nd.Name, -running[d], state.Res.Name(amount.Dim(d)))
		}
		if free[d] != state.Free(n)[d] {
			w.note("%s says that %d of %s are free, it is %d", nd.Name, state.Free(n)[d], state.Res.Name(amount.Dim(d)), free[d])
		}
	}
	for i := range dev {
		if held&(1<<i) != 0 {
			dev[i] += 1000
		}
		if busy[i] > 1000 {
			w.note("%s runs %d thousandths on device %d", nd.Name, busy[i], i)
		}
		if 1000-dev[i] != state.Dev(n)[i] {
			w.note("%s says that %d of device %d are free, it is %d", nd.Name, state.Dev(n)[i], i, 1000-dev[i])
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
