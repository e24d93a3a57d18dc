package mirror_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/usage"
)

// taskOf is the task in the ledger of a pod that is bound, nil if it has none there.
func (c *cluster) taskOf(name string) *world.Task {
	for _, j := range c.l.Ledger().World().Jobs() {
		if !strings.HasSuffix(j.Spec.ID, name) {
			continue
		}
		for i := range j.Tasks {
			if t := &j.Tasks[i]; t.State == world.Bound {
				return t
			}
		}
	}
	return nil
}

// job is the id of the job whose name ends so.
func (c *cluster) job(name string) string {
	c.t.Helper()
	for _, j := range c.l.Ledger().World().Jobs() {
		if strings.HasSuffix(j.Spec.ID, name) {
			return j.Spec.ID
		}
	}
	c.t.Fatalf("no job %s", name)
	return ""
}

// use is what the ledger knows of a pod's GPUs, by the name of its job: "unknown", or how
// busy and for how long idle.
func (c *cluster) use(job string) string {
	c.t.Helper()
	t := c.taskOf(job)
	if t == nil {
		c.t.Fatalf("no task of %s is bound", job)
	}
	busy, idle, ok := c.l.Ledger().World().UseOf(t, c.now.UnixNano())
	if !ok {
		return "unknown"
	}
	return fmt.Sprintf("%d%% idle %s", (busy*100+amount.One/2)/amount.One, time.Duration(idle))
}

func (c *cluster) uses(job, want string) {
	c.t.Helper()
	c.settle()
	if got := c.use(job); got != want {
		c.t.Errorf("%s is known to be %s, want %s", job, got, want)
	}
}

// says tells what a node's probe measured of a pod, as usage.Server does.
func (c *cluster) says(node string, uses ...usage.PodUse) {
	for i := range uses {
		if uses[i].At == 0 {
			uses[i].At = c.now.UnixNano()
		}
	}
	c.m.Used(node, uses)
}

func busy(p *corev1.Pod, gpus int, percent int64) usage.PodUse {
	return usage.PodUse{UID: string(p.UID), Known: true, GPUs: gpus, Busy: amount.Share(percent) * amount.One / 100}
}

func idle(p *corev1.Pod, gpus int, d time.Duration) usage.PodUse {
	return usage.PodUse{UID: string(p.UID), Known: true, GPUs: gpus, Idle: spec.Duration(d), Watched: spec.Duration(d)}
}

func (c *cluster) events(reason string) (about []string) {
	for _, e := range c.work.Events {
		if e.Reason == reason {
			about = append(about, e.About.Name)
		}
	}
	return about
}

func TestANodeIsNotBelievedAboutPodsOfOthers(t *testing.T) {
	c := newCluster(t)
	c.nodes(2, 1)
	c.begin()
	p := c.pod("a", 1, on("n0"))
	c.says("n0", busy(p, 1, 80))
	c.uses("a", "80% idle 0s")
	for _, lie := range []usage.PodUse{idle(p, 1, time.Hour), {UID: string(p.UID)}} {
		c.pass(time.Second)
		c.says("n1", lie)
		c.uses("a", "80% idle 0s")
	}
	c.says("n0", usage.PodUse{UID: "never-seen", Known: true, GPUs: 1}, usage.PodUse{Namespace: "team", Name: "nobody"})
	if s := c.m.UseStats(); s.Elsewhere != 2 || s.Strangers != 2 || s.Measured != 1 {
		t.Errorf("counted %+v", s)
	}
}

func TestWhatIsMeasuredOfAPartIsNotKnown(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 4)
	c.begin()
	p := c.pod("a", 2, on("n0"))
	c.says("n0", busy(p, 1, 50))
	c.uses("a", "unknown")
	c.says("n0", busy(p, 2, 50))
	c.uses("a", "50% idle 0s")
	c.pass(time.Second)
	c.says("n0", busy(p, 1, 50))
	c.uses("a", "unknown")
}

func TestAUseThatIsNotKnownAnyMoreIsUnknownAndNeverIdle(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	c.begin()
	p := c.pod("a", 1, on("n0"))
	c.uses("a", "unknown")
	c.says("n0", idle(p, 1, time.Minute))
	c.uses("a", "0% idle 1m0s")
	c.pass(time.Second)
	c.says("n0", usage.PodUse{UID: string(p.UID)})
	c.uses("a", "unknown")
	c.pass(time.Second)
	c.says("n0", idle(p, 1, time.Minute))
	c.pass(3 * time.Minute) // and nothing more is heard
	c.uses("a", "unknown")
}

func TestMeasurementsThatMakeNoSenseAreBroughtIntoRange(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 1)
	c.begin()
	p := c.pod("a", 1, on("n0"))
	c.says("n0", usage.PodUse{UID: string(p.UID), Known: true, GPUs: 1, Busy: 3 * amount.One, Idle: -5, Watched: -7})
	c.uses("a", "100% idle 0s")
	c.expect("a")
}

func TestAPodOfWhichOnlyTheNameIsKnownIsFoundOnItsNode(t *testing.T) {
	c := newCluster(t)
	c.nodes(2, 1)
	c.begin()
	c.pod("a", 1, on("n0"))
	named := usage.PodUse{Namespace: "team", Name: "a", Known: true, GPUs: 1, Idle: spec.Duration(time.Minute)}
	c.says("n1", named)
	c.uses("a", "unknown")
	c.says("n0", named)
	c.uses("a", "0% idle 1m0s")
}

func TestAPodThatComesBackElsewhereIsMeasuredAnew(t *testing.T) {
	c := newCluster(t)
	c.nodes(2, 1)
	c.begin()
	a := c.pod("a", 1, owned("ReplicaSet", "rs"), on("n0"))
	c.says("n0", idle(a, 1, time.Hour))
	c.uses("rs", "0% idle 1h0m0s")
	c.delete(c.pods[a.UID])
	c.pass(2 * time.Minute)
	b := c.pod("b", 1, owned("ReplicaSet", "rs"), on("n1"))
	c.uses("rs", "unknown")
	c.says("n0", idle(a, 1, time.Hour)) // a late word about the one that is gone
	c.says("n0", idle(b, 1, time.Hour))
	c.uses("rs", "unknown")
	c.says("n1", busy(b, 1, 10))
	c.uses("rs", "10% idle 0s")
}

func TestAUseThatComesBeforeTheNewsOfTheBindCounts(t *testing.T) {
	c := newCluster(t)
	c.nodes(2, 1)
	c.begin()
	p := c.pod("a", 1, func(p *corev1.Pod) { p.Spec.SchedulingGates = []corev1.PodSchedulingGate{{Name: "late"}} })
	c.settle()
	c.says("n0", busy(p, 1, 60))
	c.settle()
	c.change(p, on("n0"))
	c.settle()
	c.m.Flush()
	c.uses("a", "60% idle 0s")
}

func TestAJobThatIsToldAnewKeepsItsMeasurement(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 2)
	c.begin()
	bound := func(p *corev1.Pod) {
		p.Status.Conditions = []corev1.PodCondition{{Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: p.CreationTimestamp}}
	}
	p := c.pod("a", 1, on("n0"), bound)
	c.says("n0", idle(p, 1, 30*time.Second))
	c.uses("a", "0% idle 30s")
	c.m.Refused(ledger.JobPriority{ID: c.job("a")}, fmt.Errorf("for a test"))
	c.pass(3 * time.Second)
	c.uses("a", "0% idle 30s")
}

func TestWhoComesToLeadHasWhatWasHeardBefore(t *testing.T) {
	c := newCluster(t)
	c.nodes(2, 2)
	p := c.pod("a", 1, on("n0"))
	lied := c.pod("b", 1, on("n1"))
	c.says("n0", idle(p, 1, 30*time.Second), idle(lied, 1, time.Hour))
	c.begin()
	c.uses("a", "0% idle 30s")
	c.uses("b", "unknown")
}

// A plan that was made without a measurement is no worse for it: nothing is bound twice or
// put off because a node reported meanwhile.
func TestAMeasurementOvertakesNoPlan(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 2)
	c.begin()
	a := c.pod("a", 1, on("n0"))
	c.settle()
	c.pod("b", 1)
	c.meanwhile = func() {
		c.says("n0", busy(a, 1, 5))
		c.m.Flush()
	}
	c.m.Flush()
	c.l.Turn(t.Context())
	if n := len(c.todo.Units); n != 1 {
		t.Errorf("%d units are to be bound, want that of b", n)
	}
	c.expect("a b")
}

func TestOnlyWhatCannotWaitHasAFlushOfItsOwn(t *testing.T) {
	for name, test := range map[string]struct {
		was, now func(p *corev1.Pod) usage.PodUse
		want     bool
	}{
		"a busy pod reports again":      {of2(busy, 90), of2(busy, 20), false},
		"it goes idle":                  {of2(busy, 90), ofIdle(time.Second), false},
		"it stays idle":                 {ofIdle(time.Minute), ofIdle(70 * time.Second), false},
		"it wakes up":                   {ofIdle(time.Minute), of2(busy, 1), true},
		"it woke up, and is idle again": {ofIdle(time.Minute), ofIdle(100 * time.Millisecond), true},
		"nobody watches it any more":    {ofIdle(time.Minute), func(p *corev1.Pod) usage.PodUse { return usage.PodUse{UID: string(p.UID)} }, true},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.nodes(1, 1)
			c.begin()
			p := c.pod("a", 1, on("n0"))
			c.says("n0", test.was(p))
			c.settle()
			c.m.Knocked()
			c.now = c.now.Add(10 * time.Second)
			c.says("n0", test.now(p))
			if got := c.m.Knocked(); got != test.want {
				t.Errorf("it asks for a flush: %v, want %v", got, test.want)
			}
		})
	}
}

func of2(f func(*corev1.Pod, int, int64) usage.PodUse, percent int64) func(*corev1.Pod) usage.PodUse {
	return func(p *corev1.Pod) usage.PodUse { return f(p, 1, percent) }
}

func ofIdle(d time.Duration) func(*corev1.Pod) usage.PodUse {
	return func(p *corev1.Pod) usage.PodUse { return idle(p, 1, d) }
}

func TestWhoUsesAGPUWithoutARequestIsToldOnce(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 2)
	c.begin()
	none := c.pod("none", 0, on("n0"))
	other := c.pod("other", 0, of("default-scheduler"), on("n0"))
	given := c.pod("given", 1, on("n0"))
	mig := c.pod("mig", 0, of("default-scheduler"), on("n0"), asks("nvidia.com/mig-1g.10gb", 1))
	shared := c.pod("shared", 0, of("default-scheduler"), on("n0"), asks("nvidia.com/gpu.shared", 1))
	claims := c.pod("claims", 0, of("default-scheduler"), on("n0"), func(p *corev1.Pod) {
		p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}}
	})
	stolen := busy(given, 1, 50)
	stolen.Unassigned = true
	for range 3 {
		c.pass(time.Second)
		c.says("n0", busy(none, 2, 50), busy(other, 1, 50), busy(mig, 1, 10), busy(shared, 1, 10), busy(claims, 1, 10), stolen)
		c.settle()
	}
	got := c.events("GPUUseWithoutRequest")
	if slices.Sort(got); strings.Join(got, " ") != "given none other" {
		t.Errorf("told: %v", got)
	}
	if s := c.m.UseStats(); s.Unrequested != 3 {
		t.Errorf("counted %d", s.Unrequested)
	}
	c.uses("given", "unknown") // what it uses is not what it was given
}

func asks(name string, n int64) change {
	return func(p *corev1.Pod) {
		p.Spec.Containers[0].Resources.Requests[corev1.ResourceName(name)] = *resource.NewQuantity(n, resource.DecimalSI)
	}
}
