package cycle

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/gang"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
)

// place serves one unit at a time, a gang or one surplus task, until no queue has
// work that can start: descend to the next leaf, take its first job, place it.
// What is placed changes the shares at once.
func (c *cycle) place() {
	for {
		leaf, owed := c.descend()
		if leaf == quota.None {
			return
		}
		s := &c.queues[leaf]
		i := c.nextJob(leaf, owed)
		switch {
		case i >= 0:
			c.serve(leaf, i, owed)
		case owed && s.next < len(s.jobs):
			c.exhaustOwed(leaf)
		default:
			c.close(leaf)
		}
	}
}

// descend walks from the root to the leaf whose turn it is. owed says that a
// queue on the way is owed its guarantee: then only jobs inside it may start.
func (c *cycle) descend() (leaf quota.Q, owed bool) {
	q := quota.Root
	for !c.w.Quota.Queues[q].Leaf {
		heap := c.queues[q].heap
		if len(heap) == 0 {
			return quota.None, false
		}
		q = heap[0]
		owed = owed || c.tier(q) == 0
	}
	if q == quota.Root && c.queues[q].next >= len(c.queues[q].jobs) { // the root is the only queue
		return quota.None, false
	}
	return q, owed
}

// nextJob is the position of the job that a leaf offers next, -1 if it has none.
func (c *cycle) nextJob(leaf quota.Q, owed bool) int {
	s := &c.queues[leaf]
	if owed {
		for ; s.owed < len(s.jobs); s.owed++ {
			if s.status[s.owed] == untried && c.insideOwed(leaf, s.jobs[s.owed]) {
				return s.owed
			}
			if c.w.Quota.Queues[leaf].StrictFIFO && s.status[s.owed] != done {
				break
			}
		}
		c.skipTried(s)
		return -1
	}
	c.skipTried(s)
	if s.next < len(s.jobs) {
		return s.next
	}
	return -1
}

func (c *cycle) skipTried(s *queueState) {
	for s.next < len(s.jobs) && s.status[s.next] != untried {
		s.next++
	}
}

// insideOwed says whether a job's next unit stays inside the guarantee of every
// queue above it in whose name it would start.
func (c *cycle) insideOwed(leaf quota.Q, j *world.Job) bool {
	unit, n := c.nextUnit(j)
	for q := leaf; q > quota.Root; q = c.w.Quota.Queues[q].Parent {
		if c.tier(q) == 0 && !c.w.Quota.WithinGuarantee(q, unit, n) {
			return false
		}
	}
	return true
}

// nextUnit is what the job would ask for next: n times a request.
func (c *cycle) nextUnit(j *world.Job) (amount.List, int64) {
	if missing := j.GangMissing(); missing > 0 {
		if len(j.Groups) == 1 {
			return c.w.Shapes[j.Groups[0].Shape].Request, int64(missing)
		}
		return gang.Missing(c.w, j, c.sums()), 1
	}
	if g := c.nextSurplus(j); g >= 0 {
		return c.w.Shapes[j.Groups[g].Shape].Request, 1
	}
	return nil, 1
}

func (c *cycle) sums() []amount.Amount {
	size(&c.sum, c.w.R())
	return c.sum
}

// serve tries to start the next unit of a job: on free nodes, else on those of
// victims, if it may have any. What is inside a guarantee may, whatever rank the
// fairness policy gave its queue: a policy orders, it does not take rights away.
func (c *cycle) serve(leaf quota.Q, i int, owed bool) {
	s := &c.queues[leaf]
	j := s.jobs[i]
	if block := c.quotaBlock(j); block.Blocked {
		owed = owed || c.insideGuarantee(j)
		if c.preempt(j, owed && c.aboveLeaf(j, block), &block) {
			c.placed(leaf, i)
			return
		}
		c.blockedByQuota(j, block)
		c.fail(leaf, i, failed)
		return
	}
	if len(c.verdicts) > 0 {
		owed = owed || c.insideGuarantee(j)
		if v := c.verdictOn(j, owed); v != nil {
			c.blockedByNodes(j, v)
			c.fail(leaf, i, noRoom)
			return
		}
	}
	ok, why := c.start(j)
	if !ok {
		owed = owed || c.insideGuarantee(j)
		ok = c.preempt(j, owed, nil)
	}
	if !ok && owed {
		ok = c.overrule(j)
	}
	if ok {
		c.placed(leaf, i)
		return
	}
	c.blockedByNodes(j, c.learn(j, owed, why))
	c.fail(leaf, i, noRoom)
}

// quotaBlock is the first account without room for the job's next unit.
func (c *cycle) quotaBlock(j *world.Job) quota.Block {
	if !j.Running() {
		if b := c.w.Quota.AppsFit(j.Chain); b.Blocked {
			return b
		}
	}
	unit, n := c.nextUnit(j)
	return c.w.Quota.Fits(j.Chain, unit, n)
}

// aboveLeaf says whether the full account is a queue above the job's leaf: then
// what its siblings have borrowed may be what fills it.
func (c *cycle) aboveLeaf(j *world.Job, b quota.Block) bool {
	return !b.TooMany && int(b.Account) < len(c.queues) && quota.Q(b.Account) != j.Queue
}

// start places the job's next unit on nodes that are free.
func (c *cycle) start(j *world.Job) (bool, gang.Failure) {
	first := len(c.out.Binds)
	if j.GangMissing() > 0 {
		kept, state := j.Claiming > 0, world.Bound
		if kept {
			state = world.Claimed
		}
		tasks, why := gang.Place(c.x, c.w, j, state, c.now)
		if tasks == nil {
			return false, why
		}
		c.startGang(tasks, kept)
	} else {
		t, why := c.startSurplus(j)
		if t == nil {
			return false, why
		}
		c.unit++
		c.bound(t, false)
	}
	c.markBorrowed(j, first)
	return true, gang.Failure{}
}

// startSurplus places one task above the gang: of the first group that quota and
// nodes have room for. A failure is told for the first group that quota allows.
func (c *cycle) startSurplus(j *world.Job) (t *world.Task, why gang.Failure) {
	told := false
	for g := gang.NextSurplus(j); g >= 0; g = gang.SurplusFrom(j, g+1) {
		if len(j.Groups) > 1 && c.w.Quota.Fits(j.Chain, c.w.Shapes[j.Groups[g].Shape].Request, 1).Blocked {
			continue
		}
		t, fail := gang.One(c.x, c.w, j, g, world.Bound, c.now)
		if t != nil {
			return t, gang.Failure{}
		}
		if !told {
			why, told = fail, true
		}
	}
	return nil, why
}

// nextSurplus is the group whose task the job asks for next: the first that quota
// has room for, else the first.
func (c *cycle) nextSurplus(j *world.Job) int {
	first := gang.NextSurplus(j)
	if len(j.Groups) == 1 {
		return first
	}
	for g := first; g >= 0; g = gang.SurplusFrom(j, g+1) {
		if !c.w.Quota.Fits(j.Chain, c.w.Shapes[j.Groups[g].Shape].Request, 1).Blocked {
			return g
		}
	}
	return first
}

// markBorrowed notes on the unit's binds that its leaf is now above its guarantee.
func (c *cycle) markBorrowed(j *world.Job, first int) {
	for _, e := range c.w.Shapes[j.Groups[0].Shape].Request {
		if g := c.w.Quota.Guaranteed(j.Queue)[e.Dim]; g != quota.Unset && c.w.Quota.Excess(j.Queue, e.Dim) > 0 {
			for i := first; i < len(c.out.Binds); i++ {
				c.out.Binds[i].Borrowed = true
			}
			return
		}
	}
}

// placed moves on after a success.
func (c *cycle) placed(leaf quota.Q, i int) {
	s := &c.queues[leaf]
	j := s.jobs[i]
	if j.Waiting == 0 || j.GangMissing() == 0 && gang.NextSurplus(j) < 0 || !gangRuns(j) {
		s.status[i] = done
	}
	c.charged(leaf)
}

// gangRuns says whether no part of the gang only has its places kept. Until it
// runs, no surplus is added: it would be left alone if the places were lost.
func gangRuns(j *world.Job) bool {
	if j.Claiming == 0 {
		return true
	}
	for i := range j.Groups {
		g := &j.Groups[i]
		bound := g.Finished
		for k := g.First; k < g.First+g.Size; k++ {
			if j.Tasks[k].State == world.Bound {
				bound++
			}
		}
		if bound < g.Min {
			return false
		}
	}
	return true
}

// fail moves on after a job could not start; behind it, a strict queue stops.
func (c *cycle) fail(leaf quota.Q, i int, how jobStatus) {
	s := &c.queues[leaf]
	s.status[i] = how
	c.tried = append(c.tried, s.jobs[i])
	if !c.w.Quota.Queues[leaf].StrictFIFO {
		return
	}
	for k := i + 1; k < len(s.jobs); k++ {
		if s.status[k] == untried {
			s.status[k] = failed
			c.explain(s.jobs[k], &plan.Why{Code: plan.BehindBlocked, Text: "behind " + s.jobs[i].Spec.ID + " in a strict queue"})
		}
	}
}
