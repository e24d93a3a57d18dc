package victim

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/plan"
)

// Where every unit sits on one node and the tasks are alike, what a slot costs on
// one node has nothing to do with the others: a table per node says what 1, 2, …
// slots cost, and the best choice over the nodes is exact.

// shelf is the table of one node; row k is the cheapest set for k+1 slots.
type shelf struct {
	keys []key
	sets [][]int32
}

// separable finds the cheapest set by tables; false if the field is not like that
// or the result would break a guarantee, which the tables do not see.
func (s *Search) separable(b *best) bool {
	f, st := &s.f, &s.lo
	if f.wide || len(f.shapes) > 1 || len(f.short) > 0 || f.level == straddling && f.ask.rule != plan.RulePriority {
		return false
	}
	st.start(f)
	shelves := make([]shelf, len(f.nodes))
	for n := range f.nodes {
		if len(f.onNode[n]) > ExactUnits/2 {
			return false
		}
		sh := &shelves[n]
		units := slices.Clone(f.onNode[n])
		slices.SortFunc(units, f.byRatio)
		sh.fill(st, units, nil, key{}, st.slots[n], int32(n))
	}
	missing := int(f.ask.needs[0].tasks - st.total[0])
	var set []int32
	if slices.ContainsFunc(shelves, func(sh shelf) bool { return !sh.convex() }) {
		if missing*len(shelves) > tableWork {
			return false
		}
		set = byTable(shelves, missing)
	} else {
		set = byMargin(shelves, missing)
	}
	for _, u := range set {
		if !st.mayAdd(u) {
			return false
		}
		st.add(u)
	}
	if !st.enough() {
		return false
	}
	b.offer(st)
	return true
}

// tableWork bounds nodes times slots of byTable.
const tableWork = 60_000

// fill tries the subsets of a node's units; of twins, the cheapest first.
func (sh *shelf) fill(st *state, units, in []int32, k key, before, n int32) {
	for gain := st.slots[n] - before; gain > 0; gain-- {
		for len(sh.keys) < int(gain) {
			sh.keys, sh.sets = append(sh.keys, key{}), append(sh.sets, nil)
		}
		if old := sh.sets[gain-1]; old == nil || k.compare(sh.keys[gain-1]) < 0 {
			sh.keys[gain-1], sh.sets[gain-1] = k, slices.Clone(in)
		}
	}
	for i, u := range units {
		c := &st.f.units[u]
		if !st.mayAdd(u) || i > 0 && c.twin == st.f.units[units[i-1]].twin {
			continue
		}
		st.add(u)
		sh.fill(st, units[i+1:], append(in, u), k.with(c), before, n)
		st.remove(u)
	}
}

func (k key) with(c *cand) key {
	return key{k.cost.Add(c.cost), k.tasks + c.tasks, k.units + 1, k.leaders + c.leaders}
}

func (k key) plus(o key) key {
	return key{k.cost.Add(o.cost), k.tasks + o.tasks, k.units + o.units, k.leaders + o.leaders}
}

// convex says whether no slot costs less than the one before it.
func (sh *shelf) convex() bool {
	var last key
	for k := range sh.keys {
		if sh.step(k).cost < last.cost {
			return false
		}
		last = sh.step(k)
	}
	return true
}

// step is what slot k costs more than those before it.
func (sh *shelf) step(k int) key {
	if k == 0 {
		return sh.keys[0]
	}
	a, b := sh.keys[k], sh.keys[k-1]
	return key{a.cost.Sub(b.cost), a.tasks - b.tasks, a.units - b.units, a.leaders - b.leaders}
}

// byMargin takes the cheapest next slot of any node, again and again.
func byMargin(shelves []shelf, missing int) (set []int32) {
	type slot struct {
		cost key
		n, k int
	}
	var all []slot
	for n := range shelves {
		for k := range shelves[n].keys {
			all = append(all, slot{shelves[n].step(k), n, k})
		}
	}
	slices.SortFunc(all, func(a, b slot) int {
		return cmp.Or(cmp.Compare(a.cost.cost, b.cost.cost), cmp.Compare(a.n, b.n), cmp.Compare(a.k, b.k))
	})
	taken := make([]int, len(shelves))
	for _, s := range all[:min(missing, len(all))] {
		taken[s.n] = s.k + 1
	}
	for n, k := range taken {
		if k > 0 {
			set = append(set, shelves[n].sets[k-1]...)
		}
	}
	return set
}

// byTable is the multiple-choice knapsack over the nodes: the cheapest way to so
// many slots with the first nodes, for all numbers of slots.
func byTable(shelves []shelf, missing int) (set []int32) {
	type cell struct {
		key key
		ok  bool
	}
	row := make([]cell, missing+1)
	row[0].ok = true
	took := make([][]int8, len(shelves))
	for n := range shelves {
		took[n] = make([]int8, missing+1)
		for q := missing; q > 0; q-- {
			for k := range shelves[n].keys {
				from := &row[max(0, q-k-1)]
				if !from.ok {
					continue
				}
				if sum := from.key.plus(shelves[n].keys[k]); !row[q].ok || sum.compare(row[q].key) < 0 {
					row[q].key, row[q].ok = sum, true
					took[n][q] = int8(k + 1)
				}
			}
		}
	}
	for n, q := len(shelves)-1, missing; n >= 0; n-- {
		if k := int(took[n][q]); k > 0 {
			set = append(set, shelves[n].sets[k-1]...)
			q = max(0, q-k)
		}
	}
	return set
}
