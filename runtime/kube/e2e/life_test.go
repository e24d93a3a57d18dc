package e2e_test

import (
	"fmt"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// TestFiguresOfALargeCluster measures a restart with 5,000 nodes and 20,000 pods that run,
// and what the scheduler takes there when nothing happens.
func TestFiguresOfALargeCluster(t *testing.T) {
	needFigures(t)
	const nodes, running = 5000, 20000
	w := noKubelets(t, kubetest.Options{Nodes: nodes})
	w.install(tree(queue{name: "ml"}))
	pods := load.Plain(running, []string{"root.ml"}, load.Shape{Namespace: w.namespace("load"), Scheduler: "muster", CPU: "4", Memory: "16Gi", GPUs: 1})
	must(t, load.Create(t.Context(), w.Client, pods))
	must(t, load.Bind(t.Context(), w.Client, pods, w.seen.Nodes()))
	w.bound("load", running)

	f := newTable(t, "5,000 nodes, 20,000 running pods", "measured", "is")
	first := w.scheduler("a").ready()
	time.Sleep(15 * time.Second) // what starting has left behind is collected by then
	const idleFor = time.Minute
	before := processUsage(t, first.cmd.Process.Pid)
	time.Sleep(idleFor)
	after := processUsage(t, first.cmd.Process.Pid)
	f.row("CPU when nothing happens", fmt.Sprintf("%.2f %% of a core", 100*(after.cpu-before.cpu)/idleFor.Seconds()))
	f.row("memory, MiB (peak)", fmt.Sprintf("%.0f (%.0f)", after.rss, after.peak))
	first.end()

	late := load.Shape{Namespace: w.namespace("late"), Scheduler: "muster", CPU: "1", GPUs: 1}
	must(t, load.Create(t.Context(), w.Client, load.Plain(100, []string{"root.ml"}, late)))
	started := time.Now()
	w.scheduler("b")
	bound := w.bound("late", 1)
	f.row("start of the process to first bind, s", earliest(bound).Sub(started).Seconds())
	w.bound("late", 100)
}

func earliest(pods []observe.Pod) time.Time {
	var first time.Time
	for _, p := range only(pods, in("late"), runs) {
		if first.IsZero() || p.Bound.Before(first) {
			first = p.Bound
		}
	}
	return first
}

// TestAnIdleSchedulerTakesNoCPU on a small cluster: what it does in ten seconds in which
// nothing happens is little, even with pods that wait.
func TestAnIdleSchedulerTakesNoCPU(t *testing.T) {
	w := auditedWorld(t, kubetest.Options{Products: "H100=10"})
	w.install(tree(queue{name: "small", max: "4"}))
	m := w.scheduler("a").ready()
	must(t, load.Create(t.Context(), w.Client, load.Plain(50, []string{"root.small"}, load.Shape{
		Namespace: w.namespace("load"), Scheduler: "muster", CPU: "1", GPUs: 1,
	})))
	w.waitTold("load", 4, 46)
	time.Sleep(3 * time.Second) // what it has to say of that, it has said by then
	before := processUsage(t, m.cmd.Process.Pid)
	const idle = 10 * time.Second
	time.Sleep(idle)
	if used := processUsage(t, m.cmd.Process.Pid).cpu - before.cpu; used > idle.Seconds()/10 {
		t.Errorf("with 46 pods that wait and nothing to do it used %.2f s of CPU in %s", used, idle)
	}
	if events := count(w.seen.Pods(), func(p observe.Pod) bool { return p.Phase == corev1.PodFailed }); events > 0 {
		t.Errorf("%d pods failed", events)
	}
}
