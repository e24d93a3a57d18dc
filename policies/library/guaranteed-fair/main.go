// Command guaranteed-fair gives every queue first what it was guaranteed, and then
// its part of what the others leave. It is the twin of the built-in guaranteed-fair,
// whose documentation says what is decided where; internal/fairness has the tree and the
// arithmetic.
package main

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/policies/library/internal/fairness"
	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/queueshares"
)

func init() { queueshares.Register(entitle) }

func main() {}

// The settings, in the order of policy.yaml.
const count = 0

// gpus is the resource that all GPUs count as.
const gpus = "nvidia.com/gpu"

var unused []fairness.Claim // kept, so that a call allocates nothing

func entitle(b *queueshares.Batch) error {
	switch b.ParamText(count) {
	case "allocated", "": // "" of a batch without settings
		return fairness.Entitle(b, divide)
	case "measured":
		return fairness.Entitle(b, divideUsed)
	}
	return muster.ErrBadParams
}

// divide shares what is left above the guarantees by weight.
func divide(b *queueshares.Batch, r int, total int64, cs []fairness.Claim) {
	weigh(b, r, cs)
	fairness.Fill(total, fairness.Piece(b.Resources[r]), cs)
}

func weigh(b *queueshares.Batch, r int, cs []fairness.Claim) {
	for i := range cs {
		cs[i].Weight = fairness.Weight(b, cs[i].Row, r)
	}
}

// divideUsed does so first for what is used or waited for, and then, with what that
// leaves, for GPUs that are held above the guarantee and do nothing.
func divideUsed(b *queueshares.Batch, r int, total int64, cs []fairness.Claim) {
	if !fairness.IsGPU(b.Resources[r]) {
		divide(b, r, total, cs)
		return
	}
	weigh(b, r, cs)
	unused = append(unused[:0], cs...)
	for i := range cs {
		unused[i].Need = min(cs[i].Need, idle(b, cs[i].Row, r))
		cs[i].Need -= unused[i].Need
	}
	piece := fairness.Piece(b.Resources[r])
	fairness.Fill(total, piece, cs)
	for i := range cs {
		total -= cs[i].Got
	}
	fairness.Fill(total, piece, unused)
	slices.SortFunc(cs, byRow)
	slices.SortFunc(unused, byRow)
	for i := range cs {
		cs[i].Got += unused[i].Got
	}
}

// idle is how many GPUs, of all or of a type, a queue holds above its guarantee and does
// not use. Each type counts in proportion; what nobody measured is used.
func idle(b *queueshares.Batch, row, r int) int64 {
	if row >= len(b.Use) || b.Use[row] < 0 {
		return 0
	}
	used := max(0, b.Used[row*b.R+r])
	busy := used
	if g := slices.Index(b.Resources, gpus); g >= 0 {
		all := max(0, b.Used[row*b.R+g])
		busy, _ = fairness.Scale(used, min(b.Use[row], all), max(1, all))
	}
	return max(0, used-max(busy, fairness.Due(row*b.R+r)))
}

func byRow(a, b fairness.Claim) int { return cmp.Compare(a.Row, b.Row) }
