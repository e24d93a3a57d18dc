package mirror_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/runtime/kube/mirror"
	"github.com/musterhq/muster/runtime/usage"
)

// state says what is wrong with a GPU: "" nothing, "failed", "silent" or "cordoned".
func gpu(i int, state string, pods ...*corev1.Pod) usage.GPUHealth {
	g := usage.GPUHealth{UUID: fmt.Sprintf("GPU-%d", i), Index: i, Failed: state == "failed" || state == "cordoned", Unresponsive: state == "silent"}
	g.Reason = map[string]string{"failed": "Xid79", "silent": "DriverUnresponsive", "cordoned": "Cordoned"}[state]
	for _, p := range pods {
		g.Pods = append(g.Pods, usage.PodRef{UID: string(p.UID), Namespace: p.Namespace, Name: p.Name})
	}
	return g
}

// gpusOf are n GPUs that work, but for those that are given.
func gpusOf(n int, but ...usage.GPUHealth) (out []usage.GPUHealth) {
	for i := range n {
		out = append(out, gpu(i, ""))
	}
	for _, g := range but {
		out[g.Index] = g
	}
	return out
}

// evicted lists who was to be evicted, with the reason.
func (c *cluster) evicted() string {
	var out []string
	for _, e := range c.work.Evicts {
		out = append(out, e.Pod.Name+":"+e.Reason)
	}
	slices.Sort(out)
	return strings.Join(out, " ")
}

// machine tells of a node as its kubelet has it: what the device plugin offers of what
// there is.
func (c *cluster) machine(name string, labels map[string]string, resources map[string][2]int64) {
	n := &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Status: corev1.NodeStatus{
			Capacity:    corev1.ResourceList{},
			Allocatable: corev1.ResourceList{"cpu": resource.MustParse("64"), "memory": resource.MustParse("256Gi"), "pods": resource.MustParse("110")},
			Conditions:  []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}},
		},
	}
	for r, v := range resources {
		n.Status.Allocatable[corev1.ResourceName(r)] = *resource.NewQuantity(v[0], resource.DecimalSI)
		n.Status.Capacity[corev1.ResourceName(r)] = *resource.NewQuantity(v[1], resource.DecimalSI)
	}
	c.machines = slices.DeleteFunc(c.machines, func(n *corev1.Node) bool { return n.Name == name })
	c.machines = append(c.machines, n)
	c.m.NodeChanged(n)
}

// offers is how much of a resource the ledger takes the node to have.
func (c *cluster) offers(node, name string) int64 {
	c.t.Helper()
	c.settle()
	w := c.l.Ledger().World()
	n, ok := w.NodeNamed(node)
	if !ok {
		c.t.Fatalf("no node %s", node)
	}
	have, _ := w.Nodes[n].Spec.Capacity.Get(name)
	if strings.HasSuffix(name, "/gpu") || strings.Contains(name, "/gpu:") {
		have /= 1000
	}
	return int64(have)
}

func TestAGPUIsTakenOutOnceWhoeverTakesItOut(t *testing.T) {
	const whole, one, part = "nvidia.com/gpu", "nvidia.com/mig-1g.10gb", "nvidia.com/mig-3g.40gb"
	slices8 := map[string]string{"nvidia.com/gpu.replicas": "4"}
	for name, test := range map[string]struct {
		labels map[string]string
		have   map[string][2]int64 // allocatable, capacity
		gpus   []usage.GPUHealth
		want   map[string]int64
	}{
		"all of them work":                   {nil, map[string][2]int64{whole: {8, 8}}, gpusOf(8), map[string]int64{whole: 8}},
		"two can't be used":                  {nil, map[string][2]int64{whole: {8, 8}}, gpusOf(8, gpu(1, "failed"), gpu(2, "silent")), map[string]int64{whole: 6}},
		"one is cordoned":                    {nil, map[string][2]int64{whole: {8, 8}}, gpusOf(8, gpu(1, "cordoned")), map[string]int64{whole: 7}},
		"the device plugin has taken it out": {nil, map[string][2]int64{whole: {7, 8}}, gpusOf(8, gpu(1, "failed")), map[string]int64{whole: 7}},
		"the device plugin has one of two":   {nil, map[string][2]int64{whole: {7, 8}}, gpusOf(8, gpu(1, "failed"), gpu(5, "failed")), map[string]int64{whole: 6}},
		"it has taken out more":              {nil, map[string][2]int64{whole: {3, 8}}, gpusOf(8, gpu(1, "failed")), map[string]int64{whole: 3}},
		"none works":                         {nil, map[string][2]int64{whole: {2, 2}}, gpusOf(2, gpu(0, "failed"), gpu(1, "failed")), map[string]int64{whole: 0}},
		"more failed than are offered":       {nil, map[string][2]int64{whole: {1, 1}}, gpusOf(2, gpu(0, "failed"), gpu(1, "failed")), map[string]int64{whole: 0}},
		"time slices":                        {slices8, map[string][2]int64{whole: {32, 32}}, gpusOf(8, gpu(3, "failed")), map[string]int64{whole: 28}},
		"time slices, taken out":             {slices8, map[string][2]int64{whole: {28, 32}}, gpusOf(8, gpu(3, "failed")), map[string]int64{whole: 28}},
		"time slices of another name":        {slices8, map[string][2]int64{"nvidia.com/gpu.shared": {32, 32}}, gpusOf(8, gpu(3, "failed")), map[string]int64{"nvidia.com/gpu.shared": 28}},
		"MIG, single: whole GPUs by name":    {nil, map[string][2]int64{whole: {14, 14}}, gpusOf(2, gpu(0, "failed")), map[string]int64{whole: 7}},
		"MIG, mixed: all are split":          {nil, map[string][2]int64{one: {4, 4}, part: {2, 2}}, gpusOf(2, gpu(0, "failed")), map[string]int64{one: 2, part: 1}},
		"MIG, mixed: of which kind it is":    {nil, map[string][2]int64{whole: {2, 2}, one: {14, 14}}, gpusOf(4, gpu(0, "failed")), map[string]int64{whole: 1, one: 7}},
		"others' GPUs are not ours to count": {nil, map[string][2]int64{"amd.com/gpu": {8, 8}}, gpusOf(1, gpu(0, "failed")), map[string]int64{"amd.com/gpu": 8}},
	} {
		t.Run(name, func(t *testing.T) {
			c := newCluster(t)
			c.machine("n", test.labels, test.have)
			c.begin()
			c.m.Health("n", test.gpus)
			for r, want := range test.want {
				if got := c.offers("n", r); got != want {
					t.Errorf("%s: %d are offered, want %d", r, got, want)
				}
			}
			if got := c.offers("n", "cpu"); got != 64_000 {
				t.Errorf("cpu: %d", got)
			}
			c.m.Health("n", gpusOf(len(test.gpus)))
			for r := range test.want {
				if got, want := c.offers("n", r), test.have[r][0]; got != want {
					t.Errorf("%s: when all work again %d are offered, want %d", r, got, want)
				}
			}
		})
	}
}

func TestPodsOnAGPUThatFailedGoAndStartAgainElsewhere(t *testing.T) {
	c := newCluster(t)
	c.node("n0", 2)
	c.begin()
	a, b := c.pod("a", 1), c.pod("b", 1)
	c.expect("a b")
	c.deleted = func(p *corev1.Pod) { c.pod(p.Name+"x", 1) }
	c.m.Health("n0", gpusOf(2, gpu(0, "failed", a), gpu(1, "", b)))
	c.expect("b")
	if got := c.evicted(); got != "a:GPUFailed" {
		t.Errorf("evicted: %s", got)
	}
	e := c.work.Evicts[0]
	if !e.Broken || e.For != nil || !strings.Contains(e.Text, "GPU 0 (GPU-0) of node n0 failed: Xid79") {
		t.Errorf("%+v", e)
	}
	if got := c.events(mirror.GPUFailed); !slices.Equal(got, []string{"n0"}) {
		t.Errorf("told: %v", got)
	}
	c.node("n1", 1)
	c.expect("ax b")
	c.m.Health("n0", gpusOf(2, gpu(1, "", b)))
	c.pod("c", 1)
	c.expect("ax b c")
	if got := c.events("GPURecovered"); !slices.Equal(got, []string{"n0"}) {
		t.Errorf("told: %v", got)
	}
}

func TestPodsStayOnAGPUThatDoesNotAnswerOrIsCordoned(t *testing.T) {
	for _, state := range []string{"silent", "cordoned"} {
		c := newCluster(t)
		c.node("n0", 2)
		c.begin()
		a := c.pod("a", 1)
		c.expect("a")
		c.m.Health("n0", gpusOf(2, gpu(0, state, a)))
		c.pod("b", 1)
		c.pod("late", 1)
		c.expect("a b")
		c.pass(time.Minute)
		if len(c.work.Evicts) > 0 {
			t.Errorf("%s: evicted %s", state, c.evicted())
		}
	}
}

func TestWhoIsNotToEvictFromFailedGPUsOnlyGivesThemNoMore(t *testing.T) {
	c := newCluster(t)
	c.stay = true
	c.restart(c.tree)
	c.node("n0", 2)
	c.begin()
	a := c.pod("a", 1)
	c.expect("a")
	c.m.Health("n0", gpusOf(2, gpu(0, "failed", a)))
	c.pod("b", 1)
	c.pod("late", 1)
	c.expect("a b")
}

func TestAnotherNodesPodsAndAnotherSchedulersAreNotEvicted(t *testing.T) {
	c := newCluster(t)
	c.nodes(2, 2)
	c.begin()
	mine := c.pod("mine", 1, on("n0"))
	theirs := c.pod("theirs", 1, of("default-scheduler"), on("n1"))
	c.settle()
	c.m.Health("n1", gpusOf(2, gpu(0, "failed", mine, theirs)))
	c.expect("mine theirs")
}

func TestAnEvictionFromAFailedGPUThatFailsIsTriedAgain(t *testing.T) {
	c := newCluster(t)
	c.node("n0", 2)
	c.begin()
	a := c.pod("a", 1)
	c.expect("a")
	c.stuck = map[string]bool{"a": true}
	c.m.Health("n0", gpusOf(2, gpu(0, "failed", a)))
	c.pass(5 * time.Second)
	c.expect("a")
	c.stuck = nil
	c.pass(15 * time.Second)
	c.expect("")
	for _, r := range c.refused {
		t.Error(r)
	}
}

func TestAGangLosesOnlyItsMembersOnTheFailedGPU(t *testing.T) {
	c := newCluster(t)
	c.nodes(1, 3)
	c.begin()
	c.ray("j", "headgroup", "h", 0)
	w := c.ray("j", "worker", "w", 1)
	c.ray("j", "worker", "v", 1)
	c.expect("h v w")
	c.m.Health("n0", gpusOf(3, gpu(1, "failed", w)))
	c.expect("h v")
	c.ray("j", "worker", "u", 1)
	c.expect("h u v")
}

// A device plugin that does not see what the driver says gives the GPU away again: without
// this the next pod would be evicted as well, and the next, for ever.
func TestANodeThatHandsOutAFailedGPUTakesNothingNew(t *testing.T) {
	c := newCluster(t)
	c.machine("n0", nil, map[string][2]int64{"nvidia.com/gpu": {2, 2}})
	c.begin()
	c.m.Health("n0", gpusOf(2, gpu(0, "failed")))
	c.pass(20 * time.Second)
	a := c.pod("a", 1, bound(c.now))
	c.expect("a")
	c.m.Health("n0", gpusOf(2, gpu(0, "failed", a)))
	c.pod("b", 1)
	c.expect("")
	c.pass(time.Minute)
	c.expect("")
	if got := c.events("FailedGPUHandedOut"); !slices.Equal(got, []string{"n0"}) {
		t.Errorf("told: %v", got)
	}
	c.machine("n0", nil, map[string][2]int64{"nvidia.com/gpu": {1, 2}}) // the plugin has seen it
	c.expect("b")
	c.machine("n0", nil, map[string][2]int64{"nvidia.com/gpu": {2, 2}})
	c.m.Health("n0", gpusOf(2))
	c.pod("d", 1)
	c.expect("b d")
	if s := c.m.UseStats(); s.HandedOut != 1 || s.Evicted != 1 {
		t.Errorf("counted %+v", s)
	}
}

// bound says when a pod was bound.
func bound(at time.Time) change {
	return func(p *corev1.Pod) {
		p.Status.Conditions = append(p.Status.Conditions, corev1.PodCondition{
			Type: corev1.PodScheduled, Status: corev1.ConditionTrue, LastTransitionTime: metav1.NewTime(at),
		})
	}
}

func TestHealthIsKeptOverARestartOfTheMirrorAndOfTheNode(t *testing.T) {
	c := newCluster(t)
	c.node("n0", 2)
	a := c.pod("a", 1, on("n0"))
	c.m.Health("n0", gpusOf(2, gpu(0, "failed", a))) // heard before it leads
	c.begin()
	c.expect("")
	if got := c.offers("n0", "nvidia.com/gpu"); got != 1 {
		t.Errorf("%d GPUs are offered", got)
	}
	c.m.NodeDeleted("n0")
	c.settle()
	c.m.NodeChanged(c.machines[0])
	if got := c.offers("n0", "nvidia.com/gpu"); got != 1 {
		t.Errorf("%d GPUs are offered by the node that came back", got)
	}
}
