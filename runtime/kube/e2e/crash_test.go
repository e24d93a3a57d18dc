package e2e_test

import (
	"fmt"
	"math/rand/v2"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

const gangSize = 512

// TestTheLeaderDiesInTheMiddleOfAGang: kill -9 of the leader while it binds a gang of 512
// pods, with a standby. The gang must be whole again, no pod bound twice, no node over its
// capacity; the world's observer looks at every moment.
func TestTheLeaderDiesInTheMiddleOfAGang(t *testing.T) {
	times := 2
	if *figures != "" {
		times = 20
	}
	w := newWorld(t, kubetest.Options{Products: "H100=80", NativeGangs: true}) // 640 GPUs
	w.install(tree(queue{name: "ml"}))
	replicas := map[string]*scheduler{}
	start := func(name string) { replicas[name] = w.scheduler(name, "--bind-qps=400").ready() }
	start("r0")
	start("r1")
	rows := newTable(t, "kill -9 of the leader while it binds a gang of 512", "kill", "bound when killed", "records left", "whole after")
	for i := range times {
		leader := w.leader()
		app := fmt.Sprintf("gang-%d", i)
		ns := w.namespace(app)
		shape := load.Shape{Namespace: ns, Scheduler: "muster", CPU: "1", GPUs: 1}
		if i%2 == 0 { // the group comes last, so that the gang is bound in one go
			must(t, load.Create(t.Context(), w.Client, load.NativeGang(app, gangSize, shape)))
			must(t, load.CreateGroup(t.Context(), w.dynamic, load.NativePodGroup(ns, app, "root.ml", gangSize)))
		} else { // its places are kept while its pods come
			must(t, load.Create(t.Context(), w.Client, load.YuniKornGang(app, "root.ml", gangSize, gangSize, shape)))
		}
		at := 1 + rand.IntN(gangSize-100) //nolint:gosec // not a secret; a kill must come at any moment
		w.bound(ns, at)
		replicas[leader].kill()
		killed := time.Now()
		before := count(w.seen.Pods(), in(ns), runs)
		records, err := w.Client.CoreV1().ConfigMaps(deploy.Namespace).List(t.Context(), metav1.ListOptions{LabelSelector: "muster.dev/intent"})
		must(t, err)
		if before == gangSize {
			t.Logf("kill %d came too late: the gang was whole", i)
		}
		w.bound(ns, gangSize)
		took := time.Since(killed)
		rows.row(i+1, before, len(records.Items), fmt.Sprintf("%.1f s", took.Seconds()))
		if again := w.leader(); again == leader {
			t.Errorf("%s is dead and still leads", again)
		}
		start(fmt.Sprintf("r%d", i+2))
		w.delete(only(w.seen.Pods(), in(ns), there)...)
		w.wait(func(pods []observe.Pod) (bool, string) {
			n := count(pods, in(ns), there)
			return n == 0, fmt.Sprintf("gang %d to go; now there are %d", i, n)
		})
	}
	w.boundOnce()
}

// boundOnce compares how many binds the API server has accepted with how many pods were
// ever bound: it counts since it started, so it must not have been restarted.
func (w *world) boundOnce() {
	w.t.Helper()
	answers, err := observe.Bindings(w.t.Context(), w.Client)
	must(w.t, err)
	bound := count(w.seen.Pods(), func(p observe.Pod) bool { return p.Node != "" })
	// 504 is the answer to one who is gone: of these nobody knows whether they bound.
	if n := answers["201"]; n > bound || n+answers["504"] < bound {
		w.t.Errorf("the API server took %d binds, and perhaps %d more, of %d pods", n, answers["504"], bound)
	}
	w.t.Logf("answers to binds: %v, pods bound: %d", answers, bound)
}
