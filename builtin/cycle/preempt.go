package cycle

import (
	"slices"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/victim"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// preempt looks for victims for a job that its queue may run but no node has room
// for, or that only jobs of lower priority in its own queue keep from its quota.
// Reclaim is tried where the job is owed its guarantee, then priority inside the
// queue.
func (c *cycle) preempt(j *world.Job, owed bool, block *quota.Block) bool {
	var why string
	if j.Spec.NeverPreempts {
		c.noteVerdict("the job never preempts")
		return false
	}
	if leaving(j) {
		c.noteVerdict("some of its own tasks are still leaving")
		return false
	}
	if owed {
		var got *victim.Outcome
		if got, why = c.searcher().Reclaim(j); got != nil {
			c.evict(j, got)
			return true
		}
		c.wakeForVictims(j)
	}
	if block != nil && (block.TooMany || block.Forever) || !c.outranks(j) {
		c.noteVerdict(why)
		c.wakeForFresh(owed)
		return false
	}
	got, reason := c.searcher().Priority(j)
	if got != nil {
		c.evict(j, got)
		return true
	}
	if why == "" {
		why = reason
	}
	c.noteVerdict(why)
	c.wakeForVictims(j)
	c.wakeForFresh(true)
	return false
}

// leaving says whether tasks of the job are victims that still run: until they are
// gone it evicts nobody else.
func leaving(j *world.Job) bool {
	return slices.ContainsFunc(j.Tasks, func(t world.Task) bool { return t.State == world.Releasing })
}

// freshFor is how long after this instant tasks that started in it are looked at
// as victims at the latest: what starts now is none now.
const freshFor = spec.Second

// wakeForFresh asks for another cycle if a preemptor may only have failed because
// some tasks have just started.
func (c *cycle) wakeForFresh(mayPreempt bool) {
	if mayPreempt && c.newestStart() == c.now {
		c.wakeAt(c.now + freshFor)
	}
}

// outranks says whether a job of lower priority runs in the same leaf.
func (c *cycle) outranks(j *world.Job) bool {
	lowest, ok := c.lowestRunning(j.Queue)
	return ok && lowest < j.Spec.Priority
}

// lowestRunning is the lowest priority of the running jobs of a leaf, looked up
// once per cycle for all leaves.
func (c *cycle) lowestRunning(leaf quota.Q) (int64, bool) {
	c.surveyRunning()
	return c.lowest[leaf], c.hasLowest[leaf]
}

// newestStart is when the task that started last before this cycle did; now, if
// any started in it.
func (c *cycle) newestStart() spec.Time {
	if len(c.out.Binds) > 0 {
		return c.now
	}
	c.surveyRunning()
	return c.newest
}

func (c *cycle) surveyRunning() {
	if c.lowestOf != c.number {
		c.lowestOf = c.number
		size(&c.lowest, len(c.queues))
		size(&c.hasLowest, len(c.queues))
		clear(c.hasLowest)
		c.newest = -1 << 63
		c.w.EachPlaced(func(t *world.Task) {
			q, p := t.Job.Queue, t.Job.Spec.Priority
			if t.State == world.Bound {
				c.newest = max(c.newest, t.Since)
			}
			if t.State == world.Bound && (!c.hasLowest[q] || p < c.lowest[q]) {
				c.lowest[q], c.hasLowest[q] = p, true
			}
		})
	}
}

// searcher is the cycle's victim search; it gathers and prices the candidates
// when first asked.
func (c *cycle) searcher() *victim.Search {
	if c.search == nil {
		c.search, c.searchOf = &victim.Search{}, 0 // there is no cycle 0
	}
	if c.searchOf != c.number {
		c.search.Reset(c.w, c.x, c.price, c.now)
		c.search.Spared = c.spared
		if c.set.Protection != nil {
			c.search.Protect = c.protect
		}
		c.searchOf = c.number
	}
	return c.search
}

// price asks the victim policy of a leaf for the costs of candidates.
func (c *cycle) price(leaf quota.Q, b *policies.VictimBatch) string {
	b.Call = c.call()
	u := c.ask(policies.VictimCosts, c.w.Quota.Queues[leaf].Victims, b.N, func(p policies.Policy) error {
		clear(b.Cost)
		clear(b.Veto)
		return p.CostVictims(c.ctx, b)
	})
	if u.Fallback != "" {
		return u.Fallback + " (built-in, for " + u.Name + ")"
	}
	return u.Name + "@" + u.Version + " " + u.Digest
}

// evict adds victims and the places won to the plan.
func (c *cycle) evict(j *world.Job, got *victim.Outcome) {
	until := c.now
	for _, v := range got.Victims {
		notice := v.Job.Spec.Notice
		if v.Idle > 0 {
			notice = max(notice, c.w.Quota.Queues[v.Job.Queue].IdleGrace)
		}
		deadline := c.now + notice
		until = max(until, deadline)
		e := plan.Eviction{
			Job: v.Job.Spec.ID, Queue: c.w.Quota.Queues[v.Job.Queue].Path, Whole: v.Whole, For: j.Spec.ID,
			Rule: v.Rule, Notify: notice > 0, Deadline: deadline, Idle: v.Idle, Cost: v.Cost, LostMS: v.LostMS,
			Policy: v.Policy, Candidates: got.Candidates, Protected: got.Protected, Alternatives: got.Alternative, GPUs: v.GPUMilli,
		}
		for _, t := range v.Tasks {
			e.Tasks = append(e.Tasks, t.Index)
		}
		c.out.Evictions = append(c.out.Evictions, e)
		c.charged(v.Job.Queue)
	}
	c.unit++
	until += claimLife
	c.wakeAt(until)
	for _, t := range got.Placed {
		c.out.Claims = append(c.out.Claims, plan.Claim{
			Job: j.Spec.ID, Group: t.Group, Task: t.Index, Node: c.w.Nodes[t.Node].Name, Devices: t.Dev, Unit: c.unit, Until: until,
		})
	}
	c.explain(j, &plan.Why{Code: plan.WaitingForVictims, Text: victimsText(got)})
}

// wakeForVictims asks for another cycle when time alone may allow a preemption:
// the job's delay ends, those may be victims again who were spared, or victims grow out of their queues' minRuntime.
func (c *cycle) wakeForVictims(j *world.Job) {
	c.wakeAt(c.searcher().SparedUntil)
	c.wakeAt(victim.DelayedUntil(c.w, j))
	if c.minRuntime() == 0 || c.wokeForRuntime == c.number {
		return
	}
	c.wokeForRuntime = c.number
	c.w.EachPlaced(func(t *world.Task) {
		if t.State != world.Bound {
			return
		}
		for at := t.Job.Queue; at != quota.None; at = c.w.Quota.Queues[at].Parent {
			c.wakeAt(t.Since + c.w.Quota.Queues[at].MinRuntime)
		}
	})
}

// minRuntime is the longest minRuntime of any queue.
func (c *cycle) minRuntime() (longest spec.Duration) {
	for q := range c.w.Quota.Queues {
		longest = max(longest, c.w.Quota.Queues[q].MinRuntime)
	}
	return longest
}
