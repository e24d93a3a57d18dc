package suite

import (
	"fmt"
	"slices"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/policies"
)

// unit is the piece in which entitlements may be rounded: one GPU, in milli-GPU.
const unit = 1000

func fairnessLaws() []Law {
	return []Law{
		{
			ID: "fairness/never-above-max", Profile: Fairness, Severity: Must, kinds: policies.QueueShares,
			Statement: "No queue is entitled to more than its configured maximum.",
			test:      property{kind: policies.QueueShares, cases: 60, hold: belowMax},
		},
		{
			ID: "fairness/guarantee-first", Profile: Fairness, Severity: Should, kinds: policies.QueueShares,
			Statement: "Where all guarantees fit, every queue is entitled to what it asks for of its own.",
			test:      property{kind: policies.QueueShares, cases: 60, make: guaranteesFit, hold: guaranteeKept},
		},
		{
			ID: "fairness/weight-monotone", Profile: Fairness, Severity: Must, kinds: policies.QueueShares,
			Statement: "A queue of more weight, all else equal, is never entitled to less, but for one unit of rounding.",
			test:      property{kind: policies.QueueShares, cases: 60, make: weighted, hold: moreWeight},
		},
		{
			ID: "fairness/equal-queues", Profile: Fairness, Severity: Must, kinds: policies.QueueShares,
			Statement: "Queues that are alike in everything are entitled to the same, but for one unit of rounding.",
			test:      property{kind: policies.QueueShares, cases: 60, make: flat, hold: equalQueues},
		},
		{
			ID: "fairness/scale-invariant", Profile: Fairness, Severity: Must, kinds: policies.QueueShares,
			Statement: "A cluster a hundred times as large, with all amounts in proportion, is shared in the same proportions, but for rounding.",
			test:      property{kind: policies.QueueShares, cases: 60, make: large, hold: scaled},
		},
		{
			ID: "fairness/zero-demand", Profile: Fairness, Severity: Should, kinds: policies.QueueShares,
			Statement: "A queue that holds nothing and asks for nothing is entitled to nothing.",
			test:      property{kind: policies.QueueShares, cases: 60, hold: zeroDemand},
		},
		{
			ID: "fairness/never-above-demand", Profile: Fairness, Severity: Should, kinds: policies.QueueShares,
			Statement: "No queue is entitled to more than it holds and asks for.",
			test:      property{kind: policies.QueueShares, cases: 60, hold: belowDemand},
		},
		{
			ID: "fairness/within-capacity", Profile: Fairness, Severity: Should, kinds: policies.QueueShares,
			Statement: "What all leaf queues together are entitled to is there.",
			test:      property{kind: policies.QueueShares, cases: 60, hold: withinCapacity},
		},
		{
			ID: "fairness/rank-owed", Profile: Fairness, Severity: Should, kinds: policies.QueueShares,
			Statement: "Rank 0 goes only to queues that wait for something.",
			test:      property{kind: policies.QueueShares, cases: 60, hold: rankOwed},
		},
		{
			ID: "fairness/nothing-wasted", Profile: Strict, Severity: Claimed, kinds: policies.QueueShares,
			Statement: "Nothing stays without an owner while a queue below its maximum asks for it.",
			test:      property{kind: policies.QueueShares, cases: 60, make: flat, hold: nothingWasted},
		},
		{
			ID: "fairness/sharing-incentive", Profile: Strict, Severity: Claimed, kinds: policies.QueueShares,
			Statement: "Without guarantees, no queue is better off with its part of the pool, by weight, to itself.",
			test:      property{kind: policies.QueueShares, cases: 60, make: byWeight, hold: incentive},
		},
		{
			ID: "fairness/demand-monotone", Profile: Strict, Severity: Claimed, kinds: policies.QueueShares,
			Statement: "A queue that asks for more, all else equal, is never entitled to less.",
			test:      property{kind: policies.QueueShares, cases: 60, make: flat, hold: moreDemand},
		},
		{
			ID: "fairness/idle-queue", Profile: Strict, Severity: Claimed, kinds: policies.QueueShares,
			Statement: "A further queue that holds nothing and asks for nothing changes nobody's entitlement.",
			test:      property{kind: policies.QueueShares, cases: 60, make: flat, hold: idleQueue},
		},
	}
}

// flat makes a tree of one level below the root.
func flat(_ *caseOf, b gen.Batch) gen.Batch {
	b = b.Clone()
	for i := 1; i < b.N(); i++ {
		b.Queues.Parent[i] = 0
	}
	clear(b.Queues.Demand[:b.R()])
	clear(b.Queues.Used[:b.R()])
	b.Repair()
	return b
}

// guaranteesFit makes a flat pool that holds all guarantees.
func guaranteesFit(c *caseOf, b gen.Batch) gen.Batch {
	b = flat(c, b)
	enough(b)
	return b
}

// enough enlarges the pool until the guarantees fit.
func enough(b gen.Batch) {
	q := b.Queues
	for r := range q.R {
		sum := int64(0)
		for i := 1; i < q.N; i++ {
			sum += max(0, q.Guaranteed[i*q.R+r])
		}
		q.Capacity[r] = max(q.Capacity[r], sum)
		q.Max[r], q.Guaranteed[r] = policies.NoMax, policies.Unset
	}
}

// weighted gives every queue a weight of its own.
func weighted(c *caseOf, b gen.Batch) gen.Batch {
	b = b.Clone()
	for i := range b.N() {
		b.Queues.Weight[i] = 1 + c.rnd.Int64N(9)
	}
	return b
}

// large makes the amounts large next to the rounding, and gives weights.
func large(c *caseOf, b gen.Batch) gen.Batch { return times(weighted(c, b), 256) }

// byWeight is a flat pool that only weights divide.
func byWeight(c *caseOf, b gen.Batch) gen.Batch {
	b = flat(c, weighted(c, b))
	for i := range b.Queues.Guaranteed {
		b.Queues.Guaranteed[i], b.Queues.Max[i] = policies.Unset, policies.NoMax
	}
	clear(b.Queues.Decayed)
	return b
}

// times multiplies all amounts.
func times(b gen.Batch, k int64) gen.Batch {
	b = b.Clone()
	q := b.Queues
	for _, column := range [][]int64{q.Capacity, q.Guaranteed, q.Max, q.Demand, q.Used, q.Decayed, q.Use} {
		for i, v := range column {
			if v >= 0 && v != policies.NoMax {
				column[i] = v * k
			}
		}
	}
	return b
}

// cells goes through all queues but the root, and all resources, and returns what the
// first wrong one is.
func (c *caseOf) cells(b gen.Batch, wrong func(a answer, row, r, cell int) string) *breach {
	a := c.ask(b)
	if a.err != nil {
		return nil
	}
	for row := 1; row < b.N(); row++ {
		for r := range b.R() {
			if s := wrong(a, row, r, row*b.R()+r); s != "" {
				return broken(fmt.Sprintf("the queue of row %d is entitled to %d of resource %d, %s", row, a.entitled[row*b.R()+r], r, s))
			}
		}
	}
	return nil
}

func belowMax(c *caseOf, b gen.Batch) *breach {
	return c.cells(b, func(a answer, _, _, cell int) string {
		if a.entitled[cell] > b.Queues.Max[cell] {
			return fmt.Sprintf("its maximum is %d", b.Queues.Max[cell])
		}
		return ""
	})
}

func guaranteeKept(c *caseOf, b gen.Batch) *breach {
	b = b.Clone()
	enough(b) // the shrinker may have made the pool smaller
	return c.cells(b, func(a answer, _, _, cell int) string {
		q := b.Queues
		if owed := min(q.Guaranteed[cell], q.Demand[cell], q.Max[cell]); a.entitled[cell] < owed {
			return fmt.Sprintf("and owed %d", owed)
		}
		return ""
	})
}

func zeroDemand(c *caseOf, b gen.Batch) *breach {
	return c.cells(b, func(a answer, _, _, cell int) string {
		if b.Queues.Demand[cell] == 0 && a.entitled[cell] > 0 {
			return "which it does not ask for"
		}
		return ""
	})
}

func belowDemand(c *caseOf, b gen.Batch) *breach {
	return c.cells(b, func(a answer, _, _, cell int) string {
		if a.entitled[cell] > b.Queues.Demand[cell] {
			return fmt.Sprintf("it holds and asks for %d", b.Queues.Demand[cell])
		}
		return ""
	})
}

func withinCapacity(c *caseOf, b gen.Batch) *breach {
	a := c.ask(b)
	if a.err != nil {
		return nil
	}
	q := b.Queues
	for r := range q.R {
		left := q.Capacity[r]
		for i := 1; i < q.N; i++ {
			if q.Leaf[i] == 0 {
				continue
			}
			if left -= min(a.entitled[i*q.R+r], left+1); left < 0 {
				return broken(fmt.Sprintf("the leaf queues are entitled to more than the %d that there are of resource %d", q.Capacity[r], r))
			}
		}
	}
	return nil
}

func rankOwed(c *caseOf, b gen.Batch) *breach {
	a := c.ask(b)
	if a.err != nil {
		return nil
	}
	q := b.Queues
	for i := 1; i < q.N; i++ {
		if a.rank[i] == 0 && slices.Equal(q.Demand[i*q.R:(i+1)*q.R], q.Used[i*q.R:(i+1)*q.R]) {
			return broken(fmt.Sprintf("the queue of row %d has rank 0 and waits for nothing", i))
		}
	}
	return nil
}

func moreWeight(c *caseOf, b gen.Batch) *breach {
	return c.neverLess(b, unit, "with more weight", func(q *policies.QueueBatch, row int) { q.Weight[row] = max(1, q.Weight[row]) },
		func(q *policies.QueueBatch, row int) { q.Weight[row] += 1 + c.rnd.Int64N(9) })
}

func moreDemand(c *caseOf, b gen.Batch) *breach {
	return c.neverLess(b, 0, "with more demand", func(*policies.QueueBatch, int) {}, func(q *policies.QueueBatch, row int) {
		for r := range q.R {
			more := unit * c.rnd.Int64N(20)
			q.Demand[row*q.R+r] += more
			q.Demand[r] += more
		}
	})
}

// neverLess holds that a queue does not lose more than rounding by a change. Before
// prepares the batch that it is compared with.
func (c *caseOf) neverLess(b gen.Batch, rounding int64, how string, before, change func(q *policies.QueueBatch, row int)) *breach {
	for _, i := range c.someRows(b.N() - 1) {
		row := i + 1
		first, other := b.Clone(), b.Clone()
		before(first.Queues, row)
		before(other.Queues, row)
		change(other.Queues, row)
		x, y := c.ask(first), c.ask(other)
		if x.err != nil || y.err != nil {
			continue
		}
		for cell := row * b.R(); cell < (row+1)*b.R(); cell++ {
			if y.entitled[cell] < x.entitled[cell]-rounding {
				return &breach{what: fmt.Sprintf("the queue of row %d is entitled to %d of resource %d, and %s to %d",
					row, x.entitled[cell], cell-row*b.R(), how, y.entitled[cell]), with: other}
			}
		}
	}
	return nil
}

func equalQueues(c *caseOf, b gen.Batch) *breach {
	for _, i := range c.someRows(b.N() - 1) {
		row := i + 1
		twins := withRow(b, row)
		a := c.ask(twins)
		if a.err != nil {
			continue
		}
		for r := range b.R() {
			x, y := a.entitled[row*b.R()+r], a.entitled[b.N()*b.R()+r]
			if max(x-y, y-x) > unit {
				return &breach{what: fmt.Sprintf("the queues of rows %d and %d are alike and entitled to %d and %d of resource %d", row, b.N(), x, y, r), with: twins}
			}
		}
	}
	return nil
}

// withRow adds a copy of one queue of a flat tree at the end.
func withRow(b gen.Batch, row int) gen.Batch {
	out := b.Select(append(identity(b.N()), row))
	out.Repair()
	return out
}

func idleQueue(c *caseOf, b gen.Batch) *breach {
	if b.N() < 2 {
		return nil
	}
	more := b.Select(append(identity(b.N()), 1+c.rnd.IntN(b.N()-1)))
	q := more.Queues
	for r := range q.R {
		last := (q.N-1)*q.R + r
		q.Demand[last], q.Used[last], q.Guaranteed[last] = 0, 0, policies.Unset
	}
	q.Decayed[q.N-1], q.Use[q.N-1] = 0, policies.Unset
	x, y := c.ask(b), c.ask(more)
	if x.err != nil || y.err != nil {
		return nil
	}
	if d := differ("queue.entitled", x.entitled, y.entitled[:b.N()*b.R()]); d != "" {
		return &breach{what: "with an idle queue more, " + d, with: more}
	}
	return nil
}

const scale = 100

func scaled(c *caseOf, b gen.Batch) *breach {
	other := times(b, scale)
	x, y := c.ask(b), c.ask(other)
	if x.err != nil || y.err != nil {
		return nil
	}
	q := b.Queues
	for row := range q.N {
		for cell := row * q.R; cell < (row+1)*q.R; cell++ {
			rounding := unit * scale * 2 * (q.Depth[row] + 1)
			if x.entitled[cell] == policies.NoMax && y.entitled[cell] == policies.NoMax {
				continue
			}
			if d := y.entitled[cell] - scale*x.entitled[cell]; max(d, -d) > rounding {
				return &breach{what: fmt.Sprintf("the queue of row %d is entitled to %d of resource %d, and with everything %d times as large to %d",
					row, x.entitled[cell], cell-row*q.R, scale, y.entitled[cell]), with: other}
			}
		}
	}
	return nil
}

func nothingWasted(c *caseOf, b gen.Batch) *breach {
	a := c.ask(b)
	if a.err != nil {
		return nil
	}
	q := b.Queues
	for r := range q.R {
		given, usable := int64(0), int64(0)
		for i := 1; i < q.N; i++ {
			given += a.entitled[i*q.R+r]
			usable += min(q.Demand[i*q.R+r], q.Max[i*q.R+r])
		}
		if most := min(usable, q.Capacity[r], q.Max[r]); given < most-unit {
			return broken(fmt.Sprintf("all queues are entitled to %d of resource %d, and could use %d", given, r, most))
		}
	}
	return nil
}

func incentive(c *caseOf, b gen.Batch) *breach {
	sum := int64(0)
	for _, w := range b.Queues.Weight[1:] {
		sum += max(1, w)
	}
	return c.cells(b, func(a answer, row, r, cell int) string {
		part := b.Queues.Capacity[r] / sum * max(1, b.Queues.Weight[row])
		if alone := min(b.Queues.Demand[cell], part); a.entitled[cell] < alone-unit {
			return fmt.Sprintf("with its part to itself it would have %d", alone)
		}
		return ""
	})
}
