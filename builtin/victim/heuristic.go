package victim

// attempt finds the best set of the field and proves it; nil if there is none.
func (s *Search) attempt(a *ask) *Outcome {
	f := &s.f
	if len(f.units) == 0 {
		return nil
	}
	s.hi.start(f)
	for u := range f.units {
		s.hi.add(int32(u))
	}
	if !s.hi.enough() {
		return nil
	}
	var b best
	if len(f.shapes) > 1 && len(f.units) > ExactUnits {
		b.set = s.byStages(a, f.level)
	} else {
		b = *s.cheapest(a)
	}
	if len(b.set) == 0 {
		return nil
	}
	o := s.prove(a, b.set)
	if o != nil {
		o.Alternative = int64(b.alternative)
	}
	return o
}

// The work allowed to one search, in nodes of a search tree.
const (
	exactNodes    = 2_000_000
	improveNodes  = 20_000
	trialsOfExact = 2_000
)

func (s *Search) cheapest(a *ask) *best {
	f := &s.f
	b := &best{}
	e := exact{f: f, lo: &s.lo, hi: &s.hi, best: b, nodes: improveNodes}
	if len(f.units) <= ExactUnits {
		e.nodes = exactNodes
	}
	if len(f.shapes) > 1 {
		trials := trialsOfExact
		e.proof = func(set []int32) bool {
			trials--
			return trials > 0 && s.try(a, set) != nil
		}
	} else {
		s.improve(b)
	}
	all := make([]int32, len(f.units))
	for i := range all {
		all[i] = int32(i)
	}
	s.lo.start(f)
	e.search(all)
	return b
}
