package cycle

import (
	"fmt"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/world"
)

// Accept makes permanent what a plan implies beyond the places of tasks: attempts,
// reasons, who evicted whom, notices given, until when places and nodes are kept. The ledger calls it with the part of
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
	acceptStays(w, p)
	for _, e := range p.Evictions {
		acceptEviction(w, p, e)
	}
	for _, cl := range p.Claims {
		w.Job(cl.Job).ClaimExpiry = cl.Until
	}
	for _, r := range p.Reserved {
		if r.Until != 0 {
			w.Job(r.Job).ReservedUntil = r.Until
		}
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

// acceptEnds drops the notices that are over. An eviction that could be taken back is
// history only now.
func acceptEnds(w *world.World, p *plan.Plan) {
	for _, e := range p.Ends {
		n := w.NoticeOf(w.Job(e.Job), e.Tasks)
		if n == nil {
			continue
		}
		if n.IdleAfter > 0 {
			remember(w, p, n.For, n.Job)
		}
		w.DropNotice(n)
	}
}

// acceptStays drops the notices that are void.
func acceptStays(w *world.World, p *plan.Plan) {
	for _, s := range p.Stays {
		n := w.NoticeOf(w.Job(s.Job), s.Tasks)
		if n == nil {
			continue
		}
		n.Job.Stayed = p.Now
		if s.Reason != plan.StayUnneeded {
			n.Job.Woke = p.Now
		}
		w.DropNotice(n)
	}
}

func acceptEviction(w *world.World, p *plan.Plan, e plan.Eviction) {
	j := w.Job(e.Job)
	n := world.Notice{Job: j, For: e.For, Deadline: e.Deadline}
	for _, i := range e.Tasks {
		n.Tasks = append(n.Tasks, &j.Tasks[i])
	}
	if e.Idle > 0 {
		n.IdleAfter = w.Quota.Queues[j.Queue].IdleAfter
		n.Missing = w.MissingWith(j, n.Tasks)
	} else {
		remember(w, p, e.For, j)
	}
	if e.Notify {
		w.Notices = append(w.Notices, n)
	}
}

// remember makes an eviction history: a job that has evicted another must not be evicted
// by it.
func remember(w *world.World, p *plan.Plan, by string, j *world.Job) {
	j.Evicted++
	if w.Job(by) == nil {
		return
	}
	of := j.Spec.ID
	frozen := w.Frozen(by, of)
	w.NoteEviction(by, of, p.Now)
	if !frozen && w.Frozen(by, of) {
		p.Events = append(p.Events, plan.Event{
			Code: plan.EventFrozen, Job: by,
			Text: fmt.Sprintf("%s and %s have evicted each other; from now on neither may evict the other", by, of),
		})
	}
}
