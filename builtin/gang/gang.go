// Package gang places the tasks of a job: all that must run together, or none.
package gang

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// Failure is why a gang found no place. It is plain numbers; Explain of package
// pack turns it into counts of nodes when somebody asks.
type Failure struct {
	Group  int   // the task group that found no node
	Placed int32 // tasks that had found one
	Of     int32 // tasks needed
	// Types whose quota was full, as bits of pack; 0 if none was.
	Banned uint64
	// Typed is the full typed account behind Banned.
	Typed quota.Block
	// Within says that all of the gang must be in one domain of Topology.
	Within   bool
	Topology string
}

// Place finds places for all missing gang tasks of a job, in the given state, or
// changes nothing and says why. Quota other than that of single GPU types has
// been checked by the caller for the gang as a whole.
//
// Equal tasks are placed exactly: if the nodes have room for them, they are
// placed. With several shapes the largest go first, which may miss a packing that
// a search would find (bin packing is NP-hard); a second try, smallest first,
// catches most of those.
//
// A gang that must be in one domain is tried in one after the other (see Domains).
func Place(x *pack.Index, w *world.World, j *world.Job, s world.State, now spec.Time) ([]*world.Task, Failure) {
	p := placer{x: x, w: w, j: j, s: s, now: now}
	if term, ok := w.Gathers(j); ok {
		return p.gather(term)
	}
	return p.place()
}

// placer is one attempt to place tasks of a job.
type placer struct {
	x      *pack.Index
	w      *world.World
	j      *world.Job
	s      world.State
	now    spec.Time
	within world.Domain
}

func (p *placer) place() ([]*world.Task, Failure) {
	groups := bySize(p.w, p.j)
	placed, fail := p.try(groups)
	if placed == nil && len(groups) > 1 {
		slices.Reverse(groups)
		if again, _ := p.try(groups); again != nil {
			return again, Failure{}
		}
	}
	return placed, fail
}

// bySize orders the groups by what a task asks, GPUs before cpu, largest first.
func bySize(w *world.World, j *world.Job) []int {
	groups := make([]int, len(j.Groups))
	for i := range groups {
		groups[i] = i
	}
	ask := func(g int, d amount.Dim) amount.Amount {
		a, _ := w.Shapes[j.Groups[g].Shape].Request.Get(d)
		return a
	}
	slices.SortStableFunc(groups, func(a, b int) int {
		return cmp.Or(cmp.Compare(ask(b, amount.GPU), ask(a, amount.GPU)), cmp.Compare(ask(b, amount.CPU), ask(a, amount.CPU)))
	})
	return groups
}

func (p *placer) try(groups []int) ([]*world.Task, Failure) {
	of := p.j.GangMissing()
	placed := make([]*world.Task, 0, of)
	mark := p.w.Mark()
	for _, gi := range groups {
		g := &p.j.Groups[gi]
		for g.Placed+g.Finished < g.Min {
			t, fail := p.one(gi)
			if t == nil {
				p.w.Rollback(mark)
				fail.Placed, fail.Of = int32(len(placed)), of
				return nil, fail
			}
			placed = append(placed, t)
		}
	}
	p.w.Keep(mark)
	return placed, Failure{}
}

// One places the next pending task of a group, or says why it can't.
func One(x *pack.Index, w *world.World, j *world.Job, group int, s world.State, now spec.Time) (*world.Task, Failure) {
	p := placer{x: x, w: w, j: j, s: s, now: now}
	return p.one(group)
}

func (p *placer) one(group int) (*world.Task, Failure) {
	t := p.j.NextPending(group)
	if t == nil {
		return nil, Failure{Group: group}
	}
	shape := p.j.Groups[group].Shape
	banned, block := fullTypes(p.w, p.j, shape)
	n, ok := p.x.BestNear(shape, banned, p.j, p.w.NearbyIn(p.within, p.j, group))
	if !ok {
		return nil, Failure{Group: group, Of: 1, Banned: banned, Typed: block}
	}
	p.w.Place(t, n, p.x.Devices(shape, n), p.s, p.now)
	return t, Failure{}
}

// fullTypes is the set of GPU types that the job's quota has no room for.
func fullTypes(w *world.World, j *world.Job, shape world.ShapeID) (banned uint64, block quota.Block) {
	gpu := w.Shapes[shape].GPU
	if gpu == 0 || !w.Quota.TypedMax(j.Queue) {
		return 0, block
	}
	for c := range w.Classes {
		class := &w.Classes[c]
		if !class.HasType || class.Nodes == 0 || banned&pack.TypeBit(class.Typed) != 0 {
			continue
		}
		if b := w.Quota.Fits(j.Chain, amount.List{{Dim: class.Typed, Amount: gpu}}, 1); b.Blocked {
			banned |= pack.TypeBit(class.Typed)
			block = b
		}
	}
	return banned, block
}

// NextSurplus is the first group, in order of declaration, that has a pending
// task above its gang; -1 if there is none.
func NextSurplus(j *world.Job) int { return SurplusFrom(j, 0) }

// SurplusFrom is NextSurplus among the groups from a given one on.
func SurplusFrom(j *world.Job, group int) int {
	for i := group; i < len(j.Groups); i++ {
		g := &j.Groups[i]
		if g.Placed+g.Finished < g.Size && j.NextPending(i) != nil {
			return i
		}
	}
	return -1
}

// Missing is the sum of what the missing gang tasks ask for.
func Missing(w *world.World, j *world.Job, into []amount.Amount) amount.List {
	clear(into)
	for i := range j.Groups {
		g := &j.Groups[i]
		n := int64(max(0, g.Min-g.Placed-g.Finished))
		for _, e := range w.Shapes[g.Shape].Request {
			into[e.Dim] = into[e.Dim].Add(e.Amount.Mul(n))
		}
	}
	var l amount.List
	for d, a := range into {
		if a != 0 {
			l = append(l, amount.Entry{Dim: amount.Dim(d), Amount: a})
		}
	}
	return l
}
