package suite

import (
	"cmp"
	"fmt"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/policies"
)

func victimLaws() []Law {
	return []Law{
		{
			ID: "victims/permutation", Profile: Victims, Severity: Must, kinds: policies.VictimCosts,
			Statement: "Candidates in another order, and with other numbers of jobs, queues and gangs, cost the same.",
			test:      property{kind: policies.VictimCosts, cases: 40, hold: shuffledVictims},
		},
		{
			ID: "victims/gang-consistent", Profile: Victims, Severity: Must, kinds: policies.VictimCosts,
			Statement: "Units of one gang that are alike cost the same.",
			test:      property{kind: policies.VictimCosts, cases: 40, hold: alikeUnits},
		},
		{
			ID: "victims/protected-never-cheaper", Profile: Victims, Severity: Must, kinds: policies.VictimCosts,
			Statement: "A unit marked as leader never costs less than the same unit without the mark.",
			test:      property{kind: policies.VictimCosts, cases: 60, hold: leaderDearer},
		},
		{
			ID: "victims/monotone-priority", Profile: Victims, Severity: Must, kinds: policies.VictimCosts,
			Statement: "A unit of higher priority, all else equal, never becomes cheaper next to any other.",
			test:      property{kind: policies.VictimCosts, cases: 60, hold: priorityDearer},
		},
		{
			ID: "victims/more-lost-never-cheaper", Profile: Victims, Severity: Must, kinds: policies.VictimCosts,
			Statement: "A unit that loses more work, all else equal, never costs less.",
			test:      property{kind: policies.VictimCosts, cases: 60, hold: moreLostDearer},
		},
		{
			ID: "victims/unknown-is-busy", Profile: Victims, Severity: Must, kinds: policies.VictimCosts,
			Statement: "A unit of which no use was measured never costs less than the same unit measured busy.",
			test:      property{kind: policies.VictimCosts, cases: 60, hold: unknownIsBusy},
		},
		{
			ID: "victims/irrelevant-candidates", Profile: Victims, Severity: Should, kinds: policies.VictimCosts,
			Statement: "Whether one candidate is cheaper than another does not depend on who else is a candidate.",
			test:      property{kind: policies.VictimCosts, cases: 60, hold: irrelevant},
		},
		{
			ID: "victims/idle-never-dearer", Profile: Strict, Severity: Claimed, kinds: policies.VictimCosts,
			Statement: "A unit measured idle for longer, all else equal, never costs more.",
			test:      property{kind: policies.VictimCosts, cases: 60, hold: idleCheaper},
		},
	}
}

// compare compares two prices of two answers: a veto is dearer than any cost.
func compareCost(a answer, x int, b answer, y int) int {
	return cmp.Or(cmp.Compare(a.veto[x], b.veto[y]), cmp.Compare(a.cost[x], b.cost[y]))
}

func price(a answer, row int) string {
	if a.veto[row] == 1 {
		return "a veto"
	}
	return fmt.Sprintf("%d", a.cost[row])
}

func shuffledVictims(c *caseOf, b gen.Batch) *breach {
	rows := c.rnd.Perm(b.N())
	other := b.Select(rows)
	renumber(c.rnd, other.Victims.Queue)
	renumber(c.rnd, other.Victims.Job)
	for i := range rows { // a job is one gang
		other.Victims.Gang[i] = other.Victims.Job[i]
	}
	x, y := c.ask(b), c.ask(other)
	if x.err != nil || y.err != nil {
		return nil
	}
	for at, row := range rows {
		if compareCost(x, row, y, at) != 0 {
			return &breach{what: fmt.Sprintf("row %d costs %s, and at place %d of another order %s", row, price(x, row), at, price(y, at)), with: other}
		}
	}
	return nil
}

func alikeUnits(c *caseOf, b gen.Batch) *breach {
	for _, row := range c.someRows(b.N()) {
		twice := b.Select(append(identity(b.N()), row))
		a := c.ask(twice)
		if a.err == nil && compareCost(a, row, a, b.N()) != 0 {
			return &breach{what: fmt.Sprintf("rows %d and %d are alike and cost %s and %s", row, b.N(), price(a, row), price(a, b.N())), with: twice}
		}
	}
	return nil
}

// neverCheaper holds that a row does not become cheaper by a change.
func (c *caseOf) neverCheaper(b gen.Batch, how string, change func(v *policies.VictimBatch, row int)) *breach {
	first := c.ask(b)
	if first.err != nil {
		return nil
	}
	for _, row := range c.someRows(b.N()) {
		other := b.Clone()
		change(other.Victims, row)
		a := c.ask(other)
		if a.err == nil && compareCost(first, row, a, row) > 0 {
			return &breach{what: fmt.Sprintf("row %d costs %s, and %s %s", row, price(first, row), how, price(a, row)), with: other}
		}
	}
	return nil
}

func leaderDearer(c *caseOf, b gen.Batch) *breach {
	b = b.Clone()
	clear(b.Victims.Leader)
	return c.neverCheaper(b, "as a leader", func(v *policies.VictimBatch, row int) { v.Leader[row] = 1 })
}

func moreLostDearer(c *caseOf, b gen.Batch) *breach {
	return c.neverCheaper(b, "with more work to lose", func(v *policies.VictimBatch, row int) {
		by := second * (1 + c.rnd.Int64N(100_000))
		v.SinceCheckpoint[row] += by
		v.Running[row] += by
		v.Lost[row] += by / 1_000_000 * max(v.GPUs[row], 10) / 1000
	})
}

// Of busy units, and of such of which nothing is known, the second never cost less.
func unknownIsBusy(c *caseOf, b gen.Batch) *breach {
	b = b.Clone()
	for i := range b.Victims.N {
		b.Victims.Use[i], b.Victims.Idle[i] = 1<<32, 0
	}
	return c.neverCheaper(b, "without a measurement", func(v *policies.VictimBatch, row int) {
		v.Use[row], v.Idle[row] = policies.Unset, policies.Unset
	})
}

func idleCheaper(c *caseOf, b gen.Batch) *breach {
	b = b.Clone()
	for i := range b.Victims.N {
		b.Victims.Use[i], b.Victims.Idle[i] = 0, second*(1+c.rnd.Int64N(7200))
	}
	return c.neverCheaper(b, "idle for a shorter time", func(v *policies.VictimBatch, row int) {
		v.Idle[row] -= c.rnd.Int64N(v.Idle[row])
	})
}

// A price may be relative to the other candidates, so places are compared, not costs.
func priorityDearer(c *caseOf, b gen.Batch) *breach {
	first := c.ask(b)
	if first.err != nil {
		return nil
	}
	for _, row := range c.someRows(b.N()) {
		other := b.Clone()
		other.Victims.Priority[row] += 1 + c.rnd.Int64N(20)
		a := c.ask(other)
		if a.err != nil {
			continue
		}
		for i := range b.N() {
			if compareCost(first, row, first, i) >= 0 && compareCost(a, row, a, i) < 0 {
				return &breach{what: fmt.Sprintf("row %d was not cheaper than row %d (%s and %s), and is with a priority of %d instead of %d (%s and %s)",
					row, i, price(first, row), price(first, i), other.Victims.Priority[row], b.Victims.Priority[row], price(a, row), price(a, i)), with: other}
			}
		}
	}
	return nil
}

func irrelevant(c *caseOf, b gen.Batch) *breach {
	first := c.ask(b)
	if first.err != nil || b.N() < 3 {
		return nil
	}
	gone := c.rnd.IntN(b.N())
	other := b.Without(func(row int) bool { return row == gone })
	a := c.ask(other)
	if a.err != nil {
		return nil
	}
	at := func(row int) int {
		if row > gone {
			return row - 1
		}
		return row
	}
	for x := range b.N() {
		for y := range x {
			if x == gone || y == gone {
				continue
			}
			if compareCost(first, x, first, y) != compareCost(a, at(x), a, at(y)) {
				return &breach{what: fmt.Sprintf("rows %d and %d cost %s and %s, and without row %d they cost %s and %s",
					x, y, price(first, x), price(first, y), gone, price(a, at(x)), price(a, at(y))), with: other}
			}
		}
	}
	return nil
}
