package suite

import (
	"fmt"
	"math/rand/v2"
	"slices"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/policies"
)

const (
	second = int64(1e9)
	hour   = 3600 * second
)

func orderLaws() []Law {
	return []Law{
		{
			ID: "order/numbers-mean-nothing", Profile: JobOrder, Severity: Must, kinds: policies.JobOrder,
			Statement: "Other numbers for the same jobs and users give the same keys.",
			test:      property{kind: policies.JobOrder, cases: 40, hold: otherNumbers},
		},
		{
			ID: "order/monotone-priority", Profile: JobOrder, Severity: Must, kinds: policies.JobOrder,
			Statement: "A job of higher priority, all else equal, never comes later.",
			test:      property{kind: policies.JobOrder, cases: 60, hold: higherPriority},
		},
		{
			ID: "order/row-independent", Profile: Strict, Severity: Claimed, kinds: policies.JobOrder,
			Statement: "The keys of a row depend on its own columns and the params only: not on other rows, queue, time, cycle or seed.",
			test:      property{kind: policies.JobOrder, cases: 40, hold: rowsAlone},
		},
		{
			ID: "order/permutation", Profile: Strict, Severity: Claimed, kinds: policies.JobOrder,
			Statement: "Rows in another order get the same keys.",
			test:      property{kind: policies.JobOrder, cases: 40, hold: shuffledJobs},
		},
		{
			ID: "order/equal-rows", Profile: Strict, Severity: Claimed, kinds: policies.JobOrder,
			Statement: "Jobs that differ only in their number get equal keys.",
			test:      property{kind: policies.JobOrder, cases: 40, hold: equalRows},
		},
		{
			ID: "order/time-shift", Profile: Strict, Severity: Claimed, kinds: policies.JobOrder,
			Statement: "The same queue at another time of the calendar is put in the same order.",
			test:      property{kind: policies.JobOrder, cases: 40, hold: otherTime},
		},
		{
			ID: "order/monotone-wait", Profile: Strict, Severity: Claimed, kinds: policies.JobOrder,
			Statement: "A job that was submitted earlier, all else equal, never comes later.",
			test:      property{kind: policies.JobOrder, cases: 60, hold: longerWait},
		},
		{
			ID: "order/monotone-deficit", Profile: Strict, Severity: Claimed, kinds: policies.JobOrder,
			Statement: "The jobs of a user who has less, all else equal, never come later.",
			test:      property{kind: policies.JobOrder, cases: 60, hold: smallerShare},
		},
		{
			ID: "order/no-starvation", Profile: Strict, Severity: Claimed, kinds: policies.JobOrder,
			Statement: "In 10,000 cycles at full load no job is passed over for more than 2,000 of them.",
			test:      custom(starvation),
		},
	}
}

func identity(n int) []int {
	rows := make([]int, n)
	for i := range rows {
		rows[i] = i
	}
	return rows
}

func otherNumbers(c *caseOf, b gen.Batch) *breach {
	other := b.Clone()
	renumber(c.rnd, other.Jobs.Job)
	renumber(c.rnd, other.Jobs.User)
	if d := c.ask(b).differs(c.ask(other)); d != "" {
		return &breach{what: "with other numbers for jobs and users: " + d, with: other}
	}
	return nil
}

// renumber gives the numbers of a column to each other: they stay dense.
func renumber(r *rand.Rand, column []uint32) {
	var used []uint32
	for _, v := range column {
		if !slices.Contains(used, v) {
			used = append(used, v)
		}
	}
	slices.Sort(used)
	to := r.Perm(len(used))
	for i, v := range column {
		at, _ := slices.BinarySearch(used, v)
		column[i] = used[to[at]]
	}
}

// someRows are a few rows to try a law on: all of a small batch.
func (c *caseOf) someRows(n int) []int {
	return c.rnd.Perm(n)[:min(n, 6)]
}

func higherPriority(c *caseOf, b gen.Batch) *breach {
	return c.neverLater(b, func(row int) (gen.Batch, int, string) {
		other := b.Clone()
		other.Jobs.Priority[row] += 1 + c.rnd.Int64N(20)
		return other, row, fmt.Sprintf("with priority %d instead of %d", other.Jobs.Priority[row], b.Jobs.Priority[row])
	})
}

// neverLater holds that a row does not move back by what change does to it. Change
// returns the other batch, and the row's new number.
func (c *caseOf) neverLater(b gen.Batch, change func(row int) (gen.Batch, int, string)) *breach {
	first := c.ask(b)
	if first.err != nil {
		return nil
	}
	places := first.places(b.N())
	for _, row := range c.someRows(b.N()) {
		other, now, how := change(row)
		second := c.ask(other)
		if second.err != nil {
			continue
		}
		if at := second.places(other.N())[now]; at > places[row] {
			return &breach{what: fmt.Sprintf("the job of row %d comes at place %d, and %s at %d", row, places[row], how, at), with: other}
		}
	}
	return nil
}

func rowsAlone(c *caseOf, b gen.Batch) *breach {
	all := c.ask(b)
	if all.err != nil {
		return nil
	}
	for _, row := range c.someRows(b.N()) {
		alone := b.Select([]int{row})
		alone.Jobs.Call = policies.Call{Now: b.Jobs.Now + c.rnd.Int64N(hour), Cycle: c.rnd.Uint64N(1e6), Seed: c.rnd.Uint64()}
		alone.Jobs.Queue = "root.other"
		a := c.ask(alone)
		if a.err != nil {
			return &breach{what: fmt.Sprintf("row %d alone: %v", row, a.err), with: alone}
		}
		if len(a.keys) != len(all.keys) {
			return &breach{what: fmt.Sprintf("row %d alone has %d keys, among others %d", row, len(a.keys), len(all.keys)), with: alone}
		}
		for k := range a.keys {
			if a.keys[k][0] != all.keys[k][row] {
				return &breach{what: fmt.Sprintf("key %d of row %d is %d among others, and %d alone at another time", k, row, all.keys[k][row], a.keys[k][0]), with: alone}
			}
		}
	}
	return nil
}

func shuffledJobs(c *caseOf, b gen.Batch) *breach {
	rows := c.rnd.Perm(b.N())
	first, other := c.ask(b), b.Select(rows)
	second := c.ask(other)
	if first.err != nil || second.err != nil {
		return nil
	}
	for k := range min(len(first.keys), len(second.keys)) {
		for at, row := range rows {
			if x, y := first.keys[k][row], second.keys[k][at]; x != y {
				return &breach{what: fmt.Sprintf("key %d of row %d is %d, and at place %d of another order of rows %d", k, row, x, at, y), with: other}
			}
		}
	}
	return nil
}

func equalRows(c *caseOf, b gen.Batch) *breach {
	for _, row := range c.someRows(b.N()) {
		rows := slices.Insert(identity(b.N()), row, row)
		twice := b.Select(rows)
		twice.Jobs.Job[row+1] = uint32(b.N())
		a := c.ask(twice)
		if a.err == nil && a.less(row, row+1) != 0 {
			return &breach{what: fmt.Sprintf("rows %d and %d are the same job but for its number, and their keys differ", row, row+1), with: twice}
		}
	}
	return nil
}

func otherTime(c *caseOf, b gen.Batch) *breach {
	by := hour * (1 + c.rnd.Int64N(10_000))
	later := b.Clone()
	j := later.Jobs
	j.Now += by
	for i := range j.N {
		j.Submit[i] += by
		if j.Deadline[i] >= 0 {
			j.Deadline[i] += by
		}
	}
	x, y := c.ask(b), c.ask(later)
	if x.err != nil || y.err != nil {
		return nil
	}
	if d := differ("the place", int64s(x.places(j.N)), int64s(y.places(j.N))); d != "" {
		return &breach{what: fmt.Sprintf("%d hours later, %s", by/hour, d), with: later}
	}
	return nil
}

func int64s(s []int) []int64 {
	out := make([]int64, len(s))
	for i, v := range s {
		out[i] = int64(v)
	}
	return out
}

func longerWait(c *caseOf, b gen.Batch) *breach {
	return c.neverLater(b, func(row int) (gen.Batch, int, string) {
		earlier := b.Jobs.Submit[row] - second*(1+c.rnd.Int64N(2*3600))
		rows := identity(b.N())
		rows = slices.Delete(rows, row, row+1)
		at := 0
		for at < len(rows) && b.Jobs.Submit[rows[at]] <= earlier {
			at++
		}
		other := b.Select(slices.Insert(rows, at, row))
		other.Jobs.Submit[at] = earlier
		other.Jobs.Wait[at] = other.Jobs.Now - earlier
		return other, at, fmt.Sprintf("submitted %d s earlier", (b.Jobs.Submit[row]-earlier)/second)
	})
}

func smallerShare(c *caseOf, b gen.Batch) *breach {
	return c.neverLater(b, func(row int) (gen.Batch, int, string) {
		other := b.Clone()
		j := other.Jobs
		less := j.UserShare[row] / 2
		for i := range j.N {
			if j.User[i] == j.User[row] {
				j.UserShare[i] = less
			}
		}
		return other, row, fmt.Sprintf("with a share of %d of its user instead of %d", less, b.Jobs.UserShare[row])
	})
}
