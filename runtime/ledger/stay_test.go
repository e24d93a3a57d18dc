package ledger_test

import (
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/ledger"
)

const minute = 60 * spec.Second

// noticed is a pool in which the job idle of root.b has a minute to wake up before it goes
// for the job heir of root.a.
func noticed(t *testing.T) *pool {
	t.Helper()
	p := newPool(t, idleTree(30*minute), gpuNode("n", 1))
	p.apply(ledger.JobSubmitted{Job: gangOf("idle", "root.b", 1, 1, 1)})
	p.step()
	p.now = 60 * minute
	p.apply(still(p.now), ledger.JobSubmitted{Job: gangOf("heir", "root.a", 1, 1, 1)})
	r := p.step()
	if len(r.Taken.Evictions) != 1 || r.Taken.Evictions[0].Idle != 40*minute || r.Taken.Evictions[0].Deadline != 61*minute || !r.Taken.Evictions[0].Notify {
		t.Fatalf("%s", r.Taken.JSON())
	}
	return p
}

func idleTree(after spec.Duration) spec.Tree {
	tree := two(1)
	tree.Root.Children[1].IdleAfter, tree.Root.Children[1].IdleGrace = after, minute
	return tree
}

func still(at spec.Time) ledger.Event {
	return ledger.UseMeasured{Job: "idle", Known: true, Idle: 40 * minute, Watched: 50 * minute, At: at}
}

func woken(at spec.Time) ledger.Event {
	return ledger.UseMeasured{Job: "idle", Known: true, Busy: amount.One / 9, Watched: 50 * minute, At: at}
}

func (p *pool) stays(r ledger.Result, reason string) {
	p.t.Helper()
	j := p.job("idle")
	if len(r.Taken.Stays) != 1 || r.Taken.Stays[0].Reason != reason || len(r.Taken.Ends) != 0 || j.Tasks[0].State != world.Bound || j.Tasks[0].Since != 0 {
		p.t.Fatalf("%s\n%s", r.Taken.JSON(), p.l.World().Digest())
	}
	if heir := p.job("heir"); heir.Claiming != 0 || len(p.l.World().Notices) != 0 || p.l.World().Feuding() {
		p.t.Fatalf("something is left of it\n%s", p.l.World().Digest())
	}
}

func TestAVictimThatWakesUpStaysUpToTheVeryInstantOfItsDeadline(t *testing.T) {
	for _, before := range []spec.Duration{minute, 100 * spec.Second / 1000, 1, 0} {
		p := noticed(t)
		p.now = 61*minute - before
		epoch := p.l.World().Epoch
		p.apply(woken(p.now))
		if p.l.World().Epoch == epoch {
			t.Fatal("the cycle would not look")
		}
		p.stays(p.step(), plan.StayWoke)
	}
}

func TestAVictimThatSleepsOnGoesAtItsDeadlineAndNotBefore(t *testing.T) {
	p := noticed(t)
	p.now = 61*minute - 1
	p.apply(still(p.now))
	if r := p.step(); !r.Taken.Empty() || r.Taken.Wake != 61*minute {
		t.Fatalf("%s", r.Taken.JSON())
	}
	p.now++
	if r := p.step(); len(r.Taken.Ends) != 1 || !p.l.World().Feuding() {
		t.Fatalf("%s", r.Taken.JSON())
	}
	p.apply(woken(p.now), ledger.Evicted{Job: "idle", Tasks: []int32{0}})
	if r := p.step(); started(r.Taken) != "heir×1 " {
		t.Fatalf("%s", r.Taken.JSON())
	}
}

// A measurement that comes while the cycle decides is looked at before its plan is taken.
func TestAVictimThatWakesUpWhileACycleDecidesIsNotEnded(t *testing.T) {
	p := noticed(t)
	p.now = 61 * minute
	if r := p.step(woken(p.now)); len(r.Taken.Ends) != 0 || len(r.Stale) != 1 {
		t.Fatalf("%s %v", r.Taken.JSON(), r.Stale)
	}
	p.stays(p.step(), plan.StayWoke)
}

func TestAnIdleVictimThatWakesUpWhileItIsChosenIsNotChosen(t *testing.T) {
	p := newPool(t, idleTree(30*minute), gpuNode("n", 1))
	p.apply(ledger.JobSubmitted{Job: gangOf("idle", "root.b", 1, 1, 1)})
	p.step()
	p.now = 60 * minute
	p.apply(still(p.now), ledger.JobSubmitted{Job: gangOf("heir", "root.a", 1, 1, 1)})
	if r := p.step(woken(p.now)); len(r.Taken.Evictions) != 0 || len(r.Stale) != 1 {
		t.Fatalf("%s %v", r.Taken.JSON(), r.Stale)
	}
}

// A new tree keeps notices, what they stand on, and the quota of who may stay; the rule may
// be switched off in it.
func TestANewTreeKeepsWhoMayStay(t *testing.T) {
	for _, after := range []spec.Duration{30 * minute, -1} {
		p := noticed(t)
		p.apply(ledger.QueuesChanged{Tree: idleTree(after)})
		q, _ := p.l.World().Quota.Lookup("root.b")
		if kept := p.l.World().Quota.Kept(p.job("idle").Chain[0], amount.GPU); kept != 1000 {
			t.Fatalf("%d milli-GPU are kept in queue %d", kept, q)
		}
		p.now = 60*minute + 30*spec.Second
		p.apply(woken(p.now))
		p.stays(p.step(), plan.StayWoke)
	}
}

func TestAVictimThatLeavesByItselfLeavesNothingBehind(t *testing.T) {
	for _, ev := range []ledger.Event{
		ledger.TaskFinished{Job: "idle"}, ledger.Evicted{Job: "idle", Tasks: []int32{0}}, ledger.JobGone{ID: "idle"}, ledger.NodeRemoved{Name: "n"},
	} {
		p := noticed(t)
		p.apply(ev)
		r := p.step()
		if len(r.Taken.Stays)+len(r.Taken.Ends)+len(p.l.World().Notices) != 0 {
			t.Errorf("%T: %s", ev, r.Taken.JSON())
		}
		q, _ := p.l.World().Quota.Lookup("root.b")
		if kept := p.l.World().Quota.Kept(1, amount.GPU) + p.l.World().Quota.Kept(2, amount.GPU); kept != 0 {
			t.Errorf("%T: %d are kept in queue %d", ev, kept, q)
		}
	}
}
