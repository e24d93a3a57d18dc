package cycle

import (
	"slices"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
)

// complete places the missing tasks of gangs of which a part holds something already,
// in order of (submit, id), before any other job of any queue is looked at: what they
// hold is of no use to anybody until they are whole. Quota binds them as it does others.
// Nobody is evicted for that a gang can't be completed, nor does it lose what it holds:
// how long it may wait so is for the adapter to say.
func (c *cycle) complete() {
	type part struct {
		leaf quota.Q
		at   int
		job  *world.Job
	}
	var parts []part
	for q := range c.queues {
		for i, j := range c.queues[q].jobs {
			if j.Incomplete() {
				parts = append(parts, part{quota.Q(q), i, j})
			}
		}
	}
	slices.SortFunc(parts, func(a, b part) int { return world.CompareJobs(a.job, b.job) })
	for _, p := range parts {
		if c.queues[p.leaf].status[p.at] == untried {
			c.serve(p.leaf, p.at, false)
		}
	}
}

// startGang places what is missing of a gang. If a part of it only has its places kept,
// the rest gets its places kept too: all of it starts together (settleClaims).
func (c *cycle) startGang(tasks []*world.Task, kept bool) {
	c.unit++
	for _, t := range tasks {
		if !kept {
			c.bound(t, false)
			continue
		}
		j := t.Job
		c.out.Claims = append(c.out.Claims, plan.Claim{
			Job: j.Spec.ID, Group: t.Group, Task: t.Index, Node: c.w.Nodes[t.Node].Name, Devices: t.Dev, Unit: c.unit, Until: j.ClaimExpiry,
		})
		c.wakeAt(c.now + 1) // nobody else's going need be waited for
	}
}

// mayStart says whether the places kept for a job may be taken now: all of them are
// free, and the gang is whole with them, or a part of it runs anyway.
func (c *cycle) mayStart(j *world.Job) bool {
	runs := func(t world.Task) bool { return t.State == world.Bound }
	return c.settled(j) && (j.GangMissing() == 0 || slices.ContainsFunc(j.Tasks, runs))
}
