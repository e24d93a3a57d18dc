package e2e_test

import (
	"context"
	"fmt"
	"os"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/runtime/kube/e2e/kuberay"
	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// kuberay starts the stand-in for the KubeRay operator, which ends with the test.
func (w *world) kuberay() *kuberay.Operator {
	w.t.Helper()
	w.define(kuberay.CRD)
	operator := &kuberay.Operator{Client: w.Client, Dynamic: w.dynamic}
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(w.t.Context())
	go func() { defer close(done); operator.Run(ctx) }()
	w.t.Cleanup(func() { cancel(); <-done })
	return operator
}

func head(p observe.Pod) bool   { return p.Labels[kuberay.LabelNodeType] == "head" }
func worker(p observe.Pod) bool { return p.Labels[kuberay.LabelNodeType] == "worker" }

// ofRay says what runs of the RayCluster train.
type ofRay struct{ heads, workers, waiting int }

func rayNow(pods []observe.Pod) ofRay {
	mine := only(pods, labelled(kuberay.LabelCluster, "train"))
	return ofRay{count(mine, head, runs, not(leaves)), count(mine, worker, runs, not(leaves)), count(mine, waits)}
}

// ray waits until the RayCluster train is as wanted.
func (w *world) ray(wanted ofRay) {
	w.t.Helper()
	w.wait(func(pods []observe.Pod) (bool, string) {
		now := rayNow(pods)
		return now == wanted, fmt.Sprintf("the RayCluster to be %+v; now it is %+v", wanted, now)
	})
}

func ignoreNotFound(err error) error {
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// delete deletes pods, if they are still there.
func (w *world) delete(pods ...observe.Pod) {
	w.t.Helper()
	must(w.t, load.Each(w.t.Context(), pods, func(ctx context.Context, p observe.Pod) error {
		err := w.Client.CoreV1().Pods(p.Namespace).Delete(ctx, p.Name, metav1.DeleteOptions{})
		return ignoreNotFound(err)
	}))
}

// TestARayClusterWrittenForYuniKornNeedsNoChange lives one life of a RayCluster, as
// KubeRay makes its pods for YuniKorn, on four nodes of 8 GPUs.
func TestARayClusterWrittenForYuniKornNeedsNoChange(t *testing.T) {
	w := auditedWorld(t, kubetest.Options{Products: "H100=4"})
	w.install(tree(queue{name: "ml"}, queue{name: "prod", guaranteed: "32"}))
	w.scheduler("a").ready()
	operator := w.kuberay()
	cluster, err := os.ReadFile("testdata/raycluster.yaml")
	must(t, err)
	w.namespace("ray")

	others := load.Plain(3, []string{"root.ml"}, load.Shape{Namespace: w.namespace("others"), Scheduler: "muster", CPU: "1", GPUs: 8})
	must(t, load.Create(t.Context(), w.Client, others))
	w.bound("others", 3)

	w.run("with room for its head and one of two workers, nothing of it starts", func(t *testing.T, w *world) {
		w.apply(cluster)
		w.wait(func(pods []observe.Pod) (bool, string) {
			n := count(pods, in("ray"), told)
			return n == 4, fmt.Sprintf("4 pods to be told why they wait; now it is %d", n)
		})
		if now := rayNow(w.seen.Pods()); now != (ofRay{waiting: 4}) {
			t.Errorf("a part of it runs: %+v", now)
		}
	})
	w.run("with room for its minimum, head and two workers start, and the third waits", func(t *testing.T, w *world) {
		w.delete(only(w.seen.Pods(), named("plain-00000"))...)
		w.ray(ofRay{1, 2, 1})
	})
	w.run("a worker above the minimum joins when there is room", func(t *testing.T, w *world) {
		w.delete(only(w.seen.Pods(), named("plain-00001"))...)
		w.ray(ofRay{1, 3, 0})
	})
	w.run("a worker that died is replaced", func(t *testing.T, w *world) {
		w.delete(only(w.seen.Pods(), worker, runs)[0])
		w.wait(func(pods []observe.Pod) (bool, string) {
			n := count(pods, worker)
			return n == 4 && rayNow(pods) == ofRay{1, 3, 0}, fmt.Sprintf("a fourth worker; now there were %d", n)
		})
	})
	w.run("the autoscaler asks for more, and they join as there is room", func(t *testing.T, w *world) {
		w.scaleRay(operator, 5, 2)
		w.wait(func(pods []observe.Pod) (bool, string) {
			n := count(pods, worker, told)
			return n == 2, fmt.Sprintf("2 workers to be told why they wait; now it is %d", n)
		})
		w.delete(only(w.seen.Pods(), named("plain-00002"))...)
		w.ray(ofRay{1, 4, 1})
	})
	w.run("the autoscaler asks for fewer, and the rest runs on", func(t *testing.T, w *world) {
		w.scaleRay(operator, 2, 2)
		w.ray(ofRay{1, 2, 0})
	})
	w.run("somebody's guarantee takes it whole, and its head goes last", func(t *testing.T, w *world) { w.rayGoesWhole() })
	w.run("suspended, it leaves nothing behind", func(t *testing.T, w *world) {
		must(t, operator.Set(t.Context(), "ray", "train", `{"suspend":true}`))
		w.wait(func(pods []observe.Pod) (bool, string) {
			n := count(pods, in("ray"), there)
			return n == 0, fmt.Sprintf("no pods; now there are %d", n)
		})
	})
}

func (w *world) scaleRay(operator *kuberay.Operator, replicas, least int) {
	w.t.Helper()
	groups, err := w.dynamic.Resource(kuberay.Resource).Namespace("ray").Get(w.t.Context(), "train", metav1.GetOptions{})
	must(w.t, err)
	cluster, err := kuberay.Read(groups)
	must(w.t, err)
	group := cluster.Spec.WorkerGroupSpecs[0]
	n, m := int32(replicas), int32(least)
	group.Replicas, group.MinReplicas = &n, &m
	must(w.t, operator.Set(w.t.Context(), "ray", "train", `{"workerGroupSpecs":[`+encode(w.t, group)+`]}`))
}

// rayGoesWhole: the queue prod takes its 32 guaranteed GPUs, of which the RayCluster has
// borrowed 16.
func (w *world) rayGoesWhole() {
	gang := load.YuniKornGang("serve", "root.prod", 4, 4, load.Shape{Namespace: w.namespace("prod"), Scheduler: "muster", CPU: "1", GPUs: 8})
	must(w.t, load.Create(w.t.Context(), w.Client, gang))
	w.bound("prod", 4)
	evicted := func(p observe.Pod) bool { return p.Disrupted != nil && !p.Deleted.IsZero() }
	pods := w.wait(func(pods []observe.Pod) (bool, string) {
		heads, now := count(pods, head, evicted), rayNow(pods)
		return heads == 1 && now.heads == 0 && now.workers == 0,
			fmt.Sprintf("the head to be evicted after the workers, and nothing to run; now %d were and the RayCluster is %+v", heads, now)
	})
	first := only(pods, head, evicted)[0]
	workers := only(pods, worker, evicted)
	if len(workers) != 2 {
		w.t.Errorf("%d workers were evicted, not 2", len(workers))
	}
	for _, p := range workers {
		if first.Deleted.Before(p.Deleted) {
			w.t.Errorf("the head was evicted %s before the worker %s", p.Deleted.Sub(first.Deleted), p.Name)
		}
	}
}
