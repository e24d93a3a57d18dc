package groupstest_test

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/groups/groupstest"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// real is a Watch and a Status on an API server.
type real struct {
	t       *testing.T
	cluster *kubetest.Cluster
	dynamic dynamic.Interface
	watch   *groups.Watch
	status  *groups.Status

	mu      sync.Mutex
	changes map[groups.Key]int
}

func start(t *testing.T) *real {
	r := &real{t: t, cluster: kubetest.Start(t, kubetest.Options{NoKwok: true, NativeGangs: true}), changes: map[groups.Key]int{}}
	config := rest.CopyConfig(r.cluster.Config)
	config.ContentType, config.AcceptContentTypes = "", "" // objects without types are JSON
	var err error
	if r.dynamic, err = dynamic.NewForConfig(config); err != nil {
		t.Fatal(err)
	}
	asker, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		t.Fatal(err)
	}
	r.watch = groups.NewWatch(groups.WatchOptions{
		Client: r.cluster.Client, Dynamic: r.dynamic, Discovery: asker, Every: time.Second,
		OnChange: func(k groups.Key, _ *groups.PodGroup) {
			r.mu.Lock()
			defer r.mu.Unlock()
			r.changes[k]++
		},
	})
	r.status = groups.NewStatus(groups.StatusOptions{Dynamic: r.dynamic, Served: r.watch.Served})
	ctx, cancel := context.WithCancel(t.Context())
	var running sync.WaitGroup
	running.Go(func() { _ = r.watch.Run(ctx) }) // ends without error only
	running.Go(func() { _ = r.status.Run(ctx) })
	t.Cleanup(func() { cancel(); running.Wait() })
	return r
}

func (r *real) create(o *unstructured.Unstructured, resource string) {
	r.t.Helper()
	v := o.GroupVersionKind().GroupVersion()
	o.SetUID("")
	o.SetOwnerReferences(nil)
	var api dynamic.ResourceInterface = r.dynamic.Resource(v.WithResource(resource))
	if ns := o.GetNamespace(); ns != "" {
		api = r.dynamic.Resource(v.WithResource(resource)).Namespace(ns)
	}
	kubetest.Eventually(r.t, func(ctx context.Context) error { // a CRD takes a moment
		_, err := api.Create(ctx, o, metav1.CreateOptions{})
		return err
	})
}

// phase is one text of a group's status.
func (r *real) says(k groups.Key, version, want string, read func(*unstructured.Unstructured) string) {
	r.t.Helper()
	v := schema.GroupVersionResource{Group: string(k.API), Version: version, Resource: "podgroups"}
	kubetest.Eventually(r.t, func(ctx context.Context) error {
		o, err := r.dynamic.Resource(v).Namespace(k.Namespace).Get(ctx, k.Name, metav1.GetOptions{})
		if err != nil {
			return err
		}
		if got := read(o); got != want {
			return fmt.Errorf("%s says %q, not %q", k, got, want)
		}
		return nil
	})
}

func conditionOf(o *unstructured.Unstructured) string {
	list, _, _ := unstructured.NestedSlice(o.Object, "status", "conditions")
	out := ""
	for _, c := range list {
		m := c.(map[string]any)
		out += fmt.Sprintf("%v=%v %v;", m["type"], m["status"], m["reason"])
	}
	return out
}

func phaseOf(o *unstructured.Unstructured) string {
	phase, _, _ := unstructured.NestedString(o.Object, "status", "phase")
	return phase
}

// A gang in the native API of the server that there is, and Volcano's CRD, which is
// installed while the scheduler runs.
func TestGroupsOnARealAPIServer(t *testing.T) {
	r := start(t)
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "team-a"}}
	if _, err := r.cluster.Client.CoreV1().Namespaces().Create(t.Context(), ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	f, err := groupstest.Load("native-v1alpha2")
	if err != nil {
		t.Fatal(err)
	}
	workload, group := f.Objects[0], f.Objects[1]
	for _, gated := range []string{"schedulingConstraints", "disruptionMode", "priorityClassName", "priority"} { // behind further gates
		unstructured.RemoveNestedField(group.Object, "spec", gated)
	}
	r.create(workload, "workloads")
	r.create(group, "podgroups")
	native := groups.Key{API: groups.Native, Namespace: "team-a", Name: "sample-cluster"}

	t.Run("a pod that the server took refers to its group", func(t *testing.T) {
		pod := f.Pods[0]
		pod.UID, pod.OwnerReferences = "", nil
		got, err := r.cluster.Client.CoreV1().Pods("team-a").Create(t.Context(), pod, metav1.CreateOptions{})
		if err != nil {
			t.Fatal(err)
		}
		kubetest.Eventually(t, func(context.Context) error {
			m, problems := groups.Read(got, r.watch, groups.Options{})
			if m.Wait != "" || len(problems) > 0 {
				return fmt.Errorf("%s %v", m.Wait, problems)
			}
			if m.Info.Min != 3 || m.Info.Queue != "root.test" || m.Info.Object.UID == "" { // the Workload may come after the group
				return fmt.Errorf("%+v", m)
			}
			if !r.watch.HasSynced() { // other APIs are asked after later than this one
				return errors.New("not all that is served has been listed")
			}
			return nil
		})
		if r.watch.Served()[groups.Native] != "v1alpha2" || r.watch.PriorityClass("system-node-critical") == nil {
			t.Errorf("served: %v", r.watch.Served())
		}
	})
	t.Run("its status is taken by the server", func(t *testing.T) {
		r.status.Set(native, groups.State{Members: 3, Reason: groups.Unschedulable, Text: "no room"})
		r.says(native, "v1alpha2", "PodGroupScheduled=False Unschedulable;", conditionOf)
		r.status.Set(native, groups.State{Members: 3, Bound: 3, Preempted: "for team-b"})
		r.says(native, "v1alpha2", "PodGroupScheduled=True Scheduled;DisruptionTarget=True PreemptionByScheduler;", conditionOf)
		r.mu.Lock()
		defer r.mu.Unlock()
		if n := r.changes[native]; n > 2 { // the group, and perhaps its Workload after it
			t.Errorf("writing the status was told as %d changes", n)
		}
	})
	t.Run("a CRD of later is followed and written", func(t *testing.T) {
		f, err := groupstest.Load("kuberay-volcano")
		if err != nil {
			t.Fatal(err)
		}
		r.create(definition("scheduling.volcano.sh", "v1beta1"), "customresourcedefinitions")
		group := f.Objects[0]
		unstructured.RemoveNestedField(group.Object, "status")
		r.create(group, "podgroups")
		k := groups.Key{API: groups.Volcano, Namespace: "team-a", Name: "ray-sample-pg"}
		kubetest.Eventually(t, func(context.Context) error {
			if g := r.watch.PodGroup(k.API, k.Namespace, k.Name); g == nil || g.Min != 3 || g.Queue != "research" {
				return fmt.Errorf("found %+v", g)
			}
			return nil
		})
		r.status.Set(k, groups.State{Members: 3, Admitted: true})
		r.says(k, "v1beta1", "Inqueue", phaseOf)
	})
	t.Run("and forgotten when it is removed", func(t *testing.T) {
		crds := r.dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
		if err := crds.Delete(t.Context(), "podgroups.scheduling.volcano.sh", metav1.DeleteOptions{}); err != nil {
			t.Fatal(err)
		}
		kubetest.Eventually(t, func(context.Context) error {
			if r.watch.PodGroup(groups.Volcano, "team-a", "ray-sample-pg") != nil || r.watch.Served()[groups.Volcano] != "" {
				return fmt.Errorf("still there")
			}
			return nil
		})
	})
}

// definition is a CRD of PodGroups whose schema lets everything through.
func definition(group, version string) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
		"metadata": map[string]any{"name": "podgroups." + group},
		"spec": map[string]any{
			"group": group, "scope": "Namespaced",
			"names": map[string]any{"kind": "PodGroup", "listKind": "PodGroupList", "plural": "podgroups", "singular": "podgroup"},
			"versions": []any{map[string]any{
				"name": version, "served": true, "storage": true,
				"subresources": map[string]any{"status": map[string]any{}},
				"schema": map[string]any{"openAPIV3Schema": map[string]any{
					"type": "object", "x-kubernetes-preserve-unknown-fields": true,
				}},
			}},
		},
	}}
}
