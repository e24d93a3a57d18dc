package e2e_test

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

var deleteNow = metav1.DeleteOptions{}

// TestTheTalk is the story that muster demo plays, on a real API server: of 100 GPUs a is
// guaranteed 60 and b 40, both may take all.
func TestTheTalk(t *testing.T) {
	w := auditedWorld(t, kubetest.Options{NodesFile: nodesFile(t, 25, 4)})
	w.install(tree(queue{"a", "60", "100", ""}, queue{"b", "40", "100", ""}))
	w.scheduler("a").ready()
	shape := func(ns string) load.Shape {
		return load.Shape{
			Namespace: w.namespace(ns), Scheduler: "muster", CPU: "1", GPUs: 1,
			Annotations: map[string]string{"muster.dev/notice": "2s"},
		}
	}

	w.run("a alone takes all", func(t *testing.T, w *world) {
		must(t, load.Create(t.Context(), w.Client, load.Plain(160, []string{"root.a"}, shape("a"))))
		w.holds(100, 0, 0)
	})
	w.run("b comes, and takes its guarantee back by exactly 40 evictions", func(t *testing.T, w *world) {
		must(t, load.Create(t.Context(), w.Client, load.Plain(60, []string{"root.b"}, shape("b"))))
		w.holds(60, 40, 40)
	})
	w.run("every eviction was announced and is explained", func(t *testing.T, w *world) { w.allExplained("a", 40) })
	w.run("b needs only 20, and a takes what is left without an eviction", func(t *testing.T, w *world) {
		w.delete(only(w.seen.Pods(), in("b"), waits)...)
		w.delete(only(w.seen.Pods(), in("b"), runs)[:20]...)
		w.holds(80, 20, 40)
	})
	w.run("b has finished, and a holds all again", func(t *testing.T, w *world) {
		w.delete(only(w.seen.Pods(), in("b"), runs, not(leaves))...)
		w.holds(100, 0, 40)
	})
}

// holds waits until a and b hold so many GPUs, after so many evictions in all.
func (w *world) holds(a, b, evicted int) {
	w.t.Helper()
	var now [3]int
	w.wait(func(pods []observe.Pod) (bool, string) {
		now = [3]int{
			count(pods, in("a"), runs), count(pods, in("b"), runs),
			count(pods, leaves, func(p observe.Pod) bool { return p.Disrupted != nil }),
		}
		return now == [3]int{a, b, evicted} || now[2] > evicted,
			fmt.Sprintf("a to hold %d, b %d after %d evictions; now it is %v", a, b, evicted, now)
	})
	if now[2] > evicted {
		w.t.Fatalf("%d pods were evicted, %d expected", now[2], evicted)
	}
}

// allExplained checks that each pod of a namespace that was evicted knew before, and that
// it can be read why.
func (w *world) allExplained(namespace string, want int) {
	w.t.Helper()
	why := w.reasons(namespace, "Preempted", want)
	evicted := only(w.seen.Pods(), in(namespace), leaves, func(p observe.Pod) bool { return p.Disrupted != nil })
	if len(evicted) != want {
		w.t.Errorf("%d pods were evicted, not %d", len(evicted), want)
	}
	for i, p := range evicted {
		if p.Disrupted.Status != corev1.ConditionTrue || p.Disrupted.Reason != corev1.PodReasonPreemptionByScheduler || p.Disrupted.Message == "" {
			w.t.Errorf("%s: the condition DisruptionTarget is %+v", p.Name, *p.Disrupted)
		}
		if p.AnnotatedBefore["muster.dev/evict-at"] == "" || p.AnnotatedBefore["muster.dev/evict-reason"] == "" {
			w.t.Errorf("%s was not told when it would be evicted: %v", p.Name, p.AnnotatedBefore)
		}
		if why[string(p.UID)] == "" {
			w.t.Errorf("%s: there is no event that explains its eviction", p.Name)
		}
		if i == 0 {
			w.t.Logf("%s: condition: %s\nannotations: %v\nevent: %s", p.Name, p.Disrupted.Message, p.AnnotatedBefore, why[string(p.UID)])
		}
	}
}

// reasons waits until so many pods of a namespace have an event, and returns what these
// say by the pod's UID.
func (w *world) reasons(namespace, event string, want int) map[string]string {
	w.t.Helper()
	why := map[string]string{}
	kubetest.Eventually(w.t, func(ctx context.Context) error {
		events, err := w.Client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, e := range events.Items {
			if e.Reason == event {
				why[string(e.InvolvedObject.UID)] = e.Message
			}
		}
		if len(why) < want {
			return fmt.Errorf("%d of %d pods have an event %s", len(why), want, event)
		}
		return nil
	})
	return why
}
