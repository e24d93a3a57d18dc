package quota_test

import (
	"cmp"
	"fmt"
	"math/big"
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
)

func guarantees(tree *quota.Tree, paths ...string) string {
	var out []amount.Amount
	for _, p := range paths {
		q, _ := tree.Lookup(p)
		out = append(out, tree.Guaranteed(q)[amount.GPU])
	}
	return fmt.Sprint(out)
}

func TestAPoolThatShrinksGuaranteesWholeGPUsInProportionAndRestoresThem(t *testing.T) {
	tree := newTree(queue("root", guaranteed(queue("a"), 60), guaranteed(queue("b"), 40), queue("c")))
	for _, c := range []struct {
		add      int64
		want     string
		degraded bool
	}{
		{100, "[60000 40000 -1]", false},
		{-50, "[30000 20000 -1]", true},
		{-43, "[4000 3000 -1]", true}, // 7 GPUs: 4.2 and 2.8, the remainder of b is larger
		{-7, "[0 0 -1]", true},
		{1, "[1000 0 -1]", true}, // 0.6 and 0.4
		{99, "[60000 40000 -1]", false},
		{1000, "[60000 40000 -1]", false},
	} {
		pool(tree, c.add)
		if got := guarantees(tree, "a", "b", "c"); got != c.want || tree.Degraded() != c.degraded {
			t.Errorf("with %d GPUs: %s, degraded %v; want %s", tree.Capacity()[amount.GPU]/1000, got, tree.Degraded(), c.want)
		}
	}
}

// share is one queue of the twin of Rescale.
type share struct {
	name      string
	want, got int64
	rest      *big.Rat
}

// apportion gives total whole GPUs to queues by largest remainder, ties by name,
// with exact fractions.
func apportion(qs []share, total int64) {
	sum, left := int64(0), total
	for _, q := range qs {
		sum += q.want
	}
	for i := range qs {
		exact := new(big.Rat).SetFrac(big.NewInt(qs[i].want*total), big.NewInt(sum))
		whole := new(big.Int).Quo(exact.Num(), exact.Denom())
		qs[i].got = whole.Int64()
		qs[i].rest = exact.Sub(exact, new(big.Rat).SetInt(whole))
		left -= qs[i].got
	}
	order := make([]int, len(qs))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int {
		return cmp.Or(qs[b].rest.Cmp(qs[a].rest), cmp.Compare(qs[a].name, qs[b].name))
	})
	for _, i := range order[:left] {
		qs[i].got++
	}
}

func TestRescaleIsLargestRemainderAndSumsToThePool(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root := queue("root")
		var qs []share
		sum := int64(0)
		for i := range rapid.IntRange(1, 8).Draw(t, "queues") {
			g := rapid.Int64Range(1, 50).Draw(t, "guarantee")
			qs = append(qs, share{name: fmt.Sprintf("q%d", i), want: g})
			root.Children = append(root.Children, guaranteed(queue(qs[i].name), g))
			sum += g
		}
		tree := newTree(root)
		total := rapid.Int64Range(0, sum-1).Draw(t, "pool")
		pool(tree, total)
		apportion(qs, total)
		given := int64(0)
		for _, q := range qs {
			got := int64(tree.Guaranteed(find(t, tree, q.name))[amount.GPU])
			given += got
			// The core keeps remainders in thousandths of a GPU; where those are equal and
			// the exact ones are not, one GPU may go to the neighbour.
			if got%1000 != 0 || got/1000 < q.got-1 || got/1000 > q.got+1 {
				t.Fatalf("%s gets %d, want about %d of %d", q.name, got, q.got, total)
			}
		}
		if given != total*1000 {
			t.Fatalf("the guarantees sum to %d, the pool has %d", given, total*1000)
		}
		pool(tree, sum-total)
		for _, q := range qs {
			if got := tree.Guaranteed(find(t, tree, q.name))[amount.GPU]; int64(got) != q.want*1000 {
				t.Fatalf("all nodes are back, but %s is guaranteed %d of %d", q.name, got, q.want*1000)
			}
		}
	})
}

func TestADegradedParentPassesItsPartOn(t *testing.T) {
	tree := newTree(queue("root",
		guaranteed(queue("lab", guaranteed(queue("ml"), 30), guaranteed(queue("web"), 10)), 40),
		guaranteed(queue("ops"), 40)))
	pool(tree, 40)
	if got := guarantees(tree, "root.lab", "root.lab.ml", "root.lab.web", "ops"); got != "[20000 15000 5000 20000]" {
		t.Errorf("half of the pool: %s", got)
	}
	pool(tree, 40)
	if got := guarantees(tree, "root.lab", "root.lab.ml", "root.lab.web", "ops"); got != "[40000 30000 10000 40000]" || tree.Degraded() {
		t.Errorf("all nodes are back: %s", got)
	}
}

func TestGuaranteesNeverSumToMoreThanWhatIsAbove(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := newTree(drawSpec(t))
		pool(tree, rapid.Int64Range(0, 60).Draw(t, "pool"))
		for q := range tree.Queues {
			checkChildren(t, tree, quota.Q(q))
		}
	})
}

// promised is what a subtree is guaranteed: its own guarantee, else the sum of
// what is guaranteed inside it.
func promised(tree *quota.Tree, q quota.Q) amount.Amount {
	if g := tree.Guaranteed(q)[amount.GPU]; g != quota.Unset {
		return g
	}
	var sum amount.Amount
	for _, c := range tree.Queues[q].Children {
		sum += promised(tree, c)
	}
	return sum
}

func checkChildren(t *rapid.T, tree *quota.Tree, q quota.Q) {
	limit, what := tree.Guaranteed(q)[amount.GPU], "its guarantee"
	if q == quota.Root {
		limit, what = tree.Capacity()[amount.GPU], "the pool"
	}
	if limit == quota.Unset {
		return
	}
	var sum amount.Amount
	for _, c := range tree.Queues[q].Children {
		sum += promised(tree, c)
	}
	if sum > limit {
		t.Fatalf("below %s %d are guaranteed, %s is %d", tree.Queues[q].Path, sum, what, limit)
	}
}

func TestJobsThatCannotBePreemptedRunOnlyInsideTheGuarantee(t *testing.T) {
	tree := newTree(queue("root", guaranteed(queue("a"), 6), queue("b")))
	pool(tree, 8)
	pinned := &spec.Job{ID: "p", User: "ann", NonPreemptible: true}
	a, b := tree.ChainFor(find(t, tree, "a"), pinned), tree.ChainFor(find(t, tree, "b"), pinned)
	tree.Charge(chainOf(t, tree, "a", "bob"), gpus(5), 1) // an ordinary job does not count
	expect(t, tree, tree.Fits(a, gpus(6), 1), "")
	expect(t, tree, tree.Fits(a, gpus(7), 1), "non-preemptible of root.a has 0 of 6, needs 7")
	expect(t, tree, tree.Fits(b, gpus(1), 1), "non-preemptible of root.b has 0 of 0, needs 1")
	if c := tree.Fits(b, amount.List{{Dim: amount.CPU, Amount: 1}}, 1); !c.Blocked {
		t.Error("a queue that guarantees nothing let a non-preemptible job run")
	}
	pool(tree, -5)
	expect(t, tree, tree.Fits(a, gpus(4), 1), "non-preemptible of root.a has 0 of 3, needs 4")
}

func TestWithinGuaranteeComparesOnlyWhatIsAskedForAndGuaranteed(t *testing.T) {
	q := queue("a")
	q.Guaranteed = spec.Resources{{Name: "cpu", Amount: 4000}, {Name: amount.GPUName, Amount: 2000}}
	tree := newTree(queue("root", q, queue("b")))
	tree.AddCapacity(amount.List{{Dim: amount.CPU, Amount: 9000}, {Dim: amount.Memory, Amount: 9000}, {Dim: amount.GPU, Amount: 9000}})
	tree.Rescale()
	a := find(t, tree, "a")
	tree.Charge(chainOf(t, tree, "a", "ann"), amount.List{{Dim: amount.CPU, Amount: 4000}, {Dim: amount.GPU, Amount: 1000}}, 1)
	for _, c := range []struct {
		name string
		q    quota.Q
		req  amount.List
		n    int64
		want bool
	}{
		{"one GPU more is the guarantee", a, gpus(1), 1, true},
		{"two are not", a, gpus(1), 2, false},
		{"cpu is used up, but not asked for", a, gpus(1), 1, true},
		{"cpu is used up and asked for", a, amount.List{{Dim: amount.CPU, Amount: 1}, {Dim: amount.GPU, Amount: 1000}}, 1, false},
		{"memory is not guaranteed, GPUs are", a, amount.List{{Dim: amount.Memory, Amount: 1 << 40}, {Dim: amount.GPU, Amount: 1000}}, 1, true},
		{"only memory, which is not guaranteed", a, amount.List{{Dim: amount.Memory, Amount: 1}}, 1, false},
		{"nothing", a, nil, 1, false},
		{"a queue without a guarantee", find(t, tree, "b"), gpus(1), 1, false},
	} {
		if got := tree.WithinGuarantee(c.q, c.req, c.n); got != c.want {
			t.Errorf("%s: %v", c.name, got)
		}
	}
	if got := tree.Excess(a, amount.GPU); got != -1000 {
		t.Errorf("a is one GPU short of its guarantee, told %d", got)
	}
	tree.Charge(chainOf(t, tree, "b", "ann"), gpus(3), 1)
	if got := tree.Excess(find(t, tree, "b"), amount.GPU); got != 3000 {
		t.Errorf("all that b holds is excess, told %d", got)
	}
}
