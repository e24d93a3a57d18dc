package cycle

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/gang"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// findHeads notes, for each leaf, the first gang that is held up by nodes alone.
func (c *cycle) findHeads() {
	for q := range c.queues {
		s := &c.queues[q]
		for i, j := range s.jobs {
			if s.status[i] != noRoom || j.GangMissing() == 0 {
				continue
			}
			since := j.Blocked
			if since == 0 {
				since = max(1, c.now) // 0 is "not blocked"
			}
			c.heads = append(c.heads, head{j, since})
			break
		}
	}
}

// reserve keeps nodes for gangs that were first in their leaf and skipped for
// longer than its reserveAfter: smaller jobs behind them must not take every
// place that comes free for ever.
func (c *cycle) reserve() {
	c.findHeads()
	for _, h := range c.heads {
		after := c.w.Quota.Queues[h.job.Queue].ReserveAfter
		if after < 0 || h.job.Reserved > 0 {
			continue
		}
		if c.now < h.since+after {
			c.wakeAt(h.since + after)
			continue
		}
		if !c.passedOver(h) {
			continue
		}
		if nodes := c.nodesFor(h.job); nodes != nil {
			// A gang that still waits when its time is over gets twice as long.
			c.reserveNodes(h.job, nodes, c.now+max(after, c.now-h.since))
		}
	}
}

// passedOver says whether a smaller job has started, since the gang has to wait,
// where the gang could have. If none has, the gang waits because the pool is full,
// not because others slip past it, and keeping nodes for it would help nobody.
func (c *cycle) passedOver(h head) bool {
	found := false
	own := c.gangSize(h.job)
	c.w.EachPlaced(func(t *world.Task) {
		if found || t.Job == h.job || t.Since <= h.since || t.State == world.Releasing || !smaller(c.gangSize(t.Job), own) {
			return
		}
		found = slices.ContainsFunc(h.job.Groups, func(g world.Group) bool { return c.w.RunsOn(g.Shape, t.Node) })
	})
	return found
}

// gangSize is what a job asks for at once, its gang or one task: GPUs and cpu.
func (c *cycle) gangSize(j *world.Job) (size [2]amount.Amount) {
	for i := range j.Groups {
		g := &j.Groups[i]
		for k, d := range [...]amount.Dim{amount.GPU, amount.CPU} {
			a, _ := c.w.Shapes[g.Shape].Request.Get(d)
			size[k] = size[k].Add(a.Mul(max(1, int64(g.Min))))
		}
	}
	return size
}

// smaller compares by GPUs, then by cpu.
func smaller(a, b [2]amount.Amount) bool {
	return a[0] < b[0] || a[0] == b[0] && a[1] < b[1]
}

// overrule places a job that is owed its guarantee, on nodes that are kept for
// gangs that are not, or with victims on them: being passed over gives a gang a
// turn, not a right above others' guarantees. Gangs whose nodes are not used keep
// them.
func (c *cycle) overrule(j *world.Job) bool {
	m := c.w.Mark()
	kept := c.liftReservations(j)
	ok := false
	if len(kept) > 0 {
		if ok, _ = c.start(j); !ok {
			ok = c.preempt(j, true, nil)
		}
	}
	if !ok {
		c.w.Rollback(m)
		return false
	}
	c.w.Keep(m)
	c.restoreReservations(kept, j)
	return true
}

type keptNode struct {
	n   world.NodeIx
	job *world.Job
}

// liftReservations frees the nodes that are kept for gangs outside their
// guarantees.
func (c *cycle) liftReservations(j *world.Job) (kept []keptNode) {
	for _, n := range c.w.Order() {
		if o := c.w.Nodes[n].ReservedFor; o != nil && o != j && !c.insideGuarantee(o) {
			kept = append(kept, keptNode{n, o})
		}
	}
	for _, k := range kept {
		c.w.Reserve(k.n, nil)
	}
	return kept
}

// insideGuarantee says whether a job's next unit stays inside the guarantee of any
// queue above it.
func (c *cycle) insideGuarantee(j *world.Job) bool {
	unit, n := c.nextUnit(j)
	for q := j.Queue; q > quota.Root; q = c.w.Quota.Queues[q].Parent {
		if c.w.Quota.HasGuarantee(q) && c.w.Quota.WithinGuarantee(q, unit, n) {
			return true
		}
	}
	return false
}

// restoreReservations gives the nodes back to the gangs of which j uses none.
func (c *cycle) restoreReservations(kept []keptNode, j *world.Job) {
	used := func(o *world.Job) bool {
		return slices.ContainsFunc(kept, func(k keptNode) bool {
			return k.job == o && slices.ContainsFunc(j.Tasks, func(t world.Task) bool { return t.Node == k.n })
		})
	}
	for _, k := range kept {
		if used(k.job) {
			c.out.Reserved = append(c.out.Reserved, plan.Reservation{Node: c.w.Nodes[k.n].Name, Job: k.job.Spec.ID})
		} else {
			c.w.Reserve(k.n, k.job)
		}
	}
}

func (c *cycle) reserveNodes(j *world.Job, nodes []world.NodeIx, until spec.Time) {
	c.wakeAt(until)
	for _, n := range nodes {
		c.w.Reserve(n, j)
		c.out.Reserved = append(c.out.Reserved, plan.Reservation{Node: c.w.Nodes[n].Name, Job: j.Spec.ID, Until: until})
	}
	c.event(plan.EventReserved, j, fmt.Sprintf("%d nodes are kept for %s, which was passed over for too long", len(nodes), j.Spec.ID))
}

// nodesFor is the shortest prefix of the candidate nodes, those that free first
// in front, that could hold the gang once their tasks are gone. It is found by
// trial, doubling and then halving.
func (c *cycle) nodesFor(j *world.Job) []world.NodeIx {
	nodes := c.reservable(j)
	enough := func(k int) bool { return c.wouldFit(j, nodes[:k]) }
	high := 1
	for high < len(nodes) && !enough(high) {
		high *= 2
	}
	high = min(high, len(nodes))
	if high == 0 || !enough(high) {
		return nil
	}
	low := high / 2
	for low+1 < high {
		if mid := (low + high) / 2; enough(mid) {
			high = mid
		} else {
			low = mid
		}
	}
	return nodes[:high]
}

// reservable lists the nodes that some task of the gang may use, in the order in
// which they are expected to be free: by the declared ends of their tasks (those
// without one last), then the freest, then by name.
func (c *cycle) reservable(j *world.Job) []world.NodeIx {
	type candidate struct {
		n    world.NodeIx
		free spec.Time
		idle amount.Amount
	}
	var list []candidate
	for _, n := range c.w.Order() {
		nd := &c.w.Nodes[n]
		usable := c.w.Usable(n, j) && nd.ReservedFor == nil
		if usable && slices.ContainsFunc(j.Groups, func(g world.Group) bool { return c.w.RunsOn(g.Shape, n) }) {
			list = append(list, candidate{n, c.expectedFree(n), c.w.FreeOf(n, amount.GPU)})
		}
	}
	slices.SortStableFunc(list, func(a, b candidate) int {
		return cmp.Or(cmp.Compare(a.free, b.free), cmp.Compare(b.idle, a.idle))
	})
	nodes := make([]world.NodeIx, len(list))
	for i, l := range list {
		nodes[i] = l.n
	}
	return nodes
}

func (c *cycle) expectedFree(n world.NodeIx) (last spec.Time) {
	for _, t := range c.w.TasksOn(n) {
		if t.Job.Spec.Duration == 0 {
			return 1<<63 - 1
		}
		last = max(last, t.Since+t.Job.Spec.Duration)
	}
	return last
}

// wouldFit tries the gang on the nodes as if their tasks were gone and all other
// free room too.
func (c *cycle) wouldFit(j *world.Job, nodes []world.NodeIx) bool {
	m := c.w.Mark()
	defer c.w.Rollback(m)
	for _, n := range nodes {
		for _, t := range c.w.TasksOn(n) {
			c.w.Release(t)
		}
	}
	placed, _ := gang.Place(c.x, c.w, j, world.Bound, c.now)
	return placed != nil
}
