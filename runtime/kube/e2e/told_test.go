package e2e_test

import (
	"context"
	"fmt"
	"regexp"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// TestWhatPodsAndPeopleAreTold shares one cluster of two nodes with 8 GPUs each.
func TestWhatPodsAndPeopleAreTold(t *testing.T) {
	w := auditedWorld(t, kubetest.Options{Products: "H100=2"})
	w.install(tree(queue{name: "small", max: "2"}, queue{name: "big"}))
	w.scheduler("a").ready()
	shape := func(ns string, gpus int64) load.Shape {
		return load.Shape{Namespace: w.namespace(ns), Scheduler: "muster", CPU: "1", GPUs: gpus}
	}

	w.run("pods that quota holds back are invisible to autoscalers", func(t *testing.T, w *world) {
		must(t, load.Create(t.Context(), w.Client, load.Plain(4, []string{"root.small"}, shape("quota", 1))))
		for _, p := range w.waitTold("quota", 2, 2) {
			c := p.Condition(corev1.PodScheduled)
			if c.Reason == corev1.PodReasonUnschedulable {
				t.Errorf("%s has the reason %s, on which autoscalers add nodes", p.Name, c.Reason)
			}
			if !strings.Contains(c.Message, "root.small") || !strings.Contains(c.Message, "nvidia.com/gpu") {
				t.Errorf("%s is not told which queue and resource: %s", p.Name, c.Message)
			}
		}
	})
	w.run("pods that only lack nodes are what autoscalers look for", func(t *testing.T, w *world) {
		must(t, load.Create(t.Context(), w.Client, load.Plain(3, []string{"root.big"}, shape("capacity", 6))))
		for _, p := range w.waitTold("capacity", 2, 1) {
			if c := p.Condition(corev1.PodScheduled); c.Reason != corev1.PodReasonUnschedulable {
				t.Errorf("%s has the reason %s: %s", p.Name, c.Reason, c.Message)
			}
		}
	})
	w.run("a node comes, and the pod that waited for it starts", func(t *testing.T, w *world) {
		w.AddNodes(1, "H100=1")
		w.bound("capacity", 3)
	})
	w.run("what can't be honoured is refused by an event, not ignored", func(t *testing.T, w *world) {
		s := shape("claims", 0)
		s.Change = func(p *corev1.Pod) {
			p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu", ResourceClaimName: &p.Name}}
		}
		must(t, load.Create(t.Context(), w.Client, load.Plain(1, []string{"root.big"}, s)))
		w.event("claims", "plain-00000", `dynamic resource allocation is not supported`)
	})
	w.run("a pod that names no queue there is, is told so", func(t *testing.T, w *world) {
		must(t, load.Create(t.Context(), w.Client, load.Plain(1, []string{"root.nowhere"}, shape("lost", 1))))
		p := w.waitTold("lost", 0, 1)[0]
		if c := p.Condition(corev1.PodScheduled); !strings.Contains(c.Message, "root.nowhere") || c.Reason == corev1.PodReasonUnschedulable {
			t.Errorf("it is told %s: %s", c.Reason, c.Message)
		}
	})
	w.run("queues that make no sense change nothing, and the event says where", func(t *testing.T, w *world) {
		w.queues(tree(queue{name: "small", max: "2"}, queue{name: "big", max: "minus-one"}))
		text := w.event(deploy.Namespace, deploy.QueuesConfigMap, `\d+:\d+`)
		t.Log(text)
		must(t, load.Create(t.Context(), w.Client, load.Plain(1, []string{"root.big"}, shape("after", 1))))
		w.bound("after", 1)
	})
	w.run("and queues that do are followed at once", func(t *testing.T, w *world) {
		w.queues(tree(queue{name: "small", max: "3"}, queue{name: "big"}))
		w.bound("quota", 3)
	})
}

// waitTold waits until so many pods of a namespace run and the others were told why not,
// and returns these.
func (w *world) waitTold(namespace string, running, waiting int) []observe.Pod {
	w.t.Helper()
	pods := w.wait(func(pods []observe.Pod) (bool, string) {
		r, n := count(pods, in(namespace), runs), count(pods, in(namespace), told)
		return r == running && n == waiting, fmt.Sprintf("%d pods of %s to run and %d to be told why not; now it is %d and %d", running, namespace, waiting, r, n)
	})
	return only(pods, in(namespace), told)
}

// event waits for an event about an object whose text matches.
func (w *world) event(namespace, name, pattern string) (text string) {
	w.t.Helper()
	matches := regexp.MustCompile(pattern)
	kubetest.Eventually(w.t, func(ctx context.Context) error {
		events, err := w.Client.CoreV1().Events(namespace).List(ctx, metav1.ListOptions{FieldSelector: "involvedObject.name=" + name})
		if err != nil {
			return err
		}
		var all []string
		for _, e := range events.Items {
			text = e.Reason + ": " + e.Message
			if matches.MatchString(text) {
				return nil
			}
			all = append(all, text)
		}
		return fmt.Errorf("no event about %s/%s matches %s; there are %q", namespace, name, pattern, all)
	})
	return text
}
