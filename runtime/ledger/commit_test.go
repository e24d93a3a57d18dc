package ledger_test

import (
	"context"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/ledger"
)

func stepOn(w *world.World, p *pool) *plan.Plan {
	return cycle.Step(context.Background(), w, p.set, p.now)
}

func TestWhatIfLeavesNoTraceAndTheNextCycleDecidesAsIfItHadNotBeen(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		nodes := []spec.Node{gpuNode("n", 4), gpuNode("m", 8)}
		p, twin := newPool(t, two(6), nodes...), newPool(t, two(6), nodes...)
		p.step() // guarantees are scaled to new nodes when a cycle begins
		twin.step()
		for i := range rapid.IntRange(1, 6).Draw(t, "jobs") {
			j := gangOf(string(rune('p'+i)), rapid.SampledFrom([]string{"root.a", "root.b"}).Draw(t, "queue"), 1, rapid.Int64Range(1, 4).Draw(t, "size"), rapid.Int64Range(1, 4).Draw(t, "gpus"))
			j.Submit = int64(i)
			p.apply(ledger.JobSubmitted{Job: j})
			twin.apply(ledger.JobSubmitted{Job: j})
			p.now++
			twin.now++
			before := p.l.World().Digest()
			stepOn(p.l.Freeze(), p)
			if refused := p.l.Discard(); len(refused) != 0 {
				t.Fatalf("nothing came in, but %v", refused)
			}
			if after := p.l.World().Digest(); after != before {
				t.Fatalf("the what-if changed\n%s\nto\n%s", before, after)
			}
			p.step()
			twin.step()
			if a, b := p.l.World().Digest(), twin.l.World().Digest(); a != b {
				t.Fatalf("with a what-if before:\n%s\nwithout:\n%s", a, b)
			}
		}
	})
}

func TestEventsThatComeDuringAWhatIfAreTakenInAfterIt(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 4))
	p.l.Freeze()
	p.apply(ledger.NodeAdded{Node: gpuNode("m", 4)}, ledger.NodeRemoved{Name: "x"})
	if _, ok := p.l.World().NodeNamed("m"); ok {
		t.Error("the frozen world changed")
	}
	refused := p.l.Discard()
	if len(refused) != 1 || codeOf(refused[0]) != "unknown-node" {
		t.Errorf("refused %v", refused)
	}
	if _, ok := p.l.World().NodeNamed("m"); !ok {
		t.Error("the node that came was forgotten")
	}
}

func TestAPlanThatNothingOvertookIsTakenWhole(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 8))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 2, 3, 1)}, ledger.JobSubmitted{Job: gangOf("k", "root.b", 9, 9, 1)})
	r := p.step()
	p.expect(r, "j×3 ", "")
	if len(r.Taken.Pending) != 1 || r.Taken.Pending[0].Job != "k" {
		t.Errorf("waiting %+v", r.Taken.Pending)
	}
}

// overtaken is a pool in which the next plan starts j on n and k on o.
func overtaken(t *testing.T) *pool {
	p := newPool(t, two(0), gpuNode("n", 4), gpuNode("o", 4))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 4, 4, 1)}, ledger.JobSubmitted{Job: gangOf("k", "root.b", 4, 4, 1)})
	return p
}

func TestOnlyTheUnitsThatAnEventOvertookAreStale(t *testing.T) {
	limited := two(0)
	limited.Root.Children[0].Max = spec.GPUs(3)
	few := two(0)
	few.Root.Children[1].MaxApps = 1
	few.Root.MaxApps = 1
	cordoned, smaller, retyped := gpuNode("o", 4), gpuNode("o", 2), gpuNode("n", 4)
	cordoned.Unschedulable = true
	retyped.Taints = []spec.Taint{{Key: "lab"}}
	for _, c := range []struct {
		name          string
		late          ledger.Event
		starts, stale string
	}{
		{"nothing that matters", ledger.NodeAdded{Node: gpuNode("z", 4)}, "j×4 k×4 ", ""},
		{"a node is gone", ledger.NodeRemoved{Name: "o"}, "j×4 ", "k: node o is gone or closed; "},
		{"a node is cordoned", ledger.NodeAdded{Node: cordoned}, "j×4 ", "k: node o is gone or closed; "},
		{"a node lost GPUs", ledger.NodeAdded{Node: smaller}, "j×4 ", "k: node o has no room; "},
		{"a node has a taint", ledger.NodeAdded{Node: retyped}, "k×4 ", "j: node n changed; "},
		{"a job is gone", ledger.JobGone{ID: "j"}, "k×4 ", "j: the job is gone; "},
		{"a task finished before it started", ledger.TaskFinished{Job: "k", Task: 2}, "j×4 ", "k: a task is done; "},
		{"a queue has less", ledger.QueuesChanged{Tree: limited}, "k×4 ", "j: quota is taken; "},
		{"fewer jobs may run", ledger.QueuesChanged{Tree: few}, "j×4 ", "k: the number of running jobs is reached; "},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := overtaken(t)
			p.t = t
			r := p.step(c.late)
			p.expect(r, c.starts, c.stale)
		})
	}
}

func TestATaskDoesNotStartOnADeviceThatIsGone(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 2))
	p.apply(ledger.JobSubmitted{Job: gangOf("f", "root.a", 1, 1, 1)})
	p.expect(p.step(), "f×1 ", "")
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 1, 1, 1)})
	r := p.step(ledger.JobGone{ID: "f"}, ledger.NodeAdded{Node: gpuNode("n", 1)})
	p.expect(r, "", "j: node n has no room; ")
	p.expect(p.step(), "j×1 ", "")
}

func TestWhatWasStaleStartsInTheNextCycle(t *testing.T) {
	p := overtaken(t)
	p.expect(p.step(ledger.NodeRemoved{Name: "o"}, ledger.NodeAdded{Node: gpuNode("p", 4)}), "j×4 ", "k: node o is gone or closed; ")
	p.expect(p.step(), "k×4 ", "")
}

func TestSurplusDoesNotStartWithoutItsGang(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 2))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 2, 3, 1)})
	p.expect(p.step(), "j×2 ", "")
	p.apply(ledger.NodeAdded{Node: gpuNode("m", 1)})
	p.expect(p.step(ledger.NodeRemoved{Name: "n"}), "", "j: its gang has broken up; ")
}

// reclaiming is a pool in which b borrowed all that a is guaranteed, and a's job
// takes it back with the next plan. The victim has a minute to save its work.
func reclaiming(t *testing.T, notice spec.Duration) *pool {
	p := newPool(t, two(2), gpuNode("n", 2))
	victim := gangOf("v", "root.b", 2, 2, 1)
	victim.Notice = notice
	p.apply(ledger.JobSubmitted{Job: victim})
	p.expect(p.step(), "v×2 ", "")
	p.now += 3600 * spec.Second
	p.apply(ledger.JobSubmitted{Job: gangOf("heir", "root.a", 2, 2, 1)})
	return p
}

func TestAPreemptorAndItsVictimsAreOneUnit(t *testing.T) {
	for _, c := range []struct {
		name  string
		late  []ledger.Event
		taken bool
	}{
		{"nothing that matters", []ledger.Event{ledger.Saved{Job: "v"}}, true},
		{"the victim finished", []ledger.Event{ledger.JobGone{ID: "v"}}, false},
		{"a task of the victim finished", []ledger.Event{ledger.TaskFinished{Job: "v", Task: 1}}, false},
		{"the victim left and came back smaller", []ledger.Event{ledger.JobGone{ID: "v"}, ledger.JobSubmitted{Job: gangOf("v", "root.b", 1, 1, 1)}}, false},
		{"the preemptor is gone", []ledger.Event{ledger.JobGone{ID: "heir"}}, false},
		{"the node is gone", []ledger.Event{ledger.NodeRemoved{Name: "n"}}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := reclaiming(t, 0)
			p.t = t
			r := p.step(c.late...)
			if got := len(r.Taken.Evictions) == 1 && len(r.Taken.Claims) == 2; got != c.taken || len(r.Refused) != 0 {
				t.Fatalf("taken %v: %s, stale %v, refused %v", got, r.Taken.JSON(), r.Stale, r.Refused)
			}
			if (len(r.Stale) == 0) != c.taken {
				t.Errorf("stale %v", r.Stale)
			}
			if !c.taken && (len(r.Taken.Evictions) != 0 || len(r.Taken.Claims) != 0) {
				t.Errorf("a part was taken: %s", r.Taken.JSON())
			}
			p.audit()
		})
	}
}

// harmless is an event that makes the ledger verify a plan and changes nothing.
var harmless = ledger.JobPriority{ID: "v"} // as it was

func TestAPlanThatNothingTouchedIsTakenAsIfNothingHadCome(t *testing.T) {
	for name, make := range map[string]func() *pool{
		"a gang that starts and preempts for its surplus": func() *pool {
			p := newPool(t, two(3), gpuNode("n", 2))
			p.apply(ledger.JobSubmitted{Job: gangOf("v", "root.b", 0, 2, 1)})
			p.step()
			p.now += 3600 * spec.Second
			p.apply(ledger.NodeAdded{Node: gpuNode("x", 1)}, ledger.JobSubmitted{Job: gangOf("heir", "root.a", 1, 3, 1)})
			return p
		},
		"two preemptors on one node": func() *pool {
			p := newPool(t, two(2), gpuNode("n", 2))
			p.apply(ledger.JobSubmitted{Job: gangOf("v", "root.b", 1, 1, 1)}, ledger.JobSubmitted{Job: gangOf("w", "root.b", 1, 1, 1)})
			p.step()
			p.now += 3600 * spec.Second
			p.apply(ledger.JobSubmitted{Job: gangOf("heir", "root.a", 1, 1, 1)}, ledger.JobSubmitted{Job: gangOf("twin", "root.a", 1, 1, 1)})
			return p
		},
	} {
		t.Run(name, func(t *testing.T) {
			whole, verified := make(), make()
			a, b := whole.step(), verified.step(harmless)
			if len(a.Taken.Evictions) < 2 || len(a.Taken.Claims) < 2 {
				t.Fatalf("the story needs two preemptions: %s", a.Taken.JSON())
			}
			if len(b.Stale) != 0 || len(b.Taken.Evictions) != len(a.Taken.Evictions) || len(b.Taken.Claims) != len(a.Taken.Claims) || len(b.Taken.Binds) != len(a.Taken.Binds) {
				t.Errorf("stale %v\nwhole    %s\nverified %s", b.Stale, a.Taken.JSON(), b.Taken.JSON())
			}
			if x, y := whole.l.World().Digest(), verified.l.World().Digest(); x != y {
				t.Errorf("whole\n%s\nverified\n%s", x, y)
			}
			verified.audit()
		})
	}
}

func TestSurplusIsNotReclaimedForAGangThatBrokeUp(t *testing.T) {
	p := newPool(t, two(3), gpuNode("n", 1))
	p.apply(ledger.JobSubmitted{Job: gangOf("v", "root.b", 1, 1, 1)})
	p.step()
	p.now += 3600 * spec.Second
	p.apply(ledger.NodeAdded{Node: gpuNode("x", 2)}, ledger.JobSubmitted{Job: gangOf("heir", "root.a", 2, 3, 1)})
	r := p.step(ledger.NodeRemoved{Name: "x"})
	if len(r.Taken.Evictions) != 0 || len(r.Taken.Claims) != 0 || len(r.Stale) != 2 {
		t.Errorf("the gang of heir has no node, but its surplus evicts v: %s, stale %v", r.Taken.JSON(), r.Stale)
	}
	p.audit()
}

func TestVictimsOfAnEarlierPlanMakeRoomWhenTheyAreGone(t *testing.T) {
	p := reclaiming(t, 0)
	r := p.step()
	if len(r.Taken.Evictions) != 1 || len(r.Taken.Claims) != 2 {
		t.Fatalf("plan %s", r.Taken.JSON())
	}
	p.expect(p.step(), "", "")
	p.apply(ledger.Evicted{Job: "v", Tasks: []int32{0, 1}})
	p.expect(p.step(), "heir×2 ", "")
	if used := p.l.World().Quota.Used(0)[amount.GPU]; used != 2000 {
		t.Errorf("two GPUs are held, charged %d", used)
	}
}

func TestAVictimThatLeftBeforeItsNoticeWasOverIsNotEndedAfterItsReturn(t *testing.T) {
	p := reclaiming(t, 60*spec.Second)
	r := p.step()
	if len(r.Taken.Evictions) != 1 || !r.Taken.Evictions[0].Notify {
		t.Fatalf("plan %s", r.Taken.JSON())
	}
	p.apply(ledger.Evicted{Job: "v", Tasks: []int32{0, 1}}, ledger.NodeAdded{Node: gpuNode("m", 2)})
	p.expect(p.step(), "heir×2 v×2 ", "")
	p.now += 100 * spec.Second
	if r := p.step(); len(r.Taken.Ends) != 0 {
		t.Errorf("v runs anew and is ended: %s", r.Taken.JSON())
	}
}

func TestOnlyVictimsThatAreStillThereAreEnded(t *testing.T) {
	p := reclaiming(t, 60*spec.Second)
	p.step()
	p.now += 61 * spec.Second
	r := p.step(ledger.Evicted{Job: "v", Tasks: []int32{0}})
	if len(r.Taken.Ends) != 1 || len(r.Taken.Ends[0].Tasks) != 1 || r.Taken.Ends[0].Tasks[0] != 1 {
		t.Fatalf("task 0 had left by itself: %s", r.Taken.JSON())
	}
	if r := p.step(); len(r.Taken.Ends) != 0 {
		t.Errorf("ended twice: %s", r.Taken.JSON())
	}
}

func TestLateEventsThatMakeNoSenseAreReportedWithTheCommit(t *testing.T) {
	p := overtaken(t)
	r := p.step(ledger.JobGone{ID: "x"}, ledger.JobGone{ID: "k"})
	if len(r.Refused) != 1 || codeOf(r.Refused[0]) != "unknown-job" {
		t.Errorf("refused %v", r.Refused)
	}
	p.expect(r, "j×4 ", "k: the job is gone; ")
}

// rack is a node of four GPUs in a rack.
func rack(name, rack string) spec.Node {
	n := gpuNode(name, 4)
	n.Labels = map[string]string{"rack": rack}
	return n
}

func related(id string, tasks int64, near spec.Near) *spec.Job {
	j := gangOf(id, "root.a", tasks, tasks, 1)
	j.Tasks[0].Near = near
	return j
}

func TestAPlaceThatBecameWrongWhileItWasDecidedIsStale(t *testing.T) {
	web, byRack := spec.Term{ID: "web"}, spec.Term{ID: "web", Topology: "rack"}
	for _, c := range []struct {
		name string
		near spec.Near
		late ledger.Event
		why  string
	}{
		{
			"others came that it avoids",
			spec.Near{Avoids: []spec.Term{byRack}},
			ledger.NodeUsed{Name: "m", Counts: map[string]int32{"web": 1}},
			"anti-affinity",
		},
		{
			"others came that avoid it",
			spec.Near{Counts: []string{"web"}},
			ledger.NodeUsed{Name: "n", Avoids: map[spec.Term]int32{byRack: 1}},
			"anti-affinity",
		},
		{
			"a job came to count for what it avoids",
			spec.Near{Avoids: []spec.Term{web}},
			ledger.JobNear{ID: "there", Counts: []string{"web"}},
			"anti-affinity",
		},
		{
			"its company left",
			spec.Near{Needs: []spec.Term{{ID: "company", Topology: "rack"}}},
			ledger.JobGone{ID: "there"},
			"affinity",
		},
		{
			"its zone has enough now",
			spec.Near{Counts: []string{"s"}, Spread: []spec.Spread{{Term: spec.Term{ID: "s", Topology: "rack"}, MaxSkew: 1, Self: true}}},
			ledger.NodeUsed{Name: "m", Counts: map[string]int32{"s": 1}},
			"spread",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := newPool(t, two(0), rack("m", "1"), rack("n", "1"), gpuNode("x", 1))
			p.apply(ledger.NodeAdded{Node: rack("z", "2")}, ledger.NodeUsed{Name: "z", Used: spec.GPUs(4)})
			there := related("there", 3, spec.Near{Counts: []string{"company"}})
			p.apply(ledger.JobSubmitted{Job: there})
			for i, n := range []string{"m", "n", "m"} {
				p.apply(ledger.TaskRunning{Job: "there", Task: int32(i), Node: n})
			}
			p.apply(ledger.JobSubmitted{Job: related("j", 1, c.near)})
			r := p.step(c.late)
			if len(r.Stale) != 1 || len(r.Taken.Binds) != 0 {
				t.Fatalf("taken %+v, stale %+v", r.Taken.Binds, r.Stale)
			}
			if !strings.Contains(r.Stale[0].Reason, "("+c.why+")") {
				t.Errorf("stale: %s", r.Stale[0].Reason)
			}
		})
	}
}

// choosy wants all nodes but one.
type choosy string

func (c choosy) Key() string              { return string(c) }
func (c choosy) Misfit(*spec.Node) string { return "" }
func (c choosy) ByName() bool             { return true }
func (c choosy) Refuses(node string) string {
	if node == string(c) {
		return "volume"
	}
	return ""
}

func TestAJobNeverGoesToTheNodeThatItRefusesByName(t *testing.T) {
	p := newPool(t, two(0), gpuNode("m", 4), gpuNode("n", 1))
	j := gangOf("j", "root.a", 2, 2, 1)
	j.Tasks[0].Where = choosy("m")
	p.apply(ledger.JobSubmitted{Job: j})
	r := p.step()
	p.expect(r, "", "")
	if by := r.Taken.Pending[0].Why.Excluded; len(by) != 2 || by[0].By != "volume" {
		t.Fatalf("told is %+v", by)
	}
	p.refused(ledger.TaskClaimed{Job: "j", Node: "m", Until: 1}, "no-room")
	p.apply(ledger.NodeAdded{Node: gpuNode("o", 1)})
	p.expect(p.step(), "j×2 ", "")
}

func TestAGangThatGathersIsTakenWholeThoughOthersCameMeanwhile(t *testing.T) {
	p := newPool(t, two(0), rack("m", "1"), rack("n", "2"))
	p.apply(ledger.JobSubmitted{Job: related("j", 4, spec.Near{Counts: []string{"j"}, Needs: []spec.Term{{ID: "j", Topology: "rack"}}})})
	r := p.step(ledger.NodeUsed{Name: "n", Used: spec.GPUs(1)})
	p.expect(r, "j×4 ", "")
}
