package e2e_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/restmapper"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/runtime/kube/e2e/observe"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

var figures = flag.String("figures", "", "measure at full size and write a table of figures to this `file`")

// generous is how long anything that must happen may take. Nothing is judged by it.
var generous = flag.Duration("patience", 3*time.Minute, "how long to wait for what must happen")

// world is a cluster, and what is seen of it.
type world struct {
	*kubetest.Cluster
	t          testing.TB
	dynamic    dynamic.Interface
	mapper     *restmapper.DeferredDiscoveryRESTMapper
	seen       *observe.Observer
	kubeconfig string // with the rights of Muster
	audit      string // the audit log of an auditedWorld
}

// newWorld starts a cluster, and watches it from its first moment. When the test ends, no
// rule may have been broken at any moment of it.
func newWorld(t testing.TB, o kubetest.Options) *world {
	t.Helper()
	w := &world{Cluster: kubetest.Start(t, o), t: t}
	plain := rest.CopyConfig(w.Config)
	plain.ContentType, plain.AcceptContentTypes = "", "" // custom resources have no protobuf
	var err error
	if w.dynamic, err = dynamic.NewForConfig(plain); err != nil {
		t.Fatal(err)
	}
	d, err := discovery.NewDiscoveryClientForConfig(plain)
	if err != nil {
		t.Fatal(err)
	}
	w.mapper = restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))
	if w.seen, err = observe.Watch(t.Context(), w.Client); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, v := range w.seen.Violations() {
			t.Errorf("a rule was broken: %s", v)
		}
	})
	return w
}

// run is a step of a story: those that come after it build on it.
func (w *world) run(name string, step func(t *testing.T, w *world)) {
	w.t.Helper()
	parent, ok := w.t.(*testing.T)
	if !ok || !parent.Run(name, func(t *testing.T) {
		inner := *w
		inner.t = t
		step(t, &inner)
	}) {
		w.t.FailNow()
	}
}

// objects reads YAML documents.
func objects(t testing.TB, text []byte) []*unstructured.Unstructured {
	t.Helper()
	var out []*unstructured.Unstructured
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		err := decoder.Decode(&o.Object)
		if errors.Is(err, io.EOF) {
			return out
		}
		if err != nil {
			t.Fatalf("%v in\n%s", err, text)
		}
		if len(o.Object) > 0 {
			out = append(out, o)
		}
	}
}

// apply applies YAML documents, as kubectl apply --server-side does.
func (w *world) apply(text []byte, dryRun ...string) {
	w.t.Helper()
	for _, o := range objects(w.t, text) {
		err := w.applyOne(o, dryRun)
		if meta.IsNoMatchError(err) { // of a CRD that is new
			w.mapper.Reset()
			err = w.applyOne(o, dryRun)
		}
		if err != nil {
			w.t.Fatalf("applying %s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

func (w *world) applyOne(o *unstructured.Unstructured, dryRun []string) error {
	client, err := w.resource(o)
	if err != nil {
		return err
	}
	text, err := o.MarshalJSON()
	if err != nil {
		return err
	}
	force := true
	_, err = client.Patch(w.t.Context(), o.GetName(), types.ApplyPatchType, text, metav1.PatchOptions{
		FieldManager: "e2e", Force: &force, DryRun: dryRun, FieldValidation: metav1.FieldValidationStrict,
	})
	return err
}

// resource is the client for an object's kind and namespace.
func (w *world) resource(o *unstructured.Unstructured) (dynamic.ResourceInterface, error) {
	kind := o.GroupVersionKind()
	mapping, err := w.mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return nil, err
	}
	if mapping.Scope.Name() == meta.RESTScopeNameNamespace {
		return w.dynamic.Resource(mapping.Resource).Namespace(o.GetNamespace()), nil
	}
	return w.dynamic.Resource(mapping.Resource), nil
}

// define applies CRDs and returns when the API server serves them.
func (w *world) define(text []byte) {
	w.t.Helper()
	w.apply(text)
	for _, o := range objects(w.t, text) {
		kubetest.Eventually(w.t, func(ctx context.Context) error {
			client, err := w.resource(o)
			if err != nil {
				return err
			}
			crd, err := client.Get(ctx, o.GetName(), metav1.GetOptions{})
			if err != nil {
				return err
			}
			conditions, _, _ := unstructured.NestedSlice(crd.Object, "status", "conditions")
			if !strings.Contains(fmt.Sprint(conditions), "status:True type:Established") {
				return fmt.Errorf("CRD %s is not served yet: %v", o.GetName(), conditions)
			}
			return nil
		})
	}
	w.mapper.Reset()
}

// namespace makes a namespace if there is none of that name.
func (w *world) namespace(name string) string {
	w.t.Helper()
	_, err := w.Client.CoreV1().Namespaces().Create(w.t.Context(), &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		w.t.Fatal(err)
	}
	return name
}

// queues writes queues.yaml into the ConfigMap that the scheduler reads.
func (w *world) queues(text string) {
	w.t.Helper()
	w.namespace(deploy.Namespace)
	o := &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "v1", "kind": "ConfigMap",
		"metadata": map[string]any{"name": deploy.QueuesConfigMap, "namespace": deploy.Namespace},
		"data":     map[string]any{"queues.yaml": text},
	}}
	if err := w.applyOne(o, nil); err != nil {
		w.t.Fatal(err)
	}
}

// wait waits until the pods are as wanted.
func (w *world) wait(wanted func([]observe.Pod) (bool, string)) []observe.Pod {
	w.t.Helper()
	ctx, cancel := context.WithTimeout(w.t.Context(), *generous)
	defer cancel()
	if err := w.seen.Wait(ctx, wanted); err != nil {
		w.t.Fatal(err)
	}
	return w.seen.Pods()
}

// bound waits until so many pods of a namespace run at the same time.
func (w *world) bound(namespace string, n int) []observe.Pod {
	w.t.Helper()
	return w.wait(func(pods []observe.Pod) (bool, string) {
		run := count(pods, in(namespace), runs)
		return run >= n, fmt.Sprintf("%d pods of %s that have a node; now it is %d", n, namespace, run)
	})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
