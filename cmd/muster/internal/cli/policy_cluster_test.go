package cli

import (
	"bytes"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/musterhq/muster/cmd/muster/internal/operator"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// kubernetesWith is a cluster with these Policy objects, whose scheduler answers a rollback
// as it should. That it really does is tested in package operator.
func kubernetesWith(t *testing.T, list ...*api.Policy) *operator.Cluster {
	t.Helper()
	scheme := runtime.NewScheme()
	if err := api.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	objects := dynamicfake.NewSimpleDynamicClient(scheme)
	c := &operator.Cluster{Objects: objects, Core: fake.NewClientset(), Namespace: "muster-system", Every: time.Millisecond}
	for _, p := range list {
		p.SetGroupVersionKind(api.PolicyKind)
		fields, err := runtime.DefaultUnstructuredConverter.ToUnstructured(p)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := objects.Resource(api.Policies).Create(t.Context(), &unstructured.Unstructured{Object: fields}, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	objects.PrependReactor("patch", "policies", func(a clienttesting.Action) (bool, runtime.Object, error) {
		var patch api.Policy
		if err := json.Unmarshal(a.(clienttesting.PatchAction).GetPatch(), &patch); err != nil {
			return true, nil, err
		}
		now, err := objects.Tracker().Get(api.Policies, "", a.(clienttesting.PatchAction).GetName())
		if err != nil {
			return true, nil, err
		}
		u := now.(*unstructured.Unstructured).DeepCopy()
		for _, set := range []struct {
			value any
			path  []string
		}{
			{patch.Annotations[api.RollbackAnnotation], []string{"status", "requests", "rollback"}},
			{"RolledBack", []string{"status", "state"}},
			{map[string]any{"name": "order", "version": "1.0.0", "digest": "sha256:1111111111111111"}, []string{"status", "active"}},
		} {
			if err := unstructured.SetNestedField(u.Object, set.value, set.path...); err != nil {
				return true, nil, err
			}
		}
		return true, u, objects.Tracker().Update(api.Policies, u, "")
	})
	return c
}

func theOrder() *api.Policy {
	p := &api.Policy{ObjectMeta: metav1.ObjectMeta{Name: "order"}}
	p.Status = api.PolicyStatus{
		State: "Active", PolicyName: "order", Version: "2.0.0", Digest: "sha256:2222222222222222", Kinds: []string{"job_order"}, Message: "it decides where queues name it",
		Standby: &api.PolicyVersion{Name: "order", Version: "1.0.0", Digest: "sha256:1111111111111111"}, Calls: &api.PolicyCalls{Calls: 12, Faults: 3, LastCode: "trap", LastText: "it divided by 0"},
		Queues: []string{"root.a"}, Conditions: []metav1.Condition{{Type: api.PolicyInUse, Status: metav1.ConditionTrue, Reason: "Named", Message: "queues name it: root.a"}},
	}
	return p
}

func onCluster(c *operator.Cluster, args ...string) (code int, out, errs string) {
	var stdout, stderr bytes.Buffer
	code = (&app{in: strings.NewReader(""), out: &stdout, err: &stderr, cluster: c}).run(args)
	return code, stdout.String(), stderr.String()
}

func TestARollbackOnKubernetesSaysWhatDecidesAndForHowLong(t *testing.T) {
	code, out, errs := onCluster(kubernetesWith(t, theOrder()), "policy", "rollback", "order", "--cluster")
	if code != 0 || out != "order: order@1.0.0 sha256:111111111111 decides, instead of sha256:222222222222\n" || !strings.Contains(errs, "it lasts until the Policy object order or its source changes") {
		t.Errorf("%d %q %q", code, out, errs)
	}
	code, out, _ = onCluster(kubernetesWith(t, theOrder()), "policy", "rollback", "order", "--cluster", "-o", "json")
	var told took
	if err := json.Unmarshal([]byte(out), &told); code != 0 || err != nil || told.Op != "rollback" || told.Decides.Version != "1.0.0" || told.Before.Version != "2.0.0" {
		t.Errorf("%d %v %s", code, err, out)
	}
}

func TestTheStatusOnKubernetesIsOfThePolicyObjects(t *testing.T) {
	c := kubernetesWith(t, theOrder())
	code, out, errs := onCluster(c, "policy", "status", "--cluster")
	if code != 0 || !strings.Contains(out, "order  active  2.0.0    sha256:222222222222  job_order  -       12     3       it decides where queues name it") {
		t.Errorf("%d\n%s%s", code, out, errs)
	}
	code, out, errs = onCluster(c, "policy", "status", "order", "--cluster")
	for _, want := range []string{"order@2.0.0: active\n", "rollback to order@1.0.0 sha256:1111", "12, of which 3 failed", "trap: it divided by 0", "queues      root.a", "InUse       True Named"} {
		if code != 0 || !strings.Contains(out, want) {
			t.Errorf("%d, no %q in\n%s%s", code, want, out, errs)
		}
	}
	if code, out, errs = onCluster(c, "policy", "status", "other", "--cluster"); code != exitFailed || !strings.Contains(errs, `there is no Policy object "other" in the cluster`) || !strings.Contains(errs, "hint: ") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	var list []api.Policy
	if code, out, errs = onCluster(c, "policy", "status", "--cluster", "-o", "json"); json.Unmarshal([]byte(out), &list) != nil || len(list) != 1 || list[0].Status.Version != "2.0.0" {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if _, out, _ = onCluster(kubernetesWith(t), "policy", "status", "--cluster"); !strings.Contains(out, "built-ins decide") {
		t.Errorf("an empty cluster: %s", out)
	}
}

func TestALoadOnKubernetesIsTriedHereFirst(t *testing.T) {
	c := kubernetesWith(t)
	dir := t.TempDir()
	t.Chdir(dir)
	good, bad := filepath.Join(dir, "good.wasm"), filepath.Join(dir, "bad.wasm")
	for path, module := range map[string][]byte{good: wasmtest.Good(), bad: wasmtest.Trap()} {
		if err := os.WriteFile(path, module, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if code, out, errs := onCluster(c, "policy", "load", bad, "--name", "order", "--cluster"); code != exitFailed || errs == "" {
		t.Errorf("%d %s%s", code, out, errs)
	}
	if _, err := c.Get(t.Context(), "order"); err == nil {
		t.Error("what fails its trial is in the cluster")
	}
	code, out, errs := onCluster(c, "policy", "load", good, "--name", "order", "--cluster", "--shadow", "--pin")
	if code != 0 || !strings.Contains(out, "Policy order: ") || !strings.Contains(out, "it is a shadow") {
		t.Errorf("%d %s%s", code, out, errs)
	}
	p, err := c.Get(t.Context(), "order")
	if err != nil || p.Spec.Mode != "shadow" || p.Spec.Digest == "" || !strings.HasPrefix(p.Spec.Source.ConfigMap.Name, "policy-order-") {
		t.Errorf("%+v %v", p, err)
	}
	if _, err := os.Stat(policiesFile); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("a %s was written, too: %v", policiesFile, err)
	}
}

// Whoever is in the wrong folder does not mean the cluster of his kubeconfig.
func TestAClusterIsNeverGuessed(t *testing.T) {
	c := kubernetesWith(t, theOrder())
	t.Chdir(t.TempDir())
	for _, op := range []string{"rollback", "promote", "reload"} {
		code, _, errs := onCluster(c, "policy", op, "order")
		if code != exitFailed || !strings.Contains(errs, "no scheduler runs with policies.yaml") || !strings.Contains(errs, "ask it with --cluster") {
			t.Errorf("%s: %d %s", op, code, errs)
		}
	}
	if p, err := c.Get(t.Context(), "order"); err != nil || len(p.Annotations) > 0 {
		t.Errorf("%+v %v", p.Annotations, err)
	}
}
