package crd

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"time"

	authv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/musterhq/muster/deploy/crds"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// cluster is a real API server with two nodes, and probes of theirs.
type cluster struct {
	*kubetest.Cluster
	*testing.T
	admin dynamic.Interface
}

const (
	namespace = "muster-system"
	account   = "muster-probe"
)

func TestOnARealAPIServer(t *testing.T) {
	k := &cluster{Cluster: kubetest.Start(t, kubetest.Options{NoKwok: true}), T: t}
	k.admin = dynamic.NewForConfigOrDie(k.Config)
	a, b := k.node("node-a"), k.node("node-b")
	k.account()
	probeA, _ := k.probe(a)

	t.Run("without the CRD it says so", func(t *testing.T) {
		w, stop := k.start(t, probeA, "node-a")
		defer stop()
		reaches(t, w, "NoCRD")
	})
	k.apply(crdText(t))
	k.served()
	k.apply(Admission(namespace + ":" + account))
	k.Run("a node that lies about another is refused", func(t *testing.T) { k.lies(t, a, b) })
	k.Run("a probe writes its own node and follows its spec", func(t *testing.T) { k.writes(t, a) })
	k.Run("a probe without a node in its token writes nothing", func(t *testing.T) {
		config, _ := k.token(&authv1.TokenRequest{})
		w, stop := k.start(t, config, "node-b")
		defer stop()
		w.Report(healthy(8))
		reaches(t, w, "Forbidden")
		if d := w.State().Detail; !strings.Contains(d, "bound to its node") {
			t.Error(d)
		}
	})
	k.Run("where nobody listens it says so", func(t *testing.T) {
		away := rest.CopyConfig(probeA)
		away.Host = closedPort(t)
		w, stop := k.start(t, away, "node-a")
		defer stop()
		reaches(t, w, "Unreachable")
	})
}

// closedPort is an address of this machine that nobody listens at.
func closedPort(t *testing.T) string {
	t.Helper()
	l, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close() //nolint:errcheck // nothing was sent
	return "https://" + l.Addr().String()
}

// crdText is the CRD of GPUNodes.
func crdText(t *testing.T) string {
	t.Helper()
	text, err := crds.Files.ReadFile("muster.dev_gpunodes.yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// apply creates all objects of a text, as kubectl does.
func (k *cluster) apply(text string) {
	k.Helper()
	resources := map[string]schema.GroupVersionResource{
		"CustomResourceDefinition":         {Group: "apiextensions.k8s.io", Version: "v1", Resource: "customresourcedefinitions"},
		"ValidatingAdmissionPolicy":        {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicies"},
		"ValidatingAdmissionPolicyBinding": {Group: "admissionregistration.k8s.io", Version: "v1", Resource: "validatingadmissionpolicybindings"},
	}
	d := yaml.NewYAMLOrJSONDecoder(strings.NewReader(text), 4096)
	for range 9 {
		u := &unstructured.Unstructured{}
		if err := d.Decode(&u.Object); err != nil {
			return // the end
		}
		if len(u.Object) == 0 {
			continue
		}
		if _, err := k.admin.Resource(resources[u.GetKind()]).Create(k.Context(), u, metav1.CreateOptions{}); err != nil {
			k.Fatal(u.GetKind(), err)
		}
	}
}

// served waits until GPUNodes are.
func (k *cluster) served() {
	k.Helper()
	kubetest.Eventually(k.T, func(ctx context.Context) error {
		_, err := k.admin.Resource(api.GPUNodes).List(ctx, metav1.ListOptions{})
		return err
	})
}

func (k *cluster) node(name string) *corev1.Node {
	k.Helper()
	n, err := k.Client.CoreV1().Nodes().Create(k.Context(), &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name}}, metav1.CreateOptions{})
	if err != nil {
		k.Fatal(err)
	}
	return n
}

// account makes the probes' service account, with the least rights.
func (k *cluster) account() {
	k.Helper()
	ctx, none, name := k.Context(), metav1.CreateOptions{}, metav1.ObjectMeta{Name: account}
	_, err1 := k.Client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, none)
	_, err2 := k.Client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: name}, none)
	_, err3 := k.Client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: name, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{api.Group}, Resources: []string{"gpunodes"}, Verbs: []string{"get", "create"}},
		{APIGroups: []string{api.Group}, Resources: []string{"gpunodes/status"}, Verbs: []string{"patch"}},
	}}, none)
	_, err4 := k.Client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: name, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: account},
		Subjects: []rbacv1.Subject{{Kind: "ServiceAccount", Namespace: namespace, Name: account}},
	}, none)
	if err := errors.Join(err1, err2, err3, err4); err != nil {
		k.Fatal(err)
	}
}

// probe is the way in of the probe of a node: with a token that is bound to it.
func (k *cluster) probe(n *corev1.Node) (config *rest.Config, token string) {
	k.Helper()
	return k.token(&authv1.TokenRequest{Spec: authv1.TokenRequestSpec{
		BoundObjectRef: &authv1.BoundObjectReference{APIVersion: "v1", Kind: "Node", Name: n.Name, UID: n.UID},
	}})
}

func (k *cluster) token(r *authv1.TokenRequest) (config *rest.Config, token string) {
	k.Helper()
	r, err := k.Client.CoreV1().ServiceAccounts(namespace).CreateToken(k.Context(), account, r, metav1.CreateOptions{})
	if err != nil {
		k.Fatal(err)
	}
	config = rest.AnonymousClientConfig(k.Config)
	config.BearerToken = r.Status.Token
	return config, r.Status.Token
}

// start runs a writer as a probe would.
func (k *cluster) start(t *testing.T, config *rest.Config, name string) (w *Writer, stop func()) {
	t.Helper()
	w = New(Options{Client: dynamic.NewForConfigOrDie(config), Node: name, Create: true, Every: 1, Poll: 100e6})
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return w, func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Error(err)
		}
	}
}

// reaches waits for a reason; "" is up.
func reaches(t *testing.T, w *Writer, reason string) {
	t.Helper()
	kubetest.Eventually(t, func(context.Context) error {
		if s := w.State(); s.Reason != reason || s.Up != (reason == "") {
			return fmt.Errorf("it is %+v", s)
		}
		return nil
	})
}

// lies has the probe of one node write the GPUNode of the other.
func (k *cluster) lies(t *testing.T, a, b *corev1.Node) {
	config, token := k.probe(a)
	if name, uid := NodeOf(token); name != a.Name || uid != a.UID {
		t.Errorf("the token is of node %q, %q", name, uid)
	}
	lying := dynamic.NewForConfigOrDie(config).Resource(api.GPUNodes)
	object := func(name, spec string) *unstructured.Unstructured {
		u := &unstructured.Unstructured{}
		if err := yaml.Unmarshal([]byte("{apiVersion: muster.dev/v1alpha1, kind: GPUNode, metadata: {name: "+name+"}, spec: "+spec+"}"), &u.Object); err != nil {
			t.Fatal(err)
		}
		return u
	}
	refused := func(ctx context.Context, name, spec, want string) error {
		_, err := lying.Create(ctx, object(name, spec), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), want) {
			return fmt.Errorf("it may create %s %s: %w", name, spec, err)
		}
		return nil
	}
	// A policy holds a moment after it was created.
	kubetest.Eventually(t, func(ctx context.Context) error {
		return refused(ctx, b.Name, "{}", "the probe of node node-a may not write the GPUNode of node-b")
	})
	for _, spec := range []string{`{ignoredXIDs: [79]}`, `{repairedGPUs: [{uuid: GPU-8f1c2d3e-0a1b-2c3d-4e5f-60718293a4b5, at: "2026-01-31T12:00:00Z"}]}`} {
		if err := refused(t.Context(), a.Name, spec, "the spec of a GPUNode is the administrator's"); err != nil {
			t.Error(err)
		}
	}
	if _, err := lying.Create(t.Context(), object(a.Name, "{}"), metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}}); err != nil {
		t.Error("it may not create its own:", err)
	}
	// That of the other is there, as its probe has made it: its status is safe, too.
	if _, err := k.admin.Resource(api.GPUNodes).Create(t.Context(), object(b.Name, "{}"), metav1.CreateOptions{}); err != nil {
		t.Fatal("an administrator may create any:", err)
	}
	patch := []byte(`[{"op":"add","path":"/status","value":{"driver":"mine"}}]`)
	_, err := lying.Patch(t.Context(), b.Name, types.JSONPatchType, patch, metav1.PatchOptions{}, "status")
	if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "may not write the GPUNode of node-b") {
		t.Error("it may write the status of another:", err)
	}
	w, stop := k.start(t, config, b.Name)
	defer stop()
	w.Report(healthy(8))
	reaches(t, w, "Forbidden")
}

// writes has a probe report, and looks at it as an administrator.
func (k *cluster) writes(t *testing.T, n *corev1.Node) {
	config, _ := k.probe(n)
	w, stop := k.start(t, config, n.Name)
	defer stop()
	all := healthy(70) // more than there may be
	all.GPUs[1].Health = api.GPUHealth{State: api.GPUFailed, Reason: "Xid79", RecoveryAction: api.RecoveryReset}
	all.GPUs[2].MIGMode, all.GPUs[2].MIG = true, []api.MIGInstance{{UUID: "MIG-1", Profile: "1g.10gb"}}
	all.GPUs[2].Peers = []string{"00000000:19:00.0"}
	all.DriverLoad = "8f1c0000-0000-4000-8000-000000000000/4711"
	w.Report(all)
	got := k.shows(t, maxGPUs)
	if got.Status.Trouble != "1: Failed Xid79" || got.Status.GPUs[0].Memory.String() != "81559Mi" || got.Status.GPUs[2].MIG[0].Profile != "1g.10gb" {
		t.Errorf("%+v", got.Status)
	}
	spec := []byte(`{"spec":{"cordonedGPUs":["GPU-8f1c2d3e-0a1b-2c3d-4e5f-60718293a4b5"]}}`)
	if _, err := k.admin.Resource(api.GPUNodes).Patch(t.Context(), n.Name, types.MergePatchType, spec, metav1.PatchOptions{}); err != nil {
		t.Fatal(err)
	}
	kubetest.Eventually(t, func(context.Context) error {
		s, _ := w.Spec()
		now, err := k.read(t, n.Name)
		if err == nil && (len(s.CordonedGPUs) != 1 || now.Status.ObservedGeneration != now.Generation) {
			err = fmt.Errorf("%+v, generation %d of %d", s, now.Status.ObservedGeneration, now.Generation)
		}
		return err
	})
	// What is the same is not written again, by a writer that looks ten times a second and
	// need not wait between writes.
	before, err1 := k.read(t, n.Name)
	w.Report(all)
	time.Sleep(time.Second)
	after, err2 := k.read(t, n.Name)
	if err := errors.Join(err1, err2); err != nil || before.ResourceVersion != after.ResourceVersion {
		t.Errorf("the same was written again: %v", err)
	}
	k.finds(t, config, n.Name, all.DriverLoad)
}

// finds starts another probe of a node, which needs to know what the one before has left.
func (k *cluster) finds(t *testing.T, config *rest.Config, name, load string) {
	found := make(chan api.GPUNodeStatus, 1)
	w := New(Options{Client: dynamic.NewForConfigOrDie(config), Node: name, Found: func(s api.GPUNodeStatus, err error) {
		if err != nil {
			t.Error(err)
		}
		found <- s
	}})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- w.Run(ctx) }()
	if s := <-found; s.DriverLoad != load || s.GPUs[1].Health.Reason != "Xid79" {
		t.Errorf("%+v", s)
	}
	cancel()
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Error(err)
	}
}

// shows waits until node-a has so many GPUs.
func (k *cluster) shows(t *testing.T, gpus int) (n *api.GPUNode) {
	t.Helper()
	kubetest.Eventually(t, func(context.Context) (err error) {
		if n, err = k.read(t, "node-a"); err == nil && (n.Status.GPUCount == nil || int(*n.Status.GPUCount) != gpus) {
			err = fmt.Errorf("the status is %+v", n.Status)
		}
		return err
	})
	return n
}

func (k *cluster) read(t *testing.T, name string) (*api.GPUNode, error) {
	t.Helper()
	u, err := k.admin.Resource(api.GPUNodes).Get(t.Context(), name, metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	n := &api.GPUNode{}
	return n, runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, n)
}
