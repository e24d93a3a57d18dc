package cycle

import (
	"fmt"
	"slices"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/world"
)

// Accept makes permanent what a plan implies beyond the places of tasks: attempts,
// reasons, who evicted whom, notices given. The ledger calls it with the part of
// the plan that it took, after which the world is as that part would make it.
// Whole says that nothing was left out.
func Accept(w *world.World, p *plan.Plan, whole bool) {
	if c, ok := w.Index.(*cycle); ok {
		c.judgements = c.judgements[:0] // the verdicts stay
		if whole {
			c.acceptReasons(p)
		}
	}
	acceptEnds(w, p)
	for _, e := range p.Evictions {
		acceptEviction(w, p, e)
	}
	for _, cl := range p.Claims {
		w.Job(cl.Job).ClaimExpiry = cl.Until
	}
}

func (c *cycle) acceptReasons(p *plan.Plan) {
	for _, j := range c.tried {
		j.Attempts++
		j.Blocked = 0
	}
	for _, h := range c.heads {
		h.job.Blocked = h.since
	}
	for _, r := range c.waiting {
		r.job.Notes = r.why
	}
	for i := range p.Binds {
		if i > 0 && p.Binds[i].Job == p.Binds[i-1].Job {
			continue
		}
		if j := c.w.Job(p.Binds[i].Job); j.Waiting == 0 {
			j.Notes, j.Blocked = nil, 0
		}
	}
}

// acceptEnds drops the notices that are over.
func acceptEnds(w *world.World, p *plan.Plan) {
	for _, e := range p.Ends {
		w.Notices = slices.DeleteFunc(w.Notices, func(n world.Notice) bool {
			first := func(t *world.Task) bool { return t.Index == e.Tasks[0] }
			return n.Job.Spec.ID == e.Job && slices.ContainsFunc(n.Tasks, first)
		})
	}
}

func acceptEviction(w *world.World, p *plan.Plan, e plan.Eviction) {
	j := w.Job(e.Job)
	j.Evicted++
	frozen := w.Frozen(e.For, e.Job)
	w.NoteEviction(e.For, e.Job, p.Now)
	if !frozen && w.Frozen(e.For, e.Job) {
		p.Events = append(p.Events, plan.Event{
			Code: plan.EventFrozen, Job: e.For,
			Text: fmt.Sprintf("%s and %s have evicted each other; from now on neither may evict the other", e.For, e.Job),
		})
	}
	if !e.Notify {
		return
	}
	n := world.Notice{Job: j, Deadline: e.Deadline}
	for _, i := range e.Tasks {
		n.Tasks = append(n.Tasks, &j.Tasks[i])
	}
	w.Notices = append(w.Notices, n)
}
