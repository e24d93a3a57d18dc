package victim

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/gang"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/world"
)

// place is where a trial put a task.
type place struct {
	task *world.Task
	node world.NodeIx
	dev  uint64
}

// try releases a set on the undo log, with everything that is leaving anyway,
// places the job, and takes it all back. It returns the places, nil if there are
// not enough.
func (s *Search) try(a *ask, set []int32) []place {
	w := s.w
	mark := w.Mark()
	defer w.Rollback(mark)
	for _, t := range s.pool.releasing {
		if t.State == world.Releasing && t.Node != world.NoNode {
			w.Vacate(t)
		}
	}
	for _, n := range set {
		s.vacate(a, &s.pool.units[n])
	}
	if w.Quota.Fits(a.job.Chain, a.missing, 1).Blocked {
		return nil
	}
	if a.job.Placed == 0 && w.Quota.AppsFit(a.job.Chain).Blocked {
		return nil
	}
	placed := s.placeNow(a)
	places := make([]place, 0, len(placed))
	for _, t := range placed {
		places = append(places, place{t, t.Node, t.Dev})
	}
	if len(places) == 0 {
		return nil
	}
	return places
}

func (s *Search) placeNow(a *ask) []*world.Task {
	if a.surplus < 0 {
		placed, _ := gang.Place(s.x, s.w, a.job, world.Claimed, s.now)
		return placed
	}
	t, _ := gang.One(s.x, s.w, a.job, a.surplus, world.Claimed, s.now)
	if t == nil {
		return nil
	}
	return []*world.Task{t}
}

// prove tries the set, gives back what the trial shows not to be needed, and
// carries it out. It returns nil if the job finds no place.
func (s *Search) prove(a *ask, set []int32, level int) *Outcome {
	places := s.try(a, set)
	if places == nil {
		return nil
	}
	if len(s.f.shapes) > 1 || s.x.Filter != nil || a.job.Relates() {
		set, places = s.giveBack(a, set, places)
	}
	return s.commit(a, set, places, level)
}

// giveBack drops every unit without which the job still finds a place, the most
// expensive first.
func (s *Search) giveBack(a *ask, set []int32, places []place) ([]int32, []place) {
	byCost := slices.Clone(set)
	slices.SortFunc(byCost, func(x, y int32) int {
		p, q := &s.pool.units[x], &s.pool.units[y]
		return cmp.Or(cmp.Compare(a.costOf(q), a.costOf(p)), cmp.Compare(q.cost, p.cost), cmp.Compare(x, y))
	})
	for _, u := range byCost {
		without := slices.DeleteFunc(slices.Clone(set), func(o int32) bool { return o == u })
		if p := s.try(a, without); p != nil {
			set, places = without, p
		}
	}
	return set, places
}

// commit evicts the set and claims the places. Room is negative there until the
// victims are gone.
func (s *Search) commit(a *ask, set []int32, places []place, level int) *Outcome {
	straddlers := s.straddlers(set, level)
	o := &Outcome{}
	mark := s.w.Mark()
	for _, n := range set {
		u := &s.pool.units[n]
		for _, t := range u.tasks {
			if a.first(u) {
				s.w.EvictRevocably(t)
			} else {
				s.w.Evict(t)
			}
			s.pool.releasing = append(s.pool.releasing, t)
		}
		rule := a.rule
		if slices.Contains(straddlers, n) {
			rule = plan.RuleStraddle
		}
		if a.first(u) {
			o.addIdle(u, rule)
		} else {
			o.addVictim(u, rule)
		}
	}
	for i := range o.Victims {
		v := &o.Victims[i]
		v.Whole = v.Job.Placed == 0
		slices.SortFunc(v.Tasks, func(a, b *world.Task) int { return cmp.Compare(a.Index, b.Index) })
	}
	for _, p := range places {
		s.w.Place(p.task, p.node, p.dev, world.Claimed, s.now)
		o.Placed = append(o.Placed, p.task)
	}
	s.w.Keep(mark)
	return o
}

// addIdle adds a unit that is chosen for being idle: each by itself, since each may wake
// up by itself.
func (o *Outcome) addIdle(u *unit, rule plan.Rule) {
	o.Victims = append(o.Victims, Victim{
		Job: u.job, Rule: rule, Policy: u.policy, Tasks: slices.Clone(u.tasks), Idle: u.quiet,
		Cost: u.cost, LostMS: u.lost, GPUMilli: u.gpu,
	})
}

// addVictim joins the surplus units of one job, which are neighbours but for idle ones.
func (o *Outcome) addVictim(u *unit, rule plan.Rule) {
	n := len(o.Victims) - 1
	for n >= 0 && o.Victims[n].Job == u.job && o.Victims[n].Idle > 0 {
		n--
	}
	if n < 0 || o.Victims[n].Job != u.job {
		n = len(o.Victims)
		o.Victims = append(o.Victims, Victim{Job: u.job, Rule: rule, Policy: u.policy})
	}
	v := &o.Victims[n]
	v.Tasks = append(v.Tasks, u.tasks...)
	v.Cost = int64(amount.Amount(v.Cost).Add(amount.Amount(u.cost)))
	v.LostMS += u.lost
	v.GPUMilli += u.gpu
	if rule == plan.RuleStraddle {
		v.Rule = rule
	}
}

// straddlers are the units of a set that take a queue below its guarantee.
func (s *Search) straddlers(set []int32, level int) (out []int32) {
	if level < straddling || s.f.ask.rule == plan.RulePriority {
		return nil
	}
	s.f.build(set, level)
	s.lo.start(&s.f)
	for u := range s.f.units {
		s.lo.add(int32(u))
	}
	for i := range s.f.queues {
		if s.lo.paid[i] > s.f.queues[i].slack {
			if u, ok := s.lo.straddler(int32(i)); ok {
				out = append(out, s.f.units[u].number)
			}
		}
	}
	return out
}

// withoutVictims claims what earlier victims are about to leave, if that is
// enough. If the job fits as things are, there is nothing to preempt for. It is
// not ok if the tasks, of several shapes, find no place together.
func (s *Search) withoutVictims(a *ask) (o *Outcome, why string, ok bool) {
	places := s.try(a, nil)
	if places == nil {
		return nil, reasonPieces, false
	}
	waits := slices.ContainsFunc(s.pool.releasing, func(t *world.Task) bool {
		return t.State == world.Releasing && slices.ContainsFunc(places, func(p place) bool { return p.node == t.Node })
	})
	if !waits {
		return nil, reasonNothing, true
	}
	return s.commit(a, nil, places, borrowed), "", true
}
