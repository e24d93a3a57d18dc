package ledger_test

import (
	"context"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/ledger"
)

// useOf is what is known of task 0 of a job: busy and idle, -1 if nothing is.
func (p *pool) useOf(job string) (busy amount.Share, idle spec.Duration) {
	busy, idle, ok := p.l.World().UseOf(&p.job(job).Tasks[0], p.now)
	if !ok {
		return -1, -1
	}
	return busy, idle
}

func (p *pool) knows(job string, busy amount.Share, idle spec.Duration) {
	p.t.Helper()
	if b, i := p.useOf(job); b != busy || i != idle {
		p.t.Fatalf("busy %d, idle %d; want %d, %d", b, i, busy, idle)
	}
}

func running(t *testing.T) *pool {
	p := newPool(t, two(0), gpuNode("n", 4))
	p.now = 100 * spec.Second
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 1, 1, 2)})
	p.step()
	return p
}

func measured(busy amount.Share, idle spec.Duration, at spec.Time) ledger.Event {
	return ledger.UseMeasured{Job: "j", Known: true, Busy: busy, Idle: idle, At: at}
}

func TestUseIsUnknownUntilMeasuredAndOnceTheMeasurementIsOld(t *testing.T) {
	p := running(t)
	p.knows("j", -1, -1)
	p.apply(measured(amount.One/2, 0, p.now))
	p.knows("j", amount.One/2, 0)
	p.now += 120 * spec.Second
	p.knows("j", amount.One/2, 0)
	p.now++
	p.knows("j", -1, -1)
	p.apply(measured(0, 50*spec.Second, p.now))
	p.knows("j", 0, 50*spec.Second)
	p.apply(ledger.UseMeasured{Job: "j", At: p.now})
	p.knows("j", -1, -1)
}

func TestHowLongAMeasurementHoldsIsConfigured(t *testing.T) {
	p := running(t)
	tree := two(0)
	tree.UseMaxAge = 10 * spec.Second
	p.apply(measured(amount.One, 0, p.now), ledger.QueuesChanged{Tree: tree})
	p.now += 10 * spec.Second
	p.knows("j", amount.One, 0)
	p.now++
	p.knows("j", -1, -1)
}

func TestAMeasurementHoldsForOneStartOfATask(t *testing.T) {
	p := running(t)
	p.apply(measured(0, 60*spec.Second, p.now), ledger.Evicted{Job: "j", Tasks: []int32{0}})
	p.knows("j", -1, -1)
	p.now += spec.Second
	p.step()
	if p.job("j").Placed != 1 {
		t.Fatal("j has not started again")
	}
	p.knows("j", -1, -1)
	p.apply(measured(0, 60*spec.Second, p.now-1)) // of the run before
	p.knows("j", -1, -1)
	p.apply(measured(0, 0, p.now))
	p.knows("j", 0, 0)
}

func TestAnOlderMeasurementIsPassedOverAndOneOfTheFutureIsNow(t *testing.T) {
	p := running(t)
	p.now += spec.Second
	p.apply(measured(7, 0, p.now), measured(8, 0, p.now-1))
	p.knows("j", 7, 0)
	p.apply(measured(9, 0, p.now+3600*spec.Second))
	p.knows("j", 9, 0)
	p.now += 121 * spec.Second
	p.knows("j", -1, -1)
}

func TestMeasurementsThatMakeNoSenseAreRefused(t *testing.T) {
	p := running(t)
	p.refused(measured(amount.One+1, 0, p.now), "use-out-of-range")
	p.refused(measured(0, -1, p.now), "use-out-of-range")
	p.refused(ledger.UseMeasured{Job: "x"}, "unknown-job")
	p.refused(ledger.UseMeasured{Job: "j", Task: 5}, "unknown-task")
}

// A probe that reports every few seconds must not make every cycle a busy one.
func TestOnlyAChangeBetweenIdleBusyAndUnknownWakesTheCycle(t *testing.T) {
	p := running(t)
	epoch := func(ev ledger.Event) bool {
		before := p.l.World().Epoch
		p.now++
		p.apply(ev)
		return p.l.World().Epoch != before
	}
	for i, tc := range []struct {
		ev   ledger.Event
		want bool
	}{
		{measured(amount.One, 0, p.now+1), true},
		{measured(amount.One/3, 0, p.now+2), false},
		{measured(0, 5, p.now+3), true},
		{measured(0, 50, p.now+4), false},
		{ledger.UseMeasured{Job: "j", At: p.now + 5}, true},
		{ledger.UseMeasured{Job: "j", At: p.now + 6}, false},
	} {
		if got := epoch(tc.ev); got != tc.want {
			t.Errorf("measurement %d: wakes %v, want %v", i, got, tc.want)
		}
	}
}

func decayed(p *pool) int64 {
	out := make([]int64, len(p.l.World().Quota.Queues))
	p.l.World().Quota.Decayed(p.now, out)
	return out[0]
}

func TestUsageCountsFromTheStartToTheEndAndNotForWhatIfs(t *testing.T) {
	p := running(t) // 2 GPUs since 100 s
	p.now += 10 * spec.Second
	p.l.Advance(p.now)
	p.apply(ledger.JobSubmitted{Job: gangOf("k", "root.b", 1, 1, 2)})
	cycle.Step(context.Background(), p.l.Freeze(), cycle.Set{}, p.now)
	p.l.Discard()
	p.now += 10 * spec.Second
	p.apply(ledger.JobGone{ID: "j"}, ledger.JobGone{ID: "k"})
	if got := decayed(p); got < 39_990 || got > 40_000 {
		t.Errorf("2 GPUs for 20 s are %d GPU-ms", got)
	}
	before := decayed(p)
	p.now += 3600 * spec.Second
	tree := two(0)
	tree.UsageHalfLife = 3600 * spec.Second
	p.apply(ledger.QueuesChanged{Tree: tree})
	if got := decayed(p); got > before || got < before*99/100 {
		t.Errorf("an hour of 7 days later %d of %d are left, and a new tree keeps them", got, before)
	}
	p.now += 3600 * spec.Second
	if got := decayed(p); got < before*49/100 || got > before/2 {
		t.Errorf("a half-life later %d of %d are left", got, before)
	}
}

func TestANewTreeKeepsNumbersOfJobsAndWhereRulesLetThemRun(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 4))
	p.apply(ledger.JobSubmitted{Job: gangOf("b", "root.a", 1, 1, 2)}, ledger.JobSubmitted{Job: gangOf("a", "root.a", 1, 1, 2)})
	p.l.World().Narrow(p.job("a"), &world.Only{Rule: "r", Types: []string{}})
	a, b := p.job("a").Serial, p.job("b").Serial
	p.apply(ledger.JobSubmitted{Job: gangOf("z", "root.a", 1, 1, 2)})
	z := p.job("z").Serial
	p.apply(ledger.JobGone{ID: "z"}, ledger.QueuesChanged{Tree: two(1)})
	if p.job("a").Serial != a || p.job("b").Serial != b {
		t.Error("the jobs have other numbers than before")
	}
	p.apply(ledger.JobSubmitted{Job: gangOf("c", "root.a", 1, 1, 2)})
	if c := p.job("c").Serial; c == a || c == b || c == z {
		t.Errorf("number %d is used twice", c)
	}
	if got := started(p.step().Taken); got != "b×1 c×1 " {
		t.Errorf("started %s; a may run nowhere", got)
	}
}

func TestAPriorityChangedOutsideIsTheJobsOwnWhateverRulesSay(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 4))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 1, 1, 8)})
	p.set.Admission = ruled{9}
	p.step()
	p.apply(ledger.JobPriority{ID: "j", Priority: 5})
	if j := p.job("j"); j.Own.Priority != 5 || j.Spec.Priority != 9 || j.Judged == "ruled" {
		t.Errorf("own %d, in force %d, judged %q", j.Own.Priority, j.Spec.Priority, j.Judged)
	}
	p.set = cycle.Set{Generation: 1}
	p.step()
	if j := p.job("j"); j.Spec.Priority != 5 {
		t.Errorf("without rules %d is in force", j.Spec.Priority)
	}
}

func TestWhatIsTakenBackAfterACommitIsNotTheVerdictsOfTheCommit(t *testing.T) {
	p := newPool(t, two(0), gpuNode("n", 4))
	p.apply(ledger.JobSubmitted{Job: gangOf("j", "root.a", 1, 1, 8)})
	p.set.Admission = ruled{9}
	p.step()
	p.l.Freeze()
	p.l.Discard()
	if j := p.job("j"); j.Spec.Priority != 9 || j.Judged != "ruled" {
		t.Errorf("priority %d, judged by %q", j.Spec.Priority, j.Judged)
	}
}

// ruled gives every job one priority.
type ruled struct{ priority int64 }

func (ruled) Digest() string { return "ruled" }

func (r ruled) Judge(_ context.Context, jobs []*spec.Job) []cycle.Verdict {
	out := make([]cycle.Verdict, len(jobs))
	for i := range out {
		out[i].Priority = &r.priority
	}
	return out
}
