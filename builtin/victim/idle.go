package victim

import (
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// Reclaim of the idle. Where a queue says so (preemption.idle.after), units of it whose
// GPUs were watched to do nothing for so long are the first to be reclaimed: a set of
// them alone, if one will do; else the set that takes least of what is not idle. Only
// then does the policy's price decide, between the idle ones. Whatever is inside a
// guarantee, protected or vetoed is as safe as ever.
//
// Such evictions can be taken back, so what they free is room, not quota: where quota is
// what the job lacks, and where nothing but a unit that straddles will do, the policy's
// prices decide alone, as if nobody were idle.

// SparedFor is how long a job is no victim after an eviction of it was taken back. After
// that, and until it could have been idle for as long again, it goes last if it woke up.
const SparedFor = spec.Second

// choice is how the units of an ask are compared.
type choice uint8

const (
	byPolicy  choice = iota // by the policy's price
	onlyIdle                // likewise, but only idle ones may go
	idleFirst               // idle ones cost nothing
	idleLast                // only idle ones cost anything
)

// pass is one look for a set. In one that spares, those who have woken up don't go.
type pass struct {
	level  int
	choice choice
	spares bool
}

var (
	priorityPasses = []pass{{level: straddling}}
	reclaimPasses  = []pass{{level: unguaranteed}, {level: borrowed}, {level: straddling}}
	idlePasses     = []pass{
		{level: unguaranteed, choice: onlyIdle},
		{level: borrowed, choice: onlyIdle},
		{level: unguaranteed, choice: idleFirst},
		{level: borrowed, choice: idleFirst},
		{level: straddling},
	}
)

// passes are the looks for a set, the one preferred first.
func (s *Search) passes(a *ask) []pass {
	list := idlePasses
	if a.rule == plan.RulePriority {
		list = priorityPasses
	} else if s.pool.quiet == 0 || len(s.f.short) > 0 {
		list = reclaimPasses
	}
	if s.pool.woken == 0 {
		return list
	}
	var out []pass
	for _, p := range list {
		if p.choice != onlyIdle { // who is idle by now may go
			out = append(out, pass{p.level, p.choice, true})
		}
		out = append(out, p)
	}
	return out
}

// begin makes a pass that of the ask.
func (s *Search) begin(a *ask, p pass) {
	if (a.choice != p.choice || a.spares != p.spares) && a.refused != nil {
		a.refused = nil // by the trial of others
		s.f.prepare(s, a)
	}
	a.choice, a.spares = p.choice, p.spares
}

// mayGo says whether a unit may be in a set of the pass.
func (a *ask) mayGo(u *unit) bool {
	return (a.choice != onlyIdle || u.quiet > 0) && !(a.spares && u.woken)
}

// first says whether a unit goes before what is not idle.
func (a *ask) first(u *unit) bool { return u.quiet > 0 && a.choice != byPolicy }

// costOf is what a unit costs in the choice.
func (a *ask) costOf(u *unit) amount.Amount {
	if a.choice == idleFirst && u.quiet > 0 || a.choice == idleLast && u.quiet == 0 {
		return 0
	}
	return amount.Amount(u.cost)
}

// listen notes whether a unit goes first for being idle, or last since it woke up.
func (s *Search) listen(u *unit) {
	after := s.w.Quota.Queues[u.leaf].IdleAfter
	if after <= 0 {
		return
	}
	if u.woken = u.job.Woke > 0 && s.now < u.job.Woke+after; u.woken {
		s.pool.woken++
	}
	if !s.w.Measured {
		return
	}
	if quiet, ok := s.w.Quiet(u.tasks, s.now); ok && quiet >= after {
		u.quiet = quiet
		s.pool.quiet++
	}
}

// amongIdle replaces the idle units of a set by those that cost the policy least.
func (s *Search) amongIdle(a *ask, set, units []int32, level int) []int32 {
	isIdle := func(n int32) bool { return s.pool.units[n].quiet > 0 }
	if !slices.ContainsFunc(set, isIdle) || len(units) > ExactUnits && len(a.needs) > 1 { // found by stages
		return set
	}
	var may []int32
	for _, n := range units {
		if isIdle(n) || slices.Contains(set, n) {
			may = append(may, n)
		}
	}
	again := *a
	again.choice = idleLast
	s.f.prepare(s, &again)
	better, _ := s.among(&again, may, level)
	s.f.prepare(s, a)
	if better == nil {
		return set
	}
	return better
}

// vacate takes a unit off its nodes in a trial.
func (s *Search) vacate(a *ask, u *unit) {
	for _, t := range u.tasks {
		if t.State != world.Bound || !a.first(u) {
			s.w.Release(t)
			continue
		}
		s.w.EvictRevocably(t)
		s.w.Vacate(t)
	}
}
