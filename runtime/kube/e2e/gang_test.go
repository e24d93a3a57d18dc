package e2e_test

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/utils/ptr"

	"github.com/musterhq/muster/runtime/kube/e2e/kuberay"
	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

func encode(t testing.TB, value any) string {
	t.Helper()
	text, err := json.Marshal(value)
	must(t, err)
	return string(text)
}

// TestTwoGangsThatNeedMoreThanHalfNeverDeadlock: on 8 nodes of 8 GPUs there is room for
// five workers twice only if one waits for the other. It holds for gangs in any words.
func TestTwoGangsThatNeedMoreThanHalfNeverDeadlock(t *testing.T) {
	w := auditedWorld(t, kubetest.Options{Products: "H100=8", NativeGangs: true})
	w.install(tree(queue{name: "a"}, queue{name: "b"}))
	w.scheduler("a").ready()
	w.kuberay()
	shape := load.Shape{Scheduler: "muster", CPU: "1", GPUs: 8}

	w.run("RayClusters", func(t *testing.T, w *world) {
		ns := w.namespace("two-rays")
		w.oneAfterTheOther(ns, labelOf(kuberay.LabelCluster), func(name, queue string) {
			w.create(rayCluster(ns, name, queue, 5, 5))
		}, 6)
	})
	w.run("YuniKorn's task groups", func(t *testing.T, w *world) {
		s := shape
		s.Namespace = w.namespace("two-yunikorn")
		w.oneAfterTheOther(s.Namespace, labelOf("applicationId"), func(name, queue string) {
			must(t, load.Create(t.Context(), w.Client, load.YuniKornGang(name, queue, 5, 5, s)))
		}, 5)
	})
	w.run("native PodGroups", func(t *testing.T, w *world) {
		s := shape
		s.Namespace = w.namespace("two-native")
		w.oneAfterTheOther(s.Namespace, func(p observe.Pod) string { return p.Name[:strings.LastIndexByte(p.Name, '-')] }, func(name, queue string) {
			must(t, load.CreateGroup(t.Context(), w.dynamic, load.NativePodGroup(s.Namespace, name, queue, 5)))
			must(t, load.Create(t.Context(), w.Client, load.NativeGang(name, 5, s)))
		}, 5)
	})
}

func labelOf(key string) func(observe.Pod) string {
	return func(p observe.Pod) string { return p.Labels[key] }
}

func (w *world) create(o *unstructured.Unstructured) {
	w.t.Helper()
	must(w.t, w.applyOne(o, nil))
}

// rayCluster has a head without a GPU, and workers of a whole node.
func rayCluster(namespace, name, queue string, workers, least int32) *unstructured.Unstructured {
	pod := func(gpus int64) corev1.PodSpec {
		return load.Shape{CPU: "2", Memory: "8Gi", GPUs: gpus}.Pod("x").Spec
	}
	group := kuberay.WorkerGroup{
		GroupName: "gpu", Replicas: ptr.To(workers), MinReplicas: ptr.To(least), MaxReplicas: ptr.To(workers),
		Template: corev1.PodTemplateSpec{Spec: pod(8)},
	}
	return kuberay.New(namespace, name, queue, pod(0), group)
}

// oneAfterTheOther submits two gangs at the same time, expects one to run whole and
// nothing of the other, ends it, and expects the other.
func (w *world) oneAfterTheOther(namespace string, gang func(observe.Pod) string, submit func(name, queue string), size int) {
	w.t.Helper()
	done := make(chan struct{})
	go func() { defer close(done); submit("left", "root.a") }()
	submit("right", "root.b")
	<-done
	first := w.oneWhole(namespace, gang, size, "")
	w.t.Logf("%s came first", first)
	cluster := w.dynamic.Resource(kuberay.Resource).Namespace(namespace)
	_ = cluster.Delete(w.t.Context(), first, deleteNow) // or its pods would come back
	w.delete(only(w.seen.Pods(), in(namespace), there, func(p observe.Pod) bool { return gang(p) == first })...)
	second := w.oneWhole(namespace, gang, size, first)
	_ = cluster.Delete(w.t.Context(), second, deleteNow)
	w.delete(only(w.seen.Pods(), in(namespace), there, not(leaves))...)
}

// oneWhole waits until exactly one gang, not the given one, runs whole and all pods of
// others were told that they wait.
func (w *world) oneWhole(namespace string, gang func(observe.Pod) string, size int, but string) (whole string) {
	w.t.Helper()
	w.wait(func(pods []observe.Pod) (bool, string) {
		mine := only(pods, in(namespace))
		all := observe.Gangs(mine, gang)
		whole = ""
		for name, g := range all {
			if g.Runs == size && name != but {
				whole = name
			}
		}
		waiting, informed := count(mine, waits), count(mine, told)
		return whole != "" && waiting == informed && count(mine, runs, leaves) == 0,
			fmt.Sprintf("one gang of %s to run; now it is %v, %d wait and %d were told why", namespace, all, waiting, informed)
	})
	all := observe.Gangs(only(w.seen.Pods(), in(namespace)), gang)
	if torn := observe.Torn(all, func(string) int { return size }); len(torn) > 0 {
		w.t.Errorf("torn gangs: %v", torn)
	}
	return whole
}
