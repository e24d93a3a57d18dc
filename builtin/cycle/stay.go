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
	c.event(plan.EventWithdrawn, n.Job, stayText(&s, lost))
	c.wakeAt(c.now + freshFor) // from the next cycle on, it may go if nobody else can
	return true
}

func (c *cycle) reasonToStay(n *world.Notice) string {
	switch {
	case c.w.StillIdle(n, c.now):
		if (n.Saved || c.now >= n.Deadline) && !c.awaited(n) {
			return plan.StayUnneeded
		}
		return ""
	case c.w.KnownUntil(n.Tasks, c.now) == 0:
		return plan.StayUnknown
	}
	return plan.StayWoke
}

func (c *cycle) awaited(n *world.Notice) bool {
	for _, t := range n.Tasks {
		if c.w.Awaited(t) {
			return true
		}
	}
	return false
}

func stayText(s *plan.Stay, lost []*world.Job) string {
	why := map[string]string{
		plan.StayWoke:     "its GPUs are busy again",
		plan.StayUnknown:  "nobody knows any more what its GPUs do",
		plan.StayUnneeded: "nobody needs its place any more",
	}[s.Reason]
	text := fmt.Sprintf("%s, which was to go for %s, stays: %s", s.Job, s.For, why)
	for _, j := range lost {
		text += fmt.Sprintf("; %s looks for another place", j.Spec.ID)
	}
	return text
}
