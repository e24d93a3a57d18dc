package quota_test

import (
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
)

// deep is a tree of four levels with a limit, as companies have it.
func deep(b *testing.B) (*quota.Tree, quota.Chain) {
	leaf := guaranteed(queue("team"), 100)
	leaf.Limits = []spec.Limit{{Users: []string{"*"}, Max: spec.GPUs(50)}}
	tree := newTree(queue("root", queue("company", capped(queue("lab", leaf), 1000))))
	pool(tree, 1000)
	return tree, chainOf(b, tree, "root.company.lab.team", "ann")
}

func BenchmarkCharge(b *testing.B) {
	tree, chain := deep(b)
	req := amount.List{{Dim: amount.CPU, Amount: 8000}, {Dim: amount.Memory, Amount: 64 << 30}, {Dim: amount.GPU, Amount: 1000}}
	b.ReportAllocs()
	for b.Loop() {
		tree.Charge(chain, req, 1)
		tree.Charge(chain, req, -1)
	}
}

func BenchmarkFits(b *testing.B) {
	tree, chain := deep(b)
	req := amount.List{{Dim: amount.CPU, Amount: 8000}, {Dim: amount.Memory, Amount: 64 << 30}, {Dim: amount.GPU, Amount: 1000}}
	b.ReportAllocs()
	for b.Loop() {
		if tree.Fits(chain, req, 1).Blocked {
			b.Fatal("there is room")
		}
	}
}

func BenchmarkRescaleDegraded(b *testing.B) {
	tree, _ := deep(b)
	pool(tree, -950)
	b.ReportAllocs()
	for b.Loop() {
		tree.Rescale()
	}
}
