package e2e_test

import (
	"bytes"
	"compress/gzip"
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"os"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// library is where make guests puts the policies that we ship.
const library = "../../../bin/policies/"

// TestAPolicyIsSwappedWhilePodsAreBound by kubectl apply: 8 GPUs, and jobs of one GPU that
// end after a second, so that somebody is always bound; first the oldest, then, under
// fifo-reversed, the newest.
func TestAPolicyIsSwappedWhilePodsAreBound(t *testing.T) {
	w := auditedWorld(t, kubetest.Options{Products: "H100=1"})
	w.install(tree(queue{name: "ml", more: "policies: {jobOrder: order}"}))
	w.scheduler("a").ready()
	ns := w.namespace("load")
	jobs := load.Plain(150, []string{"root.ml"}, load.Shape{
		Namespace: ns, Scheduler: "muster", CPU: "1", GPUs: 1, Annotations: map[string]string{kubetest.RunFor: "1s"},
	})
	for _, p := range jobs { // one after the other: their order is their age
		_, err := w.Client.CoreV1().Pods(ns).Create(t.Context(), p, metav1.CreateOptions{})
		must(t, err)
	}
	w.everBound(24)
	if oldest := w.lastBound(8); oldest.Name >= "plain-00060" {
		t.Errorf("without a policy %s was bound among the first", oldest.Name)
	}

	w.run("a policy that is no policy is refused, and decides nothing", func(t *testing.T, w *world) {
		w.policy("broken", "fifo-reversed.wasm", []byte("not wasm"))
		w.policyState("broken", "Refused")
	})
	w.run("a new one takes over between two binds", func(t *testing.T, w *world) {
		module, err := os.ReadFile(library + "fifo-reversed.wasm")
		if err != nil {
			t.Fatalf("%v\n  hint: make guests", err)
		}
		var packed bytes.Buffer
		gz := gzip.NewWriter(&packed)
		_, err = gz.Write(module)
		must(t, errors.Join(err, gz.Close()))
		w.policy("order", "fifo-reversed.wasm.gz", packed.Bytes())
		w.policyState("order", "Active")
		active := time.Now()
		w.wait(func(pods []observe.Pod) (bool, string) {
			n := count(pods, func(p observe.Pod) bool { return p.Bound.After(active) })
			return n >= 10, fmt.Sprintf("10 binds under the new policy; now it is %d", n)
		})
		if newest := w.lastBound(2); newest.Name < "plain-00100" {
			t.Errorf("the newest come first now, but %s was bound", newest.Name)
		}
	})
	w.run("and no job is lost", func(t *testing.T, w *world) { w.everBound(150) })
}

// everBound waits until so many pods were bound at some time.
func (w *world) everBound(n int) {
	w.t.Helper()
	w.wait(func(pods []observe.Pod) (bool, string) {
		now := count(pods, func(p observe.Pod) bool { return p.Node != "" })
		return now >= n, fmt.Sprintf("%d pods to have been bound; now it is %d", n, now)
	})
}

// lastBound returns the pod with the smallest name among the n bound last.
func (w *world) lastBound(n int) observe.Pod {
	w.t.Helper()
	bound := only(w.seen.Pods(), func(p observe.Pod) bool { return p.Node != "" })
	last := observe.Latest(bound, n)
	oldest := last[0]
	for _, p := range last {
		if p.Name < oldest.Name {
			oldest = p
		}
	}
	return oldest
}

// policy applies a Policy whose module is in a ConfigMap of the same name.
func (w *world) policy(name, key string, module []byte) {
	w.t.Helper()
	w.create(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata":   map[string]any{"name": "policy-" + name, "namespace": deploy.Namespace},
		"binaryData": map[string]any{key: base64.StdEncoding.EncodeToString(module)},
	}})
	w.create(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": v1alpha1.GroupVersion.String(), "kind": "Policy",
		"metadata": map[string]any{"name": name},
		"spec":     map[string]any{"source": map[string]any{"configMap": map[string]any{"name": "policy-" + name}}},
	}})
}

// policyState waits until a Policy's status has a state.
func (w *world) policyState(name, state string) {
	w.t.Helper()
	policies := w.dynamic.Resource(v1alpha1.GroupVersion.WithResource("policies"))
	kubetest.Eventually(w.t, func(ctx context.Context) error {
		p, err := policies.Get(ctx, name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		now, _, _ := unstructured.NestedString(p.Object, "status", "state")
		if now != state {
			return fmt.Errorf("Policy %s is %q, not %s: %v", name, now, state, p.Object["status"])
		}
		return nil
	})
}
