// Package victim finds, for one job that may not wait, the cheapest set of
// running tasks whose eviction makes a place for it, and proves that it does.
//
// What may be evicted is decided by rules (the queues' guarantees, fences,
// minimum run times), what an eviction costs by a policy, and which set is taken
// by a search: exact up to ExactUnits candidates, and beyond that by greedy
// starts, local improvement and a bounded exact search. A set is taken only after
// a trial placement on the world's undo log has shown that the job then fits.
package victim

import (
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/gang"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// ExactUnits is the number of candidate units up to which the set found is the
// cheapest there is.
const ExactUnits = 20

// Pricer fills Cost and Veto of a batch whose units all belong to queues with the
// same victim policy, that of the given leaf, and names the policy that answered.
// It never fails: where a policy does, the built-in has answered.
type Pricer func(leaf quota.Q, b *policies.VictimBatch) (policy string)

// Search finds victims in one cycle. Candidates are gathered and priced when the
// first job asks, once per cycle; tasks that were evicted or placed since are
// recognised by their state, so a rollback of the world needs no notice.
type Search struct {
	w     *world.World
	x     *pack.Index
	price Pricer
	now   spec.Time
	// Protect, if set, keeps units out; it is asked once a cycle and leaf.
	Protect Protector
	kept    kept // by the rules, from the job looked at last
	// Spared jobs are no victims: evictions of them were taken back in this cycle. See
	// SparedFor.
	Spared []*world.Job
	// SparedUntil is when the first of those may be a victim again that a search had to
	// leave out, 0 if none had to.
	SparedUntil spec.Time

	pool   pool
	memo   memo
	f      field
	greedy greedy
	lo     state
	hi     state

	missing    []amount.Amount
	sides      []side
	legalUnits []int32
	levelUnits []int32
	near       []int32 // units of the nodes looked at
	offers     []offer
	stamps     []uint32 // unit → stamp of the last mark that had it
	stamp      uint32
}

// New returns a search for one cycle.
func New(w *world.World, x *pack.Index, price Pricer, now spec.Time) *Search {
	s := &Search{}
	s.Reset(w, x, price, now)
	return s
}

// Reset starts a new cycle and keeps the memory of the last one.
func (s *Search) Reset(w *world.World, x *pack.Index, price Pricer, now spec.Time) {
	if s.w != w {
		s.pool = pool{}
	}
	s.w, s.x, s.price, s.now, s.Protect, s.Spared, s.SparedUntil = w, x, price, now, nil, nil, 0
	s.pool.ready = false
	s.memo.reset()
}

// Victim is what one job loses: all it holds, or some of its surplus.
type Victim struct {
	Job   *world.Job
	Tasks []*world.Task // in order of their index
	Whole bool          // the job has nothing left after it
	// Cost is the policy's price, LostMS the work lost in GPU-milliseconds,
	// GPUMilli what the tasks hold.
	Cost, LostMS, GPUMilli int64
	Rule                   plan.Rule
	Policy                 string // that priced it
	// Idle is for how long its GPUs have done nothing, if it was chosen for that: it is
	// then one unit, and its eviction may be taken back. Else 0.
	Idle spec.Duration
}

// Outcome is a preemption that was carried out on the world. Victims is empty if
// the room that earlier victims are about to leave was enough.
type Outcome struct {
	Victims []Victim      // in order of job id
	Placed  []*world.Task // the preemptor's tasks, now claimed
	// Candidates is the number of units that were legal, Protected that of those that
	// would have been but for rules.
	Candidates, Protected int
	// Alternative is the cost of the cheapest other set that was found, 0 if none.
	Alternative int64
}

// The reasons why nobody is evicted.
const (
	reasonNothing   = "nothing to gain"
	reasonNone      = "no legal victims"
	reasonPieces    = "freed pieces would not make a place"
	reasonGuarantee = "queue would exceed its guarantee"
	reasonQuota     = "freed quota would not be enough"
	reasonWoke      = "its victims have just woken up"
	frozen          = "frozen:" // begins the reason that names a job
)

// Reclaim takes back for a job what other queues have borrowed, if the job's own
// queue stays within its guarantee with it. On success victims are releasing and
// the missing tasks of the gang (of a complete gang: one more task) are claimed,
// all on the undo log. Otherwise nothing has changed, and the reason is told.
func (s *Search) Reclaim(j *world.Job) (*Outcome, string) {
	return s.run(j, plan.RuleReclaim)
}

// Priority does the same inside the job's own leaf queue, with victims of
// strictly lower priority.
func (s *Search) Priority(j *world.Job) (*Outcome, string) {
	return s.run(j, plan.RulePriority)
}

// DelayedUntil is when a job may preempt at the earliest: preemption.delay of its
// queue after it was submitted, or after it last had to wait again since it was evicted
// itself.
func DelayedUntil(w *world.World, j *world.Job) spec.Time {
	return max(j.Spec.Submit, j.Waits) + w.Quota.Queues[j.Queue].PreemptionDelay
}

func (s *Search) run(j *world.Job, rule plan.Rule) (*Outcome, string) {
	if t := DelayedUntil(s.w, j); t > s.now {
		return nil, s.delayed(j)
	}
	if why := s.memo.recall(s.w, j, rule); why != "" {
		return nil, why
	}
	o, why := s.decide(j, rule)
	if o == nil && !strings.HasPrefix(why, frozen) {
		s.memo.note(s.w, j, rule, why)
	}
	return o, why
}

// domainsTried bounds the search for a gang that must be in one domain.
const domainsTried = 16

// decide looks for victims everywhere; those for a gang that must be in one domain are
// looked for in one after the other, the freest first, and the first set that will do is
// taken, which may not be the cheapest of all domains.
func (s *Search) decide(j *world.Job, rule plan.Rule) (o *Outcome, why string) {
	ask, ok := s.askOf(j)
	if !ok {
		return nil, reasonNothing
	}
	ask.rule = rule
	term, gathers := s.w.Gathers(j)
	if !gathers || ask.surplus >= 0 {
		return s.decideIn(ask)
	}
	why = reasonPieces
	domains := gang.Domains(s.w, j, term)
	for _, d := range domains[:min(len(domains), domainsTried)] {
		there := ask
		there.within = d.Domain
		if o, why = s.decideIn(there); o != nil {
			return o, ""
		}
	}
	return nil, why
}

func (s *Search) decideIn(ask ask) (*Outcome, string) {
	if ask.rule == plan.RuleReclaim && !s.entitled(&ask) {
		return nil, reasonGuarantee
	}
	s.gather()
	legal, why := s.legal(&ask)
	kept := s.kept
	s.f.prepare(s, &ask)
	if s.f.satisfied() {
		if o, why, ok := s.withoutVictims(&ask); ok || len(ask.needs) == 1 {
			return o, why
		}
	}
	candidates := 0
	for _, p := range s.passes(&ask) {
		s.begin(&ask, p)
		units := s.atLevel(&ask, legal, p.level)
		candidates = len(units)
		if o := s.attempt(&ask, units, p.level); o != nil {
			o.Candidates, o.Protected = candidates, kept.units
			return o, ""
		}
	}
	if candidates == 0 {
		return nil, kept.told(why)
	}
	if s.f.quotaShort() {
		return nil, kept.told(reasonQuota)
	}
	return nil, kept.told(reasonPieces)
}

// attempt finds a set on one level and proves it. Where the trial refuses what the
// search found, for reasons that only the adapter's filter or a quota of single
// GPU types knows, the nodes that refused are left out and the next best is tried.
func (s *Search) attempt(a *ask, units []int32, level int) *Outcome {
	for range refusals {
		set, alternative := s.solve(a, units, level)
		if len(set) == 0 {
			return nil
		}
		if a.choice == idleFirst {
			set, alternative = s.amongIdle(a, set, units, level), 0
		}
		if o := s.prove(a, set, level); o != nil {
			o.Alternative = int64(alternative)
			return o
		}
		s.refuse(a, set)
		s.f.prepare(s, a)
	}
	return nil
}

// refuse leaves out the nodes of a set that the filter refuses, or all of them if
// that is not the reason.
func (s *Search) refuse(a *ask, set []int32) {
	if len(a.refused) == 0 {
		a.refused = make([]bool, len(s.w.Nodes))
	}
	some := false
	for pass := range 2 {
		for _, u := range set {
			for _, t := range s.pool.units[u].tasks {
				no := pass > 0
				for _, n := range a.needs {
					no = no || s.x.Filter != nil && !s.x.Filter(n.shape, t.Node)
				}
				some = some || no
				a.refused[t.Node] = a.refused[t.Node] || no
			}
		}
		if some {
			return
		}
	}
}

// delayed says why a job may not preempt yet. It says the same as long as that is so.
func (s *Search) delayed(j *world.Job) string {
	from := "its arrival"
	if j.Waits > j.Spec.Submit {
		from = "when it had to wait again"
	}
	delay := time.Duration(s.w.Quota.Queues[j.Queue].PreemptionDelay).String()
	if strings.HasSuffix(delay, "m0s") {
		delay = strings.TrimSuffix(delay, "0s")
	}
	return "waits for preemption.delay, " + delay + " from " + from
}

// ask is what a job needs now.
type ask struct {
	job     *world.Job
	rule    plan.Rule
	choice  choice
	spares  bool
	surplus int // group of the one surplus task, -1 for the gang
	needs   []need
	missing amount.List // sum over needs
	scope   quota.Q     // victims come from below this queue
	// floor is the lowest queue on the job's path that is guaranteed something the
	// job asks for: the common ancestor with a victim is above it.
	floor   quota.Q
	refused []bool // nodes that the trial refused, nil if none
	// within is the domain in which a gang that gathers is tried.
	within world.Domain
}

// need is a number of equal tasks.
type need struct {
	shape world.ShapeID
	tasks int32
}

func (s *Search) askOf(j *world.Job) (ask, bool) {
	a := ask{job: j, surplus: -1}
	if j.GangMissing() > 0 {
		if len(s.missing) != s.w.R() {
			s.missing = make([]amount.Amount, s.w.R())
		}
		for i := range j.Groups {
			g := &j.Groups[i]
			a.require(g.Shape, g.Min-g.Placed-g.Finished)
		}
		a.missing = gang.Missing(s.w, j, s.missing)
		return a, true
	}
	if a.surplus = gang.NextSurplus(j); a.surplus < 0 {
		return a, false
	}
	a.require(j.Groups[a.surplus].Shape, 1)
	a.missing = s.w.Shapes[a.needs[0].shape].Request
	return a, true
}

func (a *ask) require(shape world.ShapeID, tasks int32) {
	if tasks <= 0 {
		return
	}
	for i := range a.needs {
		if a.needs[i].shape == shape {
			a.needs[i].tasks += tasks
			return
		}
	}
	a.needs = append(a.needs, need{shape, tasks})
}

// The levels of preference: which units may be in the set.
const (
	unguaranteed = iota // of queues that are guaranteed nothing
	borrowed            // and of those above their guarantee
	straddling          // and one per queue that takes it below
)

func frozenReason(id string) string {
	return frozen + " it and " + id + " have evicted each other"
}
