package ledger_test

import (
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/ledger"
)

// states names the states of a job's tasks.
func (p *pool) states(id string) (out string) {
	p.t.Helper()
	for i := range p.job(id).Tasks {
		out += p.job(id).Tasks[i].State.String() + " "
	}
	return out
}

func (p *pool) is(id, states string) {
	p.t.Helper()
	if got := p.states(id); got != states {
		p.t.Fatalf("%s is %q, want %q", id, got, states)
	}
}

func TestATaskThatWasFoundRunningIsChargedWhetherThereIsRoomOrNot(t *testing.T) {
	tree := two(0)
	tree.Root.Children[0].Max = spec.GPUs(1)
	p := newPool(t, tree, gpuNode("n", 2))
	p.now = 100 * spec.Second
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 3, 3, 1)})
	for i := range int32(3) {
		p.apply(ledger.TaskRunning{Job: "j", Task: i, Node: "n", Devices: uint64(1+i) % 3, Since: int64(i) * 90 * spec.Second})
	}
	w := p.l.World()
	if free := w.FreeOf(0, amount.GPU); free != -1000 {
		t.Errorf("%d are free on a node of two with three tasks", free)
	}
	if dev := w.Dev(0); dev[0]+dev[1] != -1000 {
		t.Errorf("the devices have %v left", dev)
	}
	if since := p.job("j").Tasks[2].Since; since != p.now {
		t.Errorf("a start that is still to come is taken for %d", since)
	}
	p.audit()
	p.expect(p.step(), "", "") // what is above its max stays
	p.apply(ledger.JobGone{ID: "j"})
	if dev := w.Dev(0); dev[0] != 1000 || dev[1] != 1000 {
		t.Errorf("when all are gone the devices have %v", dev)
	}
}

func TestDevicesThatATaskCannotHaveAskedForAreChosenAnew(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 4))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 2, 2, 2)})
	p.apply(ledger.TaskRunning{Job: "j", Task: 0, Node: "n", Devices: 0b1010})
	p.apply(ledger.TaskRunning{Job: "j", Task: 1, Node: "n", Devices: 0b0111})
	if a, b := p.job("j").Tasks[0].Dev, p.job("j").Tasks[1].Dev; a != 0b1010 || b != 0b0101 {
		t.Errorf("the tasks hold %b and %b", a, b)
	}
	p.audit()
}

func TestAPlaceThatWasKeptBeforeTheRestartIsTakenUpOrGivenUp(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 2))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 2, 2, 1)}, ledger.JobSubmitted{Job: gangOf("k", "root.b", 1, 1, 1)})
	p.apply(ledger.TaskClaimed{Job: "j", Task: 0, Node: "n", Until: 60 * spec.Second})
	p.apply(ledger.TaskClaimed{Job: "j", Task: 1, Node: "n", Until: 30 * spec.Second})
	p.refused(ledger.TaskClaimed{Job: "k", Task: 0, Node: "n"}, "no-room")
	p.expect(p.step(), "j×2 ", "")
	p.is("j", "bound bound ")
}

func TestAJobThatGrowsKeepsWhatItHasWhereItIs(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 8))
	p.apply(ledger.JobSubmitted{Job: gangOf("i", "root.a", 1, 1, 1)}, ledger.JobSubmitted{Job: gangOf("j", "root.a", 2, 2, 1)}, ledger.JobSubmitted{Job: gangOf("k", "root.a", 1, 1, 1)})
	p.step()
	more := gangOf("", "", 0, 2, 1).Tasks
	for range 2 { // tasks move in memory each time
		p.apply(ledger.JobGrown{ID: "j", Tasks: more})
		p.expect(p.step(), "j×2 ", "")
	}
	p.is("j", "bound bound bound bound bound bound ")
	if got := len(p.l.World().TasksOn(0)); got != 8 {
		t.Fatalf("%d tasks are on the node", got)
	}
	p.apply(ledger.JobGone{ID: "i"}, ledger.TaskFinished{Job: "j", Task: 5}, ledger.JobGone{ID: "k"}, ledger.TaskFinished{Job: "j", Task: 0})
	p.is("j", "done bound bound bound bound done ")
	if got := p.l.World().FreeOf(0, amount.GPU); got != 4000 {
		t.Errorf("%d are free", got)
	}
	p.apply(ledger.QueuesChanged{Tree: two(1)})
	p.is("j", "done bound bound bound bound done ")
	p.audit()
}

func TestAVictimThatGrowsIsStillEndedWhenItsNoticeIsOver(t *testing.T) {
	p := newPool(t, two(1), gpuNode("n", 1))
	j := gangOf("j", "root.b", 1, 1, 1)
	j.Notice = 30 * spec.Second
	p.apply(ledger.JobSubmitted{Job: j})
	p.step()
	p.now += 10 * spec.Second
	p.apply(ledger.JobSubmitted{Job: gangOf("k", "root.a", 1, 1, 1)})
	if r := p.step(); len(r.Taken.Evictions) != 1 {
		t.Fatalf("nobody is told to go: %+v", r.Taken)
	}
	p.apply(ledger.JobGrown{ID: "j", Tasks: gangOf("", "", 0, 3, 1).Tasks}, ledger.Saved{Job: "j"})
	r := p.step()
	if len(r.Taken.Ends) != 1 || len(r.Taken.Ends[0].Tasks) != 1 {
		t.Fatalf("ends: %+v", r.Taken.Ends)
	}
}

func TestAGangThatIsAskedForMoreIsIncompleteAndLosesNothing(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 3))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 1, 4, 1)})
	p.step()
	p.step()
	p.apply(ledger.JobGang{ID: "j", Min: 4})
	if j := p.job("j"); !j.Incomplete() || j.Placed != 3 || j.GangMissing() != 1 {
		t.Fatalf("j holds %d and misses %d", j.Placed, j.GangMissing())
	}
	p.apply(ledger.JobGang{ID: "j", Min: 2})
	if j := p.job("j"); j.Incomplete() || j.Placed != 3 {
		t.Fatalf("j holds %d and misses %d", j.Placed, j.GangMissing())
	}
	p.audit()
}

func TestATaskThatEndedOrWasGivenUpMayBeWantedAgain(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 4))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 2, 4, 1)})
	for range 3 {
		p.step()
	}
	before := p.l.World().Digest()
	p.apply(ledger.TaskReleased{Job: "j", Task: 3}, ledger.TaskFinished{Job: "j", Task: 0})
	if j := p.job("j"); j.GangMissing() != 0 || j.Groups[0].Min != 3 || j.Groups[0].Finished != 2 {
		t.Fatalf("one of the gang is done, one of the surplus given up: %+v", j.Groups[0])
	}
	p.refused(ledger.JobGang{ID: "j", Min: 4}, "min-out-of-range")
	p.apply(ledger.JobGang{ID: "j", Min: 3}, ledger.JobGang{ID: "j", Min: 2})
	p.apply(ledger.TaskAgain{Job: "j", Task: 3}, ledger.TaskAgain{Job: "j", Task: 3}, ledger.TaskAgain{Job: "j", Task: 0}, ledger.TaskAgain{Job: "j", Task: 1})
	p.is("j", "pending bound bound pending ")
	if g := p.job("j").Groups[0]; g.Min != 2 || g.Finished != 0 || g.Released != 0 {
		t.Fatalf("nothing is done or given up any more: %+v", g)
	}
	p.step()
	p.step()
	if got := p.l.World().Digest(); got != before {
		t.Errorf("the world is\n%s\nit was\n%s", got, before)
	}
}

func TestAGangWithoutAllItsPodsIsNotTriedAndHoldsNothing(t *testing.T) {
	p := newPool(t, two(4), gpuNode("n", 4))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 3, 4, 1)}, ledger.TaskAbsent{Job: "j", Task: 0}, ledger.TaskAbsent{Job: "j", Task: 0})
	p.apply(ledger.TaskAbsent{Job: "j", Task: 2})
	p.is("j", "absent pending absent pending ")
	r := p.step()
	p.expect(r, "", "")
	if len(r.Taken.Pending) != 1 || r.Taken.Pending[0].Why.Code != "gang-incomplete" {
		t.Fatalf("told is %+v", r.Taken.Pending)
	}
	p.apply(ledger.TaskAgain{Job: "j", Task: 2})
	p.expect(p.step(), "j×3 ", "")
	p.apply(ledger.TaskAbsent{Job: "j", Task: 1})
	p.is("j", "absent absent bound bound ") // the rest of a gang that runs stays
	if got := started(p.step().Taken); got != "" {
		t.Fatalf("started %s", got)
	}
	p.apply(ledger.TaskAgain{Job: "j", Task: 0})
	p.expect(p.step(), "j×1 ", "")
}

func TestWhatOthersUseIsFreeForNobodyAndIsGivenBackExactly(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 4), gpuNode("m", 4))
	w, before := p.l.World(), p.l.World().Digest()
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 2, 2, 1)}, ledger.TaskRunning{Job: "j", Task: 0, Node: "n", Devices: 2}, ledger.TaskRunning{Job: "j", Task: 1, Node: "n", Devices: 4})
	p.apply(ledger.NodeUsed{Name: "n", Used: spec.GPUs(2)})
	if _, dev := w.ForeignUse(0); dev != 0b1001 {
		t.Errorf("the others hold devices %b, free were 1001", dev)
	}
	if total := w.Quota.Capacity()[amount.GPU]; total != 6000 {
		t.Errorf("the queues share %d", total)
	}
	p.apply(ledger.NodeAdded{Node: gpuNode("n", 8)}) // it grows; what is used stays
	if free, full := w.FreeOf(0, amount.GPU), w.FullDevices(0); free != 4000 || full != 4 {
		t.Errorf("%d are free of the larger node, %d devices", free, full)
	}
	p.apply(ledger.NodeAdded{Node: gpuNode("n", 4)}, ledger.NodeUsed{Name: "n", Used: spec.GPUs(9)})
	if free, total := w.FreeOf(0, amount.GPU), w.Quota.Capacity()[amount.GPU]; free != -7000 || total != 4000 {
		t.Errorf("of a node that is used beyond its size %d are free, the queues share %d", free, total)
	}
	p.audit()
	p.expect(p.step(), "", "")
	p.apply(ledger.JobGone{ID: "j"}, ledger.NodeUsed{Name: "n"})
	if got := p.l.World().Digest(); got != before {
		t.Errorf("the world is\n%s\nit was\n%s", got, before)
	}
	p.apply(ledger.NodeUsed{Name: "n", Used: spec.GPUs(2)}, ledger.NodeRemoved{Name: "n"}, ledger.NodeAdded{Node: gpuNode("n", 4)})
	if free := w.FreeOf(0, amount.GPU); free != 4000 {
		t.Errorf("%d are free of a node that came anew", free)
	}
}

func TestOthersDoNotChangeWhatANodeIs(t *testing.T) {
	p := newPool(t, two(0), gpuNode("m", 4), gpuNode("n", 4))
	p.apply(ledger.NodeUsed{Name: "m", Used: spec.GPUs(3)}, ledger.NodeUsed{Name: "n", Used: spec.GPUs(1)})
	if w := p.l.World(); len(w.Classes) != 1 {
		t.Errorf("two equal nodes are of %d classes", len(w.Classes))
	}
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 1, 1, 3)})
	r := p.step()
	if p.expect(r, "j×1 ", ""); r.Taken.Binds[0].Node != "n" {
		t.Errorf("j starts on %s", r.Taken.Binds[0].Node)
	}
	p.apply(ledger.QueuesChanged{Tree: two(1)})
	if free := p.l.World().Describe(0); free == "" || p.l.World().Nodes[0].Present && p.l.World().FreeOf(0, amount.GPU) != 1000 {
		t.Errorf("under a new tree: %s", free)
	}
}
