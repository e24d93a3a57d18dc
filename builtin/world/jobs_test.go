package world_test

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

func TestPendingJobsAreInOrderOfSubmitAndIDWhateverTheOrderOfArrival(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		w := newWorld()
		q := leaf(t, w, "a")
		var want []*world.Job
		for _, i := range rapid.Permutation([]int{0, 1, 2, 3, 4, 5, 6, 7, 8}).Draw(t, "arrival") {
			s := &spec.Job{ID: fmt.Sprintf("j%d", i), Submit: int64((8 - i) / 3), Tasks: []spec.TaskGroup{group(1, 1000, 0)}}
			want = append(want, w.AddJob(s, q))
		}
		slices.SortFunc(want, func(a, b *world.Job) int {
			return cmp.Or(cmp.Compare(a.Spec.Submit, b.Spec.Submit), strings.Compare(a.Spec.ID, b.Spec.ID))
		})
		if got := w.PendingIn(q); !slices.Equal(got, want) || ids(got) != "[j6 j7 j8 j3 j4 j5 j0 j1 j2]" {
			t.Fatalf("pending %s", ids(got))
		}
		if !slices.Equal(w.Jobs(), want) || w.JobCount() != len(want) {
			t.Fatalf("jobs %s", ids(w.Jobs()))
		}
	})
}

func TestAJobLeavesTheListWhenAllItsTasksRunAndComesBackAtItsPlace(t *testing.T) {
	w := newWorld()
	q := leaf(t, w, "a")
	n := w.AddNode(machine("n", "", 8))
	addJob(t, w, "1", "a", group(1, 1000, 0))
	j := addJob(t, w, "2", "a", group(2, 1000, 0))
	addJob(t, w, "3", "a", group(1, 1000, 0))
	w.Place(&j.Tasks[0], n, 1, world.Bound, 0)
	if got := ids(w.PendingIn(q)); got != "[1 2 3]" {
		t.Errorf("one task of 2 still waits: %s", got)
	}
	w.Place(&j.Tasks[1], n, 2, world.Bound, 0)
	if got := ids(w.PendingIn(q)); got != "[1 3]" {
		t.Errorf("2 waits for nothing: %s", got)
	}
	w.Release(&j.Tasks[0])
	if got := ids(w.PendingIn(q)); got != "[1 2 3]" {
		t.Errorf("2 waits again: %s", got)
	}
}

func TestAMovedJobIsChargedAndListedInItsNewQueueOnly(t *testing.T) {
	w := newWorld()
	n := w.AddNode(machine("n", "", 8))
	j := addJob(t, w, "j", "a", group(1, 1000, 0))
	w.Move(j, leaf(t, w, "b"))
	if a, b := ids(w.PendingIn(leaf(t, w, "a"))), ids(w.PendingIn(leaf(t, w, "b"))); a != "[]" || b != "[j]" {
		t.Errorf("a has %s, b has %s", a, b)
	}
	w.Place(&j.Tasks[0], n, 1, world.Bound, 0)
	if a, b := used(w, "root.a", amount.GPUName), used(w, "root.b", amount.GPUName); a != 0 || b != 1000 {
		t.Errorf("a is charged %d, b %d", a, b)
	}
	audit(t, w)
}

func TestAFinishedTaskIsOverForGoodAndCountsForItsGang(t *testing.T) {
	w := newWorld()
	n := w.AddNode(machine("n", "", 8))
	j := addJob(t, w, "j", "a", group(3, 1000, 0))
	w.Place(&j.Tasks[0], n, 1, world.Bound, 0)
	w.Finish(&j.Tasks[0])
	w.Finish(&j.Tasks[1]) // never started
	w.Finish(&j.Tasks[1]) // told twice
	if j.Tasks[0].State != world.Done || j.Tasks[1].State != world.Done || j.Groups[0].Finished != 2 || j.Waiting != 1 || j.GangMissing() != 1 {
		t.Errorf("finished %d, waiting %d, missing %d", j.Groups[0].Finished, j.Waiting, j.GangMissing())
	}
	if got := used(w, "root.a", amount.GPUName); got != 0 {
		t.Errorf("still charged %d", got)
	}
	audit(t, w)
}

func TestAVictimGivesItsQuotaBackAtOnceAndItsNodeWhenItIsGone(t *testing.T) {
	w := newWorld()
	n := w.AddNode(machine("n", "", 2))
	victim, heir := addJob(t, w, "v", "a", group(1, 2000, 0)), addJob(t, w, "h", "b", group(1, 2000, 0))
	w.Place(&victim.Tasks[0], n, 0b11, world.Bound, 0)
	w.Evict(&victim.Tasks[0])
	if got := used(w, "root.a", amount.GPUName); got != 0 || w.FreeOf(n, amount.GPU) != 0 {
		t.Errorf("charged %d, free on the node %d", got, w.FreeOf(n, amount.GPU))
	}
	w.Place(&heir.Tasks[0], n, 0b11, world.Claimed, 0)
	if w.FreeOf(n, amount.GPU) != -2000 || w.Settled(&heir.Tasks[0]) || ids(w.Claims()) != "[h]" {
		t.Errorf("the heir waits for the victim: free %d, settled %v, claims %s", w.FreeOf(n, amount.GPU), w.Settled(&heir.Tasks[0]), ids(w.Claims()))
	}
	w.Release(&victim.Tasks[0])
	if !w.Settled(&heir.Tasks[0]) {
		t.Errorf("the victim is gone: %s", w.Describe(n))
	}
	w.Bind(&heir.Tasks[0], 7)
	if heir.Tasks[0].Since != 7 || len(w.Claims()) != 0 {
		t.Errorf("since %d, claims %s", heir.Tasks[0].Since, ids(w.Claims()))
	}
	audit(t, w)
}

func TestEqualRequestsHaveOneShapeAndEveryDifferenceMakesAnother(t *testing.T) {
	base := func() spec.TaskGroup {
		g := group(2, 2000, 500)
		g.GPUTypes = []string{"H100", "A100"}
		g.NodeSelector = map[string]string{"zone": "1", "rack": "7"}
		g.Tolerations = []spec.Toleration{{Key: "gpu"}}
		return g
	}
	w := newWorld()
	first := base()
	id := w.ShapeOf(&first)
	for name, change := range map[string]func(*spec.TaskGroup){
		"another name, size and min": func(g *spec.TaskGroup) { g.Name, g.Size, g.Min, g.Leader = "x", 9, 3, true },
		"types in another order":     func(g *spec.TaskGroup) { g.GPUTypes = []string{"A100", "H100"} },
	} {
		g := base()
		change(&g)
		if w.ShapeOf(&g) != id {
			t.Errorf("%s is another shape", name)
		}
	}
	seen := map[world.ShapeID]string{id: "the first"}
	for name, change := range map[string]func(*spec.TaskGroup){
		"more cpu":           func(g *spec.TaskGroup) { g.Request = group(1, 2000, 501).Request },
		"fewer types":        func(g *spec.TaskGroup) { g.GPUTypes = []string{"A100"} },
		"another zone":       func(g *spec.TaskGroup) { g.NodeSelector = map[string]string{"zone": "2", "rack": "7"} },
		"no toleration":      func(g *spec.TaskGroup) { g.Tolerations = nil },
		"a toleration value": func(g *spec.TaskGroup) { g.Tolerations = []spec.Toleration{{Key: "gpu", Value: "yes"}} },
		"labels that run into one another": func(g *spec.TaskGroup) {
			g.NodeSelector = map[string]string{"zone": `1";"rack"="7`}
		},
	} {
		g := base()
		change(&g)
		s := w.ShapeOf(&g)
		if other, ok := seen[s]; ok {
			t.Errorf("%s has the shape of %s", name, other)
		}
		seen[s] = name
	}
	if len(first.GPUTypes) != 2 || first.GPUTypes[0] != "H100" {
		t.Error("the caller's list was sorted")
	}
}

func TestANodeIsJudgedByItsTypeLabelsTaintsAndSize(t *testing.T) {
	w := newWorld()
	s := machine("n", "H100", 4)
	s.Labels = map[string]string{"zone": "1"}
	s.Taints = []spec.Taint{{Key: "lab", Value: "x"}}
	n := w.AddNode(s)
	tolerant := func(g spec.TaskGroup) spec.TaskGroup {
		g.Tolerations = []spec.Toleration{{Key: "lab"}}
		return g
	}
	for _, c := range []struct {
		name   string
		change func(*spec.TaskGroup)
		want   world.Misfit
	}{
		{"anything will do", func(*spec.TaskGroup) {}, world.Fit},
		{"its type is among the accepted", func(g *spec.TaskGroup) { g.GPUTypes = []string{"A100", "H100"} }, world.Fit},
		{"another type", func(g *spec.TaskGroup) { g.GPUTypes = []string{"A100"} }, world.MisfitType},
		{"another type, but no GPUs asked for", func(g *spec.TaskGroup) {
			g.GPUTypes, g.Request = []string{"A100"}, spec.Resources{{Name: "cpu", Amount: 1}}
		}, world.Fit},
		{"the right zone", func(g *spec.TaskGroup) { g.NodeSelector = map[string]string{"zone": "1"} }, world.Fit},
		{"the wrong zone", func(g *spec.TaskGroup) { g.NodeSelector = map[string]string{"zone": "2"} }, world.MisfitSelector},
		{"a label that it lacks", func(g *spec.TaskGroup) { g.NodeSelector = map[string]string{"ssd": "yes"} }, world.MisfitSelector},
		{"no toleration", func(g *spec.TaskGroup) { g.Tolerations = nil }, world.MisfitTaint},
		{"a toleration of another value", func(g *spec.TaskGroup) { g.Tolerations = []spec.Toleration{{Key: "lab", Value: "y"}} }, world.MisfitTaint},
		{"a toleration of that value", func(g *spec.TaskGroup) { g.Tolerations = []spec.Toleration{{Key: "lab", Value: "x"}} }, world.Fit},
		{"more GPUs than the node has", func(g *spec.TaskGroup) { g.Request = spec.GPUs(5) }, world.MisfitSize},
		{"a resource that the node lacks", func(g *spec.TaskGroup) { g.Request = spec.Resources{{Name: "fpga", Amount: 1}} }, world.MisfitSize},
		{"the type is told before the taint", func(g *spec.TaskGroup) { g.GPUTypes, g.Tolerations = []string{"A100"}, nil }, world.MisfitType},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := tolerant(group(1, 1000, 100))
			c.change(&g)
			id := w.ShapeOf(&g)
			if got := w.Judge(id, w.Nodes[n].Class); got != c.want {
				t.Errorf("judged %s, want %s", got, c.want)
			}
			if w.Feasible(id, w.Nodes[n].Class) != (c.want == world.Fit) {
				t.Error("Feasible says otherwise than Judge")
			}
		})
	}
}

func TestANoticeIsKnownToBeSavedOnceTheJobSaysSo(t *testing.T) {
	w := newWorld()
	n := w.AddNode(machine("n", "", 2))
	j, k := addJob(t, w, "j", "a", group(1, 1000, 0)), addJob(t, w, "k", "a", group(1, 1000, 0))
	w.Place(&j.Tasks[0], n, 1, world.Bound, 0)
	w.Evict(&j.Tasks[0])
	w.Notices = append(w.Notices, world.Notice{Job: j, Tasks: []*world.Task{&j.Tasks[0]}, Deadline: 60}, world.Notice{Job: k, Deadline: 70})
	w.NoteSaved(j, 42)
	if !w.Notices[0].Saved || w.Notices[1].Saved || j.Checkpoint != 42 {
		t.Errorf("notices %+v, checkpoint %d", w.Notices, j.Checkpoint)
	}
	w.RemoveJob(j)
	if len(w.Notices) != 1 || w.Notices[0].Job != k {
		t.Errorf("j is gone, but the notices are %+v", w.Notices)
	}
	audit(t, w)
}

func TestTwoJobsAreFrozenOnlyWhenEachHasEvictedTheOther(t *testing.T) {
	w := newWorld()
	j := addJob(t, w, "j", "a", group(1, 1000, 0))
	addJob(t, w, "k", "a", group(1, 1000, 0))
	w.NoteEviction("j", "k", 1)
	if w.Frozen("j", "k") || !w.Feuding() {
		t.Error("one eviction freezes nobody")
	}
	w.NoteEviction("k", "j", 2)
	if !w.Frozen("j", "k") || !w.Frozen("k", "j") {
		t.Error("each has evicted the other")
	}
	w.RemoveJob(j)
	if w.Frozen("j", "k") || w.Feuding() {
		t.Error("j is gone, and with it the feud")
	}
}

func TestOnlyRoomOnNodesOfItsClassesIsNewsForAShape(t *testing.T) {
	w := newWorld()
	h, a := w.AddNode(machine("h", "H100", 2)), w.AddNode(machine("a", "A100", 2))
	g := group(1, 1000, 0)
	g.GPUTypes = []string{"H100"}
	wants := w.ShapeOf(&g)
	j := addJob(t, w, "j", "a", group(2, 1000, 0))
	w.Place(&j.Tasks[0], h, 1, world.Bound, 0)
	w.Place(&j.Tasks[1], a, 1, world.Bound, 0)
	since := w.Grown
	w.Release(&j.Tasks[1])
	if w.GrownSince(wants, since) {
		t.Error("an A100 came free, and the shape wants an H100")
	}
	w.Release(&j.Tasks[0])
	if !w.GrownSince(wants, since) {
		t.Error("an H100 came free, and the shape was not told")
	}
}

func TestWithTreeKeepsWhereEverythingIs(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		m := newModel(t)
		t.Repeat(m.actions())
		for len(m.marks) > 0 {
			m.close(t, true)
		}
		w := m.w
		w.Quota.Rescale()
		before := w.Digest()
		same := quota.New(w.Res, spec.Tree{Root: w.Quota.Queues[quota.Root].Spec})
		after, err := w.WithTree(same)
		if err != nil {
			t.Fatal(err)
		}
		sameDigest(t, after, before, "over an equal tree")
		audit(t, after)
	})
}

func TestWithTreeRefusesATreeThatLacksAUsedLeafAndChangesNothing(t *testing.T) {
	w := newWorld()
	n := w.AddNode(machine("n", "", 2))
	j := addJob(t, w, "j", "a", group(1, 1000, 0))
	w.Place(&j.Tasks[0], n, 1, world.Bound, 0)
	before := w.Digest()
	for name, root := range map[string]*spec.Queue{
		"the leaf is gone":   {Name: "root", Children: []*spec.Queue{{Name: "b"}}},
		"the leaf is parent": {Name: "root", Children: []*spec.Queue{{Name: "b"}, {Name: "a", Children: []*spec.Queue{{Name: "deep"}}}}},
	} {
		if _, err := w.WithTree(quota.New(w.Res, spec.Tree{Root: root})); err == nil || !strings.Contains(err.Error(), "root.a") || !strings.Contains(err.Error(), "j") {
			t.Errorf("%s: %v", name, err)
		}
		sameDigest(t, w, before, "after the refusal")
	}
	audit(t, w)
}

func TestWithTreeKeepsNoticesClaimsFeudsAndWhatIsKnownOfJobs(t *testing.T) {
	w := newWorld()
	n := w.AddNode(machine("n", "H100", 2))
	j, k := addJob(t, w, "j", "a", group(1, 1000, 0)), addJob(t, w, "k", "b", group(1, 1000, 0))
	w.Place(&j.Tasks[0], n, 1, world.Bound, 3)
	w.Evict(&j.Tasks[0])
	w.Place(&k.Tasks[0], n, 1, world.Claimed, 4)
	w.Notices = append(w.Notices, world.Notice{Job: j, Tasks: []*world.Task{&j.Tasks[0]}, Deadline: 9})
	w.NoteEviction("k", "j", 4)
	w.NoteEviction("j", "k", 5)
	j.Attempts, j.Evicted, j.Checkpoint, k.ClaimExpiry, k.Refused = 3, 2, 1, 99, "no"
	v, err := w.WithTree(quota.New(w.Res, spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "a"}, {Name: "b"}, {Name: "c"}}}}))
	if err != nil {
		t.Fatal(err)
	}
	j2, k2 := v.Job("j"), v.Job("k")
	if len(v.Notices) != 1 || v.Notices[0].Job != j2 || v.Notices[0].Tasks[0] != &j2.Tasks[0] || v.Notices[0].Deadline != 9 {
		t.Errorf("notices %+v", v.Notices)
	}
	if ids(v.Claims()) != "[k]" || !v.Frozen("j", "k") || k2.ClaimExpiry != 99 || k2.Refused != "no" {
		t.Errorf("claims %s, frozen %v, %+v", ids(v.Claims()), v.Frozen("j", "k"), k2)
	}
	if j2.Attempts != 3 || j2.Evicted != 2 || j2.Checkpoint != 1 || j2.Tasks[0].State != world.Releasing || j2.Tasks[0].Since != 3 {
		t.Errorf("the job is now %+v", j2)
	}
	audit(t, v)
}
