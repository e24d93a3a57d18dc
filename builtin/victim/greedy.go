package victim

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
)

// greedy builds sets step by step: each step frees at least one more slot, or
// some of the quota that is short, for the least cost per gain.
type greedy struct {
	f    *field
	st   *state
	tabu []bool // units that may not be taken
	// share weighs how a unit that is spread over several nodes is priced where
	// one of them is to be freed: 0 in full, shareUnit only the part on that node,
	// in the hope that the rest will be of use too.
	share amount.Amount
	work  int // units that may still be looked at

	byRatio [][]int32 // node → its units in order of byRatio
	cached  []action  // node → its best action
	fresh   []bool
	singles []int32 // units over several nodes, and those that give quota
	seen    action
	scratch []int32
}

const (
	shareUnit    = 4
	progressUnit = 1 << 16
)

// action is a set of units with what it costs and brings.
type action struct {
	cost, gain amount.Amount
	units      []int32
}

func (a *action) better(cost, gain amount.Amount) bool {
	return gain > 0 && (a.gain == 0 || compareProducts(cost, a.gain, a.cost, gain) < 0)
}

func (a *action) set(cost, gain amount.Amount, units []int32) {
	a.cost, a.gain, a.units = cost, gain, append(a.units[:0], units...)
}

func (g *greedy) start(f *field, st *state) {
	g.f, g.st = f, st
	g.tabu = grown(g.tabu, len(f.units))
	clear(g.tabu)
	g.byRatio = grown(g.byRatio, len(f.nodes))
	for n := range f.nodes {
		g.byRatio[n] = append(g.byRatio[n][:0], f.onNode[n]...)
		slices.SortFunc(g.byRatio[n], f.byRatio)
	}
	g.cached = grown(g.cached, len(f.nodes))
	g.fresh = grown(g.fresh, len(f.nodes))
	clear(g.fresh)
	g.singles = g.singles[:0]
	for u := range f.units {
		if f.units[u].parts > 1 || slices.ContainsFunc(f.givesOf(int32(u)), func(a amount.Amount) bool { return a > 0 }) {
			g.singles = append(g.singles, int32(u))
		}
	}
}

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

// touch marks the nodes of a unit as changed.
func (g *greedy) touch(u int32) {
	for _, p := range g.f.partsOf(u) {
		g.fresh[p.node] = false
	}
}

func (g *greedy) add(u int32) {
	g.st.add(u)
	g.touch(u)
}

func (g *greedy) remove(u int32) {
	g.st.remove(u)
	g.touch(u)
}

// complete adds units until there are enough; false if it is stuck or out of work.
func (g *greedy) complete() bool {
	for !g.st.enough() {
		before := g.st.progress()
		g.seen.gain = 0
		left := amount.Amount(len(g.st.total)+len(g.st.given))*progressUnit - before
		for n := range g.f.nodes {
			if !g.fresh[n] {
				g.cached[n].gain = 0
				g.lookAt(int32(n), before)
				g.fresh[n] = true
			}
			if c := &g.cached[n]; g.seen.better(c.cost, min(c.gain, left)) && g.mayAddAll(c.units) {
				g.seen.set(c.cost, min(c.gain, left), c.units)
			}
		}
		for _, u := range g.singles {
			g.lookAtUnit(u, before)
		}
		if g.seen.gain == 0 || g.work < 0 {
			return false
		}
		for _, u := range g.seen.units {
			g.add(u)
		}
	}
	return true
}

// mayAddAll says whether what was found earlier is still allowed.
func (g *greedy) mayAddAll(units []int32) bool {
	ok, n := true, 0
	for _, u := range units {
		if ok = !g.tabu[u] && g.st.mayAdd(u); !ok {
			break
		}
		g.st.add(u)
		n++
	}
	for n--; n >= 0; n-- {
		g.st.remove(units[n])
	}
	return ok
}

func (g *greedy) lookAtUnit(u int32, before amount.Amount) {
	g.work--
	if g.tabu[u] || !g.st.mayAdd(u) {
		return
	}
	g.st.add(u)
	if gain := g.st.progress() - before; g.seen.better(g.f.units[u].cost, gain) {
		g.seen.set(g.f.units[u].cost, gain, []int32{u})
	}
	g.st.remove(u)
}

// price is what a unit is held to cost where one node is to be freed.
func (g *greedy) price(u, n int32) amount.Amount {
	c := &g.f.units[u]
	if g.share == 0 || c.parts <= 1 || c.weight == 0 {
		return c.cost
	}
	for _, p := range g.f.partsOf(u) {
		if p.node == n {
			part := c.cost.Scale(g.f.amounts[int(p.amount)+g.f.bound], c.weight)
			return (part*g.share + c.cost*(shareUnit-g.share)) / shareUnit
		}
	}
	return c.cost
}

// lookAt finds the best way to free slots of one node: all sets of its units if
// they are few, else its units from the cheapest on, less those not needed.
func (g *greedy) lookAt(n int32, before amount.Amount) {
	units := g.scratch[:0]
	for _, u := range g.byRatio[n] {
		if !g.tabu[u] && !g.st.in[u] {
			units = append(units, u)
		}
	}
	g.scratch = units
	if len(units) <= 6 {
		g.allOf(n, units, nil, 0, before)
		return
	}
	g.inOrder(n, units, before)
}

// allOf tries every subset, depth first.
func (g *greedy) allOf(n int32, units, in []int32, cost, before amount.Amount) {
	g.work--
	if gain := g.st.progress() - before; g.cached[n].better(cost, gain) {
		g.cached[n].set(cost, gain, in)
	}
	for i, u := range units {
		if !g.st.mayAdd(u) || i > 0 && g.f.units[u].twin == g.f.units[units[i-1]].twin {
			continue
		}
		g.st.add(u)
		g.allOf(n, units[i+1:], append(in, u), cost.Add(g.price(u, n)), before)
		g.st.remove(u)
	}
}

func (g *greedy) inOrder(n int32, units []int32, before amount.Amount) {
	var in []int32
	var cost, reached amount.Amount
	for _, u := range units {
		g.work--
		if !g.st.mayAdd(u) {
			continue
		}
		g.st.add(u)
		in = append(in, u)
		cost = cost.Add(g.price(u, n))
		gain := g.st.progress() - before
		if gain <= reached {
			continue
		}
		reached = gain
		for i := len(in) - 1; i >= 0; i-- {
			if g.st.remove(in[i]); g.st.progress()-before >= gain {
				cost = cost.Sub(g.price(in[i], n))
				in = slices.Delete(in, i, i+1)
			} else {
				g.st.add(in[i])
			}
		}
		if g.cached[n].better(cost, gain) {
			g.cached[n].set(cost, gain, in)
		}
	}
	for _, u := range in {
		g.st.remove(u)
	}
}

// pare takes out every unit that is not needed, the most expensive first.
func (g *greedy) pare() {
	g.scratch = append(g.scratch[:0], g.st.set...)
	slices.SortFunc(g.scratch, func(x, y int32) int {
		return cmp.Or(cmp.Compare(g.f.units[y].cost, g.f.units[x].cost), cmp.Compare(x, y))
	})
	for _, u := range g.scratch {
		if g.st.remove(u); g.st.enough() {
			g.touch(u)
		} else {
			g.st.add(u)
		}
	}
}

// become makes the chosen set equal to another.
func (g *greedy) become(set []int32) {
	for i := len(g.st.set) - 1; i >= 0; i-- {
		if u := g.st.set[i]; !slices.Contains(set, u) {
			g.remove(u)
		}
	}
	for _, u := range set {
		if !g.st.in[u] {
			g.add(u)
		}
	}
}
