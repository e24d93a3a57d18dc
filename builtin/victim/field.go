package victim

import (
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
)

// field is one search written in flat numbers: the nodes that matter, the units
// that may go, and what is asked. It does not change during a search; state is
// what a chosen set makes of it.
//
// A set is good if it is allowed (every queue keeps its guarantee; that stays true
// when units are left out) and enough (the tasks find slots and the quota is
// short of nothing; that stays true when units are added).
type field struct {
	s     *Search
	ask   *ask
	level int
	units []cand

	dims   []amount.Dim    // that any of the shapes asks for
	req    []amount.Amount // shape × dims
	shapes []world.Shape   // of ask.needs, in the same order
	near   []*world.Nearby // likewise; see setNear
	// Lower bounds of costs look at one resource only, GPUs where asked for: index
	// into dims, and a shape that asks for it.
	bound, boundShape int

	nodes   []world.NodeIx  // touched by a unit
	local   []int32         // world node → index into nodes, plus 1; 0: not there
	free    []amount.Amount // node × dims, with what earlier victims leave
	devOff  []int32         // first device of a node in dev
	dev     []int32
	runs    []uint64 // node → bit per shape that may run there
	base    base
	others  []int32 // shape → slots on nodes that no unit touches
	parts   []part
	amounts []amount.Amount // part × dims
	holds   []hold
	onNode  [][]int32 // node → candidates that touch it

	short  []shortage
	gives  []amount.Amount // unit × shortages
	queues []account       // guarantees to keep
	pays   []pay           // what units take from them
	typed  uint64          // GPU types whose quota has no room
	wide   bool            // some unit touches several nodes
	jobs   int             // that offer units
}

// cand is a unit in the field.
type cand struct {
	unit           *unit
	number         int32 // in the pool
	cost           amount.Amount
	tasks, leaders int32
	job            int32 // units of one job have one number
	part, parts    int32
	pay, pays      int32
	twin           int32         // units with one number change everything alike but cost
	weight         amount.Amount // freed on useful nodes of the resource of field.bound
	whole          bool
	mixed          bool // its job offers itself whole and surplus too
}

// part is what a unit frees on one node.
type part struct {
	node        int32
	amount      int32 // first in field.amounts
	hold, holds int32
}

// hold is the devices of one task.
type hold struct {
	mask  uint64
	milli int32
}

// shortage is quota that must come free: of an account of the job's chain, the
// amount of one resource, or if apps, running jobs.
type shortage struct {
	account quota.Account
	dim     amount.Dim
	apps    bool
	need    amount.Amount
}

// account is one resource of a queue that has a guarantee.
type account struct {
	queue quota.Q
	dim   amount.Dim
	slack amount.Amount // used - guaranteed; may be negative
}

type pay struct {
	account int32
	amount  amount.Amount
}

// build writes down the search among the given units, on one level of
// preference, for what prepare was called with.
func (f *field) build(units []int32, level int) {
	s := f.s
	f.level = level
	f.units, f.parts = f.units[:0], f.parts[:0]
	f.free, f.dev, f.devOff, f.runs = f.free[:0], f.dev[:0], f.devOff[:0], f.runs[:0]
	f.amounts, f.holds, f.pays, f.gives = f.amounts[:0], f.holds[:0], f.pays[:0], f.gives[:0]
	f.queues, f.wide = f.queues[:0], false
	for _, n := range f.nodes {
		f.local[n] = 0
	}
	if len(f.local) != len(s.w.Nodes) {
		f.local = make([]int32, len(s.w.Nodes))
	}
	f.nodes = f.nodes[:0]
	job := int32(-1)
	var last *world.Job
	for _, n := range units {
		u := &s.pool.units[n]
		if u.job != last {
			last, job = u.job, job+1
		}
		f.add(u, n, job)
	}
	f.jobs = int(job) + 1
	f.linkNodes()
	f.findTwins()
}

func (f *field) setShapes() {
	w := f.s.w
	f.dims, f.shapes = f.dims[:0], f.shapes[:0]
	for _, n := range f.ask.needs {
		f.shapes = append(f.shapes, w.Shapes[n.shape])
		for _, e := range w.Shapes[n.shape].Request {
			if !slices.Contains(f.dims, e.Dim) {
				f.dims = append(f.dims, e.Dim)
			}
		}
	}
	f.req = grown(f.req, len(f.shapes)*len(f.dims))
	for i := range f.shapes {
		for k, d := range f.dims {
			f.req[i*len(f.dims)+k], _ = f.shapes[i].Request.Get(d)
		}
	}
	f.bound, f.boundShape = 0, 0
	for i := range f.shapes {
		for k, d := range f.dims {
			if d == amount.GPU && f.req[i*len(f.dims)+k] > 0 {
				f.bound, f.boundShape = k, i
			}
		}
	}
}

// setNear writes down what the tasks have against nodes for the tasks that are near
// them now. Nodes that only the going of a victim would make good are left out: a
// search finds room, not company. A gang's later tasks see its earlier ones only in the
// trial. Where groups of one shape relate to different tasks, the trial alone decides.
func (f *field) setNear() {
	w, j := f.s.w, f.ask.job
	f.near = grown(f.near, len(f.ask.needs))
	clear(f.near)
	if !j.Relates() {
		return
	}
	for i, n := range f.ask.needs {
		first := -1
		for gi := range j.Groups {
			g := &j.Groups[gi]
			if g.Shape != n.shape || f.ask.surplus >= 0 && gi != f.ask.surplus {
				continue
			}
			if first >= 0 && !g.RelatesLike(&j.Groups[first]) {
				first = -1
				break
			}
			first = gi
		}
		if first >= 0 {
			f.near[i] = w.NearbyIn(f.ask.within, j, first)
		}
	}
}

// setShortages lists the accounts of the job that have no room for it now.
func (f *field) setShortages() {
	f.short = f.short[:0]
	tree, j := f.s.w.Quota, f.ask.job
	for _, acc := range j.Chain {
		used, most := tree.Used(acc), tree.MaxOf(acc)
		for _, e := range f.ask.missing {
			if m := most[e.Dim]; m != amount.Max {
				if sum := used[e.Dim].Add(tree.Kept(acc, e.Dim)).Add(e.Amount); sum > m {
					f.short = append(f.short, shortage{account: acc, dim: e.Dim, need: sum.Sub(m)})
				}
			}
		}
		n, top := tree.Apps(acc)
		if n += tree.KeptApps(acc); j.Placed == 0 && top > 0 && n >= top {
			f.short = append(f.short, shortage{account: acc, apps: true, need: amount.Amount(n + 1 - top)})
		}
	}
}

// fullTypes is the GPU types whose quota has no room for a task and of which no
// victim outside the queue can free any. Inside the queue the trial decides.
func (f *field) fullTypes() (banned uint64) {
	w, j := f.s.w, f.ask.job
	if !w.Quota.TypedMax(j.Queue) || f.ask.rule == plan.RulePriority {
		return 0
	}
	for c := range w.Classes {
		class := &w.Classes[c]
		if !class.HasType {
			continue
		}
		gpu, _ := f.shapes[0].Request.Get(amount.GPU)
		if gpu > 0 && w.Quota.Fits(j.Chain, amount.List{{Dim: class.Typed, Amount: gpu}}, 1).Blocked {
			banned |= pack.TypeBit(class.Typed)
		}
	}
	return banned
}

// add writes down one unit: what it frees where, which quota it gives back, and
// which guarantees it draws on.
func (f *field) add(u *unit, number, job int32) {
	c := cand{
		unit: u, number: number, cost: f.ask.costOf(u), tasks: int32(len(u.tasks)), job: job, whole: u.whole,
		part: int32(len(f.parts)), pay: int32(len(f.pays)),
	}
	if u.leader {
		c.leaders = 1
	}
	f.addPays(u)
	c.pays = int32(len(f.pays)) - c.pay
	if !f.allowedAlone(f.pays[c.pay:]) {
		f.pays = f.pays[:c.pay]
		return
	}
	for _, t := range u.tasks {
		f.addTask(&c, t)
	}
	c.parts = int32(len(f.parts)) - c.part
	f.wide = f.wide || c.parts > 1
	if !f.addShortages(u) && c.parts == 0 {
		f.pays, f.gives = f.pays[:c.pay], f.gives[:len(f.units)*len(f.short)]
		return
	}
	f.units = append(f.units, c)
}

// allowedAlone says whether a unit may go if it were the only one.
func (f *field) allowedAlone(pays []pay) bool {
	for _, p := range pays {
		if a := &f.queues[p.account]; p.amount <= a.slack {
			continue
		} else if f.level < straddling || !f.above(pays, a.queue) {
			return false
		}
	}
	return true
}

// above says whether the queue is above its guarantee on a resource that the
// unit takes from it.
func (f *field) above(pays []pay, q quota.Q) bool {
	for _, p := range pays {
		if a := &f.queues[p.account]; a.queue == q && p.amount > 0 && a.slack > 0 {
			return true
		}
	}
	return false
}

func (f *field) addTask(c *cand, t *world.Task) {
	n := f.node(t.Node)
	if n < 0 {
		return
	}
	i := c.part
	for int(i) < len(f.parts) && f.parts[i].node != n {
		i++
	}
	if int(i) == len(f.parts) {
		f.parts = append(f.parts, part{node: n, amount: int32(len(f.amounts)), hold: int32(len(f.holds))})
		for range f.dims {
			f.amounts = append(f.amounts, 0)
		}
	}
	p := &f.parts[i]
	f.credit(f.amounts[p.amount:][:len(f.dims)], t)
	c.weight = c.weight.Add(f.amountOf(t, f.dims[f.bound]))
	if t.Dev == 0 {
		return
	}
	if int(p.hold+p.holds) != len(f.holds) { // tasks of one node must be neighbours
		moved := append(f.holds, f.holds[p.hold:p.hold+p.holds]...)
		p.hold = int32(len(f.holds))
		f.holds = moved
	}
	f.holds = append(f.holds, f.holdOf(t))
	p.holds++
}

func (f *field) holdOf(t *world.Task) hold {
	if m := f.s.w.Shapes[t.Job.Groups[t.Group].Shape].Milli; m > 0 {
		return hold{t.Dev, m}
	}
	return hold{t.Dev, 1000}
}

func (f *field) amountOf(t *world.Task, d amount.Dim) amount.Amount {
	w := f.s.w
	a, _ := w.Charge(t.Job.Groups[t.Group].Shape, w.Nodes[t.Node].Class).Get(d)
	return a
}

// credit adds what a task holds to a row.
func (f *field) credit(row []amount.Amount, t *world.Task) {
	for k, d := range f.dims {
		row[k] = row[k].Add(f.amountOf(t, d))
	}
}

// node is the index of a node in the field, -1 if the job can't use it.
func (f *field) node(n world.NodeIx) int32 {
	if l := f.local[n]; l != 0 {
		return l - 1
	}
	runs := f.runsOn(n)
	if runs == 0 {
		return -1
	}
	f.nodes = append(f.nodes, n)
	l := int32(len(f.nodes))
	f.local[n] = l
	f.runs = append(f.runs, runs)
	row, dev := f.offers(n)
	f.free = append(f.free, row...)
	f.devOff = append(f.devOff, int32(len(f.dev)))
	f.dev = append(f.dev, dev...)
	return l - 1
}

func (f *field) runsOn(n world.NodeIx) (bits uint64) {
	nd := &f.s.w.Nodes[n]
	if nd.HasType && f.typed&pack.TypeBit(nd.Typed) != 0 {
		return 0
	}
	if f.ask.refused != nil && f.ask.refused[n] {
		return 0
	}
	for i := range f.ask.needs {
		if f.s.usable(f.ask, f.ask.needs[i].shape, n) && f.near[i].Refusal(n) == world.Fit {
			bits |= 1 << min(i, 63)
		}
	}
	return bits
}

// devices of a node in a state's array.
func (f *field) devices(dev []int32, n int32) []int32 {
	end := int32(len(f.dev))
	if int(n)+1 < len(f.devOff) {
		end = f.devOff[n+1]
	}
	return dev[f.devOff[n]:end]
}

func (f *field) addShortages(u *unit) (any bool) {
	for i := range f.short {
		sh := &f.short[i]
		var given amount.Amount
		switch {
		case !slices.Contains(u.job.Chain, sh.account):
		case sh.apps: // of surplus, only the last task of a job that has no gang
			given = 1
		case !sh.apps:
			for _, t := range u.tasks {
				given = given.Add(f.amountOf(t, sh.dim))
			}
		}
		any = any || given > 0
		f.gives = append(f.gives, given)
	}
	return any
}

// addPays lists what the unit takes from queues that have a guarantee, from its
// leaf up to the one below the common ancestor.
func (f *field) addPays(u *unit) {
	if f.ask.rule == plan.RulePriority {
		return
	}
	tree := f.s.w.Quota
	top := tree.Queues[f.s.sides[u.job.Queue].child].Parent
	for _, e := range f.ask.missing {
		var sum amount.Amount
		for _, t := range u.tasks {
			sum = sum.Add(f.amountOf(t, e.Dim))
		}
		for q := u.job.Queue; q != top; q = tree.Queues[q].Parent {
			if g := tree.Guaranteed(q)[e.Dim]; g != quota.Unset {
				f.pays = append(f.pays, pay{f.accountOf(q, e.Dim, g), sum})
			}
		}
	}
}

func (f *field) accountOf(q quota.Q, d amount.Dim, g amount.Amount) int32 {
	for i := range f.queues {
		if f.queues[i].queue == q && f.queues[i].dim == d {
			return int32(i)
		}
	}
	used := f.s.w.Quota.Used(quota.Account(q))[d]
	f.queues = append(f.queues, account{q, d, used.Sub(g)})
	return int32(len(f.queues) - 1)
}

// linkNodes lists the units of each node, and counts the slots on all nodes that
// no unit of the field touches.
func (f *field) linkNodes() {
	for len(f.onNode) < len(f.nodes) {
		f.onNode = append(f.onNode, nil)
	}
	for n := range f.nodes {
		f.onNode[n] = f.onNode[n][:0]
	}
	for i := range f.units {
		for _, p := range f.partsOf(int32(i)) {
			f.onNode[p.node] = append(f.onNode[p.node], int32(i))
		}
	}
	f.others = append(f.others[:0], f.base.total...)
	for i := range f.shapes {
		for _, n := range f.nodes {
			f.others[i] -= f.base.slots[i*len(f.s.w.Nodes)+int(n)]
		}
	}
}

// slots is how many tasks of a shape fit into a row of free amounts and devices.
func (f *field) slots(shape int, free []amount.Amount, dev []int32) int32 {
	most := f.ask.needs[shape].tasks
	for k, r := range f.req[shape*len(f.dims):][:len(f.dims)] {
		if r <= 0 {
			continue
		}
		if free[k] < r.Mul(int64(most)) {
			most = int32(max(0, free[k]/r))
		}
	}
	sh := &f.shapes[shape]
	if most == 0 || sh.Whole == 0 && sh.Milli == 0 {
		return most
	}
	var n int32
	for _, d := range dev {
		switch {
		case sh.Milli > 0:
			n += max(0, d/sh.Milli)
		case d >= 1000:
			n++
		}
	}
	if sh.Whole > 0 {
		n /= sh.Whole
	}
	return min(most, n)
}

func giveBack(dev []int32, h hold, sign int32) {
	for i := range dev {
		if h.mask&(1<<i) != 0 {
			dev[i] += sign * h.milli
		}
	}
}

func (f *field) partsOf(u int32) []part { return f.parts[f.units[u].part:][:f.units[u].parts] }
func (f *field) paysOf(u int32) []pay   { return f.pays[f.units[u].pay:][:f.units[u].pays] }
func (f *field) givesOf(u int32) []amount.Amount {
	return f.gives[int(u)*len(f.short):][:len(f.short)]
}

// findTwins numbers the units that change everything alike: one node, the same
// amounts, quota and guarantees. Among them the cheaper one is always as good.
func (f *field) findTwins() {
	for i := 0; i < len(f.units); {
		k, wholes := i, 0
		for ; k < len(f.units) && f.units[k].job == f.units[i].job; k++ {
			f.units[k].twin = int32(k)
			if f.units[k].whole {
				wholes++
			}
		}
		for mixed := wholes > 0 && k-i > 1; i < k; i++ {
			f.units[i].mixed = mixed
		}
	}
	for n := range f.nodes {
		on := f.onNode[n]
		for k, u := range on {
			for _, v := range on[:k] {
				if f.alike(u, v) {
					f.units[u].twin = f.units[v].twin
					break
				}
			}
		}
	}
}

func (f *field) alike(u, v int32) bool {
	a, b := &f.units[u], &f.units[v]
	if a.parts != 1 || b.parts != 1 || a.tasks != b.tasks || a.leaders != b.leaders {
		return false
	}
	if (a.mixed || b.mixed) && (a.job != b.job || a.whole != b.whole) {
		return false
	}
	p, q := f.parts[a.part], f.parts[b.part]
	return slices.Equal(f.amounts[p.amount:][:len(f.dims)], f.amounts[q.amount:][:len(f.dims)]) &&
		sameHolds(f.holds[p.hold:][:p.holds], f.holds[q.hold:][:q.holds]) &&
		slices.Equal(f.paysOf(u), f.paysOf(v)) && slices.Equal(f.givesOf(u), f.givesOf(v))
}

// sameHolds says whether two parts free as many whole devices and nothing else.
func sameHolds(a, b []hold) bool { return wholeDevices(a) >= 0 && wholeDevices(a) == wholeDevices(b) }

func wholeDevices(hs []hold) (n int) {
	for _, h := range hs {
		if h.milli != 1000 {
			return -1
		}
		for m := h.mask; m != 0; m &= m - 1 {
			n++
		}
	}
	return n
}
