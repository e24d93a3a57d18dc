package pods

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/selection"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Read says what a pod asks for. With a fatal problem the task is not to be used. The pod
// holds its terms in t until Forget. Tasks of like pods share their slices: leave them as
// they are. A pod is to be read anew when its labels, its claims, their volumes and classes
// change, or when a node comes whose host name is not its name.
func Read(pod *corev1.Pod, o Objects, t *Terms) (Task, []Problem) {
	own := selfContained(pod)
	var hash uint64
	if own {
		hash = t.likeness(pod)
		if m, ok := t.recall(pod, hash); ok {
			return m.task, m.told
		}
	}
	task, used, problems := t.read(pod, o)
	fatal := slices.ContainsFunc(problems, func(p Problem) bool { return p.Fatal })
	if own && !fatal && !task.Where.ByName() { // names depend on nodes
		t.remember(hash, &memo{pod: pod, task: task, told: problems, used: used})
	}
	return task, problems
}

func (t *Terms) read(pod *corev1.Pod, o Objects) (task Task, used []string, problems []Problem) {
	task.Request, problems = request(pod)
	problems = append(problems, unsupported(pod)...)
	rd := reader{&t.opts, o}
	r := rules{Tolerations: tolerations(pod), NoOtherGPU: asksNVIDIA(task.Request)}
	problems = append(problems, nodeRules(pod, rd, &r)...)
	v := volumes{reader: rd, pod: pod, rules: &r}
	v.claims()
	n := nearness{pod: pod, terms: t}
	n.read(v.once)
	r.Topology = n.topology
	problems = slices.Concat(problems, v.problems, n.problems)
	task.Near, task.Bind = n.finish(), sorted(v.bind)
	w, err := t.where(r)
	if err != nil {
		problems = append(problems, Problem{Code: "bad-selector", Field: "spec", Text: err.Error(), Fatal: true})
		w = &where{key: "{}"}
	}
	task.Where = w
	if gpus, _ := task.Request.Get(amount.GPUName); gpus > 0 {
		task.GPUTypes = t.opts.gpuTypes(pod)
	}
	task.shape = task.shapeOf()
	return task, n.used, problems
}

// request is requestOf with the problems that a pod of ours has by it.
func request(pod *corev1.Pod) (spec.Resources, []Problem) {
	r, bad := requestOf(pod)
	problems := fractions(pod, r)
	if bad != nil {
		problems = append(problems, Problem{
			Code: "bad-quantity", Field: "spec.containers", Fatal: true,
			Text: strings.Join(bad, "; "), Hint: "correct the requests",
		})
	}
	return r, problems
}

func (n *nearness) read(once []string) {
	need, avoid := requiredOf(n.pod)
	n.needs(need)
	n.avoids(avoid)
	n.spreads()
	n.claimsOnce(once)
	n.onNode()
}

// maxWheres bounds the restrictions that are kept compiled.
const maxWheres = 4096

// where compiles equal rules once.
func (t *Terms) where(r rules) (*where, error) {
	w, err := newWhere(r)
	if err != nil {
		return nil, err
	}
	if known := t.wheres[w.key]; known != nil {
		return known, nil
	}
	if len(t.wheres) >= maxWheres {
		clear(t.wheres)
	}
	t.wheres[w.key] = w
	return w, nil
}

// uid names a pod to the registry.
func uid(pod *corev1.Pod) types.UID {
	if pod.UID == "" {
		return types.UID(pod.Namespace + "/" + pod.Name)
	}
	return pod.UID
}

func asksNVIDIA(r spec.Resources) bool {
	_, gpu := r.Get(amount.GPUName)
	return gpu && !otherGPUs(r)
}

// tolerations leaves out those for a while of nodes that are away: the API server gives
// them to every pod and not to what is declared of pods to come, which must have one shape
// with them, and such nodes take no new pods.
func tolerations(pod *corev1.Pod) []toleration {
	out := make([]toleration, 0, len(pod.Spec.Tolerations))
	for _, t := range pod.Spec.Tolerations {
		away := t.Key == corev1.TaintNodeNotReady || t.Key == corev1.TaintNodeUnreachable
		if away && t.Effect == corev1.TaintEffectNoExecute && t.TolerationSeconds != nil {
			continue
		}
		out = append(out, toleration{t.Key, t.Operator, t.Value, t.Effect})
	}
	return out
}

// nodeRules reads nodeSelector and required node affinity.
func nodeRules(pod *corev1.Pod, rd reader, r *rules) []Problem {
	var out []Problem
	refuse := func(field string, err error) {
		out = append(out, Problem{
			Code: "unsupported-affinity", Field: field, Text: err.Error(), Fatal: true,
			Hint: "name nodes alike in all terms, or select by labels that nodes share",
		})
	}
	var err error
	if want := nodeSelector(pod); len(want) > 0 {
		if r.Selector, err = rd.selected(want); err != nil {
			refuse("spec.nodeSelector", err)
		}
	}
	if ns := requiredNodes(pod); ns != nil {
		if r.Affinity, err = rd.required(ns, true); err != nil {
			refuse("spec.affinity.nodeAffinity", err)
		}
	}
	return out
}

// poolKeys are the labels by which KAI's pods ask for a pool of nodes, which have the same
// label (its SchedulingShards).
var poolKeys = []string{"kai.scheduler/node-pool", "runai/node-pool"}

// nodeSelector is the pod's, with KAI's pool where that is not in it.
func nodeSelector(pod *corev1.Pod) map[string]string {
	want := pod.Spec.NodeSelector
	for _, k := range poolKeys {
		pool := pod.Labels[k]
		if _, selected := want[k]; pool == "" || selected {
			continue
		}
		own := want
		want = make(map[string]string, len(own)+1)
		maps.Copy(want, own)
		want[k] = pool
	}
	return want
}

func requiredNodes(pod *corev1.Pod) *corev1.NodeSelector {
	if a := pod.Spec.Affinity; a != nil && a.NodeAffinity != nil {
		return a.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution
	}
	return nil
}

// unsupported tells what is not scheduled by, and which wishes are passed over.
func unsupported(pod *corev1.Pod) []Problem {
	var out []Problem
	ignored := func(field, what string) {
		out = append(out, Problem{
			Code: "preference-ignored", Field: field, Text: what + " are not taken into account",
			Hint: "only required terms decide where the pod runs",
		})
	}
	if len(pod.Spec.ResourceClaims) > 0 {
		out = append(out, Problem{
			Code: "unsupported-claims", Field: "spec.resourceClaims", Text: "dynamic resource allocation is not supported",
			Hint: "ask for devices by resource name (nvidia.com/gpu)", Fatal: true,
		})
	}
	if a := pod.Spec.Affinity; a != nil {
		const preferred = ".preferredDuringSchedulingIgnoredDuringExecution"
		if a.NodeAffinity != nil && len(a.NodeAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
			ignored("spec.affinity.nodeAffinity"+preferred, "preferred nodes")
		}
		if a.PodAffinity != nil && len(a.PodAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
			ignored(affinityField+preferred, "preferred neighbours")
		}
		if a.PodAntiAffinity != nil && len(a.PodAntiAffinity.PreferredDuringSchedulingIgnoredDuringExecution) > 0 {
			ignored(antiAffinityField+preferred, "neighbours to avoid if possible")
		}
	}
	anyway := func(c corev1.TopologySpreadConstraint) bool { return c.WhenUnsatisfiable == corev1.ScheduleAnyway }
	if slices.ContainsFunc(pod.Spec.TopologySpreadConstraints, anyway) {
		ignored(spreadField, "spread constraints with ScheduleAnyway")
	}
	return out
}

// fractionKeys are the annotations by which KAI's pods ask for a part of a GPU.
var fractionKeys = []string{"gpu-fraction", "gpu-memory", "gpu-fraction-num-devices"}

// The resources of Volcano's shared GPUs. Its device plugins give what annotations say that
// its scheduler has chosen.
const (
	volcanoVGPU = "volcano.sh/vgpu-"
	volcanoGPU  = "volcano.sh/gpu-"
)

// fractions refuses parts of GPUs, which no kubelet hands out by itself.
func fractions(pod *corev1.Pod, r spec.Resources) []Problem {
	var out []Problem
	refuse := func(field, text string) {
		out = append(out, Problem{
			Code: "gpu-fraction", Field: field, Text: text, Fatal: true,
			Hint: "ask for whole GPUs, or for a MIG or time-sliced device by its resource name",
		})
	}
	if gpus, _ := r.Get(amount.GPUName); gpus%1000 != 0 {
		refuse("spec.containers", amount.Format(amount.GPUName, gpus)+" GPUs are asked for")
	}
	for i := range r {
		if strings.HasPrefix(r[i].Name, volcanoVGPU) || strings.HasPrefix(r[i].Name, volcanoGPU) {
			refuse("spec.containers", r[i].Name+" is asked for, which only Volcano's scheduler can hand out")
			break
		}
	}
	for _, k := range fractionKeys {
		if v, ok := pod.Annotations[k]; ok {
			refuse("metadata.annotations["+k+"]", fmt.Sprintf("a part of a GPU (%s) is asked for", v))
		}
	}
	return out
}

// gpuTypes lists the types that selector and affinity leave, sorted; nil is any. Where
// keeps the exact labels; this is what the choice means for quotas.
func (o *Options) gpuTypes(pod *corev1.Pod) []string {
	var left []string
	narrow := func(types []string) {
		switch {
		case types == nil:
		case left == nil:
			left = sorted(types)
		default:
			left = keep(left, func(t string) bool { return slices.Contains(types, t) })
			if left == nil {
				left = []string{} // nothing is left: Where fits no node either
			}
		}
	}
	for i, key := range o.gpuLabels() {
		if product, ok := pod.Spec.NodeSelector[key]; ok {
			narrow(o.typesOf([]string{product}, i == 0))
		}
	}
	if ns := requiredNodes(pod); ns != nil {
		narrow(o.typesOfTerms(ns.NodeSelectorTerms))
	}
	if len(left) == 0 {
		return nil
	}
	return left
}

// typesOfTerms joins what alternatives leave; nil if one of them leaves any.
func (o *Options) typesOfTerms(terms []corev1.NodeSelectorTerm) []string {
	var out []string
	for _, t := range terms {
		if len(t.MatchExpressions) == 0 && len(t.MatchFields) == 0 {
			continue
		}
		types := o.typesOfTerm(&t)
		if types == nil {
			return nil
		}
		out = append(out, types...)
	}
	return sorted(out)
}

func (o *Options) typesOfTerm(t *corev1.NodeSelectorTerm) []string {
	for i, key := range o.gpuLabels() {
		for _, e := range t.MatchExpressions {
			if e.Key != key || operators[e.Operator] != selection.In {
				continue
			}
			if types := o.typesOf(e.Values, i == 0); types != nil {
				return types
			}
		}
	}
	return nil
}

// typesOf maps products to types. A label that nodes may have besides the first one counts
// only where its types are known by name: both labels must tell the same type.
func (o *Options) typesOf(products []string, first bool) []string {
	var out []string
	for _, p := range products {
		_, alias := o.GPUTypes[p]
		if _, known := modelOf(p); !known && !alias && !first {
			return nil
		}
		out = append(out, o.gpuType(p))
	}
	return out
}
