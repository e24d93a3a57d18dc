package e2e_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/musterhq/muster/runtime/kube/kubetest"
)

// bareCRD is a CRD without a schema: enough to store what users write.
const bareCRD = `
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata: {name: %[2]s.%[1]s}
spec:
  group: %[1]s
  scope: Namespaced
  names: {kind: %[4]s, listKind: %[4]sList, plural: %[2]s, singular: %[5]s}
  versions:
    - name: %[3]s
      served: true
      storage: true
      schema: {openAPIV3Schema: {type: object, x-kubernetes-preserve-unknown-fields: true}}
---
`

// ofOthers are the kinds that operators make pods of.
var ofOthers = []struct{ group, version, resource, kind string }{
	{"ray.io", "v1", "rayclusters", "RayCluster"},
	{"ray.io", "v1", "rayjobs", "RayJob"},
	{"ray.io", "v1", "rayservices", "RayService"},
	{"ray.io", "v1", "raycronjobs", "RayCronJob"},
	{"batch.volcano.sh", "v1alpha1", "jobs", "Job"},
	{"batch.volcano.sh", "v1alpha1", "cronjobs", "CronJob"},
	{"flow.volcano.sh", "v1alpha1", "jobtemplates", "JobTemplate"},
}

const (
	rayTeam = `
apiVersion: rbac.authorization.k8s.io/v1
kind: Role
metadata: {name: ray, namespace: team}
rules:
  - {apiGroups: [ray.io, batch.volcano.sh, flow.volcano.sh], resources: ["*"], verbs: ["*"]}
---
apiVersion: rbac.authorization.k8s.io/v1
kind: RoleBinding
metadata: {name: ray, namespace: team}
roleRef: {apiGroup: rbac.authorization.k8s.io, kind: Role, name: ray}
subjects: [{kind: ServiceAccount, name: dev, namespace: team}, {kind: ServiceAccount, name: kuberay, namespace: team}]
`
	devName  = "system:serviceaccount:team:dev"
	userInfo = "yunikorn.apache.org/user.info"
	userName = "yunikorn.apache.org/username"
)

// put sets a value in an object, at a path of parts with "/" between them; a part gpu[name] is the
// element of a list with that name, which is made behind another one that names nobody.
func put(object map[string]any, path string, value any) {
	part, rest, more := strings.Cut(path, "/")
	if !more || part == "yunikorn.apache.org" { // a key with a slash of its own
		object[path] = value
		return
	}
	list, name, isList := strings.Cut(strings.TrimSuffix(part, "]"), "[")
	if !isList {
		inner, _ := object[part].(map[string]any)
		if inner == nil {
			inner = map[string]any{}
			object[part] = inner
		}
		put(inner, rest, value)
		return
	}
	element := map[string]any{"name": name, "groupName": name}
	put(element, rest, value)
	object[list] = []any{map[string]any{"name": "first", "groupName": "first", "template": map[string]any{"spec": map[string]any{}}}, element}
}

// places are where kinds of operators tell whose pods they are: KubeRay puts the labels of
// a group on its pods as well.
var places = []struct{ kind, path, told string }{
	{"RayCluster", "spec/headGroupSpec/template/metadata/annotations/" + userInfo, "spec.headGroupSpec.template.metadata"},
	{"RayCluster", "spec/workerGroupSpecs[gpu]/template/metadata/annotations/" + userInfo, "spec.workerGroupSpecs[gpu].template.metadata"},
	{"RayCluster", "spec/headGroupSpec/template/metadata/labels/" + userName, "spec.headGroupSpec.template.metadata"},
	{"RayCluster", "spec/workerGroupSpecs[gpu]/template/metadata/labels/" + userName, "spec.workerGroupSpecs[gpu].template.metadata"},
	{"RayCluster", "spec/headGroupSpec/labels/" + userName, "spec.headGroupSpec"},
	{"RayCluster", "spec/workerGroupSpecs[gpu]/labels/" + userName, "spec.workerGroupSpecs[gpu]"},
	{"RayJob", "spec/rayClusterSpec/headGroupSpec/template/metadata/annotations/" + userInfo, "spec.rayClusterSpec.headGroupSpec.template.metadata"},
	{"RayJob", "spec/rayClusterSpec/workerGroupSpecs[gpu]/template/metadata/annotations/" + userInfo, "spec.rayClusterSpec.workerGroupSpecs[gpu].template.metadata"},
	{"RayJob", "spec/submitterPodTemplate/metadata/annotations/" + userInfo, "spec.submitterPodTemplate.metadata"},
	{"RayService", "spec/rayClusterConfig/headGroupSpec/template/metadata/annotations/" + userInfo, "spec.rayClusterConfig.headGroupSpec.template.metadata"},
	{"RayService", "spec/rayClusterConfig/workerGroupSpecs[gpu]/template/metadata/labels/" + userName, "spec.rayClusterConfig.workerGroupSpecs[gpu].template.metadata"},
	{"RayCronJob", "spec/jobTemplate/rayClusterSpec/workerGroupSpecs[gpu]/template/metadata/annotations/" + userInfo, "spec.jobTemplate.rayClusterSpec.workerGroupSpecs[gpu].template.metadata"},
	{"RayCronJob", "spec/jobTemplate/submitterPodTemplate/metadata/annotations/" + userInfo, "spec.jobTemplate.submitterPodTemplate.metadata"},
	{"Job", "spec/tasks[gpu]/template/metadata/annotations/" + userInfo, "spec.tasks[gpu].template.metadata"},
	{"CronJob", "spec/jobTemplate/spec/tasks[gpu]/template/metadata/annotations/" + userInfo, "spec.jobTemplate.spec.tasks[gpu].template.metadata"},
	{"JobTemplate", "spec/tasks[gpu]/template/metadata/annotations/" + userInfo, "spec.tasks[gpu].template.metadata"},
}

// rayWorld has the policy, the kinds of operators, and who writes objects of them.
type rayWorld struct {
	*world
	dev, operator dynamic.Interface
	n             int
}

func newRayWorld(t *testing.T) *rayWorld {
	t.Helper()
	w := &rayWorld{world: newWorld(t, kubetest.Options{NoKwok: true})}
	policy, err := os.ReadFile("../../../deploy/helm/muster/files/own-user.yaml")
	must(t, err)
	w.namespace("team")
	var crds strings.Builder
	for _, k := range ofOthers {
		fmt.Fprintf(&crds, bareCRD, k.group, k.resource, k.version, k.kind, strings.ToLower(k.kind))
	}
	w.define([]byte(crds.String()))
	w.apply([]byte(rayTeam))
	w.apply([]byte(strings.Replace(string(policy), `["system:kube-controller-manager"]`, `["system:serviceaccount:team:kuberay"]`, 1)))
	w.dev, err = dynamic.NewForConfig(w.ConfigFor("team/dev"))
	must(t, err)
	w.operator, err = dynamic.NewForConfig(w.ConfigFor("team/kuberay"))
	must(t, err)
	return w
}

// object is a new one of a kind with one value in it.
func (w *rayWorld) object(kind, path string, value any) (*unstructured.Unstructured, schema.GroupVersionResource) {
	w.n++
	o := &unstructured.Unstructured{Object: map[string]any{"spec": map[string]any{}}}
	for _, k := range ofOthers {
		if k.kind == kind {
			o.SetGroupVersionKind(schema.GroupVersionKind{Group: k.group, Version: k.version, Kind: k.kind})
			o.SetNamespace("team")
			o.SetName(fmt.Sprintf("o-%d", w.n))
			put(o.Object, path, value)
			return o, schema.GroupVersionResource{Group: k.group, Version: k.version, Resource: k.resource}
		}
	}
	w.t.Fatalf("there is no kind %s", kind)
	return nil, schema.GroupVersionResource{}
}

func (w *rayWorld) create(c dynamic.Interface, kind, path string, value any) (*unstructured.Unstructured, error) {
	o, r := w.object(kind, path, value)
	return c.Resource(r).Namespace("team").Create(w.t.Context(), o, metav1.CreateOptions{})
}

// TestNobodyWritesAnotherUserIntoTheTemplateOfAnOperator holds the policy own-user of the
// chart to objects of which operators make pods, for an operator that is trusted.
func TestNobodyWritesAnotherUserIntoTheTemplateOfAnOperator(t *testing.T) {
	t.Parallel() // it waits most of the time
	w := newRayWorld(t)
	kubetest.Eventually(t, func(context.Context) error { // the API server hears of the policy, and of the kinds, after a while
		for _, k := range ofOthers {
			path := "spec/tasks[gpu]/template/metadata/labels/" + userName
			for _, p := range places {
				if p.kind == k.kind {
					path = p.path
				}
			}
			if _, err := w.create(w.dev, k.kind, path, "ada"); !apierrors.IsForbidden(err) {
				return fmt.Errorf("%s: another user is taken: %w", k.kind, err)
			}
		}
		return nil
	})
	for _, p := range places {
		theirs, mine := any(`{"user":"ada"}`), any(`{"user":"`+devName+`","groups":["system:authenticated"]}`)
		if strings.HasSuffix(p.path, userName) {
			theirs, mine = "ada", devName
		}
		_, err := w.create(w.dev, p.kind, p.path, theirs)
		if !apierrors.IsForbidden(err) || !strings.Contains(err.Error(), "in "+p.told+": the ") {
			t.Errorf("%s with another user at %s: %v", p.kind, p.path, err)
		}
		if _, err := w.create(w.dev, p.kind, p.path, mine); err != nil {
			t.Errorf("%s with its author at %s: %v", p.kind, p.path, err)
		}
		if _, err := w.create(w.operator, p.kind, p.path, theirs); err != nil {
			t.Errorf("%s of an operator that is trusted: %v", p.kind, err)
		}
		if _, err := w.create(w.dev, p.kind, "spec/x", "y"); err != nil {
			t.Errorf("%s that tells no user: %v", p.kind, err)
		}
	}
	t.Run("a group that one is not in", func(t *testing.T) {
		_, err := w.create(w.dev, "RayCluster", places[1].path, `{"user":"`+devName+`","groups":["ml"]}`)
		if !apierrors.IsForbidden(err) {
			t.Errorf("it is taken: %v", err)
		}
	})
	t.Run("all that is wrong is told at once", func(t *testing.T) {
		o, r := w.object("RayCluster", places[0].path, `{"user":"ada"}`)
		put(o.Object, places[1].path, `{"user":"bob"}`)
		_, err := w.dev.Resource(r).Namespace("team").Create(t.Context(), o, metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), "in "+places[0].told+", "+places[1].told+": the annotation") {
			t.Errorf("got %v", err)
		}
	})
	t.Run("a decoy where another kind has its templates", func(t *testing.T) {
		o, r := w.object("RayJob", places[6].path, `{"user":"ada"}`)
		put(o.Object, "spec/headGroupSpec/template/metadata/annotations/x", "y")
		put(o.Object, "spec/workerGroupSpecs", []any{})
		if _, err := w.dev.Resource(r).Namespace("team").Create(t.Context(), o, metav1.CreateOptions{}); !apierrors.IsForbidden(err) {
			t.Errorf("it hides another user: %v", err)
		}
	})
	t.Run("what was there may stay, and may not change", func(t *testing.T) { w.staysAsItWas(t) })
}

// staysAsItWas has dev change a RayCluster that somebody else has written.
func (w *rayWorld) staysAsItWas(t *testing.T) {
	o, r := w.object("RayCluster", places[1].path, `{"user":"ada"}`)
	client := w.dev.Resource(r).Namespace("team")
	o, err := w.operator.Resource(r).Namespace("team").Create(t.Context(), o, metav1.CreateOptions{})
	must(t, err)
	put(o.Object, "spec/rayVersion", "2.47.0")
	if o, err = client.Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
		t.Fatalf("a change that leaves the user as it is: %v", err)
	}
	put(o.Object, places[1].path, `{"user":"bob"}`)
	if _, err = client.Update(t.Context(), o, metav1.UpdateOptions{}); !apierrors.IsForbidden(err) {
		t.Errorf("a change of the user: %v", err)
	}
}
