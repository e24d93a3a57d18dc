package pods_test

import (
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/pods"
)

func TestANodeOffersWhatIsAllocatable(t *testing.T) {
	n := parse[corev1.Node](t, `
metadata:
  name: gpu-1
  labels: {kubernetes.io/hostname: gpu-1, zone: a, nvidia.com/gpu.product: NVIDIA-H100-80GB-HBM3, nvidia.com/gfd.timestamp: "17"}
spec:
  taints: [{key: b, effect: NoSchedule}, {key: soft, effect: PreferNoSchedule}, {key: a, value: x, effect: NoExecute}]
status:
  capacity: {cpu: 192, nvidia.com/gpu: 8}
  allocatable: {cpu: 191500m, memory: 2Ti, ephemeral-storage: 1Ti, pods: 110, nvidia.com/gpu: 8, nvidia.com/mig-1g.10gb: 2, hugepages-1Gi: 0}
  conditions: [{type: Ready, status: "True"}]`)
	node, problems := pods.Node(n, pods.Options{})
	if problems != nil || node.Unschedulable {
		t.Fatalf("not usable: %+v", problems)
	}
	if got, want := said(node.Capacity), "cpu=191500 ephemeral-storage=1099511627776 memory=2199023255552 nvidia.com/gpu=8000 nvidia.com/mig-1g.10gb=2 pods=110"; got != want {
		t.Errorf("got  %s\nwant %s", got, want)
	}
	if node.Name != "gpu-1" || node.GPUType != "H100" {
		t.Errorf("%s has GPUs of type %q", node.Name, node.GPUType)
	}
	if !slices.Equal(node.Taints, []spec.Taint{{Key: "a", Value: "x", Effect: "NoExecute"}, {Key: "b", Effect: "NoSchedule"}}) {
		t.Errorf("taints %v", node.Taints)
	}
	for _, l := range []string{"kubernetes.io/hostname", "nvidia.com/gfd.timestamp"} {
		if _, ok := node.Labels[l]; ok {
			t.Errorf("the label %s makes every node a class of its own", l)
		}
	}
	if node.Labels["zone"] != "a" || n.Labels["kubernetes.io/hostname"] == "" {
		t.Errorf("labels %v of %v", node.Labels, n.Labels)
	}
}

func TestWhyANodeTakesNothing(t *testing.T) {
	gates := []pods.Gate{{Condition: "example.com/Warm"}, {Label: "image-cache", Value: "warm"}, {Annotation: "checked"}, {NoTaint: "example.com/booting"}}
	open := func() *corev1.Node {
		n := nodeOf("n", map[string]string{"image-cache": "warm"})
		n.Annotations = map[string]string{"checked": ""}
		n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: "example.com/Warm", Status: corev1.ConditionTrue})
		return n
	}
	now := metav1.Now()
	for _, c := range []struct {
		name, want string
		change     func(n *corev1.Node)
		text       string
	}{
		{"nothing is wrong", "", func(*corev1.Node) {}, ""},
		{"cordoned", "cordoned!", func(n *corev1.Node) { n.Spec.Unschedulable = true }, "cordoned"},
		{"being deleted", "leaving!", func(n *corev1.Node) { n.DeletionTimestamp = &now }, "deleted"},
		{"not ready", "not-ready!?", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionFalse }, "Ready is False"},
		{"out of reach", "not-ready!?", func(n *corev1.Node) { n.Status.Conditions[0].Status = corev1.ConditionUnknown }, "Ready is Unknown"},
		{"no condition at all", "not-ready!? gate!?", func(n *corev1.Node) { n.Status.Conditions = nil }, "Ready is Unknown"},
		{"no network", "not-ready!?", func(n *corev1.Node) {
			n.Status.Conditions = append(n.Status.Conditions, corev1.NodeCondition{Type: corev1.NodeNetworkUnavailable, Status: corev1.ConditionTrue})
		}, "NetworkUnavailable"},
		{"a gate's condition is false", "gate!?", func(n *corev1.Node) { n.Status.Conditions[1].Status = corev1.ConditionFalse }, "example.com/Warm is False"},
		{"a gate's label has another value", "gate!?", func(n *corev1.Node) { n.Labels["image-cache"] = "cold" }, `"cold", not "warm"`},
		{"a gate's annotation is missing", "gate!?", func(n *corev1.Node) { n.Annotations = nil }, "checked is missing"},
		{"a gate's taint is there", "gate!?", func(n *corev1.Node) {
			n.Spec.Taints = []corev1.Taint{{Key: "example.com/booting", Effect: "NoSchedule"}}
		}, "booting is still there"},
		{"several reasons", "cordoned! gate!?", func(n *corev1.Node) { n.Spec.Unschedulable, n.Annotations = true, nil }, "cordoned"},
		{"negative memory and too many GPUs are one problem", "bad-quantity!", func(n *corev1.Node) {
			n.Status.Allocatable = corev1.ResourceList{"memory": quantity("-1"), "nvidia.com/gpu": quantity("65"), "cpu": quantity("4")}
		}, "memory: -1 is negative; 65 GPUs"},
		{"half a GPU", "bad-quantity!", func(n *corev1.Node) { n.Status.Allocatable = corev1.ResourceList{"nvidia.com/gpu": quantity("500m")} }, "500m GPUs"},
	} {
		t.Run(c.name, func(t *testing.T) {
			n := open()
			c.change(n)
			node, problems := pods.Node(n, pods.Options{Gates: gates})
			if got := strings.Join(codes(problems), " "); got != c.want || node.Unschedulable != (c.want != "") {
				t.Fatalf("got %q, unschedulable %v", got, node.Unschedulable)
			}
			if c.want != "" && !strings.Contains(problems[0].Text, c.text) {
				t.Errorf("%q does not say %q", problems[0].Text, c.text)
			}
			if err := node.Validate(); err != nil {
				t.Errorf("the core refuses it: %v", err)
			}
		})
	}
}

func TestWhateverAKubeletReportsTheCoreCanTakeTheNode(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := nodeOf("n", nil)
		n.Status.Allocatable = corev1.ResourceList{}
		name := rapid.SampledFrom([]string{"cpu", "memory", "pods", "nvidia.com/gpu", "amd.com/gpu", "nvidia.com/gpu:H100", "vcore", "x/y"})
		for range rapid.IntRange(0, 5).Draw(t, "resources") {
			q := resource.NewMilliQuantity(rapid.Int64().Draw(t, "milli"), resource.DecimalSI)
			if rapid.Bool().Draw(t, "large") {
				q = resource.NewQuantity(rapid.Int64().Draw(t, "amount"), resource.BinarySI)
			}
			n.Status.Allocatable[corev1.ResourceName(name.Draw(t, "name"))] = *q
		}
		node, problems := pods.Node(n, pods.Options{})
		if err := node.Validate(); err != nil {
			t.Fatalf("%v of %v: %v", err, n.Status.Allocatable, problems)
		}
		if len(problems) > 1 || node.Unschedulable != (len(problems) == 1) {
			t.Fatalf("unschedulable %v for %v", node.Unschedulable, problems)
		}
	})
}

func TestPodsOfOthersAreSummedUp(t *testing.T) {
	cl := &cluster{}
	terms := cl.terms()
	// Ours wants to be alone in its zone, one of theirs wants no web pod on its node.
	ours, _ := pods.Read(labelled(t, map[string]string{"app": "web"}, affine("podAntiAffinity", "{topologyKey: zone, labelSelector: {matchLabels: {app: db}}}")), cl, terms)
	web := named("web", podOf(t, "containers: [{name: a, resources: {requests: {cpu: 1, memory: 1Gi}}, ports: [{containerPort: 1, hostPort: 80}]}]"), map[string]string{"app": "web"})
	db := named("db", podOf(t, affine("podAntiAffinity", "{topologyKey: kubernetes.io/hostname, labelSelector: {matchLabels: {app: web}}}")), map[string]string{"app": "db"})
	db.Spec.Overhead = corev1.ResourceList{"cpu": quantity("250m")}
	ended := named("ended", db, db.Labels)
	ended.Status.Phase = corev1.PodFailed
	leaving := named("leaving", podOf(t, "containers: [{name: a, resources: {requests: {cpu: 2}}}]"), map[string]string{"app": "db"})
	leaving.DeletionTimestamp = &metav1.Time{}

	v := terms.Version()
	used, counts, avoids := pods.Foreign([]*corev1.Pod{web, db, ended, leaving}, terms)
	if got := said(used); got != "cpu=3250 memory=1073741824 pods=3" {
		t.Errorf("used %s", got)
	}
	if got := counts[ours.Near.Avoids[0].ID]; got != 2 {
		t.Errorf("%d of theirs count for what ours avoids, want db and leaving", got)
	}
	if terms.Version() == v {
		t.Error("their term is not told")
	}
	theirs := terms.Counts(labelled(t, map[string]string{"app": "web"}, "containers: []"))
	if len(theirs) != 1 || avoids[spec.Term{ID: theirs[0]}] != 1 || counts[theirs[0]] != 1 {
		t.Errorf("theirs is %v, avoided %v, counted %v", theirs, avoids, counts)
	}
	port := spec.Term{ID: "port:TCP/80"}
	if avoids[port] != 1 || counts[port.ID] != 1 {
		t.Errorf("their host port: avoided %d, counted %d", avoids[port], counts[port.ID])
	}
	db.Status.Phase = corev1.PodSucceeded
	pods.Foreign([]*corev1.Pod{db}, terms)
	if terms.Len() != 1 {
		t.Errorf("%d terms are left, want ours", terms.Len())
	}
}

func TestForeignNodesThatAreFullBeyondMeasureStayCountable(t *testing.T) {
	big := podOf(t, "containers: [{name: a, resources: {requests: {memory: 1Pi}}}]")
	used, _, _ := pods.Foreign([]*corev1.Pod{named("a", big, nil), named("b", big, nil)}, (&cluster{}).terms())
	if got := said(used); got != "memory=1125899906842624 pods=2" {
		t.Errorf("used %s", got)
	}
}

func TestStatesOfAPod(t *testing.T) {
	p := podOf(t, "containers: []\npriority: 7\npreemptionPolicy: Never\nschedulingGates: [{name: x}]\nnodeName: n")
	p.DeletionTimestamp = &metav1.Time{}
	p.Status = corev1.PodStatus{Phase: corev1.PodFailed, Conditions: []corev1.PodCondition{{Type: corev1.PodReady, Status: corev1.ConditionTrue}}}
	if !pods.Gated(p) || !pods.NeverPreempts(p) || !pods.Terminal(p) || !pods.Terminating(p) || !pods.Ready(p) || !pods.Placed(p) || pods.Priority(p) != 7 {
		t.Error("a state is not seen")
	}
	p = podOf(t, "containers: []\npreemptionPolicy: PreemptLowerPriority")
	if pods.Gated(p) || pods.NeverPreempts(p) || pods.Terminal(p) || pods.Terminating(p) || pods.Ready(p) || pods.Placed(p) || pods.Priority(p) != 0 {
		t.Error("a state is seen that is not there")
	}
}

func TestGatesAsFlagsWriteThem(t *testing.T) {
	for text, want := range map[string]pods.Gate{
		"condition:example.com/Warm": {Condition: "example.com/Warm"},
		"label:image-cache=warm":     {Label: "image-cache", Value: "warm"},
		"label:image-cache":          {Label: "image-cache"},
		"annotation:checked=by=us":   {Annotation: "checked", Value: "by=us"},
		"no-taint:example.com/boot":  {NoTaint: "example.com/boot"},
	} {
		if got, err := pods.ParseGate(text); err != nil || got != want {
			t.Errorf("%q is %+v, %v", text, got, err)
		}
	}
	for _, text := range []string{"", "condition", "condition:", "condition:a=True", "label:=x", "label:x=", "no-taint:a=b", "taint:x"} {
		if g, err := pods.ParseGate(text); err == nil {
			t.Errorf("%q is read as %+v", text, g)
		}
	}
}
