package victim

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
)

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
	s.greedy(b)
	all := make([]int32, len(f.units))
	for i := range all {
		all[i] = int32(i)
	}
	s.lo.start(f)
	e := exact{f: f, lo: &s.lo, hi: &s.hi, best: b, nodes: improveNodes}
	if len(f.units) <= ExactUnits {
		e.nodes = exactNodes
	}
	if len(f.shapes) > 1 {
		*b = best{}
		trials := trialsOfExact
		e.proof = func(set []int32) bool {
			trials--
			return trials > 0 && s.try(a, set) != nil
		}
	}
	e.search(all)
	return b
}

// greedy adds the unit, or the units of one node, that bring most for their cost,
// until there are enough, and gives back what is not needed.
func (s *Search) greedy(b *best) {
	f, st := &s.f, &s.lo
	st.start(f)
	for !st.enough() {
		pick := s.bestAction(st)
		if pick == nil {
			return
		}
		for _, u := range pick {
			st.add(u)
		}
	}
	st.giveBack()
	b.offer(st)
}

// giveBack takes out every unit that is not needed, the most expensive first.
func (st *state) giveBack() {
	byCost := slices.Clone(st.set)
	slices.SortFunc(byCost, func(x, y int32) int {
		return cmp.Or(cmp.Compare(st.f.units[y].cost, st.f.units[x].cost), cmp.Compare(x, y))
	})
	for _, u := range byCost {
		if st.remove(u); !st.enough() {
			st.add(u)
		}
	}
}

const progressUnit = 1 << 16

// progress is how much of what is asked for the state has, each need counting
// the same.
func (st *state) progress() (p amount.Amount) {
	for i, n := range st.total {
		want := st.f.ask.needs[i].tasks
		p += amount.Amount(min(n, want)) * progressUnit / amount.Amount(want)
	}
	for i, g := range st.given {
		p += min(g, st.f.short[i].need).Scale(progressUnit, st.f.short[i].need)
	}
	return p
}

// action is a small set of units with what it costs and brings.
type action struct {
	cost, gain amount.Amount
	units      []int32
}

func (a *action) better(cost, gain amount.Amount) bool {
	return a.gain == 0 || compareProducts(cost, a.gain, a.cost, gain) < 0
}

func (s *Search) bestAction(st *state) []int32 {
	var a action
	before := st.progress()
	for u := range st.f.units {
		if !st.mayAdd(int32(u)) {
			continue
		}
		st.add(int32(u))
		if gain := st.progress() - before; gain > 0 && a.better(st.f.units[u].cost, gain) {
			a = action{st.f.units[u].cost, gain, []int32{int32(u)}}
		}
		st.remove(int32(u))
	}
	for n := range st.f.nodes {
		s.bestOnNode(st, int32(n), before, &a)
	}
	return a.units
}

// bestOnNode looks for the best way to free another slot of a node: its units
// from the cheapest on, less those not needed.
func (s *Search) bestOnNode(st *state, n int32, before amount.Amount, a *action) {
	units := slices.Clone(st.f.onNode[n])
	slices.SortFunc(units, st.f.byRatio)
	var in []int32
	var cost amount.Amount
	for _, u := range units {
		if !st.mayAdd(u) {
			continue
		}
		st.add(u)
		in = append(in, u)
		cost = cost.Add(st.f.units[u].cost)
		if gain := st.progress() - before; gain > 0 {
			for i := len(in) - 1; i >= 0; i-- {
				st.remove(in[i])
				if st.progress()-before >= gain {
					cost = cost.Sub(st.f.units[in[i]].cost)
					in = slices.Delete(in, i, i+1)
				} else {
					st.add(in[i])
				}
			}
			if a.better(cost, gain) {
				*a = action{cost, gain, slices.Clone(in)}
			}
		}
	}
	for _, u := range in {
		st.remove(u)
	}
}
