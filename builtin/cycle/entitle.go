package cycle

import (
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// batches are the columns that policies read, kept between cycles.
type batches struct {
	queue policies.QueueBatch
	job   policies.JobBatch
}

// entitle asks the fairness policy what every queue should hold, in one call for
// the whole tree.
func (c *cycle) entitle() {
	t := c.w.Quota
	b := &c.batch.queue
	n, r := len(t.Queues), t.R()
	c.sizeQueueBatch(b, n, r)
	copyAmounts(b.Capacity, t.Capacity())
	for q := range t.Queues {
		c.fillQueue(b, quota.Q(q))
	}
	for q := n - 1; q > 0; q-- { // children come after their parents
		up := int(b.Parent[q])
		b.Priority[up] = max(b.Priority[up], b.Priority[q])
		addRow(b.Demand[up*r:], b.Demand[q*r:], r)
	}
	t.Decayed(c.now, b.Decayed)
	b.HalfLife = t.HalfLife
	c.fillUse(b)
	c.keepPendingDemand(b)
	for i, used := range b.Used {
		b.Demand[i] = int64(amount.Amount(b.Demand[i]).Add(amount.Amount(used)))
	}
	c.ask(policies.QueueShares, t.Fairness, n, func(p policies.Policy) error {
		clear(b.Entitled)
		clear(b.Rank)
		return p.Entitle(c.ctx, b)
	})
	c.startQueues(b)
}

func (c *cycle) sizeQueueBatch(b *policies.QueueBatch, n, r int) {
	b.Call = c.call()
	b.N, b.R, b.Resources = n, r, c.w.Res.Names()[:r]
	size(&b.Capacity, r)
	size(&b.Parent, n)
	size(&b.Depth, n)
	size(&b.Leaf, n)
	size(&b.Weight, n)
	size(&b.Priority, n)
	size(&b.Rank, n)
	size(&b.Decayed, n)
	size(&b.Use, n)
	for _, m := range []*[]int64{&b.Guaranteed, &b.Max, &b.Demand, &b.Used, &b.Entitled} {
		size(m, n*r)
	}
	clear(b.Demand)
}

// fillUse fills the measured use of the queues. It looks at every running task, so only
// for a policy that may read it, and only once anything has been measured.
func (c *cycle) fillUse(b *policies.QueueBatch) {
	t := c.w.Quota
	info := c.policyFor(policies.QueueShares, t.Fairness).Info()
	known := c.w.Measured && (info.Columns == nil || info.Reads("queue.use"))
	size(&c.use, b.N)
	clear(c.use)
	if known {
		c.w.UseOfLeaves(c.now, c.use)
	}
	for q := b.N - 1; q >= 0; q-- { // children come after their parents
		b.Use[q] = policies.Unset
		switch busy, ok := c.use[q].Busy(); {
		case t.Used(quota.Account(q))[amount.GPU] == 0:
			b.Use[q] = 0
		case known && ok:
			b.Use[q] = busy
		}
		if q > 0 {
			c.use[b.Parent[q]].Merge(&c.use[q])
		}
	}
}

func (c *cycle) call() policies.Call {
	return policies.Call{Now: c.now, Cycle: c.number, Seed: c.number * 0x9e3779b97f4a7c15}
}

// size makes a column n elements long, keeping its memory.
func size[T any](col *[]T, n int) { *col = slices.Grow((*col)[:0], n)[:n] }

func copyAmounts(to []int64, from []amount.Amount) {
	for i, a := range from {
		to[i] = int64(a)
	}
}

func addRow(to, from []int64, r int) {
	for i := range r {
		to[i] = int64(amount.Amount(to[i]).Add(amount.Amount(from[i])))
	}
}

func (c *cycle) fillQueue(b *policies.QueueBatch, q quota.Q) {
	t := c.w.Quota
	s := &t.Queues[q]
	b.Parent[q], b.Depth[q] = int32(s.Parent), int64(s.Depth)
	b.Leaf[q] = 0
	b.Weight[q] = s.Spec.Weight
	b.Priority[q] = -1 << 62
	row := int(q) * b.R
	copyAmounts(b.Guaranteed[row:], t.Guaranteed(q))
	copyAmounts(b.Max[row:], t.MaxOf(quota.Account(q)))
	copyAmounts(b.Used[row:], t.Used(quota.Account(q)))
	if s.Leaf {
		b.Leaf[q] = 1
		for _, j := range c.w.PendingIn(q) {
			c.addDemand(b, q, j)
		}
	}
}

// addDemand counts what the pending tasks of a job ask for.
func (c *cycle) addDemand(b *policies.QueueBatch, q quota.Q, j *world.Job) {
	if j.Waiting == 0 || j.Refused != "" || j.LacksPods() > 0 {
		return
	}
	b.Priority[q] = max(b.Priority[q], j.Spec.Priority)
	row := b.Demand[int(q)*b.R:]
	for i := range j.Groups {
		g := &j.Groups[i]
		if n := int64(g.Wanted()); n > 0 {
			for _, e := range c.w.Shapes[g.Shape].Request {
				row[e.Dim] = int64(amount.Amount(row[e.Dim]).Add(e.Amount.Mul(n)))
			}
		}
	}
}
