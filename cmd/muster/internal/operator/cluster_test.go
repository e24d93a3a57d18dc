package operator

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/kube/objects/policy"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/source"
	"github.com/musterhq/muster/runtime/reload/wanted"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// long is how long these tests wait for what must come.
const long = time.Minute

// newCluster is one in which nobody follows Policy objects yet.
func newCluster(t *testing.T) *Cluster {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := api.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	objects := dynamicfake.NewSimpleDynamicClient(scheme)
	count := int64(0)
	objects.PrependReactor("*", "policies", func(a clienttesting.Action) (bool, runtime.Object, error) {
		w, ok := a.(clienttesting.UpdateAction) // creating looks alike
		if !ok || a.GetSubresource() != "" {
			return false, nil, nil
		}
		// As the API server does it: a spec that changes has a new generation, and nobody
		// but who writes the status changes that.
		u := w.GetObject().(*unstructured.Unstructured)
		count++
		u.SetGeneration(count)
		delete(u.Object, "status")
		if now, err := objects.Tracker().Get(api.Policies, "", u.GetName()); err == nil {
			if status, has := now.(*unstructured.Unstructured).DeepCopy().Object["status"]; has {
				u.Object["status"] = status
			}
		}
		return false, nil, nil
	})
	return &Cluster{Objects: objects, Core: fake.NewClientset(), Namespace: "muster-system", Every: 5 * time.Millisecond}
}

// follow runs what a scheduler follows Policy objects with, until the test ends.
func follow(t *testing.T, c *Cluster) {
	t.Helper()
	o, err := policy.New(policy.Options{
		Client: c.Objects, Core: c.Core, Namespace: c.Namespace, Every: 20 * time.Millisecond,
		Life: reload.Options{Swap: func(reload.Set) <-chan struct{} {
			retired := make(chan struct{})
			close(retired)
			return retired
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- o.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("Run ended by %v", err)
		}
	})
}

func module(version string) []byte {
	return wasmtest.GoodWithMetadata(fmt.Sprintf(`{"name":"order","version":%q}`, version))
}

// load puts a module into the cluster, as `muster policy load --cluster` does.
func load(t *testing.T, c *Cluster, s wanted.Spec, module []byte) (before, after *api.Policy, digest string) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "order.wasm")
	if err := os.WriteFile(path, module, 0o600); err != nil {
		t.Fatal(err)
	}
	s.Source = wanted.Source{Kind: wanted.FromFile, At: path}
	a, err := Fetch(t.Context(), s.Source)
	if err != nil {
		t.Fatal(err)
	}
	before, after, err = c.Put(t.Context(), s, a)
	if err != nil {
		t.Fatal(err)
	}
	return before, after, a.Content
}

// loaded loads a module and waits until the scheduler has it.
func loaded(t *testing.T, c *Cluster, s wanted.Spec, module []byte) *api.Policy {
	t.Helper()
	before, after, digest := load(t, c, s, module)
	p, err := c.AwaitLoad(t.Context(), before, after, digest, long)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestWhatIsAskedOfAClusterIsDoneByItsScheduler(t *testing.T) {
	c := newCluster(t)
	follow(t, c)
	order := wanted.Spec{Name: "order"}
	loaded(t, c, order, module("1.0.0"))
	if p := loaded(t, c, order, module("2.0.0")); p.Status.State != "Active" || p.Status.Version != "2.0.0" || p.Status.Standby == nil {
		t.Fatalf("%+v", p.Status)
	}

	before, after, err := c.Ask(t.Context(), reload.OpRollback, "order", long)
	if err != nil || Decides(before).Version != "2.0.0" || Decides(after).Version != "1.0.0" {
		t.Fatalf("%+v, %+v, %v", before, after, err)
	}
	var e *Error
	if _, _, err := c.Ask(t.Context(), reload.OpRollback, "order", long); !errors.As(err, &e) || !strings.Contains(err.Error(), "no version of order to go back to") || e.Hint == "" {
		t.Errorf("a second time: %v", err)
	}
	if _, after, err = c.Ask(t.Context(), reload.OpReload, "order", long); err != nil || Decides(after).Version != "2.0.0" {
		t.Errorf("%+v, %v", after, err)
	}
	if _, _, err = c.Ask(t.Context(), reload.OpReload, "order", long); err != nil { // nothing changes but what runs
		t.Error(err)
	}
}

func TestAShadowIsPromotedByTheNameThatQueuesUse(t *testing.T) {
	c := newCluster(t)
	follow(t, c)
	loaded(t, c, wanted.Spec{Name: "order"}, module("1.0.0"))
	if _, _, err := c.Ask(t.Context(), reload.OpPromote, "order", long); err == nil || !strings.Contains(err.Error(), "no shadow beside order") {
		t.Errorf("without a shadow: %v", err)
	}
	p := loaded(t, c, wanted.Spec{Name: "candidate", Mode: wanted.Shadow, Beside: "order", Params: map[string]any{}}, module("2.0.0"))
	if p.Status.State != "Shadow" || Slot(p) != "order" {
		t.Fatalf("%+v", p.Status)
	}
	before, after, err := c.Ask(t.Context(), reload.OpPromote, "order", long)
	if err != nil || after.Name != "candidate" || Decides(before).Version != "1.0.0" || Decides(after).Version != "2.0.0" {
		t.Errorf("%+v, %+v, %v", before, after, err)
	}
}

func TestAClusterThatDoesNotAnswerIsTold(t *testing.T) {
	c := newCluster(t)
	told := func(err error, want string) {
		t.Helper()
		var e *Error
		if !errors.As(err, &e) || !strings.Contains(e.Problem, want) || e.Hint == "" {
			t.Errorf("want %q: %v", want, err)
		}
	}
	_, _, err := c.Ask(t.Context(), reload.OpReload, "order", long)
	told(err, `there is no Policy object "order"`)
	before, after, digest := load(t, c, wanted.Spec{Name: "order"}, module("1.0.0"))
	_, err = c.AwaitLoad(t.Context(), before, after, digest, time.Millisecond)
	told(err, "no scheduler of the cluster has taken it")
	_, _, err = c.Ask(t.Context(), reload.OpReload, "order", time.Millisecond)
	told(err, "no scheduler of the cluster has answered")

	objects := c.Objects.(*dynamicfake.FakeDynamicClient)
	var fail error
	objects.PrependReactor("*", "policies", func(clienttesting.Action) (bool, runtime.Object, error) { return fail != nil, nil, fail })
	for _, f := range []struct {
		err  error
		want string
	}{
		{apierrors.NewForbidden(api.Policies.GroupResource(), "order", errors.New("no")), "the cluster refuses it"},
		{apierrors.NewGenericServerResponse(404, "get", api.Policies.GroupResource(), "", "", 0, true), "does not know Policy objects"},
		{errors.New("connection refused"), "can't be asked: connection refused"},
	} {
		fail = f.err
		_, err = c.List(t.Context())
		told(err, f.want)
		_, _, err = c.Ask(t.Context(), reload.OpReload, "order", long)
		told(err, f.want)
	}
}

func TestWhatTheSchedulerRefusesIsTold(t *testing.T) {
	c := newCluster(t)
	follow(t, c)
	loaded(t, c, wanted.Spec{Name: "order"}, module("1.0.0"))
	before, after, digest := load(t, c, wanted.Spec{Name: "order"}, wasmtest.Truncated())
	if _, err := c.AwaitLoad(t.Context(), before, after, digest, long); err == nil || !strings.Contains(err.Error(), "the scheduler refused it") || !strings.Contains(err.Error(), "truncated") {
		t.Errorf("half a module: %v", err)
	}
	if p := loaded(t, c, wanted.Spec{Name: "order"}, module("1.0.0")); p.Status.State != "Active" {
		t.Errorf("%+v", p.Status)
	}
}

func TestALoadKeepsWhatItDoesNotSayAndTakesNothingOfOthers(t *testing.T) {
	c := newCluster(t)
	_, p, _ := load(t, c, wanted.Spec{Name: "order", Digest: "sha256:" + strings.Repeat("0", 64), ShadowFor: time.Hour, Params: map[string]any{"patience": int64(3)}}, module("1.0.0"))
	if p.Spec.Mode != wanted.Active || p.Spec.ShadowFor != "1h0m0s" || string(p.Spec.Params["patience"].Raw) != "3" || p.Spec.Source.ConfigMap.Key != "order.wasm.gz" {
		t.Errorf("%+v", p.Spec)
	}
	p.Spec.Kinds, p.Labels = []api.PolicyKindName{"job_order"}, map[string]string{"team": "a"}
	fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p)
	if err != nil {
		t.Fatal(err)
	}
	u := &unstructured.Unstructured{Object: fields}
	if _, err := c.Objects.Resource(api.Policies).Update(t.Context(), u, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	_, p, _ = load(t, c, wanted.Spec{Name: "order"}, module("2.0.0"))
	if len(p.Spec.Kinds) != 1 || p.Labels["team"] != "a" || p.Spec.Digest != "" || p.Spec.ShadowFor != "" || p.Spec.Params != nil {
		t.Errorf("%+v %v", p.Spec, p.Labels)
	}

	from, _, err := c.sourceOf(wanted.Spec{Name: "theirs"}, &source.Artifact{Module: module("1.0.0")})
	if err != nil {
		t.Fatal(err)
	}
	name := from.ConfigMap.Name
	theirs := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: c.Namespace, Name: name}, Data: map[string]string{"a": "b"}}
	if _, err := c.Core.CoreV1().ConfigMaps(c.Namespace).Create(t.Context(), theirs, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	noise := make([]byte, maxConfigMap)
	r := rand.NewChaCha8([32]byte{})
	_, _ = r.Read(noise) // it never fails
	for name, tt := range map[string]struct {
		spec wanted.Spec
		a    source.Artifact
		want string
	}{
		"somebody else's":       {wanted.Spec{Name: "theirs"}, source.Artifact{Module: module("1.0.0")}, "is somebody else's"},
		"too large":             {wanted.Spec{Name: "large"}, source.Artifact{Module: noise}, "a ConfigMap holds 1,024"},
		"a folder in a folder":  {wanted.Spec{Name: "rules"}, source.Artifact{Files: map[string][]byte{"a/b.rego": nil}}, "can't be a key"},
		"a layout":              {wanted.Spec{Name: "order", Source: wanted.Source{Kind: wanted.FromLayout, At: "x:1"}}, source.Artifact{}, "a folder of this machine"},
		"a name with a capital": {wanted.Spec{Name: "Order"}, source.Artifact{}, "can't be the name"},
	} {
		var e *Error
		if _, _, err := c.Put(t.Context(), tt.spec, &tt.a); !errors.As(err, &e) || !strings.Contains(err.Error(), tt.want) || e.Hint == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	if m, err := c.Core.CoreV1().ConfigMaps(c.Namespace).Get(t.Context(), name, metav1.GetOptions{}); err != nil || m.Data["a"] != "b" {
		t.Errorf("%+v, %v", m, err)
	}
}

// The module of a shadow must never decide for a moment, in the place of what it is compared
// with: each content has its own ConfigMap, and the object turns to it at once.
func TestALoadNeverChangesWhatRuns(t *testing.T) {
	c := newCluster(t)
	follow(t, c)
	maps := func() (names []string) {
		t.Helper()
		l, err := c.Core.CoreV1().ConfigMaps(c.Namespace).List(t.Context(), metav1.ListOptions{})
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range l.Items {
			names = append(names, m.Name)
			if m.Immutable == nil || !*m.Immutable || len(m.OwnerReferences) != 1 || m.OwnerReferences[0].Name != "order" {
				t.Errorf("%+v", m.ObjectMeta)
			}
		}
		return names
	}
	for i := range 4 {
		loaded(t, c, wanted.Spec{Name: "order"}, module(fmt.Sprintf("1.%d.0", i)))
		if n := len(maps()); n != min(i+1, 2) {
			t.Errorf("after load %d there are %d ConfigMaps", i+1, n)
		}
	}
	before := maps()
	p := loaded(t, c, wanted.Spec{Name: "order", Mode: wanted.Shadow}, module("2.0.0"))
	if p.Status.State != "Shadow" || p.Status.Active == nil || p.Status.Active.Version != "1.3.0" {
		t.Errorf("%+v", p.Status)
	}
	if after := maps(); slices.Equal(before, after) || len(after) != 2 {
		t.Errorf("%v, then %v", before, after)
	}
	loaded(t, c, wanted.Spec{Name: "order", Mode: wanted.Shadow}, module("2.0.0")) // the same again
}

func TestFromARegistryNothingIsCopied(t *testing.T) {
	c := newCluster(t)
	_, p, err := c.Put(t.Context(), wanted.Spec{Name: "order", Source: wanted.Source{Kind: wanted.FromOCI, At: "registry.internal/policies/order:1.5"}}, nil)
	if err != nil || p.Spec.Source.OCI == nil || p.Spec.Source.ConfigMap != nil {
		t.Fatalf("%+v, %v", p, err)
	}
	if l, err := c.Core.CoreV1().ConfigMaps("").List(t.Context(), metav1.ListOptions{}); err != nil || len(l.Items) > 0 {
		t.Errorf("%+v, %v", l, err)
	}
}

func TestASignatureGoesWithItsModule(t *testing.T) {
	c := newCluster(t)
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := NewKey(key, "ed25519"); err != nil {
		t.Fatal(err)
	}
	signer, err := Signer(key)
	if err != nil {
		t.Fatal(err)
	}
	s := wanted.Spec{Name: "order", Source: wanted.Source{Kind: wanted.FromFile, At: filepath.Join(dir, "order.wasm")}}
	if err := os.WriteFile(s.Source.At, module("1.0.0"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, _, err := Sign(t.Context(), s.Source, signer, ""); err != nil {
		t.Fatal(err)
	}
	a, err := Fetch(t.Context(), s.Source)
	if err != nil {
		t.Fatal(err)
	}
	_, p, err := c.Put(t.Context(), s, a)
	if err != nil {
		t.Fatal(err)
	}
	// What the scheduler reads there is what was signed here.
	back, err := source.Fetch(t.Context(), wanted.Source{Kind: wanted.FromConfigMap, At: c.Namespace + "/" + p.Spec.Source.ConfigMap.Name + "/" + p.Spec.Source.ConfigMap.Key}, "", source.Options{
		ConfigMap: func(ctx context.Context, namespace, name string) (map[string][]byte, error) {
			m, err := c.Core.CoreV1().ConfigMaps(namespace).Get(ctx, name, metav1.GetOptions{})
			if err != nil {
				return nil, err
			}
			return m.BinaryData, nil
		},
	})
	if err != nil || !bytes.Equal(back.Module, a.Module) || len(back.Signatures) != 1 || back.Signed != a.Signed {
		t.Errorf("%v: %d signatures of %s", err, len(back.Signatures), back.Signed)
	}
}
