package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/kubetest"
	kept "github.com/musterhq/muster/runtime/kube/objects/queue"
)

// TestATypoInTheQueuesDoesNotOutliveItsMoment: whoever starts while the ConfigMap has
// errors, or is gone, goes on with the queues that were good last.
func TestATypoInTheQueuesDoesNotOutliveItsMoment(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := auditedWorld(t, kubetest.Options{Products: "H100=1"})
	w.install(tree(queue{name: "ml"}))
	m, all := w.scheduler("a").ready(), w
	submit := func(w *world, namespace, to string) {
		w.t.Helper()
		must(w.t, load.Create(w.t.Context(), w.Client, load.Plain(1, []string{to}, load.Shape{Namespace: w.namespace(namespace), Scheduler: "muster", CPU: "1", GPUs: 1})))
	}
	restart := func(name string) {
		m.kill()
		m = all.scheduler(name).ready()
	}

	w.run("the last good text is kept", func(t *testing.T, w *world) {
		submit(w, "before", "root.ml")
		w.bound("before", 1)
		w.keepsQueues("name: ml")
	})
	w.run("the text has errors, and the scheduler crashes: it goes on with the queues before", func(t *testing.T, w *world) {
		w.queues(strings.ReplaceAll(tree(queue{name: "ml"}), "queues:", "qeues:"))
		w.event(deploy.Namespace, deploy.QueuesConfigMap, `^InvalidQueues: .*the queues before hold on`)
		restart("b")
		w.event(deploy.Namespace, deploy.QueuesConfigMap, `(?s)^InvalidQueues: 2 errors; the queues of \S+ hold on until it is mended\n.*queues.yaml:3:5: error\[unknown-key\].*did you mean queues\?`)
		submit(w, "broken", "root.ml")
		w.bound("broken", 1)
	})
	w.run("mended queues are followed", func(t *testing.T, w *world) {
		w.queues(tree(queue{name: "ml"}, queue{name: "web"}))
		submit(w, "mended", "root.web")
		w.bound("mended", 1)
		w.keepsQueues("name: web")
	})
	w.run("without the ConfigMap the queues hold on as well", func(t *testing.T, w *world) {
		must(t, w.Client.CoreV1().ConfigMaps(deploy.Namespace).Delete(t.Context(), deploy.QueuesConfigMap, metav1.DeleteOptions{}))
		restart("c")
		w.event(deploy.Namespace, deploy.QueuesConfigMap, `^MissingQueues: there is no ConfigMap .*; the queues of \S+ hold on until there is one`)
		submit(w, "gone", "root.web")
		w.bound("gone", 1)
	})
}

// keepsQueues waits until the text that is kept has this.
func (w *world) keepsQueues(part string) {
	w.t.Helper()
	kubetest.Eventually(w.t, func(ctx context.Context) error {
		m, err := w.Client.CoreV1().ConfigMaps(deploy.Namespace).Get(ctx, kept.LastGoodName, metav1.GetOptions{})
		if err == nil && !strings.Contains(m.Data["queues.yaml"], part) {
			err = fmt.Errorf("no %s in %q", part, m.Data)
		}
		return err
	})
}
