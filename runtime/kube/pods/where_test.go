package pods_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
	"k8s.io/component-helpers/scheduling/corev1/nodeaffinity"
	"k8s.io/klog/v2"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/pods"
)

func required(terms string) string {
	return "containers: []\naffinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [" + terms + "]}}}"
}

func TestWhereNamesTheFirstReason(t *testing.T) {
	gpuNode := map[string]string{"zone": "a", "cpus": "64"}
	tainted := corev1.Taint{Key: "gpu", Value: "yes", Effect: corev1.TaintEffectNoSchedule}
	for _, c := range []struct {
		name, spec string
		taints     []corev1.Taint
		want       string
	}{
		{"nothing asked", "containers: []", nil, ""},
		{"selected", "nodeSelector: {zone: a}\ncontainers: []", nil, ""},
		{"not selected", "nodeSelector: {zone: b}\ncontainers: []", nil, "selector"},
		{"In", required("{matchExpressions: [{key: zone, operator: In, values: [b, a]}]}"), nil, ""},
		{"not In", required("{matchExpressions: [{key: zone, operator: In, values: [b]}]}"), nil, "affinity"},
		{"NotIn where there is no label", required("{matchExpressions: [{key: x, operator: NotIn, values: [b]}]}"), nil, ""},
		{"Exists", required("{matchExpressions: [{key: zone, operator: Exists}]}"), nil, ""},
		{"DoesNotExist", required("{matchExpressions: [{key: zone, operator: DoesNotExist}]}"), nil, "affinity"},
		{"Gt", required("{matchExpressions: [{key: cpus, operator: Gt, values: ['63']}]}"), nil, ""},
		{"Gt is not at least", required("{matchExpressions: [{key: cpus, operator: Gt, values: ['64']}]}"), nil, "affinity"},
		{"Lt", required("{matchExpressions: [{key: cpus, operator: Lt, values: ['65']}]}"), nil, ""},
		{"Gt of a label that is no number", required("{matchExpressions: [{key: zone, operator: Gt, values: ['1']}]}"), nil, "affinity"},
		{"one of two terms", required("{matchExpressions: [{key: x, operator: Exists}]}, {matchExpressions: [{key: zone, operator: Exists}]}"), nil, ""},
		{"an empty term selects nothing", required("{}"), nil, "affinity"},
		{"no terms select nothing", required(""), nil, "affinity"},
		{"a term that can't be read selects nothing", required("{matchExpressions: [{key: zone, operator: Gt, values: [x]}]}"), nil, "affinity"},
		{"and does not spoil the others", required("{matchExpressions: [{key: zone, operator: Gt, values: [x]}]}, {matchExpressions: [{key: zone, operator: Exists}]}"), nil, ""},
		{"selector comes before affinity", required("{}") + "\nnodeSelector: {zone: b}", nil, "selector"},
		{"a taint", "containers: []", []corev1.Taint{tainted}, "taint"},
		{"a taint of a node that is not selected", "nodeSelector: {zone: b}\ncontainers: []", []corev1.Taint{tainted}, "selector"},
		{"tolerated by value", "tolerations: [{key: gpu, value: 'yes'}]\ncontainers: []", []corev1.Taint{tainted}, ""},
		{"another value is not", "tolerations: [{key: gpu, operator: Equal, value: 'no'}]\ncontainers: []", []corev1.Taint{tainted}, "taint"},
		{"an empty value is a value", "tolerations: [{key: gpu}]\ncontainers: []", []corev1.Taint{tainted}, "taint"},
		{"tolerated by key", "tolerations: [{key: gpu, operator: Exists}]\ncontainers: []", []corev1.Taint{tainted}, ""},
		{"everything tolerated", "tolerations: [{operator: Exists}]\ncontainers: []", []corev1.Taint{tainted, {Key: "x", Effect: corev1.TaintEffectNoExecute}}, ""},
		{"another effect is not tolerated", "tolerations: [{key: gpu, operator: Exists, effect: NoExecute}]\ncontainers: []", []corev1.Taint{tainted}, "taint"},
		{"NoExecute keeps off too", "containers: []", []corev1.Taint{{Key: "x", Effect: corev1.TaintEffectNoExecute}}, "taint"},
		{"PreferNoSchedule does not", "containers: []", []corev1.Taint{{Key: "x", Effect: corev1.TaintEffectPreferNoSchedule}}, ""},
		{"Gt of a taint", "tolerations: [{key: grade, operator: Gt, value: '3'}]\ncontainers: []", []corev1.Taint{{Key: "grade", Value: "4", Effect: corev1.TaintEffectNoSchedule}}, ""},
		{"Lt of a taint", "tolerations: [{key: grade, operator: Lt, value: '3'}]\ncontainers: []", []corev1.Taint{{Key: "grade", Value: "4", Effect: corev1.TaintEffectNoSchedule}}, "taint"},
	} {
		t.Run(c.name, func(t *testing.T) {
			task := mustRead(t, podOf(t, c.spec), &cluster{})
			if got := verdict(t, task, nodeOf("n1", gpuNode, c.taints...)); got != c.want {
				t.Errorf("got %q, want %q of %s", got, c.want, task.Where.Key())
			}
			if task.Where.ByName() {
				t.Errorf("names matter to %s", task.Where.Key())
			}
		})
	}
}

func TestKAIsNodePoolIsWhereItsPodsRun(t *testing.T) {
	pool := map[string]string{"kai.scheduler/node-pool": "h100", "zone": "a"}
	for _, c := range []struct {
		name, spec string
		labels     map[string]string
		node       map[string]string
		want       string
	}{
		{"the pod's pool", "containers: []", pool, pool, ""},
		{"another pool", "containers: []", pool, map[string]string{"kai.scheduler/node-pool": "a100"}, "selector"},
		{"no pool", "containers: []", pool, nil, "selector"},
		{"a pod of no pool runs anywhere", "containers: []", nil, pool, ""},
		{"a selector besides", "nodeSelector: {zone: b}\ncontainers: []", pool, pool, "selector"},
		{"the old label", "containers: []", map[string]string{"runai/node-pool": "x"}, map[string]string{"runai/node-pool": "y"}, "selector"},
		{"a selector that says otherwise counts", "nodeSelector: {kai.scheduler/node-pool: a100}\ncontainers: []", pool, map[string]string{"kai.scheduler/node-pool": "a100"}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			task := mustRead(t, named("p", podOf(t, c.spec), c.labels), &cluster{})
			if got := verdict(t, task, nodeOf("n1", c.node)); got != c.want {
				t.Errorf("got %q, want %q of %s", got, c.want, task.Where.Key())
			}
		})
	}
}

func TestNodesAreAskedForByName(t *testing.T) {
	// The node n2 calls its host "second": names and host names may differ.
	cl := &cluster{nodes: []*corev1.Node{
		nodeOf("n1", map[string]string{"zone": "a"}), nodeOf("n2", map[string]string{"zone": "a", corev1.LabelHostname: "second"}),
		nodeOf("n3", map[string]string{"zone": "b"}),
	}}
	for _, c := range []struct{ name, spec, want string }{
		{"a host by selector", "nodeSelector: {kubernetes.io/hostname: n1}\ncontainers: []", "n1"},
		{"a host whose node has another name", "nodeSelector: {kubernetes.io/hostname: second}\ncontainers: []", "n2"},
		{"a host that is not there", "nodeSelector: {kubernetes.io/hostname: n9}\ncontainers: []", ""},
		{"a host and a label", "nodeSelector: {kubernetes.io/hostname: n1, zone: b}\ncontainers: []", ""},
		{"not this host", required("{matchExpressions: [{key: kubernetes.io/hostname, operator: NotIn, values: [second, n1]}]}"), "n3"},
		{"one host each term", required("{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n1]}]}, {matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n3]}]}"), "n1 n3"},
		{"every node has a host", required("{matchExpressions: [{key: kubernetes.io/hostname, operator: Exists}]}"), "n1 n2 n3"},
		{"no node has none", required("{matchExpressions: [{key: kubernetes.io/hostname, operator: DoesNotExist}]}"), ""},
		{"a DaemonSet's field", required("{matchFields: [{key: metadata.name, operator: In, values: [n2]}]}"), "n2"},
		{"not that field", required("{matchFields: [{key: metadata.name, operator: NotIn, values: [n2]}]}"), "n1 n3"},
		{"two values of a field can't be read", required("{matchFields: [{key: metadata.name, operator: In, values: [n1, n2]}]}"), ""},
		{"a field and a label", required("{matchFields: [{key: metadata.name, operator: NotIn, values: [n2]}], matchExpressions: [{key: zone, operator: In, values: [a]}]}"), "n1"},
	} {
		t.Run(c.name, func(t *testing.T) {
			task := mustRead(t, podOf(t, c.spec), cl)
			var fits []string
			for _, n := range cl.nodes {
				if verdict(t, task, n) == "" {
					fits = append(fits, n.Name)
				}
			}
			if got := strings.Join(fits, " "); got != c.want {
				t.Errorf("got %q, want %q of %s", got, c.want, task.Where.Key())
			}
		})
	}
}

func TestWhatDependsOnNameAndLabelsTogetherIsRefused(t *testing.T) {
	for _, spec := range []string{
		required("{matchExpressions: [{key: kubernetes.io/hostname, operator: In, values: [n1]}]}, {matchExpressions: [{key: zone, operator: In, values: [b]}]}"),
		required("{matchExpressions: [{key: kubernetes.io/hostname, operator: Gt, values: ['1']}]}"),
		required("{matchExpressions: [{key: nvidia.com/gfd.timestamp, operator: Exists}]}"),
	} {
		cl := &cluster{}
		_, problems := pods.Read(podOf(t, spec), cl, cl.terms())
		if got := codes(problems); !slices.Equal(got, []string{"unsupported-affinity!"}) {
			t.Errorf("got %v of %s", got, spec)
		}
	}
}

func TestGPUsOfOneVendorAreNotGivenToPodsOfAnother(t *testing.T) {
	amd, nvidia := nodeOf("amd", nil), nodeOf("nvidia", nil)
	amd.Status.Allocatable = parse[corev1.NodeStatus](t, "allocatable: {amd.com/gpu: 8, pods: 110}").Allocatable
	nvidia.Status.Allocatable = parse[corev1.NodeStatus](t, "allocatable: {nvidia.com/gpu: 8, pods: 110}").Allocatable
	task := mustRead(t, podOf(t, "containers: [{name: a, resources: {requests: {nvidia.com/gpu: 1}}}]"), &cluster{})
	if a, b := verdict(t, task, amd), verdict(t, task, nvidia); a != "gpu-type" || b != "" {
		t.Errorf("AMD %q, NVIDIA %q", a, b)
	}
	task = mustRead(t, podOf(t, "containers: [{name: a, resources: {requests: {amd.com/gpu: 1}}}]"), &cluster{})
	node, _ := pods.Node(nvidia, pods.Options{})
	if have, _ := node.Capacity.Get("amd.com/gpu"); have != 0 || verdict(t, task, amd) != "" {
		t.Errorf("an AMD pod: %d on the NVIDIA node, %q on AMD's", have, verdict(t, task, amd))
	}
}

var (
	someKeys   = []string{"zone", "rack", "cpus", corev1.LabelHostname}
	someValues = []string{"a", "b", "c", "1", "2", "10", "n1", "n2"}
)

func anyRequirement() *rapid.Generator[corev1.NodeSelectorRequirement] {
	ops := []corev1.NodeSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist", "Gt", "Lt", "Nonsense"}
	return rapid.Custom(func(t *rapid.T) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{
			Key: rapid.SampledFrom(someKeys).Draw(t, "key"), Operator: rapid.SampledFrom(ops).Draw(t, "op"),
			Values: rapid.SliceOfN(rapid.SampledFrom(someValues), 0, 3).Draw(t, "values"),
		}
	})
}

func anyField() *rapid.Generator[corev1.NodeSelectorRequirement] {
	return rapid.Custom(func(t *rapid.T) corev1.NodeSelectorRequirement {
		return corev1.NodeSelectorRequirement{
			Key:      rapid.SampledFrom([]string{"metadata.name", "metadata.name", "spec.x"}).Draw(t, "field"),
			Operator: rapid.SampledFrom([]corev1.NodeSelectorOperator{"In", "NotIn", "Exists"}).Draw(t, "op"),
			Values:   rapid.SliceOfN(rapid.SampledFrom([]string{"n1", "n2", "n3", ""}), 0, 2).Draw(t, "values"),
		}
	})
}

func anyNodeSelector() *rapid.Generator[*corev1.NodeSelector] {
	return rapid.Custom(func(t *rapid.T) *corev1.NodeSelector {
		term := rapid.Custom(func(t *rapid.T) corev1.NodeSelectorTerm {
			return corev1.NodeSelectorTerm{
				MatchExpressions: rapid.SliceOfN(anyRequirement(), 0, 3).Draw(t, "expressions"),
				MatchFields:      rapid.SliceOfN(anyField(), 0, 1).Draw(t, "fields"),
			}
		})
		return &corev1.NodeSelector{NodeSelectorTerms: rapid.SliceOfN(term, 0, 3).Draw(t, "terms")}
	})
}

func anyNode(name string) *rapid.Generator[*corev1.Node] {
	return rapid.Custom(func(t *rapid.T) *corev1.Node {
		n := nodeOf(name, map[string]string{corev1.LabelHostname: map[string]string{"n1": "n1", "n2": "1", "n3": "c"}[name]})
		for _, k := range someKeys[:3] {
			if v := rapid.SampledFrom(append([]string{""}, someValues...)).Draw(t, k); v != "" {
				n.Labels[k] = v
			}
		}
		for range rapid.IntRange(0, 2).Draw(t, "taints") {
			n.Spec.Taints = append(n.Spec.Taints, corev1.Taint{
				Key: rapid.SampledFrom(someKeys).Draw(t, "taint"), Value: rapid.SampledFrom([]string{"", "a", "1", "10"}).Draw(t, "value"),
				Effect: rapid.SampledFrom([]corev1.TaintEffect{"NoSchedule", "NoExecute", "PreferNoSchedule"}).Draw(t, "effect"),
			})
		}
		return n
	})
}

func anyToleration() *rapid.Generator[corev1.Toleration] {
	return rapid.Custom(func(t *rapid.T) corev1.Toleration {
		return corev1.Toleration{
			Key:      rapid.SampledFrom(append([]string{""}, someKeys...)).Draw(t, "key"),
			Operator: rapid.SampledFrom([]corev1.TolerationOperator{"", "Equal", "Exists", "Exists", "Gt", "Lt", "Odd"}).Draw(t, "op"),
			Value:    rapid.SampledFrom([]string{"", "a", "1", "5"}).Draw(t, "value"),
			Effect:   rapid.SampledFrom([]corev1.TaintEffect{"", "NoSchedule", "NoExecute", "PreferNoSchedule"}).Draw(t, "effect"),
		}
	})
}

// twin is what kube-scheduler's filters NodeAffinity and TaintToleration say.
func twin(p *corev1.Pod, n *corev1.Node) bool {
	if fits, _ := nodeaffinity.GetRequiredNodeAffinity(p).Match(n); !fits {
		return false
	}
	hard := func(t *corev1.Taint) bool { return t.Effect != corev1.TaintEffectPreferNoSchedule }
	_, untolerated := schedulingv1.FindMatchingUntoleratedTaint(klog.Logger{}, n.Spec.Taints, p.Spec.Tolerations, hard, true)
	return !untolerated
}

func TestWhereAgreesWithKubeSchedulersHelpersOnAnyPodAndNode(t *testing.T) {
	exact := 0
	rapid.Check(t, func(t *rapid.T) {
		cl := &cluster{nodes: []*corev1.Node{anyNode("n1").Draw(t, "n1"), anyNode("n2").Draw(t, "n2"), anyNode("n3").Draw(t, "n3")}}
		p := &corev1.Pod{Spec: corev1.PodSpec{Tolerations: rapid.SliceOfN(anyToleration(), 0, 3).Draw(t, "tolerations")}}
		if rapid.Bool().Draw(t, "selects") {
			p.Spec.NodeSelector = map[string]string{rapid.SampledFrom(someKeys).Draw(t, "key"): rapid.SampledFrom(someValues).Draw(t, "value")}
		}
		if rapid.Bool().Draw(t, "affine") {
			p.Spec.Affinity = &corev1.Affinity{NodeAffinity: &corev1.NodeAffinity{RequiredDuringSchedulingIgnoredDuringExecution: anyNodeSelector().Draw(t, "selector")}}
		}
		task, problems := pods.Read(p, cl, cl.terms())
		if problems != nil {
			if got := codes(problems); !slices.Equal(got, []string{"unsupported-affinity!"}) {
				t.Fatalf("problems %+v", problems)
			}
			return // said, not passed over
		}
		exact++
		again, err := pods.ParseWhere(task.Where.Key())
		if err != nil || again.Key() != task.Where.Key() {
			t.Fatalf("the key %s is read as %v, %v", task.Where.Key(), again, err)
		}
		for _, n := range cl.nodes {
			for _, w := range []spec.Where{task.Where, again} {
				got := verdictOf(w, n)
				if (got == "") != twin(p, n) {
					t.Fatalf("node %s %v %v: %q, kube-scheduler says %v\n%s", n.Name, n.Labels, n.Spec.Taints, got, twin(p, n), w.Key())
				}
			}
		}
	})
	if exact == 0 {
		t.Error("every pod was refused: nothing was compared")
	}
}

func verdictOf(w spec.Where, n *corev1.Node) string {
	node, _ := pods.Node(n, pods.Options{})
	if why := w.Misfit(&node); why != "" || !w.ByName() {
		return why
	}
	return w.Refuses(n.Name)
}

func TestTaintsAreReadByEffect(t *testing.T) {
	where := mustRead(t, podOf(t, "containers: []\ntolerations: [{key: a, operator: Exists, effect: NoSchedule}]"), &cluster{}).Where
	for taint, want := range map[spec.Taint]string{
		{Key: "x", Effect: "PreferNoSchedule"}: "", {Key: "x"}: "taint",
		{Key: "a"}: "", {Key: "a", Effect: "NoSchedule"}: "", {Key: "a", Effect: "NoExecute"}: "taint",
	} {
		if got := where.Misfit(&spec.Node{Taints: []spec.Taint{taint}}); got != want {
			t.Errorf("%+v: got %q, want %q", taint, got, want)
		}
	}
}

func TestEqualRestrictionsHaveEqualKeys(t *testing.T) {
	a := mustRead(t, podOf(t, `
containers: []
nodeSelector: {a: "1", b: "2"}
tolerations: [{key: x, operator: Exists}, {key: y, operator: Equal, value: z}, {key: x, operator: Exists, tolerationSeconds: 30}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
  {matchExpressions: [{key: k, operator: In, values: [v, w]}, {key: l, operator: Exists}]}, {matchExpressions: [{key: m, operator: Exists}]}]}}}`), &cluster{})
	b := mustRead(t, podOf(t, `
containers: []
nodeSelector: {b: "2", a: "1"}
tolerations: [{key: y, value: z}, {key: x, operator: Exists}, {key: q, operator: Exists, effect: PreferNoSchedule}]
affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [
  {matchExpressions: [{key: m, operator: Exists}]}, {}, {matchExpressions: [{key: l, operator: Exists}, {key: k, operator: In, values: [w, v, w]}]}]}}}`), &cluster{})
	if a.Where.Key() != b.Where.Key() || a.Shape() != b.Shape() {
		t.Errorf("keys differ:\n%s\n%s", a.Where.Key(), b.Where.Key())
	}
	if none := mustRead(t, podOf(t, "containers: []"), &cluster{}); none.Where.Key() != "{}" || none.Shape() == a.Shape() {
		t.Errorf("a pod that asks for nothing has the key %s", none.Where.Key())
	}
}

func TestKeysThatCantBeReadAreRefused(t *testing.T) {
	for _, key := range []string{"", "x", "[]", "{} {}", `{"unknown":1}`, `{"selector":{"any":[[{"key":"k","op":"gt","values":["x"]}]]}}`, `{"affinity":{"any":[[{"key":"","op":"exists"}]]}}`} {
		if w, err := pods.ParseWhere(key); err == nil {
			t.Errorf("%q is read as %s", key, w.Key())
		}
	}
}

func FuzzParseWhere(f *testing.F) {
	cl := &cluster{}
	for _, s := range []string{"containers: []", "nodeSelector: {kubernetes.io/hostname: n1, a: b}\ncontainers: []", required("{matchExpressions: [{key: cpus, operator: Gt, values: ['1']}]}"), required(""), "tolerations: [{operator: Exists}]\ncontainers: []"} {
		f.Add(mustRead(f, podOf(f, s), cl).Where.Key())
	}
	f.Add(`{"volumes":[{"never":true},{"names":{"not":true,"list":["b","a"]}}],"zones":[{"key":"k","values":["z","a"]}],"topology":["b","a"]}`)
	f.Fuzz(func(t *testing.T, key string) {
		w, err := pods.ParseWhere(key)
		if err != nil {
			return
		}
		again, err := pods.ParseWhere(w.Key())
		if err != nil {
			t.Fatalf("its own key %q of %q: %v", w.Key(), key, err)
		}
		n := spec.Node{Name: "n", Labels: map[string]string{"a": "b"}, Taints: []spec.Taint{{Key: "t"}}}
		if again.Key() != w.Key() || again.Misfit(&n) != w.Misfit(&n) || again.ByName() != w.ByName() || again.Refuses("n") != w.Refuses("n") {
			t.Fatalf("%q is another after a round trip: %q", w.Key(), again.Key())
		}
	})
}

func ExampleParseWhere() {
	w, _ := pods.ParseWhere(`{"selector":{"any":[[{"key":"zone","op":"in","values":["a"]}]]}}`)
	fmt.Printf("%q %q\n", w.Misfit(&spec.Node{Labels: map[string]string{"zone": "a"}}), w.Misfit(&spec.Node{}))
	// Output: "" "selector"
}
