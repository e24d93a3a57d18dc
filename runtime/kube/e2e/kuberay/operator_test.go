package kuberay_test

import (
	"context"
	"encoding/json"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/dynamic"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/yaml"

	"github.com/musterhq/muster/runtime/kube/e2e/kuberay"
	"github.com/musterhq/muster/runtime/kube/e2e/load"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ray is a cluster with the operator, and nobody who schedules.
type ray struct {
	*testing.T
	c  *kubetest.Cluster
	op *kuberay.Operator
}

func start(t *testing.T) ray {
	c := kubetest.Start(t, kubetest.Options{NoKwok: true})
	plain := *c.Config
	plain.ContentType, plain.AcceptContentTypes = "", ""
	d, err := dynamic.NewForConfig(&plain)
	must(t, err)
	crd := &unstructured.Unstructured{}
	must(t, yaml.Unmarshal(kuberay.CRD, &crd.Object))
	crds := d.Resource(crd.GroupVersionKind().GroupVersion().WithResource("customresourcedefinitions"))
	_, err = crds.Create(t.Context(), crd, metav1.CreateOptions{})
	must(t, err)
	r := ray{t, c, &kuberay.Operator{Client: c.Client, Dynamic: d}}
	kubetest.Eventually(t, func(ctx context.Context) error { return r.op.Reconcile(ctx) })
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() { defer close(done); r.op.Run(ctx) }()
	t.Cleanup(func() { cancel(); <-done })
	return r
}

// pods waits until the cluster has so many heads and workers that stay.
func (r ray) pods(heads, workers int) (all []corev1.Pod) {
	r.Helper()
	kubetest.Eventually(r, func(ctx context.Context) error {
		list, err := r.c.Client.CoreV1().Pods("default").List(ctx, metav1.ListOptions{LabelSelector: "ray.io/cluster=train"})
		if err != nil {
			return err
		}
		all = list.Items
		n := map[string]int{}
		for _, p := range all {
			n[p.Labels["ray.io/node-type"]]++
		}
		if n["head"] != heads || n["worker"] != workers {
			return fmt.Errorf("there are %v, not %d heads and %d workers", n, heads, workers)
		}
		return nil
	})
	return all
}

func (r ray) get(prefix string, all []corev1.Pod) *corev1.Pod {
	r.Helper()
	for i := range all {
		if all[i].GenerateName == prefix {
			return &all[i]
		}
	}
	r.Fatalf("no pod has the generateName %s", prefix)
	return nil
}

func TestPodsAreWhatKubeRayMakes(t *testing.T) {
	r := start(t)
	shape := load.Shape{CPU: "1", Memory: "1Gi", GPUs: 1}
	head := load.Shape{CPU: "1", Memory: "2Gi"}.Pod("x").Spec
	group := kuberay.WorkerGroup{
		GroupName: "gpu", Replicas: ptr.To[int32](5), MinReplicas: ptr.To[int32](2),
		Template: corev1.PodTemplateSpec{Spec: shape.Pod("x").Spec},
	}
	group.Template.Spec.NodeSelector = map[string]string{"nvidia.com/gpu.product": "H100"}
	cluster := kuberay.New("default", "train", "root.test", head, group)
	must(t, unstructured.SetNestedField(cluster.Object, true, "spec", "enableInTreeAutoscaling"))
	_, err := r.op.Dynamic.Resource(kuberay.Resource).Namespace("default").Create(t.Context(), cluster, metav1.CreateOptions{})
	must(t, err)

	all := r.pods(1, 5)
	t.Run("the head has a sidecar that its task group does not know of", func(t *testing.T) {
		p := r.get("train-head-", all)
		if len(p.Spec.Containers) != 2 || p.Spec.Containers[1].Name != "autoscaler" {
			t.Errorf("its containers are %v", p.Spec.Containers)
		}
	})
	t.Run("a worker says what KubeRay says to YuniKorn", func(t *testing.T) {
		p := r.get("train-gpu-worker-", all)
		for key, want := range map[string]string{
			"applicationId": "train", "queue": "root.test", "ray.io/group": "gpu", "ray.io/is-ray-node": "yes",
			"ray.io/identifier": "train-worker", "app.kubernetes.io/name": "kuberay",
		} {
			if p.Labels[key] != want {
				t.Errorf("label %s is %q, want %q", key, p.Labels[key], want)
			}
		}
		if p.Spec.SchedulerName != "yunikorn" || p.Spec.InitContainers[0].Name != "wait-gcs-ready" || p.Annotations["yunikorn.apache.org/task-group-name"] != "gpu" {
			t.Errorf("it is %v %v %v", p.Spec.SchedulerName, p.Spec.InitContainers, p.Annotations)
		}
		if o := p.OwnerReferences; len(o) != 1 || o[0].Kind != "RayCluster" || o[0].APIVersion != "ray.io/v1" || !*o[0].Controller || !*o[0].BlockOwnerDeletion {
			t.Errorf("its owner is %v", o)
		}
		want := `[{"minResource":{"cpu":"1","memory":"2Gi"},"name":"headgroup","minMember":1},` +
			`{"minResource":{"cpu":"1","memory":"1Gi","nvidia.com/gpu":"1"},"nodeSelector":{"nvidia.com/gpu.product":"H100"},"name":"gpu","minMember":2}]`
		if got := p.Annotations["yunikorn.apache.org/task-groups"]; !json.Valid([]byte(got)) || got != want {
			t.Errorf("its task groups are\n%s, want\n%s", got, want)
		}
	})
	t.Run("a worker that is deleted comes back under another name", func(t *testing.T) {
		old := r.get("train-gpu-worker-", all).Name
		r.remove(old)
		for _, p := range r.pods(1, 5) {
			if p.Name == old {
				t.Errorf("%s is still there", old)
			}
		}
	})
	t.Run("scaled down, it loses the workers that were named", func(t *testing.T) {
		named := r.get("train-gpu-worker-", r.pods(1, 5)).Name
		group.Replicas = ptr.To[int32](4)
		group.ScaleStrategy.WorkersToDelete = []string{named}
		r.set(group)
		for _, p := range r.pods(1, 4) {
			if p.Name == named {
				t.Errorf("%s was named, and is still there", named)
			}
		}
	})
	t.Run("hosts of one replica are marked", func(t *testing.T) {
		group.Replicas, group.NumOfHosts, group.ScaleStrategy.WorkersToDelete = ptr.To[int32](2), 4, nil
		slices := map[string]int{}
		r.set(group)
		for _, p := range r.pods(1, 8) {
			slices[p.Labels["ray.io/worker-group-replica-name"]]++
		}
		if len(slices) < 2 {
			t.Errorf("the slices are %v", slices)
		}
	})
	t.Run("suspended it has no pods, and deleted neither", func(t *testing.T) {
		must(t, r.op.Set(t.Context(), "default", "train", `{"suspend":true}`))
		r.pods(0, 0)
		must(t, r.op.Set(t.Context(), "default", "train", `{"suspend":false}`))
		r.pods(1, 8)
		must(t, r.op.Dynamic.Resource(kuberay.Resource).Namespace("default").Delete(t.Context(), "train", metav1.DeleteOptions{}))
		r.pods(0, 0)
	})
}

func (r ray) set(g kuberay.WorkerGroup) {
	r.Helper()
	text, err := json.Marshal(g)
	must(r.T, err)
	must(r.T, r.op.Set(r.Context(), "default", "train", `{"workerGroupSpecs":[`+string(text)+`]}`))
}

// remove deletes a pod.
func (r ray) remove(name string) {
	r.Helper()
	err := r.c.Client.CoreV1().Pods("default").Delete(r.Context(), name, metav1.DeleteOptions{})
	if !apierrors.IsNotFound(err) {
		must(r.T, err)
	}
}
