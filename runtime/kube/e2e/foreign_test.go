package e2e_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// TestAPodOfAnotherSchedulerLandsOnOurNode between our decision and our bind: the decision
// is made again, and no node is given more than it has. Binds are slow here, so that
// decisions are old when they are carried out.
func TestAPodOfAnotherSchedulerLandsOnOurNode(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := auditedWorld(t, kubetest.Options{Products: "H100=4"})
	w.install(tree(queue{name: "ml"}))
	w.scheduler("a", "--bind-qps=4").ready()
	ours := load.Plain(32, []string{"root.ml"}, load.Shape{Namespace: w.namespace("ours"), Scheduler: "muster", CPU: "1", GPUs: 1})
	must(t, load.Create(t.Context(), w.Client, ours))
	pods := w.bound("ours", 2)

	taken := map[string]bool{}
	for _, p := range only(pods, runs) {
		taken[p.Node] = true
	}
	for _, node := range w.seen.Nodes() {
		if taken[node] {
			continue
		}
		theirs := load.Shape{Namespace: w.namespace("theirs"), Scheduler: "another", CPU: "1", GPUs: 8}.Pod("theirs")
		theirs.Spec.NodeName = node
		must(t, load.Create(t.Context(), w.Client, []*corev1.Pod{theirs}))
		break
	}
	w.wait(func(pods []observe.Pod) (bool, string) {
		run, wait := count(pods, in("ours"), runs), count(pods, in("ours"), told)
		return run == 24 && wait == 8, fmt.Sprintf("24 pods of ours to run and 8 to wait; now it is %d and %d", run, wait)
	})
	if n := count(w.seen.Pods(), in("ours"), func(p observe.Pod) bool { return p.Reason != "" }); n > 0 {
		t.Errorf("%d pods were refused by their node", n)
	}
}
