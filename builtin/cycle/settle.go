package cycle

import (
	"fmt"
	"slices"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// claimLife is how long a place is kept for a preemptor after its last victim
// should have gone, and for a replacement of a lost task.
const claimLife = 300 * spec.Second

// settle finishes what earlier plans began.
func (c *cycle) settle() {
	c.wake = 0
	c.endNotices()
	c.settleClaims()
	c.expireReservations()
}

// endNotices ends victims that saved their work or whose deadline has come.
func (c *cycle) endNotices() {
	c.forgetGone()
	for i := range c.w.Notices {
		n := &c.w.Notices[i]
		if n.IdleAfter > 0 && c.stays(n) {
			continue
		}
		if !n.Saved && c.now < n.Deadline {
			c.wakeAt(n.Deadline)
			continue
		}
		e := plan.End{Job: n.Job.Spec.ID, Saved: n.Saved}
		for _, t := range n.Tasks {
			c.w.Condemn(t)
			e.Tasks = append(e.Tasks, t.Index)
		}
		c.out.Ends = append(c.out.Ends, e)
	}
}

// forgetGone takes the victims that left before their notice was over out of it:
// what has started anew since must not be ended by it.
func (c *cycle) forgetGone() {
	gone := func(t *world.Task) bool { return t.State != world.Releasing }
	for i := range c.w.Notices {
		n := &c.w.Notices[i]
		n.Tasks = slices.DeleteFunc(n.Tasks, gone)
	}
	c.w.Notices = slices.DeleteFunc(c.w.Notices, func(n world.Notice) bool { return len(n.Tasks) == 0 })
}

// settleClaims starts the jobs whose places have become free, whole gangs only,
// and gives up claims whose time is over.
func (c *cycle) settleClaims() {
	claims := slices.Clone(c.w.Claims())
	slices.SortFunc(claims, world.CompareJobs)
	for _, j := range claims {
		switch {
		case c.mayStart(j):
			c.bindClaims(j)
		case c.lacksDevices(j):
			c.dropClaims(j, "a node has lost GPUs")
		case c.now >= j.ClaimExpiry:
			c.dropClaims(j, "what held them did not go in time")
		default:
			c.wakeAt(j.ClaimExpiry)
		}
	}
}

func (c *cycle) settled(j *world.Job) bool {
	for i := range j.Tasks {
		if t := &j.Tasks[i]; t.State == world.Claimed && !c.w.Settled(t) {
			return false
		}
	}
	return true
}

func (c *cycle) bindClaims(j *world.Job) {
	c.unit++
	for i := range j.Tasks {
		if t := &j.Tasks[i]; t.State == world.Claimed {
			c.w.Bind(t, c.now)
			c.bound(t, true)
		}
	}
}

// lacksDevices says whether a place is kept for a job on a GPU that is there no more.
func (c *cycle) lacksDevices(j *world.Job) bool {
	return slices.ContainsFunc(j.Tasks, func(t world.Task) bool { return t.State == world.Claimed && c.w.LacksDevice(&t) })
}

func (c *cycle) dropClaims(j *world.Job, why string) {
	c.w.GiveUpClaims(j)
	c.event(plan.EventExpired, j, fmt.Sprintf("%s gave up the places kept for it: %s", j.Spec.ID, why))
}

// expireReservations lifts reservations of gangs that have started or gone, and
// those whose time is over: other nodes may be better by now.
func (c *cycle) expireReservations() {
	for _, n := range c.w.Order() {
		j := c.w.Nodes[n].ReservedFor
		switch {
		case j == nil:
		case j.GangMissing() == 0 || j.Waiting == 0 || c.now >= j.ReservedUntil:
			c.unreserve(n)
		default:
			c.wakeAt(j.ReservedUntil)
		}
	}
}

func (c *cycle) unreserve(n world.NodeIx) {
	c.out.Reserved = append(c.out.Reserved, plan.Reservation{Node: c.w.Nodes[n].Name, Job: c.w.Nodes[n].ReservedFor.Spec.ID})
	c.w.Reserve(n, nil)
}

func (c *cycle) event(code string, j *world.Job, text string) {
	e := plan.Event{Code: code, Text: text}
	if j != nil {
		e.Job = j.Spec.ID
	}
	c.out.Events = append(c.out.Events, e)
}

// bound adds a task that starts now to the plan.
func (c *cycle) bound(t *world.Task, nominated bool) {
	j := t.Job
	if n := len(c.out.Binds); n == cap(c.out.Binds) {
		c.out.Binds = slices.Grow(c.out.Binds, 3*n+64) // a cold start fills a cluster: copy seldom
	}
	c.out.Binds = append(c.out.Binds, plan.Bind{
		Job: j.Spec.ID, Group: t.Group, Task: t.Index, Node: c.w.Nodes[t.Node].Name, Devices: t.Dev,
		Unit: c.unit, Nominated: nominated,
	})
}
