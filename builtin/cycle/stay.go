package cycle

import (
	"fmt"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/world"
)

// stays takes an eviction back that stands only while its victim does nothing, if that is
// so no more, or if its time is over and nobody waits for its place. The job that it was
// to go for looks for another place in this very cycle.
func (c *cycle) stays(n *world.Notice) bool {
	reason := c.reasonToStay(n)
	if reason == "" {
		c.wakeAt(c.w.KnownUntil(n.Tasks, c.now) + 1)
		return false
	}
	lost, ok := c.w.StayAll(n)
	if !ok {
		return false
	}
	s := plan.Stay{Job: n.Job.Spec.ID, For: n.For, Reason: reason}
	for _, t := range n.Tasks {
		s.Tasks = append(s.Tasks, t.Index)
	}
	c.out.Stays = append(c.out.Stays, s)
	c.spared = append(c.spared, n.Job)
	c.event(plan.EventWithdrawn, n.Job, stayText(&s))
	for _, j := range lost {
		c.event(plan.EventExpired, j, fmt.Sprintf("%s gave up the places kept for it: %s stays there", j.Spec.ID, s.Job))
	}
	return true
}

func (c *cycle) reasonToStay(n *world.Notice) string {
	switch {
	case c.w.StillIdle(n, c.now):
		if (n.Saved || c.now >= n.Deadline) && !c.awaited(n) {
			return plan.StayUnneeded
		}
		return ""
	case c.idleAsFarAsKnown(n):
		return plan.StayUnknown
	}
	return plan.StayWoke
}

// idleAsFarAsKnown says whether no measurement says that a victim is busy: some may be
// missing, or some use may have gone unseen.
func (c *cycle) idleAsFarAsKnown(n *world.Notice) bool {
	for _, t := range n.Tasks {
		if _, idle, ok := c.w.UseOf(t, c.now); ok && c.w.GPUs(t) > 0 && idle < n.IdleAfter {
			return false
		}
	}
	return true
}

func (c *cycle) awaited(n *world.Notice) bool {
	for _, t := range n.Tasks {
		if c.w.Awaited(t) {
			return true
		}
	}
	return false
}

func stayText(s *plan.Stay) string {
	why := map[string]string{
		plan.StayWoke:     "its GPUs are busy again",
		plan.StayUnknown:  "nobody knows any more what its GPUs do",
		plan.StayUnneeded: "nobody needs its place any more",
	}[s.Reason]
	return fmt.Sprintf("%s, which was to go for %s, stays: %s", s.Job, s.For, why)
}
