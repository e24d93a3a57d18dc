package world

import (
	"slices"

	"github.com/musterhq/muster/builtin/spec"
)

// The misfits of a task with the tasks around a node. The names are Kubernetes'.
const (
	MisfitAffinity     Misfit = "affinity"
	MisfitAntiAffinity Misfit = "anti-affinity"
	MisfitSpread       Misfit = "spread"
	// MisfitDomain keeps a gang in the one domain that is being tried for it.
	MisfitDomain Misfit = "other-domain"
)

// Nearby judges nodes for the next task of a group by the tasks that are near them. It
// holds until a task comes or goes. The nil Nearby has nothing against any node.
type Nearby struct {
	w      *World
	near   *near
	least  []int32 // of each spread: the smallest count of an eligible domain
	within Domain
}

// Domain is the nodes with one value of a topology label, as the world numbers them.
// The zero Domain is everywhere.
type Domain struct {
	term int32 // plus 1
	at   int32
}

// Nearby returns nil for a group that relates to nothing.
func (w *World) Nearby(j *Job, group int) *Nearby { return w.NearbyIn(Domain{}, j, group) }

// NearbyIn allows nodes of one domain only.
func (w *World) NearbyIn(d Domain, j *Job, group int) *Nearby {
	g := &j.Groups[group]
	if g.near == nil {
		return nil
	}
	b := &Nearby{w: w, near: g.near, within: d}
	for k, i := range g.near.spread {
		b.least = append(b.least, w.leastOf(g.Shape, i, g.near.spec.Spread[k].MinDomains))
	}
	return b
}

// leastOf is the smallest count of a term in any domain that a shape may go to; 0 if
// there are fewer such domains than there must be.
func (w *World) leastOf(s ShapeID, i, minDomains int32) (least int32) {
	t := &w.places.terms[i]
	domains := w.eligibleFor(s, t.topology)
	if len(domains) < int(minDomains) {
		return 0
	}
	for k, d := range domains {
		if n := at(t.counts, d); k == 0 || n < least {
			least = n
		}
	}
	return least
}

// Refusal is why the next task must not go to a node, Fit if it may.
func (b *Nearby) Refusal(n NodeIx) Misfit {
	if b == nil {
		return Fit
	}
	p := &b.w.places
	if i := b.within.term; i > 0 && p.domainOf(i-1, n) != b.within.at {
		return MisfitDomain
	}
	for k, i := range b.near.needs {
		if d := p.domainOf(i, n); d == nowhere || at(p.terms[i].counts, d) == 0 && !b.first(k) {
			return MisfitAffinity
		}
	}
	for _, i := range b.near.avoids {
		if at(p.terms[i].counts, p.domainOf(i, n)) > 0 {
			return MisfitAntiAffinity
		}
	}
	for _, id := range b.near.spec.Counts {
		for _, i := range p.of[id] { // those who are there may not want it
			if at(p.terms[i].avoided, p.domainOf(i, n)) > 0 {
				return MisfitAntiAffinity
			}
		}
	}
	for k, i := range b.near.spread {
		if d := p.domainOf(i, n); d == nowhere || b.uneven(k, at(p.terms[i].counts, d)) {
			return MisfitSpread
		}
	}
	return Fit
}

func (p *places) domainOf(term int32, n NodeIx) int32 {
	return p.topologies[p.terms[term].topology].of(n)
}

// first says whether the task would be the first of those that need each other: of a
// group that counts for what it needs, one must begin.
func (b *Nearby) first(k int) bool {
	return b.w.places.terms[b.near.needs[k]].total == 0 && slices.Contains(b.near.spec.Counts, b.near.spec.Needs[k].ID)
}

func (b *Nearby) uneven(k int, count int32) bool {
	s := &b.near.spec.Spread[k]
	if s.Self {
		count++
	}
	return count-b.least[k] > s.MaxSkew
}

// RelatesLike says whether two groups relate to the same tasks in the same way.
func (g *Group) RelatesLike(o *Group) bool {
	return string(g.near.key(nil)) == string(o.near.key(nil))
}

// Relates says whether where other tasks are matters to any group of the job.
func (j *Job) Relates() bool {
	return slices.ContainsFunc(j.Groups, func(g Group) bool { return g.near != nil })
}

// Gathers is the term that keeps a gang in one domain: all its groups that have a gang
// need it, and count for it. Of several such terms it is the one with the most domains,
// the narrowest.
func (w *World) Gathers(j *Job) (spec.Term, bool) {
	var found spec.Term
	best := -1
	for gi := range j.Groups {
		g := &j.Groups[gi]
		if g.Min == 0 {
			continue
		}
		if g.near == nil {
			return spec.Term{}, false
		}
		for k, t := range g.near.spec.Needs {
			if n := w.domains(g.near.needs[k]); n > best && j.allGather(t) {
				found, best = t, n
			}
		}
		break // what the others do not need too is none
	}
	return found, best >= 0
}

func (w *World) domains(i int32) int {
	t := &w.places.topologies[w.places.terms[i].topology]
	if t.label == "" {
		return len(w.Nodes)
	}
	return len(t.values)
}

func (j *Job) allGather(t spec.Term) bool {
	return !slices.ContainsFunc(j.Groups, func(g Group) bool {
		return g.Min > 0 && (g.near == nil || !slices.Contains(g.near.spec.Needs, t) || !slices.Contains(g.near.spec.Counts, t.ID))
	})
}

// DomainOf is the domain of a node in the topology of a term that some group refers to;
// not ok if it is in none. The first task of a term may go anywhere, others only to
// domains where there are some: others are not ok either.
func (w *World) DomainOf(t spec.Term, n NodeIx) (d Domain, ok bool) {
	p := &w.places
	i, known := p.term[t]
	if !known {
		return d, false
	}
	at0 := p.domainOf(i, n)
	if at0 == nowhere || p.terms[i].total > 0 && at(p.terms[i].counts, at0) == 0 {
		return d, false
	}
	return Domain{i + 1, at0}, true
}
