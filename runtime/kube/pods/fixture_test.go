package pods_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/component-helpers/storage/volume"
	"sigs.k8s.io/yaml"

	"github.com/musterhq/muster/runtime/kube/pods"
)

// cluster is what pods refer to.
type cluster struct {
	namespaces []*corev1.Namespace
	claims     []*corev1.PersistentVolumeClaim
	volumes    []*corev1.PersistentVolume
	classes    []*storagev1.StorageClass
	nodes      []*corev1.Node
}

func find[T metav1.Object](list []T, namespace, name string) (none T) {
	for _, o := range list {
		if o.GetNamespace() == namespace && o.GetName() == name {
			return o
		}
	}
	return none
}

func (c *cluster) Namespace(name string) *corev1.Namespace { return find(c.namespaces, "", name) }

func (c *cluster) Claim(namespace, name string) *corev1.PersistentVolumeClaim {
	return find(c.claims, namespace, name)
}

func (c *cluster) Volume(name string) *corev1.PersistentVolume { return find(c.volumes, "", name) }

func (c *cluster) Class(name string) *storagev1.StorageClass { return find(c.classes, "", name) }

func (c *cluster) VolumesOf(class string) []*corev1.PersistentVolume {
	var out []*corev1.PersistentVolume
	for _, v := range c.volumes {
		if volume.GetPersistentVolumeClass(v) == class && v.Status.Phase == corev1.VolumeAvailable {
			out = append(out, v)
		}
	}
	return out
}

func (c *cluster) NodesWith(label, value string) []string {
	var out []string
	for _, n := range c.nodes {
		if v, ok := n.Labels[label]; ok && v == value {
			out = append(out, n.Name)
		}
	}
	return out
}

func (c *cluster) HasNode(name string) bool { return find(c.nodes, "", name) != nil }

func (c *cluster) terms() *pods.Terms { return pods.NewTerms(pods.Options{}, c.Namespace) }

func quantity(text string) resource.Quantity { return resource.MustParse(text) }

// parse reads one object from YAML; unknown fields fail the test.
func parse[T any](t testing.TB, text string) *T {
	t.Helper()
	out := new(T)
	if err := yaml.UnmarshalStrict([]byte(text), out); err != nil {
		t.Fatalf("%v in\n%s", err, text)
	}
	return out
}

// podOf makes a pod of namespace team from its spec.
func podOf(t testing.TB, spec string) *corev1.Pod {
	t.Helper()
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "p", UID: "uid-p"},
		Spec:       *parse[corev1.PodSpec](t, spec),
	}
}

func named(name string, p *corev1.Pod, labels map[string]string) *corev1.Pod {
	p = p.DeepCopy()
	p.Name, p.UID, p.Labels = name, types.UID("uid-"+name), labels
	return p
}

func nodeOf(name string, labels map[string]string, taints ...corev1.Taint) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: map[string]string{corev1.LabelHostname: name}}, Spec: corev1.NodeSpec{Taints: taints}}
	for k, v := range labels {
		n.Labels[k] = v
	}
	n.Status.Conditions = []corev1.NodeCondition{{Type: corev1.NodeReady, Status: corev1.ConditionTrue}}
	return n
}

// codes lists the codes of problems in order, marked ! if fatal and ? if waiting helps.
func codes(problems []pods.Problem) []string {
	var out []string
	for _, p := range problems {
		code := p.Code
		if p.Fatal {
			code += "!"
		}
		if p.Wait {
			code += "?"
		}
		out = append(out, code)
	}
	return out
}

// verdict is what a task's restriction says of a node, by labels first and then by name.
func verdict(t testing.TB, task pods.Task, n *corev1.Node) string {
	t.Helper()
	node, _ := pods.Node(n, pods.Options{})
	if why := task.Where.Misfit(&node); why != "" {
		return why
	}
	if !task.Where.ByName() {
		return ""
	}
	return task.Where.Refuses(n.Name)
}

// mustRead reads a pod that has no fatal problem.
func mustRead(t testing.TB, p *corev1.Pod, c *cluster) pods.Task {
	t.Helper()
	task, problems := pods.Read(p, c, c.terms())
	if slices.ContainsFunc(problems, func(p pods.Problem) bool { return p.Fatal }) {
		t.Fatalf("reading the pod: %+v", problems)
	}
	return task
}
