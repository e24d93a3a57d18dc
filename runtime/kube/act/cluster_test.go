package act

import (
	"context"
	"fmt"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	policyv1 "k8s.io/api/policy/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// makePods creates n pods prefix-0, prefix-1, … that only a test schedules.
func makePods(t testing.TB, client kubernetes.Interface, prefix string, n int) []Pod {
	t.Helper()
	out := make([]Pod, n)
	each(t.Context(), n, 16, func(i int) {
		p, err := client.CoreV1().Pods("default").Create(t.Context(), &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", prefix, i), Labels: map[string]string{"made-for": prefix}},
			Spec: corev1.PodSpec{
				SchedulerName: "nobody",
				Containers:    []corev1.Container{{Name: "c", Image: "none"}},
			},
		}, metav1.CreateOptions{})
		if err != nil {
			t.Error(err)
			return
		}
		out[i] = Pod{types.NamespacedName{Namespace: p.Namespace, Name: p.Name}, p.UID}
	})
	if t.Failed() {
		t.FailNow()
	}
	return out
}

// What the tests' own API server plays, a real one does as well.
func TestActingOnARealCluster(t *testing.T) {
	c := kubetest.Start(t, kubetest.Options{NoKwok: true, Jobs: true})
	h := newHeard()
	ctx := t.Context()
	a, stop := runOn(c.Client, Options{EvictionPatience: 2 * time.Second, Identity: "test"}, h)
	defer stop()
	get := func(p Pod) *corev1.Pod {
		pod, err := c.Client.CoreV1().Pods(p.Namespace).Get(ctx, p.Name, metav1.GetOptions{})
		if err != nil {
			t.Log(err)
			return &corev1.Pod{}
		}
		return pod
	}
	pods := makePods(t, c.Client, "a", 12)

	t.Log("waiting: the condition and the nomination, which a bind clears")
	a.Do(Work{Waiting: []Waiting{{Pod: pods[0], Capacity: true, Text: "no H100"}, {Pod: pods[1], Code: "Reserved", Text: "victims leave", Nominated: "n9"}}})
	eventually(t, "told", func() bool { return a.Stats().Told == 2 })
	if cond := condition(get(pods[0]), corev1.PodScheduled); cond.Reason != "Unschedulable" || cond.Message != "no H100" {
		t.Errorf("%+v", cond)
	}
	if p := get(pods[1]); p.Status.NominatedNodeName != "n9" || condition(p, corev1.PodScheduled).Reason != "Reserved" {
		t.Errorf("%q %+v", p.Status.NominatedNodeName, p.Status.Conditions)
	}

	t.Log("binding: a gang, a pod that is gone, one of another UID, one that is bound")
	a.Do(Work{Units: []Unit{gang("g", "n1", pods[:8]...)}})
	eventually(t, "bound", func() bool { return h.boundCount() == 8 })
	if p := get(pods[1]); p.Status.NominatedNodeName != "" || condition(p, corev1.PodScheduled).Status != corev1.ConditionTrue || p.Spec.NodeName != "n1" {
		t.Errorf("%+v %+v", p.Spec.NodeName, p.Status)
	}
	none, other, again := pods[9], pods[8], pods[0]
	none.Name, none.UID = "nobody", "nobody"
	other.UID = "another"
	a.Do(Work{Units: []Unit{gang("x", "n1", none), gang("x", "n1", other), gang("x", "n2", again)}})
	eventually(t, "heard", func() bool { h.mu.Lock(); defer h.mu.Unlock(); return len(h.failed) == 3 })
	if !h.gone[none.UID] || !h.gone[other.UID] || h.gone[again.UID] || !strings.Contains(h.failed[again.UID].Error(), "bound to node n1") {
		t.Errorf("%v %v", h.failed, h.gone)
	}

	t.Log("a notice, withdrawn")
	a.Do(Work{Notices: []Notice{{Pod: pods[2], Reason: "Reclaimed", Text: "soon", Deadline: time.Now()}}})
	eventually(t, "noticed", func() bool { return a.Stats().Noticed == 1 })
	if p := get(pods[2]); p.Annotations[EvictReasonAnnotation] != "Reclaimed" || condition(p, corev1.DisruptionTarget).Reason != "PreemptionByScheduler" {
		t.Errorf("%v %+v", p.Annotations, p.Status.Conditions)
	}
	a.Withdraw(pods[2])
	eventually(t, "withdrawn", func() bool { return a.Stats().Withdrawn == 1 })
	if p := get(pods[2]); len(p.Annotations) > 0 || condition(p, corev1.DisruptionTarget).Type != "" {
		t.Errorf("%v %+v", p.Annotations, p.Status.Conditions)
	}

	t.Log("evictions: one is free, one is kept by a budget and overridden")
	one := intstr.FromInt32(1)
	if _, err := c.Client.CoreV1().Pods("default").Patch(ctx, pods[3].Name, types.MergePatchType, []byte(`{"metadata":{"labels":{"kept":"yes"}}}`), metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	running := []byte(`{"status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}]}}`)
	for _, p := range pods[3:5] {
		if _, err := c.Client.CoreV1().Pods("default").Patch(ctx, p.Name, types.StrategicMergePatchType, running, metav1.PatchOptions{}, "status"); err != nil {
			t.Fatal(err)
		}
	}
	_, err := c.Client.PolicyV1().PodDisruptionBudgets("default").Create(ctx, &policyv1.PodDisruptionBudget{
		ObjectMeta: metav1.ObjectMeta{Name: "keep"},
		Spec:       policyv1.PodDisruptionBudgetSpec{MinAvailable: &one, Selector: &metav1.LabelSelector{MatchLabels: map[string]string{"kept": "yes"}}},
	}, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	eventually(t, "the budget is counted", func() bool {
		b, err := c.Client.PolicyV1().PodDisruptionBudgets("default").Get(ctx, "keep", metav1.GetOptions{})
		return err == nil && b.Status.ExpectedPods == 1 && b.Status.ObservedGeneration == b.Generation
	})
	a.Do(Work{Evicts: evictsOf("g", pods[3], pods[4])})
	eventually(t, "evicted", func() bool { return a.Stats().Evicted == 2 })
	st := a.Stats()
	if st.BudgetRefusals == 0 || st.BudgetOverrides != 1 || st.EvictFailed != 0 {
		t.Errorf("%+v", st)
	}
	for _, p := range pods[3:5] {
		if pod := get(p); pod.Name != "" && pod.DeletionTimestamp == nil {
			t.Errorf("%s is still there", p.Name)
		}
	}

	eventually(t, "all events are written", func() bool { return a.Stats().QueuedEvents == 0 && a.Stats().EventsSent >= 12 })
	list, err := c.Client.CoreV1().Events("default").List(ctx, metav1.ListOptions{})
	if err != nil {
		t.Fatal(err)
	}
	reasons := map[string]int{}
	for _, e := range list.Items { // as kubectl reads them
		reasons[e.Reason]++
	}
	if reasons["Scheduled"] != 8 || reasons["FailedScheduling"] != 2 || reasons["Preempted"] != 2 || reasons["PreemptionNotice"] != 1 || reasons["EvictionWithdrawn"] != 1 {
		t.Errorf("events: %v", reasons)
	}
	eventually(t, "no record is left", func() bool {
		units, err := a.Intents(ctx)
		return err == nil && len(units) == 0
	})
}

// BenchmarkBind binds pods on a real API server with 1,000 nodes and no kubelets, by the
// actor and by a plain loop of 16 goroutines, in turns. MUSTER_BIND_PODS is how many pods
// each turn binds.
func BenchmarkBind(b *testing.B) {
	n := 2000
	if v, err := strconv.Atoi(os.Getenv("MUSTER_BIND_PODS")); err == nil {
		n = v
	}
	c := kubetest.Start(b, kubetest.Options{NoKwok: true})
	each(b.Context(), 1000, 16, func(i int) {
		node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("n", i)}}
		if _, err := c.Client.CoreV1().Nodes().Create(b.Context(), node, metav1.CreateOptions{}); err != nil {
			b.Error(err)
		}
	})
	turn := 0
	fresh := func() []Pod { turn++; return makePods(b, c.Client, fmt.Sprint("t", turn), n) }
	arms := []struct {
		name string
		run  func([]Pod) time.Duration
	}{
		{"raw", func(pods []Pod) time.Duration { return bindPlainly(b, c.Client, pods) }},
		{"single", func(pods []Pod) time.Duration { return bindByActor(b, c.Client, pods, 1, true) }},
		{"events", func(pods []Pod) time.Duration { return bindByActor(b, c.Client, pods, 1, false) }},
		{"gangs-of-8", func(pods []Pod) time.Duration { return bindByActor(b, c.Client, pods, 8, true) }},
		{"one-gang", func(pods []Pod) time.Duration { return bindByActor(b, c.Client, pods, n, true) }},
	}
	took := make([]time.Duration, len(arms))
	for range b.N {
		for i, arm := range arms {
			pods := fresh()
			d := arm.run(pods)
			took[i] += d
			b.Logf("%-10s %6.0f binds/s", arm.name, float64(n)/d.Seconds())
		}
	}
	for i, arm := range arms {
		b.ReportMetric(float64(n*b.N)/took[i].Seconds(), arm.name+"/s")
		if i > 0 {
			b.ReportMetric(took[0].Seconds()/took[i].Seconds(), arm.name+":raw")
		}
	}
}

func bindPlainly(b *testing.B, client kubernetes.Interface, pods []Pod) time.Duration {
	began := time.Now()
	each(b.Context(), len(pods), 16, func(i int) {
		err := client.CoreV1().Pods(pods[i].Namespace).Bind(b.Context(), &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: pods[i].Name, Namespace: pods[i].Namespace, UID: pods[i].UID},
			Target:     corev1.ObjectReference{Kind: "Node", Name: fmt.Sprint("n", i%1000)},
		}, metav1.CreateOptions{})
		if err != nil {
			b.Error(err)
		}
	})
	return time.Since(began)
}

func bindByActor(b *testing.B, client kubernetes.Interface, pods []Pod, size int, noEvents bool) time.Duration {
	counter := &countdown{over: make(chan struct{})}
	counter.left.Store(int64(len(pods)))
	a := New(client, Options{NoEvents: noEvents}, counter)
	ctx, cancel := context.WithCancel(b.Context())
	var wg sync.WaitGroup
	wg.Go(func() { a.Run(ctx) })
	var w Work
	for i := 0; i < len(pods); i += size {
		u := gang(fmt.Sprint(i), "", pods[i:min(i+size, len(pods))]...)
		for j := range u.Binds {
			u.Binds[j].Node = fmt.Sprint("n", (i+j)%1000)
		}
		w.Units = append(w.Units, u)
	}
	began := time.Now()
	a.Do(w)
	<-counter.over
	took := time.Since(began)
	if st := a.Stats(); st.BindFailed > 0 {
		b.Errorf("%+v", st)
	}
	cancel()
	wg.Wait()
	return took
}

// countdown is Outcomes that waits for as many as there are.
type countdown struct {
	left atomic.Int64
	over chan struct{}
}

func (c *countdown) heard() {
	if c.left.Add(-1) == 0 {
		close(c.over)
	}
}
func (c *countdown) Bound(string, int32, Pod, string)                   { c.heard() }
func (c *countdown) BindFailed(string, int32, Pod, string, error, bool) { c.heard() }
func (c *countdown) EvictFailed(string, Pod, error)                     {}
func (c *countdown) Paused(bool)                                        {}
