package victim

import (
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// lender has a queue a that borrows and a queue b that wants its guarantee back.
func lender(t *testing.T, nodes int, a, b int64) *scene {
	s := newScene(t, queue("root", -1, queue("a", a), queue("b", b)))
	s.nodes(nodes, 8)
	return s
}

// small fills a node with one-GPU jobs of a.
func (s *scene) small(node, n int) {
	for i := range n {
		s.runOn("root.a", jobSpec(fmt.Sprintf("s%d-%d", node, i), 1, 1), 0, node)
	}
}

func TestAnEightGPUJobTakesExactlyEightJobsOfOneNode(t *testing.T) {
	s := lender(t, 3, 0, 24)
	for n := range 3 {
		s.small(n, 8)
	}
	j := s.add("root.b", jobSpec("big", 1, 8))
	o := s.reclaims(j, "s0-0 s0-1 s0-2 s0-3 s0-4 s0-5 s0-6 s0-7")
	if len(o.Placed) != 1 || o.Placed[0].State != world.Claimed || o.Placed[0].Node != 0 {
		t.Errorf("placed %+v", o.Placed)
	}
	if o.Candidates != 24 {
		t.Errorf("%d candidates", o.Candidates)
	}
	if free := s.w.FreeOf(0, amount.GPU); free != -8000 {
		t.Errorf("%d free on the node that victims still hold", free)
	}
	if used := s.w.Quota.Used(1)[amount.GPU]; used != 16000 {
		t.Errorf("a uses %d", used)
	}
}

func TestNobodyIsEvictedWhenThePiecesMakeNoPlace(t *testing.T) {
	s := lender(t, 2, 0, 16)
	for n := range 2 {
		keep := jobSpec(fmt.Sprint("keep", n), 1, 1)
		keep.NonPreemptible = true
		s.runOn("root.a", keep, 0, n)
		s.small(n, 7)
	}
	s.spares(s.add("root.b", jobSpec("big", 1, 8)), "freed pieces would not make a place")
}

func TestFreeRoomIsUsedSoThatNoNeedlessVictimGoes(t *testing.T) {
	s := lender(t, 2, 0, 16)
	s.small(0, 8)
	s.small(1, 5)
	s.reclaims(s.add("root.b", jobSpec("mid", 1, 4)), "s1-0")
}

func TestAGangIsEvictedWholeAndAnElasticOneGivesSurplus(t *testing.T) {
	s := lender(t, 2, 0, 16)
	s.runOn("root.a", jobSpec("gang", 2, 4), 0, 0, 1)
	s.runOn("root.a", jobSpec("gang2", 2, 4), hour/2, 0, 1)
	s.reclaims(s.add("root.b", jobSpec("four", 1, 4)), "gang2")

	s = lender(t, 1, 0, 16)
	elastic := jobSpec("ray", 4, 2)
	elastic.Tasks[0].Min = 2
	s.runOn("root.a", elastic, 0, 0)
	o := s.reclaims(s.add("root.b", jobSpec("two", 1, 2)), "ray/2")
	if v := o.Victims[0]; v.Whole || v.GPUMilli != 2000 || v.LostMS != 2*3600*1000 {
		t.Errorf("victim %+v", v)
	}

	s = lender(t, 1, 0, 16)
	s.runOn("root.a", elastic, 0, 0)
	o = s.reclaims(s.add("root.b", jobSpec("six", 1, 6)), "ray")
	if v := o.Victims[0]; len(v.Tasks) != 4 || v.GPUMilli != 8000 {
		t.Errorf("the whole gang is one victim, got %+v", v)
	}
}

func TestAFullyElasticJobGivesTaskByTask(t *testing.T) {
	s := lender(t, 1, 0, 8)
	e := jobSpec("e", 8, 1)
	e.Tasks[0].Min = 0
	s.runOn("root.a", e, 0, 0)
	o := s.reclaims(s.add("root.b", jobSpec("two", 1, 2)), "e/0,1")
	if o.Victims[0].Whole {
		t.Error("the job still has six tasks")
	}
}

func TestLowerPriorityGoesFirstThenWhoLosesLeast(t *testing.T) {
	s := lender(t, 1, 0, 8)
	add := func(id string, priority, since int64, checkpoint spec.Time) {
		j := jobSpec(id, 1, 1)
		j.Priority = priority
		s.runOn("root.a", j, since, 0).Checkpoint = checkpoint
	}
	add("important", 5, hour/2, 0)
	add("old", 0, 0, 0)
	add("saved", 0, 1, hour-spec.Second)
	add("newest", 0, hour/2, 0)
	for i := range 4 {
		add(fmt.Sprint("urgent", i), 9, hour-1, 0)
	}
	s.reclaims(s.add("root.b", jobSpec("j1", 1, 1)), "saved")
	s.reclaims(s.add("root.b", jobSpec("j2", 1, 1)), "newest")
	s.reclaims(s.add("root.b", jobSpec("j3", 1, 1)), "old")
	s.reclaims(s.add("root.b", jobSpec("j4", 1, 1)), "important")
}

func TestALeaderGoesLast(t *testing.T) {
	s := lender(t, 1, 0, 8)
	ray := spec.Job{ID: "ray", Tasks: []spec.TaskGroup{
		{Name: "head", Min: 1, Size: 1, Request: spec.GPUs(1), Leader: true},
		{Name: "workers", Size: 3, Request: spec.GPUs(1)},
	}}
	s.runOn("root.a", ray, 0, 0)
	s.small(0, 4)
	s.reclaims(s.add("root.b", jobSpec("j1", 1, 7)), "ray/1,2,3 s0-0 s0-1 s0-2 s0-3")
}

func TestAQueueAtItsGuaranteeGivesNothing(t *testing.T) {
	s := lender(t, 1, 8, 8)
	s.small(0, 8)
	s.w.AddNode(spec.Node{Name: "m", Capacity: spec.GPUs(8), Unschedulable: true})
	s.w.Quota.Rescale()
	s.spares(s.add("root.b", jobSpec("j", 1, 1)), "no legal victims")
}

func TestOnlyWhatIsBorrowedIsTaken(t *testing.T) {
	s := lender(t, 1, 5, 3)
	s.small(0, 8)
	s.reclaims(s.add("root.b", jobSpec("three", 3, 1)), "s0-0 s0-1 s0-2")
	s.spares(s.add("root.b", jobSpec("more", 1, 1)), "queue would exceed its guarantee")
}

func TestStraddlingOnlyWhenNothingElseWillDo(t *testing.T) {
	s := lender(t, 2, 8, 8)
	s.runOn("root.a", jobSpec("wide", 1, 8), hour-1, 0)
	for i := range 4 {
		s.runOn("root.a", jobSpec(fmt.Sprint("x", i), 1, 2), 0, 1)
	}
	// wide is far cheaper, but a would fall to its guarantee exactly either way;
	// with 8 of 16 borrowed both are legal, and the cheaper goes.
	s.reclaims(s.add("root.b", jobSpec("j2", 1, 8)), "wide")

	s = lender(t, 2, 10, 6)
	s.runOn("root.a", jobSpec("wide", 1, 8), hour-1, 0)
	for i := range 4 {
		s.runOn("root.a", jobSpec(fmt.Sprint("x", i), 1, 2), 0, 1)
	}
	o := s.reclaims(s.add("root.b", jobSpec("j3", 1, 6)), "x0 x1 x2")
	if o.Victims[0].Rule != plan.RuleReclaim {
		t.Error("nobody straddled")
	}

	s = lender(t, 2, 10, 6)
	s.runOn("root.a", jobSpec("wide", 1, 8), 0, 0)
	s.runOn("root.a", jobSpec("broad", 1, 8), 1, 1)
	o = s.reclaims(s.add("root.b", jobSpec("j4", 1, 6)), "broad")
	if o.Victims[0].Rule != plan.RuleStraddle {
		t.Error("broad straddled")
	}
	// a holds 8 of its 10 and the victim asks for 8: it can't come back by reclaim.
	broad := s.w.Job("broad")
	for i := range broad.Tasks {
		s.w.Release(&broad.Tasks[i])
	}
	s.spares(broad, "queue would exceed its guarantee")
}

func TestOneStraddlerPerQueue(t *testing.T) {
	build := func(a, b int64) *scene { // one task of the preemptor per node, for want of cpu
		s := newScene(t, queue("root", -1, queue("a", a), queue("b", b)))
		for n := range 4 {
			s.w.AddNode(spec.Node{Name: fmt.Sprint("n", n), Capacity: spec.GPUs(4).Set("cpu", 1)})
		}
		s.w.Quota.Rescale()
		for n := range 4 {
			s.runOn("root.a", jobSpec(fmt.Sprint("v", n), 1, 4), 0, n)
		}
		return s
	}
	pair := jobSpec("pair", 2, 1)
	pair.Tasks[0].Request = pair.Tasks[0].Request.Set("cpu", 1)
	s := build(13, 3)
	s.spares(s.add("root.b", pair), "freed pieces would not make a place")
	s = build(11, 3) // the first leaves a 12 of its 11, the second straddles
	o := s.reclaims(s.add("root.b", pair), "v0 v1")
	if a, b := o.Victims[0].Rule, o.Victims[1].Rule; (a == plan.RuleStraddle) == (b == plan.RuleStraddle) {
		t.Errorf("rules %s and %s", a, b)
	}
}

func TestAQueueWithoutGuaranteeGivesFirst(t *testing.T) {
	s := newScene(t, queue("root", -1, queue("a", 2), queue("b", 8), queue("guest", -1)))
	s.nodes(2, 8)
	s.small(0, 8)
	for i := range 8 {
		s.runOn("root.guest", jobSpec(fmt.Sprint("g", i), 1, 1), hour/2-int64(i), 1)
	}
	for i := range 8 {
		s.w.Job(fmt.Sprintf("s0-%d", i)).Checkpoint = hour - 1
	}
	s.reclaims(s.add("root.b", jobSpec("j", 1, 2)), "g0 g1")
}

func TestAFenceKeepsPreemptionInside(t *testing.T) {
	team := queue("team", 8, queue("x", 4), queue("y", 4))
	team.Preemption = spec.PreemptionFence
	s := newScene(t, queue("root", -1, queue("a", 0), team))
	s.nodes(1, 8)
	s.small(0, 8)
	s.spares(s.add("root.team.x", jobSpec("j", 1, 1)), "no legal victims")

	s = newScene(t, queue("root", -1, queue("a", 0), team))
	s.nodes(1, 8)
	s.small(0, 3)
	for i := range 5 {
		s.runOn("root.team.y", jobSpec(fmt.Sprint("y", i), 1, 1), 0, 0)
	}
	s.reclaims(s.add("root.team.x", jobSpec("j", 1, 1)), "y0")
}

func TestADisabledQueueGivesNothing(t *testing.T) {
	a := queue("a", 0)
	a.Preemption = spec.PreemptionDisabled
	s := newScene(t, queue("root", -1, a, queue("b", 8)))
	s.nodes(1, 8)
	s.small(0, 8)
	s.spares(s.add("root.b", jobSpec("j", 1, 1)), "no legal victims")
}

func TestMinRuntimeProtectsTheYoung(t *testing.T) {
	a := queue("a", 0)
	a.MinRuntime = 600 * spec.Second
	s := newScene(t, queue("root", -1, a, queue("b", 8)))
	s.nodes(1, 8)
	s.runOn("root.a", jobSpec("young", 1, 4), hour-300*spec.Second, 0)
	s.runOn("root.a", jobSpec("old", 1, 4), hour-600*spec.Second, 0)
	s.reclaims(s.add("root.b", jobSpec("j", 1, 4)), "old")
	s.spares(s.add("root.b", jobSpec("k", 1, 4)), "no legal victims")
}

func TestMinRuntimeOfTheAncestorHoldsAgainstACousin(t *testing.T) {
	research := queue("research", 4, queue("llm", 0), queue("vision", 4))
	research.MinRuntime = 600 * spec.Second
	research.Children[0].MinRuntime = 60 * spec.Second
	build := func() *scene {
		s := newScene(t, queue("root", -1, research, queue("b", 4)))
		s.nodes(1, 8)
		s.runOn("root.research.llm", jobSpec("five", 8, 1), hour-300*spec.Second, 0)
		return s
	}
	s := build()
	s.spares(s.add("root.b", jobSpec("cousin", 1, 4)), "no legal victims")
	s = build()
	s.reclaims(s.add("root.research.vision", jobSpec("sibling", 1, 4)), "five")
}

func TestNonPreemptibleJobsStay(t *testing.T) {
	s := lender(t, 1, 8, 8)
	j := jobSpec("rock", 1, 8)
	j.NonPreemptible = true
	s.runOn("root.a", j, 0, 0)
	s.spares(s.add("root.b", jobSpec("j", 1, 1)), "no legal victims")
}

func TestAVetoTakesAUnitOut(t *testing.T) {
	s := lender(t, 1, 0, 8)
	s.small(0, 8)
	s.veto = func(b *policies.VictimBatch, row int) bool { return b.Job[row] < 3 }
	s.reclaims(s.add("root.b", jobSpec("j", 1, 1)), "s0-3")
}

func TestAFrozenPairLeavesEachOtherAlone(t *testing.T) {
	s := lender(t, 1, 0, 8)
	s.runOn("root.a", jobSpec("v", 1, 8), 0, 0)
	j := s.add("root.b", jobSpec("j", 1, 1))
	s.w.NoteEviction("j", "v", 1)
	s.w.NoteEviction("v", "j", 2)
	s.spares(j, "frozen: it and v have evicted each other")
}

func TestPreemptionDelayLetsAnAutoscalerActFirst(t *testing.T) {
	b := queue("b", 8)
	b.PreemptionDelay = 120 * spec.Second
	s := newScene(t, queue("root", -1, queue("a", 0), b))
	s.nodes(1, 8)
	s.small(0, 8)
	j := jobSpec("j", 1, 1)
	j.Submit = hour - 119*spec.Second
	s.spares(s.add("root.b", j), "waits for preemption.delay, 2m from its arrival")
	j.ID, j.Submit = "k", hour-120*spec.Second
	s.reclaims(s.add("root.b", j), "s0-0")
}

func TestInsideOneQueueStrictlyHigherPriorityOnly(t *testing.T) {
	s := lender(t, 1, 8, 0)
	for i := range 8 {
		j := jobSpec(fmt.Sprint("p", i), 1, 1)
		j.Priority = int64(i)
		s.runOn("root.a", j, 0, 0)
	}
	j := jobSpec("j", 2, 1)
	j.Priority = 1
	s.want(s.add("root.a", j), true, "nobody", "freed pieces would not make a place")
	j.ID, j.Priority = "k", 2
	o := s.want(s.add("root.a", j), true, "p0 p1", "")
	if o.Victims[0].Rule != plan.RulePriority {
		t.Errorf("rule %s", o.Victims[0].Rule)
	}
	j.ID, j.Priority = "l", 0
	s.want(s.add("root.a", j), true, "nobody", "no legal victims")
}

func TestWhenOnlyTheOwnMaxIsInTheWayQuotaIsFreed(t *testing.T) {
	a := queue("a", 4)
	a.Max = spec.GPUs(4)
	s := newScene(t, queue("root", -1, a, queue("b", 0)))
	s.nodes(2, 8)
	for i := range 4 {
		s.runOn("root.a", jobSpec(fmt.Sprint("p", i), 1, 1), int64(i)*spec.Second, 0)
	}
	j := jobSpec("j", 1, 2)
	j.Priority = 1
	s.want(s.add("root.a", j), true, "p2 p3", "")
}

func TestWhatEarlierVictimsLeaveIsUsedBeforeOthersGo(t *testing.T) {
	s := lender(t, 2, 0, 16)
	s.runOn("root.a", jobSpec("wide", 1, 8), hour-spec.Second, 0)
	s.small(1, 8)
	s.reclaims(s.add("root.b", jobSpec("j1", 1, 6)), "wide")
	o := s.reclaims(s.add("root.b", jobSpec("j2", 1, 2)), "")
	if len(o.Placed) != 1 || o.Placed[0].Node != 0 {
		t.Errorf("placed %+v", o.Placed)
	}
	s.reclaims(s.add("root.b", jobSpec("j3", 1, 1)), "s1-0")
}

func TestASurplusTaskIsPlacedAlone(t *testing.T) {
	s := lender(t, 1, 0, 8)
	s.small(0, 7)
	e := jobSpec("e", 4, 1)
	e.Tasks[0].Min = 1
	j := s.add("root.b", e)
	s.w.Place(&j.Tasks[0], 0, 1<<7, world.Bound, 0)
	o := s.reclaims(j, "s0-0")
	if len(o.Placed) != 1 || j.Placed != 2 {
		t.Errorf("placed %d", len(o.Placed))
	}
}

func TestReasonsAreShort(t *testing.T) {
	s := lender(t, 1, 0, 8)
	j := s.add("root.b", jobSpec("j", 1, 1))
	s.spares(j, "nothing to gain")
	if _, why := s.search().Reclaim(j); strings.ContainsAny(why, "\n;") {
		t.Errorf("%q", why)
	}
}

func TestAGangOfSeveralShapesFindsVictimsForEach(t *testing.T) {
	s := newScene(t, queue("root", -1, queue("a", 0), queue("b", 64)))
	for n := range 6 {
		s.w.AddNode(spec.Node{Name: fmt.Sprint("n", n), Capacity: spec.GPUs(8).Set("cpu", 8000)})
	}
	s.w.Quota.Rescale()
	for n := range 6 {
		for i := range 8 {
			j := jobSpec(fmt.Sprintf("s%d-%d", n, i), 1, 1)
			j.Tasks[0].Request = j.Tasks[0].Request.Set("cpu", 1000)
			s.runOn("root.a", j, int64(6-n)*spec.Second, n)
		}
	}
	ray := spec.Job{ID: "ray", Tasks: []spec.TaskGroup{
		{Name: "head", Min: 1, Size: 1, Request: spec.Resources{}.Set("cpu", 2000), Leader: true},
		{Name: "workers", Min: 2, Size: 2, Request: spec.GPUs(4).Set("cpu", 4000)},
	}}
	b := s.w.Quota.Queues[2]
	if b.Name != "b" {
		t.Fatal(b.Name)
	}
	o := s.reclaims(s.add("root.b", ray), "s0-0 s0-1 s0-2 s0-3 s0-4 s0-5 s0-6 s0-7 s1-0 s1-1")
	if len(o.Placed) != 3 {
		t.Errorf("placed %d", len(o.Placed))
	}
}

func TestANodeThatAnAdapterRefusesIsNotCleared(t *testing.T) {
	s := lender(t, 2, 0, 16)
	s.small(0, 8)
	s.small(1, 8)
	s.x.Filter = func(_ world.ShapeID, n world.NodeIx) bool { return n == 1 }
	s.reclaims(s.add("root.b", jobSpec("big", 1, 8)), "s1-0 s1-1 s1-2 s1-3 s1-4 s1-5 s1-6 s1-7")
}

func TestEqualJobsAreRefusedOnceUntilSomethingChanges(t *testing.T) {
	s := lender(t, 2, 4, 12)
	keep := jobSpec("keep", 1, 1)
	keep.NonPreemptible = true
	s.runOn("root.a", keep, 0, 0)
	s.small(0, 7)
	s.runOn("root.b", jobSpec("own", 1, 4), 0, 1)
	s.small(1, 4)
	a, b := s.add("root.b", jobSpec("x", 1, 8)), s.add("root.b", jobSpec("y", 1, 8))
	search := s.search()
	for _, j := range []*world.Job{a, b} {
		if o, why := search.Reclaim(j); o != nil || why != "freed pieces would not make a place" {
			t.Errorf("%s: %s %q", j.Spec.ID, names(o), why)
		}
	}
	if len(search.memo.refusals) != 1 {
		t.Errorf("%d refusals", len(search.memo.refusals))
	}
	s.w.Release(&s.w.Job("keep").Tasks[0])
	if o, why := search.Reclaim(b); o == nil {
		t.Errorf("node 0 can be cleared now: %s", why)
	}
}

func TestWhatAPolicyIsTold(t *testing.T) {
	s := newScene(t, queue("root", -1, queue("a", 4), queue("b", 4)))
	s.w.AddNode(spec.Node{Name: "n", Capacity: spec.GPUs(8).Set("cpu", 64000)})
	s.w.Quota.Rescale()
	gang := jobSpec("gang", 2, 2)
	gang.RestartCost, gang.Priority = 30*spec.Second, 7
	gang.Tasks[0].Min, gang.Tasks[0].Size = 2, 3
	s.runOn("root.a", gang, hour-100*spec.Second, 0).Checkpoint = hour - 40*spec.Second
	cpu := spec.Job{ID: "cpu", Tasks: []spec.TaskGroup{{Min: 1, Size: 1, Leader: true, Request: spec.Resources{}.Set("cpu", 50000)}}}
	s.runOn("root.a", cpu, hour-10*spec.Second, 0).Evicted = 3
	var got policies.VictimBatch
	price := s.price
	s.price = func(q quota.Q, b *policies.VictimBatch) string {
		got = *b
		return price(q, b)
	}
	s.search().Reclaim(s.add("root.b", jobSpec("j", 1, 4)))
	check := func(name string, got, want any) {
		t.Helper()
		if fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
	// Rows: the cpu job, the gang whole (first task 0), its surplus task 2.
	check("N", got.N, 3)
	check("Now", got.Now, hour)
	check("Job", got.Job, []uint32{0, 1, 1})
	check("Tasks", got.Tasks, []int64{1, 3, 1})
	check("GPUs", got.GPUs, []int64{0, 6000, 2000})
	check("Freed cpu", []int64{got.Freed[0], got.Freed[got.R], got.Freed[2*got.R]}, []int64{50000, 0, 0})
	check("Priority", got.Priority, []int64{0, 7, 7})
	check("Running", got.Running, []int64{10e9, 100e9, 100e9})
	check("SinceCheckpoint", got.SinceCheckpoint, []int64{10e9, 40e9, 40e9})
	check("Lost", got.Lost, []int64{5000, 240000, 80000}) // 50 cores are half a GPU
	check("RestartCost", got.RestartCost, []int64{0, 180000, 60000})
	check("Surplus", got.Surplus, []uint8{0, 0, 1})
	check("Leader", got.Leader, []uint8{1, 0, 0})
	check("Excess", got.Excess, []int64{2000, 2000, 2000})
	check("Evicted", got.Evicted, []int64{3, 0, 0})
}

func TestALeafThatIsGuaranteedNothingReclaimsByTheNextQueueAbove(t *testing.T) {
	build := func() *scene {
		s := newScene(t, queue("root", -1, queue("a", 0), queue("team", 4, queue("x", -1), queue("y", -1))))
		s.nodes(1, 8)
		s.runOn("root.team.y", jobSpec("y", 1, 2), 0, 0)
		s.small(0, 6)
		return s
	}
	s := build()
	s.reclaims(s.add("root.team.x", jobSpec("j", 1, 2)), "s0-0 s0-1") // not of its sibling
	s.spares(s.add("root.team.x", jobSpec("k", 1, 1)), "queue would exceed its guarantee")
}

func TestWhereTheTeamIsOverItsGuaranteeOnlySiblingsGive(t *testing.T) {
	s := newScene(t, queue("root", -1, queue("a", 0), queue("team", 4, queue("x", 2), queue("y", 2))))
	s.nodes(1, 8)
	for i := range 4 {
		s.runOn("root.team.y", jobSpec(fmt.Sprint("y", i), 1, 1), 0, 0)
	}
	s.small(0, 4)
	s.reclaims(s.add("root.team.x", jobSpec("j", 1, 2)), "y0 y1")
}
