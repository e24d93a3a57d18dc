package objects_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/record"
	"sigs.k8s.io/yaml"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/deploy/crds"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/kube/kubetest"
	"github.com/musterhq/muster/runtime/kube/objects/policy"
	"github.com/musterhq/muster/runtime/kube/objects/queue"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// TestOnARealAPIServer runs the controllers with the rights that they need and no
// others, and looks at what came of it as an administrator.
func TestOnARealAPIServer(t *testing.T) {
	k := &cluster{Cluster: kubetest.Start(t, kubetest.Options{NoKwok: true}), T: t}
	k.dynamic = dynamic.NewForConfigOrDie(k.Config)
	k.install()
	k.account()
	t.Run("objects that can't be are refused with what to do", k.refusals)
	t.Run("Queue objects are served with what they use", k.queues)
	t.Run("a ConfigMap with errors gets an event with line and column", k.configMap)
	t.Run("a policy is replaced by kubectl apply and rolled back by an annotation", k.policies)
}

type cluster struct {
	*kubetest.Cluster
	*testing.T
	dynamic dynamic.Interface
	as      *rest.Config // the controllers' service account
}

// install installs the CRDs, and waits until they are served.
func (k *cluster) install() {
	k.Helper()
	files, err := crds.Files.ReadDir(".")
	if err != nil || len(files) != 3 {
		k.Fatal(files, err)
	}
	resource := k.dynamic.Resource(schema.GroupVersionResource{Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"})
	for _, f := range files {
		text, err := crds.Files.ReadFile(f.Name())
		if err != nil {
			k.Fatal(err)
		}
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal(text, &u.Object); err != nil {
			k.Fatal(err)
		}
		if _, err := resource.Create(k.Context(), u, metav1.CreateOptions{}); err != nil {
			k.Fatal(err)
		}
	}
	for _, r := range []schema.GroupVersionResource{api.Queues, api.Policies} {
		kubetest.Eventually(k.T, func(ctx context.Context) error {
			_, err := k.dynamic.Resource(r).List(ctx, metav1.ListOptions{})
			return err
		})
	}
}

// account makes the controllers' service account, with the least rights.
func (k *cluster) account() {
	k.Helper()
	must := func(_ any, err error) {
		k.Helper()
		if err != nil {
			k.Fatal(err)
		}
	}
	ctx, none := k.Context(), metav1.CreateOptions{}
	must(k.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "muster"}}, none))
	must(k.Client.CoreV1().ServiceAccounts("muster").Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "objects"}}, none))
	subjects := []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: "muster", Name: "objects"}}
	name := metav1.ObjectMeta{Name: "objects"}
	must(k.Client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{api.Group}, Resources: []string{"queues", "policies"}, Verbs: []string{"list", "watch"}},
		{APIGroups: []string{api.Group}, Resources: []string{"queues/status", "policies/status"}, Verbs: []string{"patch"}},
		{APIGroups: []string{""}, Resources: []string{"events"}, Verbs: []string{"create", "patch"}},
	}}, none))
	must(k.Client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: name, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "objects"},
	}, none))
	must(k.Client.RbacV1().Roles("muster").Create(ctx, &rbacv1.Role{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"configmaps"}, ResourceNames: []string{"yunikorn-configs", "order"}, Verbs: []string{"list", "watch"}},
	}}, none))
	must(k.Client.RbacV1().RoleBindings("muster").Create(ctx, &rbacv1.RoleBinding{
		ObjectMeta: name, Subjects: subjects, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "objects"},
	}, none))
	k.as = k.ConfigFor("muster/objects")
}

// events tells events with the account's rights.
func (k *cluster) events(t *testing.T) record.EventRecorder {
	b := record.NewBroadcaster()
	b.StartRecordingToSink(&typedcorev1.EventSinkImpl{Interface: kubernetes.NewForConfigOrDie(k.as).CoreV1().Events("")})
	t.Cleanup(b.Shutdown)
	return b.NewRecorder(scheme.Scheme, corev1.EventSource{Component: "muster"})
}

// run runs a controller until the test ends.
func (k *cluster) run(t *testing.T, what func(context.Context) error) {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- what(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	})
}

// apply creates an object or replaces its spec, as kubectl apply does.
func (k *cluster) apply(r schema.GroupVersionResource, kind, name, spec string) error {
	u := &unstructured.Unstructured{}
	text := fmt.Sprintf("{apiVersion: muster.dev/v1alpha1, kind: %s, metadata: {name: %s}, spec: %s}", kind, name, spec)
	if err := yaml.Unmarshal([]byte(text), &u.Object); err != nil {
		return err
	}
	_, err := k.dynamic.Resource(r).Apply(k.Context(), name, u, metav1.ApplyOptions{FieldManager: "test", Force: true})
	return err
}

func (k *cluster) queue(t *testing.T, name, spec string) {
	t.Helper()
	if err := k.apply(api.Queues, "Queue", name, spec); err != nil {
		t.Fatal(err)
	}
}

func (k *cluster) refusals(t *testing.T) {
	k.queue(t, "fixed", `{parent: above}`)
	for _, tt := range []struct{ kind, name, spec, want string }{
		{"Queue", "a", `{guaranteed: {memory: 2Gi}, max: {memory: 1Gi}}`, "spec.max: Invalid value: max is below guaranteed for a resource"},
		{"Queue", "a", `{max: {cpu: -1}}`, "an amount can't be negative; write 0"},
		{"Queue", "a", `{minRuntime: soon}`, "must be a duration: write 90s, 5m or 1h30m"},
		{"Queue", "a", `{parent: a}`, "a queue can't be its own parent"},
		{"Queue", "a.b", `{}`, "set spec.name"},
		{"Queue", "root", `{max: {cpu: 1}}`, "the root has what the nodes have"},
		{"Queue", "fixed", `{parent: elsewhere}`, "a queue can't be moved"},
		{"Policy", "p", `{source: {file: a.wasm, folder: b}}`, "a policy has exactly one source"},
		{"Policy", "p", `{source: {file: a.wasm}, digest: abc}`, "a digest is sha256:"},
		{"Policy", "p", `{source: {file: a.wasm}, beside: fifo}`, "beside is for shadows"},
	} {
		r := api.Queues
		if tt.kind == "Policy" {
			r = api.Policies
		}
		if err := k.apply(r, tt.kind, tt.name, tt.spec); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s %s: %s\nwant %q", tt.name, tt.spec, fmt.Sprint(err), tt.want)
		}
	}
	if err := k.dynamic.Resource(api.Queues).Delete(t.Context(), "fixed", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
}

// table is what kubectl get prints: the cells by the columns' names.
func (k *cluster) table(ctx context.Context, resource, name string) (map[string]any, error) {
	raw, err := k.Client.Discovery().RESTClient().Get().AbsPath("/apis/muster.dev/v1alpha1/"+resource+"/"+name).
		SetHeader("Accept", "application/json;as=Table;v=v1;g=meta.k8s.io").DoRaw(ctx)
	if err != nil {
		return nil, err
	}
	var table metav1.Table
	if err := json.Unmarshal(raw, &table); err != nil {
		return nil, err
	}
	out := map[string]any{}
	for i, c := range table.ColumnDefinitions {
		out[c.Name] = table.Rows[0].Cells[i]
	}
	return out, nil
}

// shows waits until kubectl get prints these cells.
func (k *cluster) shows(t *testing.T, resource, name string, want map[string]any) {
	t.Helper()
	kubetest.Eventually(t, func(ctx context.Context) error {
		got, err := k.table(ctx, resource, name)
		if err != nil {
			return err
		}
		for column, cell := range want {
			if fmt.Sprint(got[column]) != fmt.Sprint(cell) {
				return fmt.Errorf("%s: column %s shows %v, not %v", name, column, got[column], cell)
			}
		}
		return nil
	})
}

// told waits for an event about an object.
func (k *cluster) told(t *testing.T, name, reason string, parts ...string) {
	t.Helper()
	kubetest.Eventually(t, func(ctx context.Context) error {
		list, err := k.Client.CoreV1().Events("").List(ctx, metav1.ListOptions{})
		if err != nil {
			return err
		}
		for _, e := range list.Items {
			if e.InvolvedObject.Name != name || e.Reason != reason {
				continue
			}
			for _, part := range parts {
				if !strings.Contains(e.Message, part) {
					return fmt.Errorf("no %q in %q", part, e.Message)
				}
			}
			return nil
		}
		return fmt.Errorf("no event %s about %s", reason, name)
	})
}

func (k *cluster) queues(t *testing.T) {
	s, err := queue.NewObjects(queue.ObjectsOptions{
		Client: dynamic.NewForConfigOrDie(k.as), Events: k.events(t), Every: 10 * time.Millisecond,
		Failed: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	var mu sync.Mutex
	var holds *spec.Tree
	k.run(t, func(ctx context.Context) error {
		return s.Watch(ctx, func(tree *spec.Tree) error {
			mu.Lock()
			defer mu.Unlock()
			holds = tree
			return nil
		})
	})
	s.Report(nil) // it leads
	k.queue(t, "llm", `{parent: research, guaranteed: {nvidia.com/gpu: 4}}`)
	k.shows(t, "queues", "llm", map[string]any{"State": "Refused"})
	k.queue(t, "research", `{guaranteed: {nvidia.com/gpu: 4}, max: {nvidia.com/gpu: 8}}`)
	k.shows(t, "queues", "llm", map[string]any{"State": "Active", "Path": "root.research.llm", "Why": "the queue is as the spec says"})
	gpus := func(n int64) spec.Resources { return spec.GPUs(n).Set("nvidia.com/gpu:H100", spec.GPUs(n)[0].Amount) }
	s.Report(map[string]queue.Use{"root.research.llm": {Guaranteed: gpus(4), Max: gpus(8), Used: gpus(3), Pending: gpus(16), Running: 3, Waiting: 2}})
	k.shows(t, "queues", "llm", map[string]any{
		"GPUs guaranteed": "4", "GPUs max": "8", "GPUs used": "3", "GPUs pending": "16", "Jobs running": 3, "Jobs pending": 2,
	})
	k.queue(t, "llm", `{parent: research, guaranteed: {nvidia.com/gpu: 9}}`)
	k.shows(t, "queues", "llm", map[string]any{"State": "Outdated", "GPUs used": "3"})
	k.told(t, "llm", "Invalid", "spec.guaranteed[nvidia.com/gpu]")
	mu.Lock()
	defer mu.Unlock()
	if g, _ := holds.Root.Children[0].Children[0].Guaranteed.Get("nvidia.com/gpu"); g != 4000 {
		t.Errorf("%d is guaranteed", g)
	}
}

func (k *cluster) configMap(t *testing.T) {
	c, err := queue.NewConfigMap(queue.ConfigMapOptions{
		Client: kubernetes.NewForConfigOrDie(k.as), Namespace: "muster", Name: "yunikorn-configs", Events: k.events(t),
	})
	if err != nil {
		t.Fatal(err)
	}
	k.run(t, func(ctx context.Context) error { return c.Watch(ctx, func(*spec.Tree) error { return nil }) })
	kubetest.Eventually(t, func(context.Context) error {
		if err := c.Ready(); err == nil || !strings.Contains(err.Error(), "there is no ConfigMap muster/yunikorn-configs") {
			return fmt.Errorf("ready says %w", err)
		}
		return nil
	})
	m := &corev1.ConfigMap{
		ObjectMeta: metav1.ObjectMeta{Name: "yunikorn-configs"},
		Data:       map[string]string{"queues.yaml": "partitions:\n- name: default\n  queues:\n  - name: root\n    qeues: []\n"},
	}
	maps := k.Client.CoreV1().ConfigMaps("muster")
	if _, err := maps.Create(t.Context(), m, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	k.told(t, "yunikorn-configs", "InvalidQueues", "1 error", "queues.yaml:5:5: error[unknown-key]", "did you mean queues?")
	m.Data["queues.yaml"] = strings.Replace(m.Data["queues.yaml"], "qeues: []", "queues: [{name: a}]", 1)
	if _, err := maps.Update(t.Context(), m, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, func(context.Context) error { return c.Ready() })
	k.told(t, "yunikorn-configs", "QueuesApplied")
}

func (k *cluster) policies(t *testing.T) {
	var mu sync.Mutex
	active := ""
	life := reload.Options{Swap: func(s reload.Set) <-chan struct{} {
		mu.Lock()
		defer mu.Unlock()
		if active = ""; s.Named["order"] != nil {
			active = s.Named["order"].Info().Version
		}
		retired := make(chan struct{})
		close(retired)
		return retired
	}}
	c, err := policy.New(policy.Options{
		Client: dynamic.NewForConfigOrDie(k.as), Core: kubernetes.NewForConfigOrDie(k.as), Namespace: "muster",
		Life: life, Events: k.events(t), Failed: func(err error) { t.Error(err) },
	})
	if err != nil {
		t.Fatal(err)
	}
	k.run(t, c.Run)
	if err := k.apply(api.Policies, "Policy", "order", `{source: {configMap: {name: order, key: order.wasm}}}`); err != nil {
		t.Fatal(err)
	}
	k.shows(t, "policies", "order", map[string]any{"State": "Refused"})
	maps := k.Client.CoreV1().ConfigMaps("muster")
	store := func(version string) *corev1.ConfigMap {
		module := wasmtest.GoodWithMetadata(fmt.Sprintf(`{"name":"order","version":%q}`, version))
		return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Name: "order"}, BinaryData: map[string][]byte{"order.wasm": module}}
	}
	if _, err := maps.Create(t.Context(), store("1.0.0"), metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	k.shows(t, "policies", "order", map[string]any{"State": "Active", "Version": "1.0.0"})
	if _, err := maps.Update(t.Context(), store("2.0.0"), metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	k.shows(t, "policies", "order", map[string]any{"State": "Active", "Version": "2.0.0", "Queues": 0})
	if err := policy.Ask(t.Context(), k.dynamic, reload.OpRollback, "order", "now"); err != nil {
		t.Fatal(err)
	}
	k.shows(t, "policies", "order", map[string]any{"State": "RolledBack"})
	k.told(t, "order", "Active", "order")
	mu.Lock()
	defer mu.Unlock()
	if active != "1.0.0" {
		t.Errorf("%s decides", active)
	}

	// A ConfigMap that the account may not read is said so.
	if err := k.apply(api.Policies, "Policy", "foreign", `{source: {configMap: {namespace: default, name: secret}}}`); err != nil {
		t.Fatal(err)
	}
	k.shows(t, "policies", "foreign", map[string]any{"State": "Refused"})
	u, err := k.dynamic.Resource(api.Policies).Get(t.Context(), "foreign", metav1.GetOptions{})
	if err != nil {
		t.Fatal(err)
	}
	if code, _, _ := unstructured.NestedString(u.Object, "status", "code"); code != "unauthorized" {
		t.Errorf("code %s", code)
	}
}
