package quota_test

import (
	"slices"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
)

func TestAParentHoldsTheSumOfItsChildrenAfterAnySequenceOfCharges(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := newTree(drawSpec(t))
		type charge struct {
			c quota.Chain
			l amount.List
			n int64
		}
		var open []charge
		at := leaves(tree)
		for range rapid.IntRange(0, 30).Draw(t, "steps") {
			if len(open) > 0 && rapid.IntRange(0, 2).Draw(t, "refund") == 0 {
				i := rapid.IntRange(0, len(open)-1).Draw(t, "which")
				tree.Charge(open[i].c, open[i].l, -open[i].n)
				tree.ChargeApps(open[i].c, -1)
				open = slices.Delete(open, i, i+1)
			} else {
				l, n := drawRequest(t)
				c := charge{c: tree.ChainFor(rapid.SampledFrom(at).Draw(t, "leaf"), drawJob(t)), l: l, n: n}
				tree.Charge(c.c, c.l, c.n)
				tree.ChargeApps(c.c, 1)
				open = append(open, c)
			}
			parentsAreSums(t, tree)
		}
		for _, c := range open {
			tree.Charge(c.c, c.l, -c.n)
			tree.ChargeApps(c.c, -1)
		}
		for a := range tree.Queues {
			if running, _ := tree.Apps(quota.Account(a)); running != 0 || slices.ContainsFunc(tree.Used(quota.Account(a)), func(u amount.Amount) bool { return u != 0 }) {
				t.Fatalf("everything was given back, but %s holds %v and runs %d", tree.Queues[a].Path, tree.Used(quota.Account(a)), running)
			}
		}
	})
}

func parentsAreSums(t *rapid.T, tree *quota.Tree) {
	for q := range tree.Queues {
		if tree.Queues[q].Leaf {
			continue
		}
		sum := make([]amount.Amount, tree.R())
		jobs := int64(0)
		for _, c := range tree.Queues[q].Children {
			for d, u := range tree.Used(quota.Account(c)) {
				sum[d] += u
			}
			running, _ := tree.Apps(quota.Account(c))
			jobs += running
		}
		if running, _ := tree.Apps(quota.Account(q)); !slices.Equal(sum, tree.Used(quota.Account(q))) || jobs != running {
			t.Fatalf("%s holds %v and runs %d, its children %v and %d", tree.Queues[q].Path, tree.Used(quota.Account(q)), running, sum, jobs)
		}
	}
}

// roomIn is Fits as its contract says it, for one account.
func roomIn(tree *quota.Tree, a quota.Account, l amount.List, n int64) bool {
	for _, e := range l {
		if limit := tree.MaxOf(a)[e.Dim]; limit != amount.Max && tree.Used(a)[e.Dim].Add(e.Amount.Mul(n)) > limit {
			return false
		}
	}
	return true
}

func TestFitsTellsTheFirstFullAccountFromTheLeafUpward(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := newTree(drawSpec(t))
		pool(tree, 64)
		at := leaves(tree)
		for range rapid.IntRange(0, 20).Draw(t, "charges") {
			l, n := drawRequest(t)
			tree.Charge(tree.ChainFor(rapid.SampledFrom(at).Draw(t, "leaf"), drawJob(t)), l, n)
		}
		c := tree.ChainFor(rapid.SampledFrom(at).Draw(t, "leaf"), drawJob(t))
		l, n := drawRequest(t)
		first := slices.IndexFunc(c, func(a quota.Account) bool { return !roomIn(tree, a, l, n) })
		b := tree.Fits(c, l, n)
		if b.Blocked != (first >= 0) {
			t.Fatalf("blocked %v, the full account is %d of %v", b.Blocked, first, c)
		}
		if !b.Blocked {
			return
		}
		each, _ := l.Get(b.Dim)
		if b.Account != c[first] || b.Used != tree.Used(b.Account)[b.Dim] || b.Max != tree.MaxOf(b.Account)[b.Dim] ||
			b.Need != each.Mul(n) || b.Forever != (b.Need > b.Max) || b.Used.Add(b.Need) <= b.Max {
			t.Fatalf("told %+v of account %d", b, c[first])
		}
	})
}

func TestTheLeafIsToldBeforeItsFullParent(t *testing.T) {
	tree := newTree(queue("root", capped(queue("lab", capped(queue("ml"), 4), capped(queue("web"), 8)), 6)))
	ml, web := chainOf(t, tree, "root.lab.ml", "ann"), chainOf(t, tree, "root.lab.web", "bob")
	tree.Charge(web, gpus(4), 1)
	expect(t, tree, tree.Fits(ml, gpus(2), 1), "")
	expect(t, tree, tree.Fits(ml, gpus(3), 1), "queue of root.lab has 4 of 6, needs 3")
	tree.Charge(ml, gpus(2), 1)
	expect(t, tree, tree.Fits(ml, gpus(1), 3), "queue of root.lab.ml has 2 of 4, needs 3")
	expect(t, tree, tree.Fits(web, gpus(1), 1), "queue of root.lab has 6 of 6, needs 1")
}

func TestWhatNeverFitsIsToldApartFromWhatMustWait(t *testing.T) {
	tree := newTree(queue("root", capped(queue("ml"), 4)))
	ml := chainOf(t, tree, "ml", "ann")
	tree.Charge(ml, gpus(3), 1)
	if b := tree.Fits(ml, gpus(4), 1); !b.Blocked || b.Forever {
		t.Errorf("four of four must wait: %+v", b)
	}
	if b := tree.Fits(ml, gpus(5), 1); !b.Blocked || !b.Forever {
		t.Errorf("five of four never fit: %+v", b)
	}
	if b := tree.Fits(ml, gpus(1), 1<<60); !b.Blocked || !b.Forever {
		t.Errorf("more than can be counted never fits: %+v", b)
	}
}

func TestAnExplicitZeroForbidsAndAMissingMaxDoesNotLimit(t *testing.T) {
	none := queue("cpu-only")
	none.Max = spec.Resources{{Name: amount.GPUName, Amount: 0}}
	tree := newTree(queue("root", none, queue("free")))
	c := chainOf(t, tree, "cpu-only", "ann")
	expect(t, tree, tree.Fits(c, gpus(1), 1), "queue of root.cpu-only has 0 of 0, needs 1")
	if b := tree.Fits(c, amount.List{{Dim: amount.CPU, Amount: amount.Limit}}, 1); b.Blocked {
		t.Errorf("cpu has no max, but: %+v", b)
	}
	free := chainOf(t, tree, "free", "ann")
	tree.Charge(free, amount.List{{Dim: amount.GPU, Amount: amount.Limit}}, 4000)
	if b := tree.Fits(free, amount.List{{Dim: amount.GPU, Amount: amount.Limit}}, 8000); b.Blocked {
		t.Errorf("an unlimited queue is full: %+v", b)
	}
}

func limited(q *spec.Queue, limits ...spec.Limit) *spec.Queue {
	q.Limits = limits
	return q
}

func TestANamedUserHasTheFirstLimitThatNamesHimAndOthersTheWildcardEachForHimself(t *testing.T) {
	tree := newTree(queue("root", limited(queue("ml"),
		spec.Limit{Users: []string{"*"}, Max: spec.GPUs(2)},
		spec.Limit{Users: []string{"*"}, Max: spec.GPUs(1)}, // the first wildcard holds
		spec.Limit{Users: []string{"ann", "bob"}, Max: spec.GPUs(5)},
		spec.Limit{Users: []string{"ann"}, Max: spec.GPUs(9)})))
	ann, bob := chainOf(t, tree, "ml", "ann"), chainOf(t, tree, "ml", "bob")
	eve, kim := chainOf(t, tree, "ml", "eve"), chainOf(t, tree, "ml", "kim")
	for _, c := range []quota.Chain{ann, eve} {
		tree.Charge(c, gpus(2), 1)
	}
	expect(t, tree, tree.Fits(ann, gpus(4), 1), "user ann of root.ml has 2 of 5, needs 4")
	expect(t, tree, tree.Fits(ann, gpus(3), 1), "")
	expect(t, tree, tree.Fits(bob, gpus(5), 1), "")
	expect(t, tree, tree.Fits(eve, gpus(1), 1), "user eve of root.ml has 2 of 2, needs 1")
	expect(t, tree, tree.Fits(kim, gpus(2), 1), "")
	expect(t, tree, tree.Fits(kim, gpus(3), 1), "user kim of root.ml has 0 of 2, needs 3")
}

func TestAGroupSharesItsLimitAndTheWildcardIsOnePoolForAllGroups(t *testing.T) {
	tree := newTree(queue("root", limited(queue("ml"),
		spec.Limit{Groups: []string{"vision"}, Max: spec.GPUs(4)},
		spec.Limit{Groups: []string{"*"}, Max: spec.GPUs(3)})))
	ann, bob := chainOf(t, tree, "ml", "ann", "vision"), chainOf(t, tree, "ml", "bob", "staff", "vision")
	eve, kim := chainOf(t, tree, "ml", "eve", "speech"), chainOf(t, tree, "ml", "kim", "text")
	tree.Charge(ann, gpus(3), 1)
	expect(t, tree, tree.Fits(bob, gpus(2), 1), "group vision of root.ml has 3 of 4, needs 2")
	tree.Charge(eve, gpus(2), 1)
	expect(t, tree, tree.Fits(kim, gpus(2), 1), "group * of root.ml has 2 of 3, needs 2")
	expect(t, tree, tree.Fits(bob, gpus(1), 1), "")
}

func TestALimitInAParentCountsWhatTheUserHoldsInAllQueuesBelow(t *testing.T) {
	tree := newTree(queue("root", limited(queue("lab", queue("ml"), queue("web")), spec.Limit{Users: []string{"ann"}, Max: spec.GPUs(4)})))
	ml, web := chainOf(t, tree, "root.lab.ml", "ann"), chainOf(t, tree, "root.lab.web", "ann")
	tree.Charge(ml, gpus(3), 1)
	expect(t, tree, tree.Fits(web, gpus(2), 1), "user ann of root.lab has 3 of 4, needs 2")
	expect(t, tree, tree.Fits(chainOf(t, tree, "root.lab.web", "bob"), gpus(2), 1), "")
}

func TestRunningJobsAreCountedInQueueParentAndLimit(t *testing.T) {
	ml := queue("ml")
	ml.MaxApps = 2
	lab := queue("lab", ml, queue("web"))
	lab.MaxApps = 3
	lab.Limits = []spec.Limit{{Users: []string{"*"}, MaxApps: 1}}
	tree := newTree(queue("root", lab))
	ann := chainOf(t, tree, "root.lab.ml", "ann")
	tree.ChargeApps(ann, 1)
	expect(t, tree, tree.AppsFit(ann), "user ann of root.lab runs 1 of 1")
	tree.ChargeApps(chainOf(t, tree, "root.lab.ml", "bob"), 1)
	expect(t, tree, tree.AppsFit(chainOf(t, tree, "root.lab.ml", "eve")), "queue of root.lab.ml runs 2 of 2")
	tree.ChargeApps(chainOf(t, tree, "root.lab.web", "eve"), 1)
	expect(t, tree, tree.AppsFit(chainOf(t, tree, "root.lab.web", "kim")), "queue of root.lab runs 3 of 3")
	tree.ChargeApps(ann, -1)
	expect(t, tree, tree.AppsFit(chainOf(t, tree, "root.lab.ml", "kim")), "")
}

func TestAUsersShareIsTheLargestOverTheResources(t *testing.T) {
	tree := newTree(queue("root", queue("ml"), queue("web")))
	tree.AddCapacity(amount.List{{Dim: amount.CPU, Amount: 100_000}, {Dim: amount.GPU, Amount: 8000}})
	tree.Charge(chainOf(t, tree, "ml", "ann"), amount.List{{Dim: amount.CPU, Amount: 10_000}, {Dim: amount.GPU, Amount: 4000}}, 1)
	tree.Charge(chainOf(t, tree, "web", "ann"), amount.List{{Dim: amount.GPU, Amount: 4000}}, 1)
	if got := tree.UserShare(find(t, tree, "ml"), "ann"); got != amount.One/2 {
		t.Errorf("ann holds half of the GPUs in ml, told %d", got)
	}
	if got := tree.UserShare(find(t, tree, "ml"), "stranger"); got != 0 {
		t.Errorf("a stranger holds %d", got)
	}
}
