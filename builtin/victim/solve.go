package victim

import (
	"slices"

	"github.com/musterhq/muster/builtin/amount"
)

// The work allowed to one search. Up to ExactUnits units the tree is searched to
// its end, unless it is a monster.
const (
	exactNodes    = 2_000_000 // of a search tree
	improveNodes  = 1_000
	stuckNodes    = 50_000 // where the heuristics found nothing
	trialsOfExact = 2_000  // placements
	narrowFrom    = 256    // units from which on only the cheapest nodes are looked at
	leastNodes    = 48
	nodesPerTask  = 3
	tiesLookedAt  = 32
	refusals      = 8 // trials that may fail
)

// solve finds the best set among the units, in ascending order of their numbers,
// and the cost of the best other set it saw; nil if there is none.
func (s *Search) solve(a *ask, units []int32, level int) ([]int32, amount.Amount) {
	single := len(a.needs) == 1 && len(s.f.short) == 0
	switch {
	case len(units) == 0:
		return nil, 0
	case len(a.needs) > 1 && len(units) > ExactUnits:
		return s.byStages(a, level), 0
	case single && a.needs[0].tasks == 1 && len(units) > ExactUnits:
		return s.oneTask(a, units, level)
	case single && len(units) > narrowFrom:
		if near := s.narrow(units); len(near) < len(units) {
			if set, other := s.among(a, near, level); set != nil {
				return set, other
			}
		}
	}
	return s.among(a, units, level)
}

// among searches without leaving any unit out.
func (s *Search) among(a *ask, units []int32, level int) ([]int32, amount.Amount) {
	f := &s.f
	f.build(units, level)
	s.hi.start(f)
	for u := range f.units {
		s.hi.add(int32(u))
	}
	if len(f.units) == 0 || !s.hi.enough() {
		return nil, 0
	}
	b := s.cheapest(a)
	if !b.found {
		return nil, 0
	}
	return f.numbers(b.set), b.alternative
}

// cheapest searches the field: to the end if it is small, else as far as the work
// allowed goes.
func (s *Search) cheapest(a *ask) *best {
	f := &s.f
	b := &best{}
	e := exact{f: f, lo: &s.lo, hi: &s.hi, best: b, nodes: improveNodes}
	if len(f.shapes) > 1 {
		trials := trialsOfExact
		e.proof = func(set []int32) bool {
			trials--
			numbers := f.numbers(set)
			slices.Sort(numbers)
			return trials > 0 && s.try(a, numbers) != nil
		}
	} else if s.separable(b) {
		if len(f.units) > ExactUnits {
			return b
		}
	} else if s.improve(b); !b.found {
		e.nodes = stuckNodes
	}
	if len(f.units) <= ExactUnits {
		e.nodes = exactNodes
	}
	all := make([]int32, len(f.units))
	for i := range all {
		all[i] = int32(i)
	}
	s.lo.start(f)
	e.search(all)
	return b
}
