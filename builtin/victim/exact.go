package victim

import (
	"cmp"
	"math/bits"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
)

// best is the best set that a search has seen, and the cost of the best other.
type best struct {
	found       bool
	key         key
	set         []int32 // in ascending order
	alternative amount.Amount
}

// offer keeps the set of a state if it is better than the best so far.
func (b *best) offer(st *state) {
	if b.found && st.key.cost > b.key.cost {
		b.other(st.key.cost)
		return
	}
	set := slices.Clone(st.set)
	slices.Sort(set)
	if b.found {
		c := cmp.Or(st.key.compare(b.key), slices.Compare(set, b.set))
		if c == 0 {
			return
		}
		b.other(max(b.key.cost, st.key.cost))
		if c > 0 {
			return
		}
	}
	b.found, b.key, b.set = true, st.key, set
}

func (b *best) other(cost amount.Amount) {
	if b.alternative == 0 || cost < b.alternative {
		b.alternative = cost
	}
}

// exact looks through all sets, depth first, in order of cost per freed resource.
// A branch ends where its cheapest continuation is no better than the best set,
// where even all units left would not be enough, or where guarantees are broken.
type exact struct {
	f      *field
	lo, hi *state // units that are in; units that are not out
	order  []int32
	best   *best
	target amount.Amount // freed by any good set; see bound
	out    []int32       // twins left out, per number of twins
	nodes  int           // of the search tree that may still be visited
	cut    bool          // the last were used up: the best may not be the best
	proof  func([]int32) bool
}

// search runs over the given units; the others stay as they are in lo.
func (e *exact) search(units []int32) {
	e.order = append(e.order[:0], units...)
	slices.SortFunc(e.order, e.f.byRatio)
	e.hi.start(e.f)
	for _, u := range e.order {
		e.hi.add(u)
	}
	e.out = grown(e.out, len(e.f.units))
	clear(e.out)
	e.target = e.f.target()
	e.cut = false
	e.visit(0)
}

// byRatio orders units by cost per freed resource, then cost, then number.
func (f *field) byRatio(a, b int32) int {
	u, v := &f.units[a], &f.units[b]
	return cmp.Or(compareProducts(u.cost, v.weight, v.cost, u.weight), cmp.Compare(u.cost, v.cost), cmp.Compare(a, b))
}

// compareProducts compares a×b with c×d, none negative, in 128 bits.
func compareProducts(a, b, c, d amount.Amount) int {
	ah, al := bits.Mul64(uint64(a), uint64(b))
	ch, cl := bits.Mul64(uint64(c), uint64(d))
	return cmp.Or(cmp.Compare(ah, ch), cmp.Compare(al, cl))
}

func (e *exact) visit(i int) {
	if e.nodes--; e.nodes < 0 {
		e.cut = true
		return
	}
	if e.lo.enough() {
		if e.proof == nil || e.proof(e.lo.set) {
			e.best.offer(e.lo)
			return
		}
	}
	if i == len(e.order) || e.hopeless(i) || !e.hi.enough() {
		return
	}
	u := e.order[i]
	twin := e.f.units[u].twin
	if e.out[twin] == 0 && e.lo.mayAdd(u) {
		e.lo.add(u)
		e.visit(i + 1)
		e.lo.remove(u)
	}
	e.hi.remove(u)
	e.out[twin]++
	e.visit(i + 1)
	e.out[twin]--
	e.hi.add(u)
}

// hopeless says whether no set with what is in and some of what is left, at least
// one, can be better than the best.
func (e *exact) hopeless(i int) bool {
	if !e.best.found {
		return false
	}
	least := e.lo.key
	least.cost = least.cost.Add(e.bound(i))
	least.tasks++
	least.units++
	return least.compare(e.best.key) > 0
}

// bound is the least cost of freeing what is still missing of the target, if
// parts of units could be had: whole units in order of cost per amount, and a part
// of the last one.
func (e *exact) bound(i int) (cost amount.Amount) {
	left := e.target - e.lo.weight
	for ; left > 0 && i < len(e.order); i++ {
		u := &e.f.units[e.order[i]]
		if u.weight == 0 || e.out[u.twin] > 0 {
			continue
		}
		if u.weight >= left {
			return cost.Add(u.cost.Scale(left, u.weight))
		}
		cost, left = cost.Add(u.cost), left-u.weight
	}
	return cost
}

// target is what must be freed at least of the resource of f.bound: what the
// tasks take, less what is idle on as many nodes as they may use at most.
func (f *field) target() amount.Amount {
	n := f.ask.needs[f.boundShape].tasks - f.others[f.boundShape]
	req := f.req[f.boundShape*len(f.dims)+f.bound]
	if n <= 0 || req <= 0 {
		return 0
	}
	idle := make([]amount.Amount, 0, len(f.nodes))
	for i := range f.nodes {
		if free := f.free[i*len(f.dims)+f.bound]; free > 0 {
			idle = append(idle, free)
		}
	}
	slices.SortFunc(idle, func(a, b amount.Amount) int { return cmp.Compare(b, a) })
	sum := req.Mul(int64(n))
	for _, free := range idle[:min(len(idle), int(n))] {
		sum -= free
	}
	return max(0, sum)
}
