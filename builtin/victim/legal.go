package victim

import (
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// Legal means: may be evicted for this job if it were the only victim, apart from
// the guarantees, which depend on the whole set (see field.allows).

// side is what the rules say of all units of one leaf.
type side struct {
	known, legal bool
	child        quota.Q       // the queue below the common ancestor on the victim's side
	oldest       int64         // units that started later are too young
	free         bool          // child is guaranteed nothing
	room         amount.Amount // see gpusAbove
	above        bool          // see Search.above
}

// entitled says whether the job's queue holds, with the job, no more than it is
// guaranteed, and fixes where victims may come from. The leaf counts; where it is
// guaranteed nothing of what the job asks for, the nearest queue above that is.
// Every queue between the leaf and the common ancestor with a victim must be
// within its guarantee too, so the first that would exceed it bounds the scope
// like a fence: below it, the shares of its children can still be set right.
func (s *Search) entitled(a *ask) bool {
	tree := s.w.Quota
	a.floor, a.scope = quota.None, s.fence(a.job.Queue)
	for q := a.job.Queue; q != quota.Root; q = tree.Queues[q].Parent {
		switch configured, within := s.withinGuarantee(q, a); {
		case !configured:
		case within && a.floor == quota.None:
			a.floor = q
		case !within && a.floor == quota.None:
			return false
		case !within:
			if tree.Queues[q].Depth > tree.Queues[a.scope].Depth {
				a.scope = q
			}
			return true
		}
	}
	return a.floor != quota.None
}

// withinGuarantee says whether q is guaranteed anything the job asks for, and
// whether it stays within all of that with the job.
func (s *Search) withinGuarantee(q quota.Q, a *ask) (configured, within bool) {
	used, guaranteed := s.w.Quota.Used(quota.Account(q)), s.w.Quota.Guaranteed(q)
	within = true
	for _, e := range a.missing {
		if g := guaranteed[e.Dim]; g != quota.Unset && e.Amount != 0 {
			configured = true
			within = within && used[e.Dim].Add(e.Amount) <= g
		}
	}
	return configured, within
}

// fence is the subtree that preemption from a leaf must stay in.
func (s *Search) fence(q quota.Q) quota.Q {
	for ; q != quota.Root; q = s.w.Quota.Queues[q].Parent {
		if s.w.Quota.Queues[q].Fenced {
			return q
		}
	}
	return quota.Root
}

func under(tree *quota.Tree, q, top quota.Q) bool {
	for tree.Queues[q].Depth > tree.Queues[top].Depth {
		q = tree.Queues[q].Parent
	}
	return q == top
}

// sideOf judges a leaf.
func (s *Search) sideOf(a *ask, leaf quota.Q) side {
	tree := s.w.Quota
	v := side{known: true, child: leaf}
	if a.rule == plan.RulePriority {
		v.legal = leaf == a.job.Queue
		v.oldest = s.now - tree.Queues[leaf].MinRuntime
		return v
	}
	if leaf == a.job.Queue || !under(tree, leaf, a.scope) {
		return v
	}
	common := tree.CommonAncestor(leaf, a.job.Queue)
	if tree.Queues[common].Depth >= tree.Queues[a.floor].Depth {
		return v // nothing below the common ancestor is guaranteed to the job
	}
	v.child = tree.Below(leaf, common)
	v.legal = true
	v.free = !tree.HasGuarantee(v.child)
	v.oldest = s.now - tree.Queues[v.child].MinRuntime
	return v
}

// legal lists the units that may be evicted, in order, and why there are none.
func (s *Search) legal(a *ask) ([]int32, string) {
	s.sides = grown(s.sides, len(s.w.Quota.Queues))
	clear(s.sides)
	s.legalUnits, s.kept = s.legalUnits[:0], kept{}
	why := reasonNone
	feuds := s.w.Feuding()
	for i := range s.pool.units {
		u := &s.pool.units[i]
		v := &s.sides[u.leaf]
		if !v.known {
			*v = s.sideOf(a, u.leaf)
		}
		if !v.legal || u.veto || u.since > v.oldest || u.job == a.job {
			continue
		}
		if a.rule == plan.RulePriority && u.job.Spec.Priority >= a.job.Spec.Priority {
			continue
		}
		if !u.alive() {
			continue
		}
		if until := s.sparedUntil(u.job); until > s.now {
			if why = reasonWoke; s.SparedUntil == 0 || until < s.SparedUntil {
				s.SparedUntil = until
			}
			continue
		}
		if feuds && s.w.Frozen(a.job.Spec.ID, u.job.Spec.ID) {
			why = frozenReason(u.job.Spec.ID)
			continue
		}
		if u.stay != "" {
			s.kept.add(u)
			continue
		}
		s.legalUnits = append(s.legalUnits, int32(i))
	}
	return s.legalUnits, why
}

// sparedUntil is until when a job is no victim since an eviction of it was taken back.
func (s *Search) sparedUntil(j *world.Job) spec.Time {
	switch {
	case slices.Contains(s.Spared, j):
		return s.now + SparedFor
	case j.Stayed > 0:
		return j.Stayed + SparedFor
	}
	return s.now
}

// atLevel keeps the units that may be in a set of the level. It looks at GPUs only
// where guarantees count; field.add looks at everything.
func (s *Search) atLevel(a *ask, legal []int32, level int) []int32 {
	if a.rule == plan.RulePriority && !a.spares {
		return legal
	}
	for q := range s.sides {
		if v := &s.sides[q]; v.legal {
			v.room = s.gpusAbove(a, quota.Q(q), v.child)
			v.above = s.above(a, quota.Q(q), v.child)
		}
	}
	s.levelUnits = s.levelUnits[:0]
	for _, n := range legal {
		u := &s.pool.units[n]
		v := &s.sides[u.leaf]
		switch {
		case !a.mayGo(u):
		case a.rule == plan.RulePriority:
			s.levelUnits = append(s.levelUnits, n)
		case level == unguaranteed && !v.free && !a.first(u):
		case level < straddling && amount.Amount(u.gpu) > v.room, u.gpu > 0 && !v.above:
		default:
			s.levelUnits = append(s.levelUnits, n)
		}
	}
	return s.levelUnits
}

// gpusAbove is how many GPUs, in milli, may be taken from a leaf before a queue
// below the common ancestor falls below its guarantee.
func (s *Search) gpusAbove(a *ask, leaf, child quota.Q) amount.Amount {
	tree := s.w.Quota
	room := amount.Max
	if _, asked := a.missing.Get(amount.GPU); !asked {
		return room
	}
	for q := leaf; ; q = tree.Queues[q].Parent {
		if g := tree.Guaranteed(q)[amount.GPU]; g != quota.Unset {
			room = min(room, tree.Used(quota.Account(q))[amount.GPU].Sub(g))
		}
		if q == child {
			return room
		}
	}
}

// above says whether each queue from a leaf up to the common ancestor that is
// guaranteed GPUs, if the job asks for them, is above its guarantee on anything
// the job asks for: else it gives no GPU, not even of a unit that straddles.
func (s *Search) above(a *ask, leaf, child quota.Q) bool {
	tree := s.w.Quota
	for q := leaf; ; q = tree.Queues[q].Parent {
		gpus, above := false, false
		for _, e := range a.missing {
			if g := tree.Guaranteed(q)[e.Dim]; g != quota.Unset {
				gpus = gpus || e.Dim == amount.GPU
				above = above || tree.Used(quota.Account(q))[e.Dim] > g
			}
		}
		if gpus && !above {
			return false
		}
		if q == child {
			return true
		}
	}
}

// usable says whether tasks of a shape may ever run on a node for the job.
func (s *Search) usable(a *ask, shape world.ShapeID, n world.NodeIx) bool {
	return s.w.Usable(n, a.job) && s.w.RunsOn(shape, n)
}
