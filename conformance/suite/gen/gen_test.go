package gen

import (
	"slices"
	"testing"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

var kinds = []policies.Kind{policies.JobOrder, policies.QueueShares, policies.VictimCosts}

func TestOneSeedIsOneBatch(t *testing.T) {
	for _, k := range kinds {
		a, b := Of(k, Rand(1, "x", 2), 30, policies.Info{}), Of(k, Rand(1, "x", 2), 30, policies.Info{})
		if !Same(a, b) {
			t.Errorf("%s: the same seed gave two batches", k)
		}
		for _, other := range []Batch{Of(k, Rand(2, "x", 2), 30, policies.Info{}), Of(k, Rand(1, "y", 2), 30, policies.Info{}), Of(k, Rand(1, "x", 3), 30, policies.Info{})} {
			if Same(a, other) {
				t.Errorf("%s: another seed gave the same batch", k)
			}
		}
	}
}

func TestAGeneratedBatchIsOneThatTheHostCouldSend(t *testing.T) {
	for _, k := range kinds {
		for i := range 200 {
			b := Of(k, Rand(1, "sane", i), i%70, policies.Info{Labels: []string{"team"}})
			before := b.Clone()
			if !b.Repair() || !Same(before, b) {
				t.Fatalf("%s, case %d needs repair", k, i)
			}
		}
	}
}

func TestACloneSharesNothing(t *testing.T) {
	for _, k := range kinds {
		b := Of(k, Rand(1, "clone", 0), 20, policies.Info{})
		c := b.Clone()
		for _, column := range c.Columns() {
			for i := range column.Len() {
				column.Set(i, column.Get(i)^1)
			}
		}
		if !Same(b, Of(k, Rand(1, "clone", 0), 20, policies.Info{})) {
			t.Errorf("%s: a change of the clone shows", k)
		}
	}
}

func TestWithoutAQueueItsChildrenGoToo(t *testing.T) {
	for i := range 100 {
		b := Of(policies.QueueShares, Rand(1, "tree", i), 12, policies.Info{})
		less := b.Without(func(row int) bool { return row%3 == 1 })
		if !less.Repair() || less.N() == b.N() {
			t.Fatalf("case %d: %d of %d rows, parents %v", i, less.N(), b.N(), less.Queues.Parent)
		}
	}
}

// What is wrong in three rows of forty, and needs two numbers of one of them, is found
// and nothing else is kept.
func TestAFailureShrinksToWhatItNeeds(t *testing.T) {
	fails := func(b Batch) bool {
		high := 0
		for i := range b.N() {
			if b.Victims.Priority[i] > 3 && b.Victims.Lost[i] > 0 {
				high++
			}
		}
		return high >= 3
	}
	b := Of(policies.VictimCosts, Rand(1, "shrink", 0), 40, policies.Info{})
	if !fails(b) {
		t.Fatal("the example does not fail")
	}
	least := Shrink(b, true, 2000, fails)
	if least.N() != 3 {
		t.Errorf("%d rows are left", least.N())
	}
	for _, c := range least.Columns() {
		needed := slices.Contains([]hostabi.ColumnID{hostabi.VictimPriority, hostabi.VictimLost}, c.ID)
		for i := range c.Len() {
			if !needed && c.Get(i) != c.Plain {
				t.Errorf("%s of row %d is still %d", c.ID, i, c.Get(i))
			}
		}
	}
	if again := Shrink(b, true, 2000, fails); !Same(least, again) {
		t.Error("the same failure shrinks to another batch")
	}
}

func TestShrinkingAsksNoMoreThanItMay(t *testing.T) {
	asked := 0
	Shrink(Of(policies.JobOrder, Rand(1, "budget", 0), 64, policies.Info{}), true, 50, func(Batch) bool {
		asked++
		return true
	})
	if asked > 50 {
		t.Errorf("asked %d times", asked)
	}
}
