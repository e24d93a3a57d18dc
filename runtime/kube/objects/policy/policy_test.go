package policy

import (
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"
	"sigs.k8s.io/yaml"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/policies"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/trust"
	"github.com/musterhq/muster/runtime/reload/wanted"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// cluster is a fake one with a controller in it, and a loop that is only remembered.
type cluster struct {
	*Controller
	t       testing.TB
	objects *dynamicfake.FakeDynamicClient
	core    *fake.Clientset

	mu    sync.Mutex
	told  []string
	named map[string]policies.Policy
	stop  func()
}

func newCluster(t testing.TB, change ...func(*Options)) *cluster {
	scheme := runtime.NewScheme()
	if err := api.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	k := &cluster{t: t, objects: dynamicfake.NewSimpleDynamicClient(scheme), core: fake.NewClientset()}
	k.start(change...)
	return k
}

// start starts a controller, a new one after stop.
func (k *cluster) start(change ...func(*Options)) {
	k.t.Helper()
	o := Options{
		Client: k.objects, Core: k.core, Namespace: "muster", Events: k, Every: 20 * time.Millisecond,
		Life: reload.Options{Swap: k.swap},
	}
	for _, f := range change {
		f(&o)
	}
	var err error
	if k.Controller, err = New(o); err != nil {
		k.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(k.t.Context())
	done := make(chan error, 1)
	go func() { done <- k.Run(ctx) }()
	k.stop = sync.OnceFunc(func() {
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			k.t.Errorf("Run ended by %v", err)
		}
	})
	k.t.Cleanup(func() { k.stop() })
}

func (k *cluster) swap(s reload.Set) <-chan struct{} {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.named = maps.Clone(s.Named)
	retired := make(chan struct{})
	close(retired)
	return retired
}

func (k *cluster) Event(about runtime.Object, kind, reason, text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.told = append(k.told, fmt.Sprintf("%s %s on %s: %s", kind, reason, about.(*corev1.ObjectReference).Name, text))
}

func (k *cluster) count(part string) (n int) {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, t := range k.told {
		if strings.Contains(t, part) {
			n++
		}
	}
	return n
}

// decides is the version that the next cycle would ask under a name, "" for a built-in.
func (k *cluster) decides(name string) string {
	k.mu.Lock()
	defer k.mu.Unlock()
	if p := k.named[name]; p != nil {
		return p.Info().Version
	}
	return ""
}

func (k *cluster) put(name, text string) {
	k.t.Helper()
	var spec map[string]any
	if err := yaml.Unmarshal([]byte(text), &spec); err != nil {
		k.t.Fatal(err)
	}
	c := k.objects.Resource(api.Policies)
	u, err := c.Get(k.t.Context(), name, metav1.GetOptions{})
	if err == nil {
		u.Object["spec"] = spec
		u.SetGeneration(u.GetGeneration() + 1)
		_, err = c.Update(k.t.Context(), u, metav1.UpdateOptions{})
	} else {
		u = &unstructured.Unstructured{Object: map[string]any{"spec": spec}}
		u.SetGroupVersionKind(api.PolicyKind)
		u.SetName(name)
		u.SetGeneration(1)
		_, err = c.Create(k.t.Context(), u, metav1.CreateOptions{})
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

// store puts binary keys into the ConfigMap muster/NAME.
func (k *cluster) store(name string, keys map[string][]byte) {
	k.t.Helper()
	m := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "muster", Name: name}, BinaryData: keys}
	c := k.core.CoreV1().ConfigMaps("muster")
	_, err := c.Update(k.t.Context(), m, metav1.UpdateOptions{})
	if apierrors.IsNotFound(err) {
		_, err = c.Create(k.t.Context(), m, metav1.CreateOptions{})
	}
	if err != nil {
		k.t.Fatal(err)
	}
}

func (k *cluster) status(name string) api.PolicyStatus {
	k.t.Helper()
	u, err := k.objects.Resource(api.Policies).Get(k.t.Context(), name, metav1.GetOptions{})
	if err != nil {
		k.t.Fatal(err)
	}
	var out api.Policy
	if err := runtime.DefaultUnstructuredConverter.FromUnstructured(u.Object, &out); err != nil {
		k.t.Fatal(err)
	}
	return out.Status
}

// condition is one in short: "True Done".
func (k *cluster) condition(name, kind string) string {
	for _, c := range k.status(name).Conditions {
		if c.Type == kind {
			return fmt.Sprintf("%s %s", c.Status, c.Reason)
		}
	}
	return ""
}

func (k *cluster) eventually(what string, ok func() bool) {
	k.t.Helper()
	for end := time.Now().Add(30 * time.Second); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	k.t.Fatalf("not in time: %s; told:\n%s", what, strings.Join(k.told, "\n"))
}

// is waits for an object's state.
func (k *cluster) is(name, state, version string) {
	k.t.Helper()
	k.eventually(fmt.Sprintf("%s %s %s", name, state, version), func() bool {
		s := k.status(name)
		return s.State == state && s.Version == version
	})
}

// module is a good module of that version.
func module(version string) []byte {
	return wasmtest.GoodWithMetadata(fmt.Sprintf(`{"name":"order","version":%q}`, version))
}

const fromMap = `{source: {configMap: {name: order, key: order.wasm}}}`

func TestAPolicyThatIsNotThereIsWaitedFor(t *testing.T) {
	k := newCluster(t)
	k.put("order", fromMap)
	k.eventually("that it is missing", func() bool {
		s := k.status("order")
		return s.State == "Refused" && s.Code == "not-found" && strings.Contains(s.Message, "there is no such ConfigMap")
	})
	if got := k.condition("order", api.PolicyFetched); got != "False NotFound" {
		t.Errorf("fetched: %s", got)
	}
	k.store("order", map[string][]byte{"other.wasm": module("1.0.0")})
	k.eventually("that the key is missing", func() bool { return strings.Contains(k.status("order").Message, "its keys are other.wasm") })
	k.store("order", map[string][]byte{"order.wasm": module("1.0.0")})
	k.is("order", "Active", "1.0.0")
	if k.decides("order") != "1.0.0" {
		t.Error("it does not decide")
	}
}

func TestWhatIsRefusedChangesNothingAndSaysWhy(t *testing.T) {
	k := newCluster(t)
	k.store("order", map[string][]byte{"order.wasm": module("1.0.0")})
	k.put("order", fromMap)
	k.is("order", "Active", "1.0.0")
	for _, tt := range []struct{ name, spec, code, condition string }{
		{"another digest", `{source: {configMap: {name: order, key: order.wasm}}, digest: "sha256:75d3fe553d6ff2c2c0aa3e2cc0900fde0aefbc73a63d00a8dbc6cf08f2dd7862"}`, "digest-differs", api.PolicyVerified},
		{"no such setting", `{source: {configMap: {name: order, key: order.wasm}}, params: {patience: 3}}`, "bad-params", api.PolicyChecked},
		{"a setting that is a list", `{source: {configMap: {name: order, key: order.wasm}}, params: {patience: [3]}}`, "bad-params", ""},
		{"no such file", `{source: {file: nowhere.wasm}}`, "not-found", api.PolicyFetched},
		{"unsigned, but it must be", `{source: {configMap: {name: order, key: order.wasm}}, signedBy: [a]}`, "unsigned", api.PolicyVerified},
	} {
		t.Run(tt.name, func(t *testing.T) {
			k.put("order", tt.spec)
			k.eventually(tt.code, func() bool { s := k.status("order"); return s.State == "Refused" && s.Code == tt.code })
			if k.decides("order") != "1.0.0" {
				t.Errorf("%q decides", k.decides("order"))
			}
			if tt.condition != "" {
				k.eventually("the condition "+tt.condition, func() bool { return k.condition("order", tt.condition) == "False "+Camel(tt.code) })
			}
		})
	}
	s := k.status("order")
	if s.Active == nil || s.Active.Version != "1.0.0" || !strings.Contains(s.Message, "order 1.0.0 (sha256:") {
		t.Errorf("%+v", s)
	}
	k.store("order", map[string][]byte{"order.wasm": wasmtest.Truncated()})
	k.put("order", fromMap)
	k.eventually("half a module", func() bool { return k.status("order").Code == "truncated" })
	if k.count("Warning Refused on order: ") < 4 || k.decides("order") != "1.0.0" {
		t.Errorf("%d refusals told, %s decides", k.count("Warning Refused"), k.decides("order"))
	}
}

func TestApplyingAnotherModuleReplacesTheOneThatRunsAndARollbackBringsItBack(t *testing.T) {
	k := newCluster(t)
	k.store("order", map[string][]byte{"order.wasm": module("1.0.0")})
	k.put("order", fromMap)
	k.is("order", "Active", "1.0.0")
	for _, c := range []string{api.PolicyFetched, api.PolicyVerified, api.PolicyChecked, api.PolicyActive} {
		if got := k.condition("order", c); !strings.HasPrefix(got, "True ") {
			t.Errorf("%s is %s", c, got)
		}
	}
	if got := k.condition("order", api.PolicyQuarantined) + ", " + k.condition("order", api.PolicyInUse); got != "False NotQuarantined, False NotNamed" {
		t.Error(got)
	}
	k.store("order", map[string][]byte{"order.wasm": module("2.0.0")}) // kubectl apply of the ConfigMap
	k.is("order", "Active", "2.0.0")
	if s := k.status("order"); s.Standby == nil || s.Standby.Version != "1.0.0" || s.Digest != trust.Digest(module("2.0.0")) || s.DigestShort != short(s.Digest) {
		t.Errorf("%+v", s)
	}
	for _, want := range []string{"Normal Fetched on order", "Normal Verified on order", "Normal Checked on order", "Normal Active on order: order 2.0.0", "Normal Retired on order: order 1.0.0"} {
		if k.count(want) == 0 {
			t.Errorf("no event %q", want)
		}
	}

	ask := func(op, token string) {
		t.Helper()
		if err := Ask(t.Context(), k.objects, op, "order", token); err != nil {
			t.Fatal(err)
		}
	}
	ask(reload.OpRollback, "first")
	k.is("order", "RolledBack", "2.0.0")
	if k.decides("order") != "1.0.0" || k.status("order").Active.Version != "1.0.0" {
		t.Errorf("%s decides, %+v", k.decides("order"), k.status("order"))
	}
	ask(reload.OpRollback, "second")
	k.eventually("that there is nothing to go back to", func() bool { return k.count("Warning RollbackRefused on order: ") == 1 })
	if k.decides("order") != "1.0.0" {
		t.Errorf("%s decides", k.decides("order"))
	}
	ask(reload.OpReload, "now")
	k.is("order", "Active", "2.0.0")

	// A scheduler that starts anew loads what the spec says, and repeats no request.
	k.stop()
	k.start()
	k.is("order", "Active", "2.0.0")
	if n := k.count("RollbackRefused"); n != 1 {
		t.Errorf("asked again: %d", n)
	}
	if err := Ask(t.Context(), k.objects, "explode", "order", "x"); err == nil {
		t.Error("another operation was taken")
	}
}

func TestAShadowIsComparedAndPromotedByItsMode(t *testing.T) {
	k := newCluster(t)
	k.put("candidate", `{source: {configMap: {name: order, key: new.wasm}}, mode: shadow, beside: order}`)
	k.store("order", map[string][]byte{"order.wasm": module("1.0.0"), "new.wasm": module("2.0.0")})
	k.eventually("that it has nothing to be compared with", func() bool { return k.status("candidate").Code == "not-found" })
	k.put("order", fromMap)
	k.is("order", "Active", "1.0.0")
	k.is("candidate", "Shadow", "2.0.0") // tried again by itself
	if s := k.status("candidate"); s.Shadow == nil || !strings.HasPrefix(s.Shadow.Beside, "order 1.0.0") || s.Active.Version != "1.0.0" {
		t.Errorf("%+v", s)
	}
	if err := Ask(t.Context(), k.objects, reload.OpPromote, "candidate", "x"); err != nil {
		t.Fatal(err)
	}
	k.is("candidate", "Active", "2.0.0")
	k.eventually("it decides", func() bool { return k.decides("order") == "2.0.0" })

	// The other way: one object, first as a shadow of itself.
	k.put("fifo", `{source: {configMap: {name: order, key: new.wasm}}, mode: shadow}`) // beside the built-in
	k.is("fifo", "Shadow", "2.0.0")
	if k.decides("fifo") == "2.0.0" {
		t.Error("a shadow decides")
	}
	k.put("fifo", `{source: {configMap: {name: order, key: new.wasm}}, mode: active}`)
	k.is("fifo", "Active", "2.0.0")
	k.eventually("it decides", func() bool { return k.decides("fifo") == "2.0.0" })
	if n := k.count("Normal Fetched on fifo"); n != 1 {
		t.Errorf("fetched %d times:\n%s", n, strings.Join(k.told, "\n"))
	}
}

func TestADeletedObjectTakesItsPolicyOutOfUse(t *testing.T) {
	k := newCluster(t)
	k.store("order", map[string][]byte{"order.wasm": module("1.0.0")})
	k.put("order", fromMap)
	k.is("order", "Active", "1.0.0")
	if err := k.objects.Resource(api.Policies).Delete(t.Context(), "order", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	k.eventually("the built-in", func() bool { return k.decides("order") == "" })
	k.put("order", fromMap)
	k.is("order", "Active", "1.0.0")
}

func TestAModulePackedAndSignedIsTaken(t *testing.T) {
	private, public, err := trust.Generate(trust.Ed25519)
	if err != nil {
		t.Fatal(err)
	}
	signer, err := trust.ParsePrivate(private)
	if err != nil {
		t.Fatal(err)
	}
	digest := trust.Digest(module("1.0.0"))
	sig, err := signer.Sign(digest)
	if err != nil {
		t.Fatal(err)
	}
	text, err := trust.EncodeFile(digest, []trust.Signature{sig})
	if err != nil {
		t.Fatal(err)
	}
	var packed bytes.Buffer
	zip := gzip.NewWriter(&packed)
	if _, err := zip.Write(module("1.0.0")); err != nil || zip.Close() != nil {
		t.Fatal(err)
	}
	k := newCluster(t, func(o *Options) { o.Trust = trusted(public) })
	k.store("order", map[string][]byte{"order.wasm.gz": packed.Bytes()})
	k.put("order", `{source: {configMap: {name: order}}, digest: "`+digest+`", signedBy: [team]}`)
	k.eventually("that it is not signed", func() bool { return k.status("order").Code == "unsigned" })
	k.store("order", map[string][]byte{"order.wasm.gz": packed.Bytes(), "order.wasm.sig": text})
	k.is("order", "Active", "1.0.0")
	if got := k.status("order").Signers; !slices.Equal(got, []string{"team"}) {
		t.Errorf("signed by %v", got)
	}
	k.put("other", `{source: {file: order.wasm}}`)
	k.eventually("a source that is not trusted", func() bool { return k.status("other").Code == "source-denied" })
}

func TestFaultsAreStrikesAndThenAQuarantine(t *testing.T) {
	k := newCluster(t)
	k.store("order", map[string][]byte{"order.wasm": wasmtest.Trap()})
	k.put("order", fromMap)
	k.eventually("active", func() bool { return k.status("order").State == "Active" })
	for n := range 200 {
		k.mu.Lock()
		p := k.named["order"]
		k.mu.Unlock()
		if err := p.ScoreJobs(t.Context(), &policies.JobBatch{Call: policies.Call{Now: int64(n), Cycle: uint64(n)}}); err == nil {
			t.Fatal("no fault")
		}
	}
	k.eventually("the quarantine", func() bool { return k.status("order").State == "Quarantined" })
	if got := k.condition("order", api.PolicyQuarantined) + ", " + k.condition("order", api.PolicyActive); got != "True Trap, False Trap" {
		t.Error(got)
	}
	k.eventually("its calls", func() bool {
		s := k.status("order")
		return s.Calls.Faults > 0 && s.Calls.Skipped > 0 && s.Calls.LastCode != ""
	})
	k.eventually("its events", func() bool {
		return k.count("Warning Quarantined on order") == 1 && k.count("Warning Fault on order") > 0
	})
}

func TestQueuesThatNameAPolicyAreShown(t *testing.T) {
	k := newCluster(t)
	k.store("order", map[string][]byte{"order.wasm": module("1.0.0")})
	k.put("order", fromMap)
	k.SetQueues(&spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "a", JobOrder: "order"}, {Name: "b", Victims: "order"}}}})
	k.eventually("the queues", func() bool { return slices.Equal(k.status("order").Queues, []string{"root.a", "root.b"}) })
	k.eventually("the condition", func() bool { return k.condition("order", api.PolicyInUse) == "True Named" })
	k.eventually("readiness", func() bool { return k.Ready() == nil })
}

func TestALoadIsGivenUpForAnotherSpecAndForNothingElse(t *testing.T) {
	var mu sync.Mutex
	var begun []int64
	k := newCluster(t, func(o *Options) {
		o.Every = time.Millisecond // pass after pass while it loads
		o.Life.Compile = func(ctx context.Context, _ []byte, s wanted.Spec) (policies.Policy, error) {
			mu.Lock()
			begun = append(begun, s.Limits.FuelBase)
			mu.Unlock()
			if s.Limits.FuelBase == 1 { // hangs
				<-ctx.Done()
				return nil, ctx.Err()
			}
			return nil, errors.New("as told")
		}
	})
	loads := func() string {
		mu.Lock()
		defer mu.Unlock()
		return fmt.Sprint(begun)
	}
	k.store("order", map[string][]byte{"order.wasm": module("1.0.0")})
	k.put("order", `{source: {configMap: {name: order, key: order.wasm}}, limits: {fuelBase: 1}}`)
	k.eventually("the load", func() bool { return loads() == "[1]" })
	for n := range 50 { // many passes later
		k.wake()
		k.put("other", fmt.Sprintf(`{source: {file: "%d.wasm"}}`, n))
	}
	k.eventually("the last of the others", func() bool { return strings.Contains(k.status("other").Message, "49.wasm") })
	if got := loads(); got != "[1]" {
		t.Errorf("loads %s", got)
	}
	k.put("order", `{source: {configMap: {name: order, key: order.wasm}}, limits: {fuelBase: 2}}`)
	k.eventually("the other load", func() bool { return loads() == "[1 2]" && k.status("order").Code == "not-compiled" })
}

func TestAStatusThatCannotBeWrittenIsTriedAgain(t *testing.T) {
	var failed sync.Map
	tries := 0
	away := func(clienttesting.Action) (bool, runtime.Object, error) {
		if tries++; tries <= 3 {
			return true, nil, errors.New("the server is away")
		}
		return false, nil, nil
	}
	k := newCluster(t, func(o *Options) {
		o.Failed = func(err error) { failed.Store("last", err.Error()) }
		o.Client.(*dynamicfake.FakeDynamicClient).PrependReactor("patch", "policies", away)
	})
	k.put("order", `{source: {inline: {rego: "package x"}}}`)
	k.eventually("the refusal of rules", func() bool { return k.status("order").Code == "bad-rules" })
	if text, _ := failed.Load("last"); text != "the server is away" {
		t.Errorf("heard %v", text)
	}
}

// trusted believes one key, and ConfigMaps of muster only.
func trusted(public []byte) *wanted.Trust {
	return &wanted.Trust{
		Keys:    []wanted.Key{{ID: "team", PEM: string(public)}},
		Sources: []wanted.Allowed{{Match: "configmap:muster/**"}},
	}
}
