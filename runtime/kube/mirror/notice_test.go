package mirror_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/usage"
)

// noticed is a cluster in which a pod was told that it will be evicted, as it says itself.
func noticed(t *testing.T) (c *cluster, victim *corev1.Pod) {
	t.Helper()
	c = newCluster(t, queue("a", 0, 2), queue("b", 1, 2))
	c.nodes(1, 1)
	c.begin()
	victim = c.pod("a", 1, annotation("muster.dev/notice", "60s"))
	c.expect("a")
	c.pass(2 * time.Second)
	c.pod("b", 1, label("muster.dev/queue", "root.b"))
	c.settle()
	if len(c.work.Notices) != 1 || c.work.Notices[0].Pod.Name != "a" {
		t.Fatalf("notices: %+v", c.work.Notices)
	}
	c.change(victim, annotation(act.EvictAtAnnotation, c.work.Notices[0].Deadline.Format(time.RFC3339)))
	return c, victim
}

// stays has the loop say that a victim stays after all.
func (c *cluster) stays(reason string) {
	job := c.job("a")
	c.m.Act(c.now.UnixNano(), ledger.Result{Taken: &plan.Plan{Stays: []plan.Stay{{Job: job, Tasks: []int32{0, 7}, For: "b", Reason: reason}, {Job: "none"}}}})
}

func (c *cluster) withdrawn() (names []string) {
	for _, w := range c.work.Withdraws {
		names = append(names, w.Pod.Name)
	}
	return names
}

func TestANoticeThatIsTakenBackLeavesNothingBehind(t *testing.T) {
	for reason, text := range map[string]string{plan.StayWoke: "its GPUs are in use again", plan.StayUnknown: "it can't be told any more whether its GPUs are in use"} {
		c, victim := noticed(t)
		if e := c.m.Explain(c.job("a")); len(e) != 1 || e[0].Code != "eviction-notice" || !strings.HasPrefix(e[0].Text, "1 pods: to be evicted for") {
			t.Errorf("explained: %v", e)
		}
		c.stays(reason)
		if w := c.work.Withdraws; len(w) != 1 || w[0].Pod.UID != victim.UID || w[0].Text != text {
			t.Errorf("withdrawn: %+v", w)
		}
		if e := c.m.Explain(c.job("a")); len(e) > 0 {
			t.Errorf("explained: %v", e)
		}
		c.change(victim, func(p *corev1.Pod) { delete(p.Annotations, act.EvictAtAnnotation) })
		c.stays(reason) // once is enough
		if len(c.work.Withdraws) != 1 || len(c.work.Evicts) != 0 {
			t.Errorf("%d withdrawals, evicted: %s", len(c.work.Withdraws), c.evicted())
		}
	}
}

func TestWhoIsBeingEvictedDoesNotStay(t *testing.T) {
	c, _ := noticed(t)
	c.stuck = map[string]bool{}
	c.todo = act.Work{}
	c.now = c.now.Add(61 * time.Second)
	c.m.Flush()
	c.l.Turn(t.Context()) // the deadline has come
	if got := c.evicted(); got != "a:Reclaimed" {
		t.Fatalf("evicted: %s", got)
	}
	c.stays(plan.StayWoke)
	if len(c.work.Withdraws) > 0 {
		t.Errorf("withdrawn: %v", c.withdrawn())
	}
	c.expect("b")
}

// The one who gave the notice is gone: what it wrote on the pod is no reason to evict it,
// and does not stay there.
func TestAnOldNoticeEvictsNobodyAndIsTakenBack(t *testing.T) {
	c, victim := noticed(t)
	for _, p := range c.pods {
		if p.Name == "b" {
			delete(c.pods, p.UID)
			c.m.PodDeleted(p)
		}
	}
	c.work = empty
	c.crash()
	c.pass(4 * time.Second)
	if len(c.work.Withdraws) > 0 {
		t.Errorf("withdrawn before the new leader has had its say: %v", c.withdrawn())
	}
	c.pass(2 * time.Minute)
	c.expect("a")
	if got := c.withdrawn(); len(got) < 1 || len(got) > 4 || slices.ContainsFunc(got, func(n string) bool { return n != "a" }) {
		t.Errorf("withdrawn: %v", got) // again and again, as long as it is still written there
	}
	c.change(victim, func(p *corev1.Pod) { delete(p.Annotations, act.EvictAtAnnotation) })
	n := len(c.work.Withdraws)
	c.pass(2 * time.Minute)
	if len(c.work.Withdraws) != n || len(c.work.Evicts) > 0 {
		t.Errorf("withdrawn %d times, evicted %s", len(c.work.Withdraws)-n, c.evicted())
	}
}

func TestANewLeaderThatDecidesTheSameGivesItsOwnNotice(t *testing.T) {
	c, _ := noticed(t)
	c.work = empty
	c.crash()
	c.pass(3 * time.Second)
	if len(c.work.Notices) != 1 {
		t.Errorf("notices: %+v", c.work.Notices)
	}
	c.pass(30 * time.Second)
	if len(c.work.Withdraws) > 0 || len(c.work.Evicts) > 0 {
		t.Errorf("withdrawn: %v, evicted: %s", c.withdrawn(), c.evicted())
	}
	c.pass(40 * time.Second)
	c.expect("b")
}

func TestAReplicaThatStandsByTakesNothingBack(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	c.pod("a", 1, on("n0"), annotation(act.EvictAtAnnotation, "2026-11-22T00:00:00Z"))
	for range 60 {
		c.now = c.now.Add(time.Second)
		c.m.Sweep()
	}
	c.pod("theirs", 0, of("default-scheduler"), on("n0"), annotation(act.EvictAtAnnotation, "2026-11-22T00:00:00Z"))
	if len(c.work.Withdraws) > 0 {
		t.Errorf("withdrawn: %v", c.withdrawn())
	}
	c.begin()
	c.pass(10 * time.Second)
	if got := c.withdrawn(); !slices.Equal(got, []string{"a"}) {
		t.Errorf("withdrawn: %v", got)
	}
}

func TestAFailedGPUDoesNotWaitForTheDeadlineOfANotice(t *testing.T) {
	c, victim := noticed(t)
	c.m.Health("n0", gpusOf(1, gpu(0, "failed", victim)))
	c.expect("")
	if got := c.evicted(); got != "a:GPUFailed" {
		t.Errorf("evicted: %s", got)
	}
}

func TestProbesHearWhoseWakeUpIsAwaited(t *testing.T) {
	c := newCluster(t, queue("a", 0, 2), queue("b", 1, 2))
	c.nodes(1, 1)
	c.begin()
	p := c.pod("a", 1)
	c.expect("a")
	notice := func(idle time.Duration) {
		c.m.Act(c.now.UnixNano(), ledger.Result{Taken: &plan.Plan{Evictions: []plan.Eviction{
			{Job: c.job("a"), Tasks: []int32{0}, For: "b", Rule: plan.RuleReclaim, Notify: true, Idle: int64(idle)},
		}}})
	}
	notice(0) // it goes whatever it does
	notice(time.Hour)
	if text := c.work.Notices[1].Text; !strings.Contains(text, "idle for 1h0m0s") {
		t.Errorf("told: %s", text)
	}
	c.stays(plan.StayWoke)
	notice(time.Hour)
	c.delete(c.pods[p.UID])
	c.settle()
	some := "n0: " + string(p.UID) + " pod:team/a"
	if want := []string{"n0: ", some, "n0: ", some, "n0: "}; !slices.Equal(c.awaited, want) {
		t.Errorf("asked %q, want %q", c.awaited, want)
	}
}

// lazy is a cluster whose queue a is above its guarantee with two pods of one age: one
// that works, and one that has done nothing for a minute; b, which is owed a GPU, asks
// for one.
func lazy(t *testing.T) (c *cluster, worker, idler *corev1.Pod) {
	t.Helper()
	a := queue("a", 1, 2)
	a.IdleAfter, a.IdleGrace = int64(30*time.Second), int64(10*time.Second)
	c = newCluster(t, a, queue("b", 1, 2))
	c.nodes(1, 2)
	c.begin()
	idler, worker = c.pod("idler", 1), c.pod("worker", 1)
	c.expect("idler worker")
	c.pass(time.Minute)
	c.says("n0", busy(worker, 1, 70), idle(idler, 1, time.Minute))
	c.pod("b", 1, label("muster.dev/queue", "root.b"))
	c.settle()
	if n := c.work.Notices; len(n) != 1 || n[0].Pod.Name != "idler" {
		t.Fatalf("notices: %+v", n)
	}
	return c, worker, idler
}

func TestTheIdleGoFirst(t *testing.T) {
	c, worker, idler := lazy(t)
	c.pass(9 * time.Second)
	c.says("n0", busy(worker, 1, 70), idle(idler, 1, 69*time.Second))
	c.expect("idler worker")
	c.pass(2 * time.Second)
	c.expect("b worker")
	if len(c.withdrawn()) > 0 {
		t.Errorf("withdrawn: %v", c.withdrawn())
	}
}

func TestAWakeUpBeforeTheDeadlineSavesTheIdle(t *testing.T) {
	c, worker, idler := lazy(t)
	c.now = c.work.Notices[0].Deadline.Add(-100 * time.Millisecond)
	c.says("n0", busy(idler, 1, 1))
	if !c.m.Knocked() {
		t.Error("the wake-up waits for the next flush")
	}
	c.settle()
	if got := c.withdrawn(); !slices.Equal(got, []string{"idler"}) {
		t.Errorf("withdrawn: %v", got)
	}
	c.says("n0", busy(worker, 1, 90))
	c.pass(time.Second)
	c.expect("b idler") // the deadline has passed: somebody else had to go for b
}

// A node that is not heard of any more might be busy.
func TestTheIdleStayWhenNobodyWatchesThemAnyMore(t *testing.T) {
	c, _, idler := lazy(t)
	c.pass(time.Second)
	c.says("n0", usage.PodUse{UID: string(idler.UID)})
	c.settle()
	if got := c.withdrawn(); !slices.Equal(got, []string{"idler"}) {
		t.Errorf("withdrawn: %v", got)
	}
}

// The leader dies after it gave the notice: the next one, which knows nothing of any use,
// evicts nobody for being idle.
func TestANewLeaderThatHasHeardOfNoUseEvictsNobodyForBeingIdle(t *testing.T) {
	c, _, idler := lazy(t)
	c.change(idler, annotation(act.EvictAtAnnotation, "soon"))
	b := c.pods
	for _, p := range b { // nothing else is owed
		if p.Name == "b" {
			c.delete(p)
		}
	}
	c.work = empty
	c.crash()
	c.pass(20 * time.Second)
	c.expect("idler worker")
	if got := c.withdrawn(); !slices.Equal(got, []string{"idler"}) {
		t.Errorf("withdrawn: %v", got)
	}
}
