package order

import (
	"cmp"
	"context"
	"fmt"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// guaranteedFair gives every queue first what it was guaranteed and then its part
// of what the others leave: see guaranteeFirst. The rest is filled in by weight, up to
// what each can use. The weight is the configured one, else the guarantee in whole units
// (GPUs and cores, GiB, or counts, rounded up), else 1.
//
// Rounding is described at fill. GPUs, in total and by type, are shared in whole
// GPUs; every other resource in its base unit.
//
// With count: measured, GPUs that a queue holds above its guarantee and that were measured
// to do nothing justify no share as long as another wants one: the rest is filled in by
// weight up to what each uses or still waits for, and only what that leaves goes to who
// holds GPUs without using them. What is busy counts against the guarantee first. Unknown
// use counts as if all were busy, and a guarantee is about what a queue holds, used or not.
//
// Rank is 0 for a queue that is owed its guarantee, else 1.
type guaranteedFair struct {
	about
	guaranteeFirst
	measured bool
	unused   []claim // scratch
}

func newGuaranteedFair(a about) (policies.Policy, error) {
	g := &guaranteedFair{about: a}
	switch count := param[string](&a, "count"); count {
	case "allocated":
	case "measured":
		g.measured = true
		g.info.Columns = append([]string{"queue.use"}, a.info.Columns...)
	default:
		return nil, &policies.ParamError{Param: "count", Problem: fmt.Sprintf("%q is not what use can be counted by", count), Hint: "want allocated or measured"}
	}
	return g, nil
}

func (g *guaranteedFair) Entitle(_ context.Context, b *policies.QueueBatch) error {
	return g.entitle(b, g)
}

func (g *guaranteedFair) divide(b *policies.QueueBatch, r int, total amount.Amount, claims []claim) {
	g.weigh(b, r, claims)
	unit := shareUnit(b.Resources[r])
	if !g.measured || !amount.IsGPU(b.Resources[r]) {
		fill(total, unit, claims)
		return
	}
	g.setAside(b, r, claims)
	fill(total, unit, claims)
	for i := range claims {
		total -= claims[i].got
	}
	slices.SortFunc(claims, byRow)
	slices.SortFunc(g.unused, byRow)
	fill(total, unit, g.unused)
	slices.SortFunc(g.unused, byRow)
	for i := range claims {
		claims[i].got += g.unused[i].got
	}
}

// setAside takes what is held above the guarantee and not used out of the claims.
func (g *guaranteedFair) setAside(b *policies.QueueBatch, r int, claims []claim) {
	g.unused = g.unused[:0]
	for i := range claims {
		c := &claims[i]
		idle := min(c.need, g.idle(b, c.row, r))
		c.need -= idle
		g.unused = append(g.unused, claim{row: c.row, need: idle, weight: c.weight})
	}
}

// idle is how many of a queue's GPUs, in total or of a type, it holds above its guarantee
// and does not use. Which type is busy is not known: each counts in proportion.
func (g *guaranteedFair) idle(b *policies.QueueBatch, row int32, r int) amount.Amount {
	use := known(b.Use, int(row))
	if use < 0 {
		return 0
	}
	used := amount.Amount(max(0, b.Used[int(row)*b.R+r]))
	busy := used
	if gpu := slices.Index(b.Resources, amount.GPUName); gpu >= 0 {
		all := amount.Amount(max(0, b.Used[int(row)*b.R+gpu]))
		busy = used.Scale(min(amount.Amount(use), all), max(1, all))
	}
	return max(0, used-max(busy, g.due[int(row)*b.R+r]))
}

func byRow(a, b claim) int { return cmp.Compare(a.row, b.row) }
