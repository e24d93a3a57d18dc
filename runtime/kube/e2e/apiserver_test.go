package e2e_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// keep restarts a replica that ends, as a kubelet does, until the test ends.
func (w *world) keep(name string, flags ...string) {
	w.t.Helper()
	stop, stopped := make(chan struct{}), make(chan struct{})
	first := w.scheduler(name, flags...)
	first.ready()
	go func() {
		defer close(stopped)
		for s := first; ; {
			select {
			case <-stop:
				return
			case <-s.ended:
			}
			select {
			case <-stop:
				return
			case <-time.After(time.Second):
				w.t.Logf("%s has ended and is started again", name)
				s = w.scheduler(name, flags...)
			}
		}
	}()
	w.t.Cleanup(func() { close(stop); <-stopped }) // runs before the one that ends the replica
}

// TestTheAPIServerGoesAway in the middle of binding, by a crash: what was under way goes
// on when it is back, nothing is lost and nothing done twice.
func TestTheAPIServerGoesAway(t *testing.T) {
	t.Parallel() // it waits most of the time
	away := 10 * time.Second
	if *figures != "" {
		away = time.Minute
	}
	w := newWorld(t, kubetest.Options{Products: "H100=50"}) // 400 GPUs
	w.install(tree(queue{name: "a"}, queue{name: "b"}))
	w.keep("r0", "--bind-qps=40")
	w.keep("r1", "--bind-qps=40")
	shape := load.Shape{Namespace: w.namespace("load"), Scheduler: "muster", CPU: "1", GPUs: 1}
	must(t, load.Create(t.Context(), w.Client, load.Plain(136, []string{"root.a"}, shape)))
	must(t, load.Create(t.Context(), w.Client, load.YuniKornGang("gang", "root.b", 64, 64, shape)))
	w.bound("load", 40)
	w.Kill(kubetest.APIServer)
	time.Sleep(away)
	w.Start(kubetest.APIServer)
	w.bound("load", 200)

	late := shape
	late.Namespace = w.namespace("late")
	must(t, load.Create(t.Context(), w.Client, load.Plain(10, []string{"root.a"}, late)))
	w.bound("late", 10)
	w.wait(func(pods []observe.Pod) (bool, string) {
		n := count(pods, runs)
		return n == 210, fmt.Sprintf("210 pods to run, each once; now it is %d", n)
	})
}
