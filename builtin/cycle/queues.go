package cycle

import (
	"math/bits"

	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// queueState is what a cycle knows about one queue. The queues that have pending
// work stand in a heap below their parent, the next one to serve at the top; a
// placement changes the keys on one path only.
type queueState struct {
	rank     int64
	tier     int64   // see retier
	entitled []int64 // row of the fairness policy's answer
	pending  []int64 // row of what pending tasks asked for at the start
	heap     []quota.Q
	at       int // position in the parent's heap, -1 if not in it

	// num/den is the largest used/entitled over the resources, kept as a fraction
	// and compared by cross-multiplication: no division, no rounding.
	num, den uint64
	// noOwed says that no job below can start inside the guarantee in this cycle.
	noOwed bool

	// Leaves only:
	jobs   []*world.Job // in the order of the job-order policy
	status []jobStatus  // of jobs
	next   int          // first job that may still be tried
	owed   int          // the same for jobs inside the guarantee
}

type jobStatus uint8

const (
	untried jobStatus = iota
	failed            // can't start in this cycle
	noRoom            // the same, for want of nodes
	done              // nothing left to place
)

// keepPendingDemand copies what is asked for before used is added to it.
func (c *cycle) keepPendingDemand(b *policies.QueueBatch) {
	size(&c.scratch, len(b.Demand))
	copy(c.scratch, b.Demand)
}

// startQueues takes the fairness policy's answer and builds the heaps.
func (c *cycle) startQueues(b *policies.QueueBatch) {
	if len(c.queues) != b.N {
		c.queues = make([]queueState, b.N)
	}
	for q := range c.queues {
		s := &c.queues[q]
		s.rank = max(0, b.Rank[q])
		s.entitled = b.Entitled[q*b.R:][:b.R]
		s.pending = c.scratch[q*b.R:][:b.R]
		s.heap, s.at, s.noOwed = s.heap[:0], -1, false
		s.jobs, s.status, s.next, s.owed = s.jobs[:0], s.status[:0], 0, 0
	}
}

// open puts the queues with work into their parents' heaps, once the jobs of the
// leaves are known.
func (c *cycle) open() {
	for q := len(c.queues) - 1; q > 0; q-- {
		s := &c.queues[q]
		leaf := c.w.Quota.Queues[q].Leaf
		if leaf && len(s.jobs) == 0 || !leaf && len(s.heap) == 0 {
			continue
		}
		c.measure(quota.Q(q))
		c.retier(quota.Q(q))
		c.push(c.w.Quota.Queues[q].Parent, quota.Q(q))
	}
	for q := range c.queues { // parents' ranks count in their children's keys
		c.heapify(quota.Q(q))
	}
}

// measure recomputes a queue's dominant used/entitled.
func (c *cycle) measure(q quota.Q) {
	s := &c.queues[q]
	s.num, s.den = 0, 1
	for d, used := range c.w.Quota.Used(quota.Account(q)) {
		if used <= 0 {
			continue
		}
		num, den := uint64(used), uint64(max(0, s.entitled[d]))
		if lessFraction(s.num, s.den, num, den) {
			s.num, s.den = num, den
		}
	}
}

// lessFraction is a/b < c/d; a denominator of 0 is infinity.
func lessFraction(a, b, c, d uint64) bool {
	h1, l1 := bits.Mul64(a, d)
	h2, l2 := bits.Mul64(c, b)
	return h1 < h2 || h1 == h2 && l1 < l2
}

// tier is the queue's rank as the host honours it: 0, "owed its guarantee", only
// while that is so.
func (c *cycle) tier(q quota.Q) int64 { return c.queues[q].tier }

// retier recomputes a queue's tier and says whether it changed.
func (c *cycle) retier(q quota.Q) bool {
	s := &c.queues[q]
	was := s.tier
	s.tier = max(1, s.rank)
	if s.rank == 0 && !s.noOwed && c.underGuarantee(q) {
		s.tier = 0
	}
	return s.tier != was
}

// underGuarantee says whether a queue holds less than its guarantee of everything
// that it is guaranteed and that its pending tasks ask for.
func (c *cycle) underGuarantee(q quota.Q) bool {
	s := &c.queues[q]
	t := c.w.Quota
	if !t.HasGuarantee(q) {
		return false
	}
	used, any := t.Used(quota.Account(q)), false
	for d, g := range t.Guaranteed(q) {
		if g == quota.Unset || s.pending[d] == 0 {
			continue
		}
		if used[d] >= g {
			return false
		}
		any = true
	}
	return any
}

// inOwed says whether work below q is done in the name of a guarantee.
func (c *cycle) inOwed(q quota.Q) bool {
	for ; q > quota.Root; q = c.w.Quota.Queues[q].Parent {
		if c.tier(q) == 0 {
			return true
		}
	}
	return false
}

// less is the order of siblings: rank, then used/entitled, then name. Below a
// queue that is owed its guarantee, siblings without a job for it come last.
func (c *cycle) less(a, b quota.Q, owed bool) bool {
	x, y := &c.queues[a], &c.queues[b]
	if owed && x.noOwed != y.noOwed {
		return y.noOwed
	}
	if ta, tb := c.tier(a), c.tier(b); ta != tb {
		return ta < tb
	}
	if lessFraction(x.num, x.den, y.num, y.den) {
		return true
	}
	if lessFraction(y.num, y.den, x.num, x.den) {
		return false
	}
	return a < b // siblings are numbered in order of their names
}

func (c *cycle) push(parent, q quota.Q) {
	p := &c.queues[parent]
	c.queues[q].at = len(p.heap)
	p.heap = append(p.heap, q)
}

func (c *cycle) heapify(parent quota.Q) {
	p := &c.queues[parent]
	owed := c.inOwed(parent)
	for i := len(p.heap)/2 - 1; i >= 0; i-- {
		c.down(p, i, owed)
	}
}

func (c *cycle) down(p *queueState, i int, owed bool) {
	for {
		l := 2*i + 1
		if l >= len(p.heap) {
			return
		}
		if r := l + 1; r < len(p.heap) && c.less(p.heap[r], p.heap[l], owed) {
			l = r
		}
		if !c.less(p.heap[l], p.heap[i], owed) {
			return
		}
		c.swap(p, i, l)
		i = l
	}
}

func (c *cycle) up(p *queueState, i int, owed bool) {
	for i > 0 {
		parent := (i - 1) / 2
		if !c.less(p.heap[i], p.heap[parent], owed) {
			return
		}
		c.swap(p, i, parent)
		i = parent
	}
}

func (c *cycle) swap(p *queueState, i, j int) {
	p.heap[i], p.heap[j] = p.heap[j], p.heap[i]
	c.queues[p.heap[i]].at, c.queues[p.heap[j]].at = i, j
}

// charged brings the keys on the path from a leaf up to date after its usage
// changed. When a queue's tier changes with it, what is below is put in order
// again, since it may no longer act in the name of the guarantee.
func (c *cycle) charged(leaf quota.Q) {
	t := c.w.Quota
	for q := leaf; q > quota.Root; q = t.Queues[q].Parent {
		c.measure(q)
		if c.retier(q) {
			c.reorderBelow(q)
		}
	}
	for q := leaf; q > quota.Root; q = t.Queues[q].Parent {
		c.fix(q)
	}
}

func (c *cycle) reorderBelow(q quota.Q) {
	c.heapify(q)
	for _, child := range c.queues[q].heap {
		c.reorderBelow(child)
	}
}

// fix restores the heap that q stands in.
func (c *cycle) fix(q quota.Q) {
	s := &c.queues[q]
	if s.at < 0 {
		return
	}
	parent := c.w.Quota.Queues[q].Parent
	p := &c.queues[parent]
	owed := c.inOwed(parent)
	c.down(p, s.at, owed)
	c.up(p, s.at, owed)
}

// close takes a queue without work out of its parent's heap, and the parent too
// if it was the last.
func (c *cycle) close(q quota.Q) {
	for q > quota.Root {
		parent := c.w.Quota.Queues[q].Parent
		p := &c.queues[parent]
		i, last := c.queues[q].at, len(p.heap)-1
		c.swap(p, i, last)
		p.heap = p.heap[:last]
		c.queues[q].at = -1
		if i < last {
			owed := c.inOwed(parent)
			c.down(p, i, owed)
			c.up(p, i, owed)
		}
		if last > 0 {
			return
		}
		q = parent
	}
}

// exhaustOwed notes that a leaf has no job left that may start in the name of a
// guarantee, and that a parent has none if all its children have none.
func (c *cycle) exhaustOwed(leaf quota.Q) {
	t := c.w.Quota
	for q := leaf; q > quota.Root; q = t.Queues[q].Parent {
		c.queues[q].noOwed = true
		if c.retier(q) {
			c.reorderBelow(q)
		}
		c.fix(q)
		if !c.allExhausted(t.Queues[q].Parent) {
			break
		}
	}
	for q := t.Queues[leaf].Parent; q > quota.Root; q = t.Queues[q].Parent {
		c.fix(q)
	}
}

func (c *cycle) allExhausted(parent quota.Q) bool {
	for _, q := range c.queues[parent].heap {
		if !c.queues[q].noOwed {
			return false
		}
	}
	return true
}
