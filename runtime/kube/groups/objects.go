package groups

import (
	"cmp"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/musterhq/muster/builtin/spec"
)

// FromNative reads a PodGroup of scheduling.k8s.io/v1beta1 (Kubernetes 1.37, KEP-4671).
func FromNative(o *schedulingv1beta1.PodGroup) *PodGroup {
	g := newGroup(Native, "v1beta1", o)
	s := &o.Spec
	if s.SchedulingPolicy.Gang != nil {
		g.setMin("spec.schedulingPolicy.gang.minCount", int64(s.SchedulingPolicy.Gang.MinCount))
	}
	g.Whole = s.DisruptionMode != nil && s.DisruptionMode.All != nil
	g.PriorityClass, g.Priority = s.PriorityClassName, s.Priority
	g.NeverPreempts = s.PreemptionPolicy != nil && *s.PreemptionPolicy == schedulingv1beta1.PreemptNever
	if s.WorkloadRef != nil {
		g.Workload = s.WorkloadRef.WorkloadName
	}
	if s.SchedulingConstraints != nil {
		for _, t := range s.SchedulingConstraints.Topology {
			g.addTopology(t.Key)
		}
	}
	if s.ParentCompositePodGroupName != nil {
		g.composite(*s.ParentCompositePodGroupName)
	}
	g.claims(len(s.ResourceClaims))
	return g
}

// FromObject reads a group object as the API server's JSON has it, in the API and
// version that its apiVersion names; nil if that is none of ours. scheduling.k8s.io is
// read in v1alpha2 (Kubernetes 1.36), which differs from v1beta1 in the reference to
// the Workload and in the disruption mode, and in v1beta1.
func FromObject(o *unstructured.Unstructured) *PodGroup {
	v := o.GroupVersionKind()
	if v.Kind != kindOf(API(v.Group)) {
		return nil
	}
	g := newGroup(API(v.Group), v.Version, o)
	s := fields{o.Object, g}
	switch g.API {
	case Native:
		s.native()
	case Volcano:
		s.volcano()
	case Coscheduling:
		s.counted()
	case Ray:
		s.ray()
	case LeaderWorkerSet:
		s.leaderWorkerSet()
	}
	return g
}

// kindOf is the kind of an API's objects.
func kindOf(api API) string {
	switch api {
	case Native, Volcano, Coscheduling:
		return "PodGroup"
	case Ray:
		return "RayCluster"
	case LeaderWorkerSet:
		return "LeaderWorkerSet"
	}
	return ""
}

func newGroup(api API, version string, o metav1.Object) *PodGroup {
	return &PodGroup{
		API: api, Version: version, Namespace: o.GetNamespace(), Name: o.GetName(), UID: string(o.GetUID()),
		Created: o.GetCreationTimestamp().Time, Labels: o.GetLabels(), Annotations: o.GetAnnotations(),
		Queue: queueIn(o.GetLabels(), o.GetAnnotations()),
	}
}

// withWorkload is the group with what it leaves open taken from its Workload's metadata:
// queue and annotations. A nil workload says nothing.
func (g *PodGroup) withWorkload(o metav1.Object) *PodGroup {
	if o == nil {
		return g
	}
	out := *g
	out.Queue = cmp.Or(g.Queue, queueIn(o.GetLabels(), o.GetAnnotations()))
	if len(o.GetAnnotations()) > 0 {
		out.Annotations = maps.Clone(o.GetAnnotations())
		maps.Copy(out.Annotations, g.Annotations)
	}
	return &out
}

func (g *PodGroup) problem(code, field, hint, format string, args ...any) {
	g.Problems = append(g.Problems, Problem{
		Code: code, Hint: hint, Text: fmt.Sprintf(format, args...),
		Field: kindOf(g.API) + " " + g.Namespace + "/" + g.Name + " " + field,
	})
}

// setMin takes a minimum over. One that can't be means 0 here, and a refusal if it is
// too large to ever be met.
func (g *PodGroup) setMin(field string, n int64) {
	g.Min = g.bounded(field, n)
}

func (g *PodGroup) bounded(field string, n int64) int32 {
	switch {
	case n < 0:
		g.problem("bad-min", field, "write 0 for pods that start one by one", "%d is taken for 0", n)
		return 0
	case n > spec.MaxTasks:
		g.problem("bad-min", field, "", "%d pods, at most %d", n, spec.MaxTasks)
		g.Problems[len(g.Problems)-1].Fatal = true
		return 0
	}
	return int32(n)
}

// addTopology: the API allows one key so far.
func (g *PodGroup) addTopology(key string) {
	if g.Topology != "" && g.Topology != key {
		g.problem("unsupported-topology", "spec.schedulingConstraints.topology", "write one key",
			"the pods can be held to one topology, %s, and not to %s as well", g.Topology, key)
		g.Problems[len(g.Problems)-1].Fatal = true
		return
	}
	g.Topology = key
}

// composite groups are alpha in 1.37 (scheduling.k8s.io/v1alpha3).
func (g *PodGroup) composite(parent string) {
	if parent != "" {
		g.problem("unsupported-composite", "spec.parentCompositePodGroupName", "make one PodGroup of what must start together",
			"groups can't be started together with the others of CompositePodGroup %s", parent)
		g.Problems[len(g.Problems)-1].Fatal = true
	}
}

func (g *PodGroup) claims(n int) {
	if n > 0 {
		g.problem("unsupported-claims", "spec.resourceClaims", "ask for devices by their resource name",
			"resource claims of a group are not served")
		g.Problems[len(g.Problems)-1].Fatal = true
	}
}

// fields reads an object that has no type here. What has the wrong type (a CRD without a
// schema lets it through) is told and passed over.
type fields struct {
	object map[string]any
	g      *PodGroup
}

// value finds a nested value, nil if there is none.
func (f fields) value(path ...string) any {
	v, _, err := unstructured.NestedFieldNoCopy(f.object, path...)
	if err != nil {
		f.wrong(path, "an object in which it could be")
	}
	return v
}

func (f fields) wrong(path []string, want string) {
	name := ""
	for _, p := range path {
		name += "." + p
	}
	f.g.problem("bad-field", name[1:], "", "not %s; it is left out", want)
}

func (f fields) text(path ...string) string {
	v := f.value(path...)
	s, ok := v.(string)
	if v != nil && !ok {
		f.wrong(path, "a text")
	}
	return s
}

func (f fields) number(path ...string) int64 {
	switch v := f.value(path...).(type) {
	case nil:
		return 0
	case int64:
		return v
	case float64:
		if v == float64(int64(v)) {
			return int64(v)
		}
	}
	f.wrong(path, "a whole number")
	return 0
}

func (f fields) native() {
	g := f.g
	g.setMin("spec.schedulingPolicy.gang.minCount", f.number("spec", "schedulingPolicy", "gang", "minCount"))
	switch mode := f.value("spec", "disruptionMode").(type) {
	case string: // v1alpha2
		g.Whole = mode == "PodGroup"
	case map[string]any: // v1beta1
		g.Whole = mode["all"] != nil
	}
	g.PriorityClass = f.text("spec", "priorityClassName")
	if f.value("spec", "priority") != nil {
		p := int32(f.number("spec", "priority"))
		g.Priority = &p
	}
	g.NeverPreempts = f.text("spec", "preemptionPolicy") == "Never"
	g.Workload = cmp.Or(f.text("spec", "workloadRef", "workloadName"),
		f.text("spec", "podGroupTemplateRef", "workload", "workloadName"))
	if list, ok := f.value("spec", "schedulingConstraints", "topology").([]any); ok {
		for _, t := range list {
			if m, ok := t.(map[string]any); ok {
				key, _ := m["key"].(string)
				g.addTopology(key)
			}
		}
	}
	g.composite(f.text("spec", "parentCompositePodGroupName"))
	if list, ok := f.value("spec", "resourceClaims").([]any); ok {
		g.claims(len(list))
	}
}

// counted reads what Volcano and coscheduling have alike.
func (f fields) counted() {
	g := f.g
	g.setMin("spec.minMember", f.number("spec", "minMember"))
	g.MinResources = f.resources("spec", "minResources")
}

func (f fields) volcano() {
	f.counted()
	g := f.g
	g.Queue = cmp.Or(f.text("spec", "queue"), g.Queue)
	g.PriorityClass = f.text("spec", "priorityClassName")
	if tasks, ok := f.value("spec", "minTaskMember").(map[string]any); ok {
		for _, name := range slices.Sorted(maps.Keys(tasks)) {
			n := g.bounded("spec.minTaskMember", fields{tasks, g}.number(name))
			g.MinTask = append(g.MinTask, Group{Name: name, Min: n})
		}
	}
	if f.value("spec", "networkTopology") != nil {
		g.problem("unsupported-topology", "spec.networkTopology", "name a node label in a native PodGroup's topology constraint",
			"HyperNodes are not read")
		g.Problems[len(g.Problems)-1].Fatal = f.text("spec", "networkTopology", "mode") != "soft"
	}
	if f.value("spec", "subGroupPolicy") != nil {
		f.subGroups()
	}
}

// subGroups refuses sub-groups that promise anything: that their pods start together, that
// so many of them do, or that each is in one HyperNode.
func (f fields) subGroups() {
	promised := false
	list, _ := f.value("spec", "subGroupPolicy").([]any)
	for _, item := range list {
		object, _ := item.(map[string]any)
		p := fields{object, f.g}
		hard := p.value("networkTopology") != nil && p.text("networkTopology", "mode") != "soft"
		promised = promised || hard || p.number("subGroupSize") > 1 || p.number("minSubGroups") > 0
	}
	f.g.problem("unsupported-subgroups", "spec.subGroupPolicy", "write minMember or minTaskMember, or a PodGroup for each sub-group",
		"sub-groups are not held together beyond the group's own minimum")
	f.g.Problems[len(f.g.Problems)-1].Fatal = promised
}

func (f fields) resources(path ...string) spec.Resources {
	list, ok := f.value(path...).(map[string]any)
	if !ok || len(list) == 0 {
		return nil
	}
	texts := map[corev1.ResourceName]string{}
	for name, v := range list { //muster:anyorder fills a map
		texts[corev1.ResourceName(name)] = fmt.Sprint(v)
	}
	out, bad := resourcesOf(texts, parseQuantity)
	for _, b := range bad {
		f.g.problem("bad-quantity", "spec.minResources", b.hint, "%s is %s", b.name, b.text)
	}
	return out
}
