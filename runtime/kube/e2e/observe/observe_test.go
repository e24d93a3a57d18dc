package observe_test

import (
	"context"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/kubernetes/fake"

	"github.com/musterhq/muster/runtime/kube/e2e/observe"
)

// judged is a fake cluster with one node of 8 GPUs that is observed.
type judged struct {
	*testing.T
	client *fake.Clientset
	seen   *observe.Observer
}

func start(t *testing.T, objects ...runtime.Object) judged {
	node := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: "n"}, Status: corev1.NodeStatus{Allocatable: corev1.ResourceList{
		"nvidia.com/gpu": resource.MustParse("8"), "pods": resource.MustParse("110"),
	}}}
	client := fake.NewClientset(append(objects, node)...)
	seen, err := observe.Watch(t.Context(), client)
	if err != nil {
		t.Fatal(err)
	}
	return judged{t, client, seen}
}

func pod(name, node, gpus string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "x", UID: types.UID(name)},
		Spec: corev1.PodSpec{NodeName: node, Containers: []corev1.Container{{
			Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"nvidia.com/gpu": resource.MustParse(gpus)}},
		}}},
	}
}

func (j judged) create(p *corev1.Pod) {
	j.Helper()
	if _, err := j.client.CoreV1().Pods("x").Create(j.Context(), p, metav1.CreateOptions{}); err != nil {
		j.Fatal(err)
	}
	j.until(func(pods []observe.Pod) bool { return len(named(pods, p.Name)) == 1 })
}

func (j judged) update(p *corev1.Pod) {
	j.Helper()
	if _, err := j.client.CoreV1().Pods("x").Update(j.Context(), p, metav1.UpdateOptions{}); err != nil {
		j.Fatal(err)
	}
}

func named(pods []observe.Pod, name string) []observe.Pod {
	for i, p := range pods {
		if p.Name == name {
			return pods[i : i+1]
		}
	}
	return nil
}

func (j judged) until(ok func([]observe.Pod) bool) {
	j.Helper()
	ctx, cancel := context.WithTimeout(j.Context(), time.Minute)
	defer cancel()
	if err := j.seen.Wait(ctx, func(pods []observe.Pod) (bool, string) { return ok(pods), "the watch" }); err != nil {
		j.Fatal(err)
	}
}

func (j judged) broken(want ...string) {
	j.Helper()
	got := j.seen.Violations()
	if len(got) != len(want) {
		j.Fatalf("got %q, want %q", got, want)
	}
	for i := range want {
		if !strings.Contains(got[i], want[i]) {
			j.Errorf("got %q, want it to have %q", got[i], want[i])
		}
	}
}

func TestANodeThatHoldsMoreThanItHasIsFound(t *testing.T) {
	j := start(t)
	j.create(pod("a", "n", "5"))
	j.create(pod("b", "", "4"))
	j.broken()
	j.update(pod("b", "n", "4"))
	j.until(func(pods []observe.Pod) bool { return named(pods, "b")[0].Runs() })
	j.broken("node n holds 9 of nvidia.com/gpu with pod x/b, and has 8")
}

func TestRoomIsFreeWhenItsPodHasEndedOrGone(t *testing.T) {
	j := start(t)
	for _, name := range []string{"a", "b"} {
		j.create(pod(name, "n", "8"))
		if name == "a" {
			ended := pod("a", "n", "8")
			ended.Status.Phase = corev1.PodSucceeded
			j.update(ended)
			j.until(func(pods []observe.Pod) bool { return !named(pods, "a")[0].Runs() })
		}
	}
	if err := j.client.CoreV1().Pods("x").Delete(t.Context(), "b", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	j.until(func(pods []observe.Pod) bool { return !named(pods, "b")[0].Gone.IsZero() })
	j.create(pod("c", "n", "8"))
	j.broken()
}

func TestAPodThatMovesIsFound(t *testing.T) {
	j := start(t, pod("a", "n", "1"))
	j.update(pod("a", "m", "1"))
	j.until(func([]observe.Pod) bool { return len(j.seen.Violations()) > 0 })
	j.broken("pod x/a moved from node n to \"m\"")
}

func TestANodeThatIsNotThereIsFound(t *testing.T) {
	j := start(t)
	j.create(pod("a", "m", "1"))
	j.broken("pod x/a is bound to m, which is no node")
}

func TestWhatAPodWasToldBeforeItHadToGoIsKept(t *testing.T) {
	j := start(t)
	p := pod("a", "n", "1")
	p.Annotations = map[string]string{"told": "yes"}
	p.Status.Conditions = []corev1.PodCondition{{Type: corev1.DisruptionTarget, Status: corev1.ConditionTrue, Reason: "x"}}
	j.create(p)
	p = p.DeepCopy()
	now := metav1.Now()
	p.DeletionTimestamp, p.Finalizers = &now, []string{"x"}
	j.update(p)
	j.until(func(pods []observe.Pod) bool { return !named(pods, "a")[0].Deleted.IsZero() })
	a := named(j.seen.Pods(), "a")[0]
	if a.AnnotatedBefore["told"] != "yes" || a.Disrupted == nil || a.Disrupted.Reason != "x" || a.Waits() {
		t.Errorf("got %+v", a)
	}
}

func TestGangsThatRunInPartAreFound(t *testing.T) {
	j := start(t, pod("a-0", "n", "1"), pod("a-1", "", "1"), pod("b-0", "", "1"), pod("alone", "n", "1"))
	gang := func(p observe.Pod) string {
		name, _, member := strings.Cut(p.Name, "-")
		if !member {
			return ""
		}
		return name
	}
	j.until(func(pods []observe.Pod) bool { return len(pods) == 4 })
	if got := observe.Gangs(j.seen.Pods(), gang); len(got) != 2 || got["a"] != (observe.Gang{Runs: 1, Waits: 1}) || got["b"] != (observe.Gang{Waits: 1}) {
		t.Errorf("got %v", got)
	}
	torn := observe.Torn(map[string]observe.Gang{"a": {Runs: 2}, "b": {Runs: 3}, "c": {Waits: 3}}, func(string) int { return 3 })
	if len(torn) != 1 || torn[0] != "a runs 2 of at least 3" {
		t.Errorf("got %v", torn)
	}
}

func TestThroughputCountsFromTheFirstPodToTheLastBind(t *testing.T) {
	at := func(ms int) time.Time { return time.Unix(100, 0).Add(time.Duration(ms) * time.Millisecond) }
	pods := []observe.Pod{
		{Name: "a", Created: at(0), Bound: at(500)},
		{Name: "b", Created: at(100), Bound: at(2000)},
		{Name: "c", Created: at(100)},
		{Name: "not ours", Created: at(-9000), Bound: at(9000)},
	}
	ours := func(p observe.Pod) bool { return p.Name != "not ours" }
	if got := observe.ThroughputOf(pods, time.Time{}, ours).String(); got != "2 pods in 2.0 s, 1 pods/s, first after 0.50 s" {
		t.Errorf("got %s", got)
	}
	if got := observe.ThroughputOf(pods, at(400), ours).String(); got != "2 pods in 1.6 s, 1 pods/s, first after 0.10 s" {
		t.Errorf("got %s", got)
	}
	if last := observe.Latest(pods, 2); last[0].Name != "b" || last[1].Name != "not ours" {
		t.Errorf("got %v", last)
	}
}
