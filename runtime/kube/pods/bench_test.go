package pods_test

import (
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/runtime/kube/pods"
)

// workers are pods as a RayCluster's worker group makes them.
func workers(n int, full bool) []*corev1.Pod {
	out := make([]*corev1.Pod, n)
	for i := range out {
		p := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: "team", Name: fmt.Sprintf("train-worker-%d", i), UID: types.UID(fmt.Sprintf("u-%d", i)),
				Labels: map[string]string{"ray.io/cluster": "train", "ray.io/group": "worker", "ray.io/node-type": "worker", "queue": "root.ml", "applicationId": "train"},
			},
			Spec: corev1.PodSpec{
				Containers: []corev1.Container{{Name: "ray", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{
					"cpu": resource.MustParse("4"), "memory": resource.MustParse("16Gi"), "nvidia.com/gpu": resource.MustParse("1"),
				}}}},
				InitContainers: []corev1.Container{{Name: "wait", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": resource.MustParse("200m")}}}},
				NodeSelector:   map[string]string{"nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"},
				Tolerations: []corev1.Toleration{
					{Key: "nvidia.com/gpu", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoSchedule},
					{Key: "node.kubernetes.io/not-ready", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
					{Key: "node.kubernetes.io/unreachable", Operator: corev1.TolerationOpExists, Effect: corev1.TaintEffectNoExecute},
				},
			},
		}
		if full {
			same := &metav1.LabelSelector{MatchLabels: map[string]string{"ray.io/cluster": "train"}}
			p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{MaxSkew: 1, TopologyKey: "rack", WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: same}}
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "zone", LabelSelector: same}}}}
		}
		out[i] = p
	}
	return out
}

type noObjects struct{ pods.Objects }

func BenchmarkRead(b *testing.B) {
	for _, full := range []bool{false, true} {
		b.Run(map[bool]string{false: "plain", true: "near"}[full], func(b *testing.B) {
			list := workers(5000, full)
			terms := pods.NewTerms(pods.Options{}, func(string) *corev1.Namespace { return nil })
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if _, problems := pods.Read(list[i%len(list)], noObjects{}, terms); problems != nil {
					b.Fatal(problems)
				}
			}
		})
	}
}

// BenchmarkRestart reads 20,000 running pods and 5,000 nodes into an empty registry: one
// op is a whole restart.
func BenchmarkRestart(b *testing.B) {
	list := workers(20000, true)
	for i, p := range list { // 40 clusters of 500 workers
		name := fmt.Sprintf("train-%d", i/500)
		p.Labels["ray.io/cluster"], p.Labels["applicationId"] = name, name
		p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"ray.io/cluster": name}}
		p.Spec.TopologySpreadConstraints[0].LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"ray.io/cluster": name}}
	}
	for b.Loop() {
		terms := pods.NewTerms(pods.Options{}, func(string) *corev1.Namespace { return nil })
		for _, p := range list {
			pods.Read(p, noObjects{}, terms)
		}
		for i := range 5000 {
			n := nodeOf(fmt.Sprint(i), map[string]string{"zone": "a", "nvidia.com/gpu.product": "NVIDIA-H100-80GB-HBM3"})
			n.Status.Allocatable = corev1.ResourceList{"cpu": resource.MustParse("192"), "memory": resource.MustParse("2Ti"), "pods": resource.MustParse("110"), "nvidia.com/gpu": resource.MustParse("8")}
			pods.Node(n, pods.Options{})
		}
	}
}

// BenchmarkCounts counts a pod among 1,000 terms of other applications.
func BenchmarkCounts(b *testing.B) {
	terms := pods.NewTerms(pods.Options{}, func(string) *corev1.Namespace { return nil })
	for i, p := range workers(1000, true) {
		p.Labels["app"] = fmt.Sprint(i)
		p.Spec.Affinity.PodAffinity.RequiredDuringSchedulingIgnoredDuringExecution[0].LabelSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"app": fmt.Sprint(i)}}
		pods.Read(p, noObjects{}, terms)
	}
	p := workers(1, false)[0]
	p.Labels["app"] = "7"
	b.ReportAllocs()
	for b.Loop() {
		if len(terms.Counts(p)) != 2 {
			b.Fatal(terms.Counts(p))
		}
	}
}
