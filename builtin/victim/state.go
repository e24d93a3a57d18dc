package victim

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
)

// state is what a chosen set of units makes of a field. add and remove are exact
// inverses and cost what the unit touches.
type state struct {
	f               *field
	free            []amount.Amount // node × dims
	dev             []int32
	slots           []int32 // shape × node
	total           []int32 // per shape, other nodes included
	given           []amount.Amount
	paid            []amount.Amount
	in              []bool
	set             []int32 // the units that are in, in no order
	wholes, surplus []int32 // per job
	key             key
	weight          amount.Amount
}

// key is what sets are compared by before their names are.
type key struct {
	cost                  amount.Amount
	tasks, units, leaders int32
}

func (k key) compare(o key) int {
	return cmp.Or(cmp.Compare(k.cost, o.cost), cmp.Compare(k.tasks, o.tasks), cmp.Compare(k.units, o.units), cmp.Compare(k.leaders, o.leaders))
}

// start is the state of the empty set.
func (st *state) start(f *field) {
	st.f = f
	st.free = append(st.free[:0], f.free...)
	st.dev = append(st.dev[:0], f.dev...)
	st.total = append(st.total[:0], f.others...)
	st.slots = grown(st.slots, len(f.shapes)*len(f.nodes))
	st.given, st.paid = grown(st.given, len(f.short)), grown(st.paid, len(f.queues))
	st.in = grown(st.in, len(f.units))
	st.wholes, st.surplus = grown(st.wholes, f.jobs), grown(st.surplus, f.jobs)
	clear(st.slots)
	clear(st.given)
	clear(st.paid)
	clear(st.in)
	clear(st.wholes)
	clear(st.surplus)
	st.key, st.weight, st.set = key{}, 0, st.set[:0]
	for n := range f.nodes {
		st.count(int32(n))
	}
}

// count brings the slots of a node up to date.
func (st *state) count(n int32) {
	f := st.f
	for i := range f.shapes {
		if f.runs[n]&(1<<min(i, 63)) == 0 {
			continue
		}
		k := i*len(f.nodes) + int(n)
		now := f.slots(i, st.free[int(n)*len(f.dims):][:len(f.dims)], f.devices(st.dev, n))
		st.total[i] += now - st.slots[k]
		st.slots[k] = now
	}
}

func (st *state) add(u int32)    { st.change(u, 1) }
func (st *state) remove(u int32) { st.change(u, -1) }

func (st *state) change(u, sign int32) {
	f := st.f
	c := &f.units[u]
	for _, p := range f.partsOf(u) {
		row := st.free[int(p.node)*len(f.dims):][:len(f.dims)]
		for k, a := range f.amounts[p.amount:][:len(f.dims)] {
			row[k] += amount.Amount(sign) * a
		}
		if p.holds > 0 {
			dev := f.devices(st.dev, p.node)
			for _, h := range f.holds[p.hold:][:p.holds] {
				giveBack(dev, h, sign)
			}
		}
		st.count(p.node)
	}
	for _, p := range f.paysOf(u) {
		st.paid[p.account] += amount.Amount(sign) * p.amount
	}
	st.in[u] = sign > 0
	if sign > 0 {
		st.set = append(st.set, u)
	} else {
		k := len(st.set) - 1
		for st.set[k] != u {
			k--
		}
		st.set = slices.Delete(st.set, k, k+1)
	}
	last := c.whole
	if c.whole {
		st.wholes[c.job] += sign
	} else {
		most := max(st.surplus[c.job], st.surplus[c.job]+sign)
		st.surplus[c.job] += sign
		last = most == c.unit.job.Placed
	}
	for i, a := range f.givesOf(u) {
		if last || !f.short[i].apps {
			st.given[i] += amount.Amount(sign) * a
		}
	}
	st.weight += amount.Amount(sign) * c.weight
	st.key.units += sign
	st.key.tasks += sign * c.tasks
	st.key.leaders += sign * c.leaders
	if sign > 0 {
		st.key.cost = st.key.cost.Add(c.cost)
	} else {
		st.key.cost = st.key.cost.Sub(c.cost)
	}
}

// enough says whether the tasks find slots and quota is short of nothing. Where
// several shapes are asked for, each by itself finds its slots; whether all do
// together the trial tells.
func (st *state) enough() bool {
	for i, n := range st.total {
		if n < st.f.ask.needs[i].tasks {
			return false
		}
	}
	for i, g := range st.given {
		if g < st.f.short[i].need {
			return false
		}
	}
	return true
}

// mayAdd says whether the set with the unit is still allowed.
func (st *state) mayAdd(u int32) bool {
	f := st.f
	c := &f.units[u]
	if st.in[u] || c.whole && st.surplus[c.job] > 0 || !c.whole && st.wholes[c.job] > 0 {
		return false
	}
	for _, p := range f.paysOf(u) {
		a := &f.queues[p.account]
		if st.paid[p.account]+p.amount <= a.slack {
			continue
		}
		if f.level < straddling {
			return false
		}
		st.add(u)
		_, ok := st.straddler(p.account)
		st.remove(u)
		if !ok {
			return false
		}
	}
	return true
}

// straddler finds the unit that may take the queue of an account below its
// guarantee: the others of the queue leave it whole, and with them gone it is
// still above on something the unit takes. The first in order is named.
func (st *state) straddler(acc int32) (int32, bool) {
	f := st.f
	q := f.queues[acc].queue
	members := 0
	for _, u := range st.set {
		if f.paysTo(u, q) {
			members++
		}
	}
	first := int32(-1)
	for _, u := range st.set {
		if (first < 0 || u < first) && f.paysTo(u, q) && st.couldStraddle(u, acc, members == 1) {
			first = u
		}
	}
	return first, first >= 0
}

func (f *field) paysTo(u int32, q quota.Q) bool {
	for _, p := range f.paysOf(u) {
		if f.queues[p.account].queue == q {
			return true
		}
	}
	return false
}

func (st *state) couldStraddle(u, acc int32, alone bool) bool {
	f := st.f
	above := false
	for _, p := range f.paysOf(u) {
		a := &f.queues[p.account]
		if a.queue != f.queues[acc].queue {
			continue
		}
		rest := st.paid[p.account] - p.amount
		if !alone && rest > a.slack {
			return false
		}
		above = above || p.amount > 0 && rest < a.slack
	}
	return above
}

// quotaShort says whether quota, not room, is what no set could free enough of.
func (f *field) quotaShort() bool {
	for i := range f.short {
		var sum amount.Amount
		for u := range f.units {
			sum = sum.Add(f.givesOf(int32(u))[i])
		}
		if sum < f.short[i].need {
			return true
		}
	}
	return false
}
