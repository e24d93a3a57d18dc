package quota_test

import (
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
)

func TestQueuesAreNumberedTheSameForAnyOrderInTheFile(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		root := drawSpec(t)
		before := newTree(root)
		var shuffle func(q *spec.Queue)
		shuffle = func(q *spec.Queue) {
			q.Children = rapid.Permutation(q.Children).Draw(t, "order")
			for _, c := range q.Children {
				shuffle(c)
			}
		}
		shuffle(root)
		after := newTree(root)
		for q := range before.Queues {
			if before.Queues[q].Path != after.Queues[q].Path {
				t.Fatalf("queue %d is %s and %s", q, before.Queues[q].Path, after.Queues[q].Path)
			}
			if p := before.Queues[q].Parent; p >= quota.Q(q) {
				t.Fatalf("the parent of %s comes after it", before.Queues[q].Path)
			}
		}
	})
}

func TestRelationsOfQueuesAreThoseOfTheirPaths(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := newTree(drawSpec(t))
		n := len(tree.Queues)
		a, b := quota.Q(rapid.IntRange(0, n-1).Draw(t, "a")), quota.Q(rapid.IntRange(0, n-1).Draw(t, "b"))
		pa, pb := strings.Split(tree.Queues[a].Path, "."), strings.Split(tree.Queues[b].Path, ".")
		common := 0
		for common < len(pa) && common < len(pb) && pa[common] == pb[common] {
			common++
		}
		if got := tree.CommonAncestor(a, b); tree.Queues[got].Path != strings.Join(pa[:common], ".") {
			t.Fatalf("%v and %v meet at %s", pa, pb, tree.Queues[got].Path)
		}
		if got, want := pathOf(tree, tree.Below(a, b)), below(pa, pb); got != want {
			t.Fatalf("%v below %v is %q, want %q", pa, pb, got, want)
		}
		for i, q := range tree.Path(a) {
			if tree.Queues[q].Path != strings.Join(pa[:len(pa)-i], ".") || tree.Queues[q].Depth != len(pa)-i-1 {
				t.Fatalf("the path of %v has %s", pa, tree.Queues[q].Path)
			}
		}
		if q, ok := tree.Lookup(tree.Queues[a].Path); !ok || q != a {
			t.Fatalf("%s is found as %d", tree.Queues[a].Path, q)
		}
	})
}

func pathOf(tree *quota.Tree, q quota.Q) string {
	if q == quota.None {
		return ""
	}
	return tree.Queues[q].Path
}

// below is the prefix of a that is one longer than b, "" if b is none of a.
func below(a, b []string) string {
	if len(a) <= len(b) || !slices.Equal(a[:len(b)], b) {
		return ""
	}
	return strings.Join(a[:len(b)+1], ".")
}

func TestSettingsAreInheritedUnlessAQueueHasItsOwn(t *testing.T) {
	own := queue("own")
	own.JobOrder, own.Victims, own.ReserveAfter, own.MinRuntime, own.PreemptionDelay = "fair", "mine", -1, 7, 8
	lab := queue("lab", own, queue("heir"))
	lab.JobOrder, lab.Victims, lab.StrictFIFO, lab.ReserveAfter, lab.MinRuntime = "priority-fifo", "theirs", true, 5, 6
	lab.Preemption = spec.PreemptionDisabled
	fence := queue("fence", queue("inside"))
	fence.Preemption = spec.PreemptionFence
	tree := newTree(queue("root", lab, fence))
	got := tree.Queues[find(t, tree, "root.lab.heir")]
	if got.JobOrder != "priority-fifo" || got.Victims != "theirs" || !got.StrictFIFO || got.ReserveAfter != 5 || got.MinRuntime != 6 || !got.VictimsDisabled {
		t.Errorf("the heir got %+v", got)
	}
	got = tree.Queues[find(t, tree, "root.lab.own")]
	if got.JobOrder != "fair" || got.Victims != "mine" || got.ReserveAfter != -1 || got.MinRuntime != 7 || got.PreemptionDelay != 8 {
		t.Errorf("the queue with its own settings got %+v", got)
	}
	root := tree.Queues[quota.Root]
	if root.JobOrder != quota.DefaultJobOrder || root.Victims != quota.DefaultVictims || root.ReserveAfter != quota.DefaultReserveAfter || tree.Fairness != quota.DefaultFairness {
		t.Errorf("the root got %+v", root)
	}
	if !tree.Queues[find(t, tree, "fence")].Fenced || tree.Queues[find(t, tree, "root.fence.inside")].Fenced {
		t.Error("a fence stands at its own queue only")
	}
}

func TestATreeWithoutQueuesHasOneLeafForAll(t *testing.T) {
	tree := newTree(nil)
	if q := find(t, tree, "default"); !tree.Queues[q].Leaf || tree.Queues[q].Path != "root.default" {
		t.Errorf("got %+v", tree.Queues)
	}
}

func TestGrowKeepsEverythingAndLimitsNothingNew(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := newTree(drawSpec(t))
		pool(tree, 50)
		chain := tree.ChainFor(rapid.SampledFrom(leaves(tree)).Draw(t, "leaf"), drawJob(t))
		l, n := drawRequest(t)
		tree.Charge(chain, l, n)
		type rows struct{ used, limit, guaranteed, configured []amount.Amount }
		read := func() (out []rows) {
			for q := range tree.Queues {
				a := quota.Account(q)
				out = append(out, rows{
					slices.Clone(tree.Used(a)), slices.Clone(tree.MaxOf(a)),
					slices.Clone(tree.Guaranteed(quota.Q(q))), slices.Clone(tree.Configured(quota.Q(q))),
				})
			}
			for _, a := range chain {
				out = append(out, rows{slices.Clone(tree.Used(a)), slices.Clone(tree.MaxOf(a)), nil, nil})
			}
			return out
		}
		before, capacity, fits := read(), slices.Clone(tree.Capacity()), tree.Fits(chain, l, n)
		old := tree.R()
		fresh := tree.Res.Intern("fpga")
		tree.Grow()
		for i, now := range read() {
			was := before[i]
			same := slices.Equal(was.used, now.used[:old]) && slices.Equal(was.limit, now.limit[:old])
			if len(was.guaranteed) > 0 {
				same = same && slices.Equal(was.guaranteed, now.guaranteed[:old]) && slices.Equal(was.configured, now.configured[:old]) &&
					now.guaranteed[fresh] == quota.Unset && now.configured[fresh] == quota.Unset
			}
			if !same || now.used[fresh] != 0 || now.limit[fresh] != amount.Max {
				t.Fatalf("row %d was %v and is %v", i, was, now)
			}
		}
		if !slices.Equal(capacity, tree.Capacity()[:old]) || tree.Capacity()[fresh] != 0 || tree.Fits(chain, l, n) != fits {
			t.Fatalf("capacity was %v and is %v", capacity, tree.Capacity())
		}
		tree.Rescale()
		if again := read(); !slices.Equal(again[0].guaranteed[:old], before[0].guaranteed) {
			t.Fatalf("guarantees changed with the width: %v, %v", before[0].guaranteed, again[0].guaranteed)
		}
	})
}

func TestAMaxOfOneGPUTypeBindsTheQueueAndAllBelow(t *testing.T) {
	ml := queue("ml", queue("deep"))
	ml.Max = spec.Resources{{Name: amount.TypedGPU("H100"), Amount: 2000}}
	user := limited(queue("user"), spec.Limit{Users: []string{"ann"}, Max: spec.Resources{{Name: amount.TypedGPU("A100"), Amount: 1000}}})
	tree := newTree(queue("root", ml, queue("web"), user))
	for path, want := range map[string]bool{"root.ml": true, "root.ml.deep": true, "root.web": false, "root": false} {
		if tree.TypedMax(find(t, tree, path)) != want {
			t.Errorf("%s: typed max is %v", path, !want)
		}
	}
	chain := chainOf(t, tree, "root.user", "ann") // a user's limit is known once the user is
	if !tree.TypedMax(find(t, tree, "root.user")) {
		t.Error("the user's limit of one type is not watched")
	}
	h100, _ := tree.Res.Lookup(amount.TypedGPU("H100"))
	deep := chainOf(t, tree, "root.ml.deep", "bob")
	tree.Charge(deep, amount.List{{Dim: h100, Amount: 2000}}, 1)
	expect(t, tree, tree.Fits(deep, amount.List{{Dim: h100, Amount: 1000}}, 1), "queue of root.ml has 2 of 2, needs 1")
	expect(t, tree, tree.Fits(deep, gpus(5), 1), "")
	expect(t, tree, tree.Fits(chain, gpus(5), 1), "")
}
