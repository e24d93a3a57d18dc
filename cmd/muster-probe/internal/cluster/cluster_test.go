package cluster

import (
	"context"
	"log/slog"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/gpuprobe/simulate"
)

func gpuNode(name string, gpus int64, faults string) *corev1.Node {
	n := &corev1.Node{ObjectMeta: metav1.ObjectMeta{Name: name, UID: types.UID(name), Annotations: map[string]string{FaultAnnotation: faults}}}
	if gpus > 0 {
		n.Status.Capacity = corev1.ResourceList{gpu: *resource.NewQuantity(gpus, resource.DecimalSI)}
	}
	return n
}

func gpuPod(name, node string, gpus int64, use string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: "ml", UID: types.UID(name)}, Spec: corev1.PodSpec{NodeName: node, Containers: make([]corev1.Container, 1)}}
	if use != "" {
		p.Annotations = map[string]string{UseAnnotation: use}
	}
	if gpus > 0 {
		p.Spec.Containers[0].Resources.Limits = corev1.ResourceList{gpu: *resource.NewQuantity(gpus, resource.DecimalSI)}
	}
	return p
}

// fakeAPI has nodes and nothing else.
type fakeAPI struct {
	API
	nodes []*corev1.Node
}

func (f fakeAPI) Nodes(context.Context) (*corev1.NodeList, error) {
	list := &corev1.NodeList{}
	for _, n := range f.nodes {
		list.Items = append(list.Items, *n)
	}
	return list, nil
}

func simulated(t *testing.T, nodes ...*corev1.Node) *Cluster {
	t.Helper()
	c, err := New(t.Context(), Options{
		API: fakeAPI{nodes: nodes}, Addresses: []string{"127.0.0.1:1"}, Use: simulate.MustPattern("busy"), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAClusterWithoutGPUsIsNotPlayed(t *testing.T) {
	if _, err := New(t.Context(), Options{API: fakeAPI{nodes: []*corev1.Node{gpuNode("cpu", 0, "")}}}); err == nil {
		t.Error("it was")
	}
}

func TestAFaultThatCannotBeReadNamesItsNode(t *testing.T) {
	_, err := New(t.Context(), Options{API: fakeAPI{nodes: []*corev1.Node{gpuNode("n1", 8, "explode at 5s")}}})
	if err == nil {
		t.Fatal("it was taken")
	}
	t.Log(err)
}

func TestPodsTakeGPUsAndGiveThemBack(t *testing.T) {
	c := simulated(t, gpuNode("n1", 4, ""))
	c.pod(gpuPod("a", "n1", 3, "idle"))
	c.pod(gpuPod("b", "n1", 2, "")) // bound already, though a has not gone yet
	c.pod(gpuPod("thief", "n1", 0, "busy"))
	c.pod(gpuPod("elsewhere", "n9", 2, ""))
	c.pod(gpuPod("cpu", "n1", 0, ""))
	if len(c.played) != 2 || len(c.nodes["n1"].waiting) != 1 {
		t.Fatalf("%d pods are played and %d wait", len(c.played), len(c.nodes["n1"].waiting))
	}
	c.stop(gpuPod("a", "n1", 3, "idle"))
	if p := c.played["b"]; p == nil || len(p.pod.GPUs) != 2 {
		t.Errorf("b has %+v after a has gone", p)
	}
	if p := c.played["thief"]; !p.pod.Unassigned {
		t.Error("a pod that asks for nothing was given its GPU")
	}
	done := gpuPod("b", "n1", 2, "")
	done.Status.Phase = corev1.PodSucceeded
	c.pod(done)
	if c.played["b"] != nil {
		t.Error("a pod that has ended goes on")
	}
}

// What a pod did before stays when its annotation changes: an idle one wakes up.
func TestAnIdlePodThatIsToldToWorkWakesUp(t *testing.T) {
	c := simulated(t, gpuNode("n1", 4, ""))
	c.pod(gpuPod("a", "n1", 1, "idle"))
	p := c.played["a"]
	p.pod.Start = p.pod.Start.Add(-time.Minute) // so long ago
	c.pod(gpuPod("a", "n1", 1, "busy"))
	next := c.played["a"]
	if next.pod.Start != p.pod.Start {
		t.Fatalf("it begins anew: %s", next.pod.Pattern)
	}
	if at, ok := next.pod.Pattern.NextWake(time.Minute-time.Second, 5*time.Second); !ok || at < time.Minute || at > 2*time.Minute {
		t.Errorf("it wakes up after %s (%v): %s", at, ok, next.pod.Pattern)
	}
	c.pod(gpuPod("a", "n1", 1, "idle"))
	if again := c.played["a"].pod.Pattern; again.Busy(2*time.Hour, time.Second) != 0 {
		t.Errorf("it does not fall asleep again: %s", again)
	}
	c.pod(gpuPod("a", "n1", 1, "nonsense"))
	if c.played["a"].text != "idle" {
		t.Errorf("a pattern that can't be read was taken: %q", c.played["a"].text)
	}
}
