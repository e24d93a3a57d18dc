package victim

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/world"
)

// nodeList has, for each node, the units that hold something there, in order of
// cost per amount of one resource. It is made once per cycle and resource.
type nodeList struct {
	ready   bool
	dim     amount.Dim
	choice  choice  // idleFirst, or any other
	first   []int32 // node → its first entry; one more at the end
	entries []entry
}

type entry struct {
	unit   int32
	amount amount.Amount // held on the node
	total  amount.Amount // held by the unit everywhere
	cost   amount.Amount
}

func compareEntries(a, b entry) int {
	if (a.amount == 0) != (b.amount == 0) {
		return cmp.Compare(b.amount, a.amount) // what frees nothing is last
	}
	return cmp.Or(compareProducts(a.cost, b.amount, b.cost, a.amount), cmp.Compare(a.cost, b.cost), cmp.Compare(a.unit, b.unit))
}

// listFor returns the list of a resource, made if need be.
func (s *Search) listFor(d amount.Dim) *nodeList {
	c := byPolicy
	if s.f.ask.choice == idleFirst {
		c = idleFirst
	}
	for i := range s.pool.lists {
		l := &s.pool.lists[i]
		if l.ready && l.dim == d && l.choice == c {
			return l
		}
	}
	i := slices.IndexFunc(s.pool.lists, func(l nodeList) bool { return !l.ready })
	if i < 0 {
		i = len(s.pool.lists)
		s.pool.lists = append(s.pool.lists, nodeList{})
	}
	l := &s.pool.lists[i]
	l.ready, l.dim, l.choice = true, d, c
	l.fill(s)
	return l
}

// fill counts, places and sorts the entries; tasks of one unit on one node share
// one.
func (l *nodeList) fill(s *Search) {
	nodes := len(s.w.Nodes)
	l.first = grown(l.first, nodes+1)
	clear(l.first)
	last := make([]int32, nodes) // unit seen last on the node, plus 1
	for i := range s.pool.units {
		for _, t := range s.pool.units[i].tasks {
			if n := t.Node; n >= 0 && last[n] != int32(i)+1 {
				last[n] = int32(i) + 1
				l.first[n+1]++
			}
		}
	}
	for n := range nodes {
		l.first[n+1] += l.first[n]
	}
	l.entries = grown(l.entries, int(l.first[nodes]))
	at := slices.Clone(l.first[:nodes])
	clear(last)
	for i := range s.pool.units {
		l.addUnit(s, int32(i), at, last)
	}
	for n := range nodes {
		slices.SortFunc(l.entries[l.first[n]:l.first[n+1]], compareEntries)
	}
}

func (l *nodeList) addUnit(s *Search, i int32, at, last []int32) {
	u := &s.pool.units[i]
	var total amount.Amount
	for _, t := range u.tasks {
		if t.Node < 0 {
			continue
		}
		a := s.f.amountOf(t, l.dim)
		total = total.Add(a)
		if last[t.Node] != i+1 {
			last[t.Node] = i + 1
			l.entries[at[t.Node]] = entry{unit: i, cost: s.f.ask.costOf(u)}
			at[t.Node]++
		}
		e := &l.entries[at[t.Node]-1]
		e.amount = e.amount.Add(a)
	}
	for _, t := range u.tasks {
		if t.Node >= 0 {
			l.entries[at[t.Node]-1].total = total
		}
	}
}

func (l *nodeList) on(n world.NodeIx) []entry { return l.entries[l.first[n]:l.first[n+1]] }

// offer is a node with a lower bound of what one more slot costs there.
type offer struct {
	node  world.NodeIx
	bound amount.Amount
	first int32 // lowest number of a unit there, to break ties
}

// offers of all nodes that could give a slot, cheapest first. With shared, a unit
// counts only in proportion to what it holds on the node: others may use the rest.
func (s *Search) offersOf(allowed []int32, shared bool) []offer {
	f := &s.f
	s.mark(allowed)
	l := s.listFor(f.dims[f.bound])
	out := s.offers[:0]
	for n := range s.w.Nodes {
		if l.first[n] == l.first[n+1] {
			continue
		}
		if o, ok := s.offerOf(l, world.NodeIx(n), shared); ok {
			out = append(out, o)
		}
	}
	slices.SortFunc(out, func(a, b offer) int { return cmp.Or(cmp.Compare(a.bound, b.bound), cmp.Compare(a.first, b.first)) })
	s.offers = out
	return out
}

func (s *Search) offerOf(l *nodeList, n world.NodeIx, shared bool) (o offer, ok bool) {
	f := &s.f
	if f.runsOn(n)&(1<<min(f.boundShape, 63)) == 0 {
		return o, false
	}
	row, _ := f.offers(n)
	slots := f.base.slots[f.boundShape*len(s.w.Nodes)+int(n)]
	left := f.req[f.boundShape*len(f.dims)+f.bound].Mul(int64(slots) + 1).Sub(row[f.bound])
	o = offer{node: n, first: -1}
	for _, e := range l.on(n) {
		if s.stamps[e.unit] != s.stamp {
			continue
		}
		if o.first < 0 || e.unit < o.first {
			o.first = e.unit
		}
		if left <= 0 {
			continue
		}
		if e.amount == 0 {
			break
		}
		c := e.cost
		if shared && e.total > e.amount {
			c = c.Scale(e.amount, e.total)
		}
		if e.amount > left {
			c = c.Scale(left, e.amount)
		}
		o.bound, left = o.bound.Add(c), left-e.amount
	}
	return o, left <= 0 && o.first >= 0
}

// mark remembers which units are allowed now.
func (s *Search) mark(units []int32) {
	if len(s.stamps) < len(s.pool.units) {
		s.stamps = make([]uint32, len(s.pool.units))
		s.stamp = 0
	}
	s.stamp++
	for _, u := range units {
		s.stamps[u] = s.stamp
	}
}

// narrow keeps the units of the nodes where slots are likely to be cheap: enough
// for several times what is asked for.
func (s *Search) narrow(allowed []int32) []int32 {
	few := max(leastNodes, nodesPerTask*int(s.f.ask.needs[0].tasks))
	offers := s.offersOf(allowed, true)
	if len(offers) <= few {
		return allowed
	}
	l := s.listFor(s.f.dims[s.f.bound])
	s.near = s.near[:0]
	for _, o := range offers[:few] {
		for _, e := range l.on(o.node) {
			if s.stamps[e.unit] == s.stamp {
				s.stamps[e.unit] = s.stamp - 1 // once only
				s.near = append(s.near, e.unit)
			}
		}
	}
	slices.Sort(s.near)
	return s.near
}

// oneTask finds the cheapest set for a single task: all its units are on one node,
// since any other would be needless. Nodes are looked at in order of their lower
// bounds, until none can be better.
func (s *Search) oneTask(a *ask, allowed []int32, level int) (set []int32, alternative amount.Amount) {
	offers := s.offersOf(allowed, false)
	l := s.listFor(s.f.dims[s.f.bound])
	var top best
	ties := 0
	for _, o := range offers {
		if top.found && (o.bound > top.key.cost || o.bound == top.key.cost && ties > tiesLookedAt) {
			break
		}
		if top.found && o.bound == top.key.cost {
			if ties++; top.key.tasks == 1 && top.key.leaders == 0 && o.first > top.set[0] {
				continue // as cheap at best, and later in order
			}
		}
		s.near = s.near[:0]
		for _, e := range l.on(o.node) {
			if s.stamps[e.unit] == s.stamp {
				s.near = append(s.near, e.unit)
			}
		}
		slices.Sort(s.near)
		s.f.build(s.near, level)
		b := s.cheapest(a)
		if b.found {
			top.take(b, s.f.numbers(b.set))
		}
	}
	return top.set, top.alternative
}

// take keeps the better of two sets of different fields, by their units' numbers.
func (b *best) take(o *best, numbers []int32) {
	switch {
	case !b.found:
		*b = *o
		b.set = numbers
	case cmp.Or(o.key.compare(b.key), slices.Compare(numbers, b.set)) < 0:
		b.other(b.key.cost)
		b.found, b.key, b.set = true, o.key, numbers
	default:
		b.other(o.key.cost)
	}
}

// numbers are the numbers in the pool of units of the field.
func (f *field) numbers(set []int32) []int32 {
	out := make([]int32, len(set))
	for i, u := range set {
		out[i] = f.units[u].number
	}
	return out
}
