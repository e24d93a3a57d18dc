package quota_test

import (
	"fmt"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
)

// fataler is what both kinds of test have.
type fataler interface {
	Helper()
	Fatalf(format string, args ...any)
}

func newTree(root *spec.Queue) *quota.Tree {
	return quota.New(amount.NewTable(), spec.Tree{Root: root})
}

func queue(name string, children ...*spec.Queue) *spec.Queue {
	return &spec.Queue{Name: name, Parent: len(children) > 0, Children: children}
}

func guaranteed(q *spec.Queue, gpus int64) *spec.Queue {
	q.Guaranteed = spec.GPUs(gpus)
	return q
}

func capped(q *spec.Queue, gpus int64) *spec.Queue {
	q.Max = spec.GPUs(gpus)
	return q
}

func find(t fataler, tree *quota.Tree, path string) quota.Q {
	t.Helper()
	q, ok := tree.Lookup(path)
	if !ok {
		t.Fatalf("no queue %s", path)
	}
	return q
}

func chainOf(t fataler, tree *quota.Tree, path, user string, groups ...string) quota.Chain {
	t.Helper()
	return tree.ChainFor(find(t, tree, path), &spec.Job{ID: "j", User: user, Groups: groups})
}

func gpus(n int64) amount.List {
	return amount.List{{Dim: amount.GPU, Amount: amount.Amount(n).Mul(1000)}}
}

// pool gives the tree n GPUs.
func pool(tree *quota.Tree, n int64) {
	tree.AddCapacity(gpus(n))
	tree.Rescale()
}

// told is a block in words, "" if there is room.
func told(tree *quota.Tree, b quota.Block) string {
	if !b.Blocked {
		return ""
	}
	path, kind, who := tree.Describe(b.Account)
	if who != "" {
		kind += " " + who
	}
	if b.TooMany {
		return fmt.Sprintf("%s of %s runs %d of %d", kind, path, b.Used, b.Max)
	}
	return fmt.Sprintf("%s of %s has %d of %d, needs %d", kind, path, b.Used/1000, b.Max/1000, b.Need/1000)
}

func expect(t testing.TB, tree *quota.Tree, b quota.Block, want string) {
	t.Helper()
	if got := told(tree, b); got != want {
		t.Errorf("told %q, want %q", got, want)
	}
}

// drawSpec draws a tree of up to three levels below the root; values are whole
// GPUs, cpu in millicores.
func drawSpec(t *rapid.T) *spec.Queue {
	root := queue("root")
	level := []*spec.Queue{root}
	for depth := range 3 {
		var next []*spec.Queue
		for _, q := range level {
			n := rapid.IntRange(0, 3).Draw(t, "children")
			if depth == 0 {
				n++
			}
			for i := range n {
				c := queue(fmt.Sprintf("%c%d", 'a'+depth, i))
				drawAmounts(t, c)
				q.Children = append(q.Children, c)
			}
			q.Parent = n > 0
			next = append(next, q.Children...)
		}
		level = next
	}
	return root
}

func drawAmounts(t *rapid.T, q *spec.Queue) {
	if rapid.Bool().Draw(t, "has guarantee") {
		q.Guaranteed = spec.GPUs(rapid.Int64Range(0, 40).Draw(t, "guarantee"))
	}
	if rapid.Bool().Draw(t, "has max") {
		q.Max = q.Max.Set(amount.GPUName, amount.Amount(rapid.Int64Range(0, 60).Draw(t, "max"))*1000)
	}
	if rapid.Bool().Draw(t, "has cpu max") {
		q.Max = q.Max.Set(amount.CPUName, amount.Amount(rapid.Int64Range(0, 30_000).Draw(t, "cpu")))
	}
	if rapid.Bool().Draw(t, "has limits") {
		q.Limits = []spec.Limit{
			{Users: []string{"ann"}, Max: spec.GPUs(rapid.Int64Range(0, 20).Draw(t, "ann's"))},
			{Users: []string{"*"}, Groups: []string{"*"}, Max: spec.GPUs(rapid.Int64Range(0, 30).Draw(t, "everybody's"))},
		}
	}
}

func leaves(tree *quota.Tree) (out []quota.Q) {
	for q := range tree.Queues {
		if tree.Queues[q].Leaf {
			out = append(out, quota.Q(q))
		}
	}
	return out
}

func drawJob(t *rapid.T) *spec.Job {
	return &spec.Job{
		ID: "j", User: rapid.SampledFrom([]string{"ann", "bob", "eve"}).Draw(t, "user"),
		Groups:         rapid.SampledFrom([][]string{nil, {"x"}, {"x", "y"}}).Draw(t, "groups"),
		NonPreemptible: rapid.Bool().Draw(t, "non-preemptible"),
	}
}

func drawRequest(t *rapid.T) (amount.List, int64) {
	var l amount.List
	if rapid.Bool().Draw(t, "asks for cpu") {
		l = append(l, amount.Entry{Dim: amount.CPU, Amount: amount.Amount(rapid.Int64Range(0, 20_000).Draw(t, "cpu"))})
	}
	if rapid.Bool().Draw(t, "asks for GPUs") {
		l = append(l, amount.Entry{Dim: amount.GPU, Amount: amount.Amount(rapid.Int64Range(0, 16).Draw(t, "gpus")) * 1000})
	}
	return l, rapid.Int64Range(1, 5).Draw(t, "tasks")
}
