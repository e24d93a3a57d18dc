package pods_test

import (
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/runtime/kube/pods"
)

// changes are small ways in which two pods of one template may differ, each in something
// that Read looks at.
var changes = []func(p *corev1.Pod){
	func(p *corev1.Pod) { p.Namespace = "other" },
	func(p *corev1.Pod) { p.Labels = map[string]string{"app": "db"} },
	func(p *corev1.Pod) { p.Annotations = map[string]string{"gpu-memory": "100"} },
	func(p *corev1.Pod) { p.DeletionTimestamp = &metav1.Time{} },
	func(p *corev1.Pod) { p.Spec.NodeSelector = map[string]string{"zone": "b"} },
	func(p *corev1.Pod) { p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Operator: "Exists"}} },
	func(p *corev1.Pod) {
		p.Spec.Tolerations = []corev1.Toleration{{Key: "k", Value: "v", Effect: "NoExecute"}}
	},
	func(p *corev1.Pod) { p.Spec.Containers[0].Resources.Requests["cpu"] = quantity("3") },
	func(p *corev1.Pod) { p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80}} },
	func(p *corev1.Pod) {
		p.Spec.Containers[0].Ports = []corev1.ContainerPort{{HostPort: 80, HostIP: "10.0.0.1"}}
	},
	func(p *corev1.Pod) { p.Spec.Containers = append(p.Spec.Containers, corev1.Container{Name: "more"}) },
	func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": quantity("2")}}}}
	},
	func(p *corev1.Pod) {
		p.Spec.InitContainers = []corev1.Container{{RestartPolicy: new(corev1.ContainerRestartPolicyAlways), Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": quantity("2")}}}}
	},
	func(p *corev1.Pod) { p.Spec.Overhead = corev1.ResourceList{"cpu": quantity("1")} },
	func(p *corev1.Pod) {
		p.Spec.Resources = &corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": quantity("9")}}
	},
	func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{}}}}}
	},
	func(p *corev1.Pod) {
		p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: []corev1.PodAffinityTerm{{TopologyKey: "zone", LabelSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": "db"}}}}}}
	},
	func(p *corev1.Pod) {
		p.Spec.TopologySpreadConstraints = []corev1.TopologySpreadConstraint{{TopologyKey: "zone", MaxSkew: 1, WhenUnsatisfiable: corev1.DoNotSchedule, LabelSelector: &metav1.LabelSelector{}}}
	},
	func(p *corev1.Pod) { p.Spec.ResourceClaims = []corev1.PodResourceClaim{{Name: "gpu"}} },
	func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{PersistentVolumeClaim: &corev1.PersistentVolumeClaimVolumeSource{ClaimName: "x"}}}}
	},
	func(p *corev1.Pod) {
		p.Spec.Volumes = []corev1.Volume{{VolumeSource: corev1.VolumeSource{GCEPersistentDisk: &corev1.GCEPersistentDiskVolumeSource{PDName: "x"}}}}
	},
	func(p *corev1.Pod) {
		p.Status.ContainerStatuses = []corev1.ContainerStatus{{Name: "a", AllocatedResources: corev1.ResourceList{"cpu": quantity("5")}}}
	},
	func(p *corev1.Pod) { p.Status.AllocatedResources = corev1.ResourceList{"cpu": quantity("5")} },
}

// story is what Read said, in a form that can be compared.
func story(task pods.Task, problems []pods.Problem) string {
	return fmt.Sprintf("%s %v %v %s %+v %v %+v", task.Shape(), task.Request, task.GPUTypes, task.Where.Key(), task.Near, task.Bind, problems)
}

func TestAPodIsReadAlikeWhateverWasReadBefore(t *testing.T) {
	cl := &cluster{namespaces: spaces}
	rapid.Check(t, func(t *rapid.T) {
		warm := cl.terms()
		var read []*corev1.Pod
		for i := range rapid.IntRange(2, 12).Draw(t, "pods") {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: fmt.Sprint(i), UID: types.UID(fmt.Sprint(i)), Labels: map[string]string{"app": "web"}}}
			p.Spec.Containers = []corev1.Container{{Name: "a", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": quantity("1")}}}}
			for _, c := range rapid.SliceOfN(rapid.IntRange(0, len(changes)-1), 0, 2).Draw(t, "changes") {
				changes[c](p)
			}
			if len(read) > 0 && rapid.IntRange(0, 4).Draw(t, "forget") == 0 {
				warm.Forget(read[0])
				read = read[1:]
			}
			got := story(pods.Read(p, cl, warm))
			read = append(read, p)
			cold := cl.terms()
			for _, o := range read[:len(read)-1] {
				pods.Read(o, cl, cold)
			}
			if diff := cmp.Diff(story(pods.Read(p, cl, cold)), got); diff != "" {
				t.Fatalf("pod %d (-anew +remembered):\n%s", i, diff)
			}
			if warm.Len() != cold.Len() {
				t.Fatalf("%d terms are held, %d are used", warm.Len(), cold.Len())
			}
		}
	})
}

func TestEachChangeOfAPodIsSeenThroughTheMemory(t *testing.T) {
	for i, change := range changes {
		cl := &cluster{namespaces: spaces}
		a := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "a", UID: "a", Labels: map[string]string{"app": "web"}}}
		a.Spec.Containers = []corev1.Container{{Name: "a", Resources: corev1.ResourceRequirements{Requests: corev1.ResourceList{"cpu": quantity("1")}}}}
		b := a.DeepCopy()
		change(b)
		terms := cl.terms()
		pods.Read(a, cl, terms)
		got, want := story(pods.Read(b, cl, terms)), story(pods.Read(b, cl, cl.terms()))
		if got != want {
			t.Errorf("change %d is not seen:\ngot  %s\nwant %s", i, got, want)
		}
	}
}

func TestADeletedPodIsNotTakenForOneThatRuns(t *testing.T) {
	cl := &cluster{}
	terms := cl.terms()
	p := podOf(t, "containers: []\ntopologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, labelSelector: {}}]")
	runs, _ := pods.Read(p, cl, terms)
	p = p.DeepCopy()
	p.DeletionTimestamp = &metav1.Time{}
	leaves, _ := pods.Read(p, cl, terms)
	if len(runs.Near.Counts) != 1 || len(leaves.Near.Counts) != 0 || runs.Shape() == leaves.Shape() {
		t.Errorf("counts for %v, then %v", runs.Near.Counts, leaves.Near.Counts)
	}
}
