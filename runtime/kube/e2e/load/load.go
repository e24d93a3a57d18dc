// Package load makes work for a scheduler on a real API server: plain pods in queues and
// gangs in the words of several systems. What it makes is what users of these systems
// submit; nothing in it is ours but the queue's name.
package load

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"strconv"
	"sync"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
)

// Workers is how many requests are in flight when many objects are made: more than 16
// make an API server on two cores slower.
const Workers = 16

// Shape is what a pod asks for, and by whom it is scheduled.
type Shape struct {
	Namespace, Scheduler string
	CPU, Memory          string // quantities
	GPUs                 int64
	Labels, Annotations  map[string]string
	// Change, if not nil, is given each pod before it is made.
	Change func(p *corev1.Pod)
}

// GPU is the resource name that NVIDIA's device plugin offers.
const GPU corev1.ResourceName = "nvidia.com/gpu"

// Pod makes a pod of the shape. Nothing runs in it: kubelets of the test cluster are
// played by kwok.
func (s Shape) Pod(name string) *corev1.Pod {
	requests := corev1.ResourceList{}
	if s.CPU != "" {
		requests[corev1.ResourceCPU] = resource.MustParse(s.CPU)
	}
	if s.Memory != "" {
		requests[corev1.ResourceMemory] = resource.MustParse(s.Memory)
	}
	if s.GPUs > 0 {
		requests[GPU] = *resource.NewQuantity(s.GPUs, resource.DecimalSI)
	}
	grace := int64(1)
	p := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: name, Namespace: s.Namespace, Labels: maps.Clone(s.Labels), Annotations: maps.Clone(s.Annotations)},
		Spec: corev1.PodSpec{
			SchedulerName:                 s.Scheduler,
			TerminationGracePeriodSeconds: &grace,
			Containers: []corev1.Container{{
				Name: "work", Image: "work",
				Resources: corev1.ResourceRequirements{Requests: requests, Limits: requests},
			}},
		},
	}
	if s.Change != nil {
		s.Change(p)
	}
	return p
}

// Plain makes n pods that belong together by nothing: each is an application of its own,
// in YuniKorn's words, dealt out over the queues in turn.
func Plain(n int, queues []string, s Shape) []*corev1.Pod {
	pods := make([]*corev1.Pod, n)
	for i := range pods {
		name := fmt.Sprintf("plain-%05d", i)
		pods[i] = s.Pod(name)
		label(pods[i], "applicationId", name)
		if len(queues) > 0 {
			label(pods[i], "queue", queues[i%len(queues)])
		}
	}
	return pods
}

func label(p *corev1.Pod, key, value string) {
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	p.Labels[key] = value
}

func annotate(p *corev1.Pod, key, value string) {
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	p.Annotations[key] = value
}

// TaskGroup is one group as YuniKorn's annotation yunikorn.apache.org/task-groups has it.
type TaskGroup struct {
	Name         string                       `json:"name"`
	MinMember    int                          `json:"minMember"`
	MinResource  map[string]resource.Quantity `json:"minResource"`
	NodeSelector map[string]string            `json:"nodeSelector,omitempty"`
}

// YuniKornGang makes the pods of an application with one task group: size pods, of which
// min must run together.
func YuniKornGang(app, queue string, size, min int, s Shape) []*corev1.Pod {
	group := TaskGroup{Name: "worker", MinMember: min, MinResource: map[string]resource.Quantity{}}
	for name, q := range s.Pod("x").Spec.Containers[0].Resources.Requests {
		group.MinResource[string(name)] = q
	}
	groups, err := json.Marshal([]TaskGroup{group})
	if err != nil {
		panic(err) // no such value is possible
	}
	pods := make([]*corev1.Pod, size)
	for i := range pods {
		p := s.Pod(app + "-" + strconv.Itoa(i))
		label(p, "applicationId", app)
		label(p, "queue", queue)
		annotate(p, "yunikorn.apache.org/task-group-name", group.Name)
		annotate(p, "yunikorn.apache.org/task-groups", string(groups))
		pods[i] = p
	}
	return pods
}

// PodGroups is the native group API that Kubernetes 1.36 serves.
var PodGroups = schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1alpha2", Resource: "podgroups"}

// NativePodGroup makes the object of a native gang (KEP-4671).
func NativePodGroup(namespace, name, queue string, min int) *unstructured.Unstructured {
	return &unstructured.Unstructured{Object: map[string]any{
		"apiVersion": PodGroups.GroupVersion().String(), "kind": "PodGroup",
		"metadata": map[string]any{
			"name": name, "namespace": namespace,
			"labels": map[string]any{"yunikorn.apache.org/queue": queue},
		},
		"spec": map[string]any{"schedulingPolicy": map[string]any{"gang": map[string]any{"minCount": int64(min)}}},
	}}
}

// NativeGang makes the pods of a native PodGroup, which is made apart.
func NativeGang(group string, size int, s Shape) []*corev1.Pod {
	pods := make([]*corev1.Pod, size)
	for i := range pods {
		pods[i] = s.Pod(group + "-" + strconv.Itoa(i))
		pods[i].Spec.SchedulingGroup = &corev1.PodSchedulingGroup{PodGroupName: &group}
	}
	return pods
}

// CreateGroup makes a group object.
func CreateGroup(ctx context.Context, client dynamic.Interface, group *unstructured.Unstructured) error {
	_, err := client.Resource(PodGroups).Namespace(group.GetNamespace()).Create(ctx, group, metav1.CreateOptions{})
	return err
}

// Create makes the pods, Workers at a time, and stops at the first error.
func Create(ctx context.Context, client kubernetes.Interface, pods []*corev1.Pod) error {
	return Each(ctx, pods, func(ctx context.Context, p *corev1.Pod) error {
		_, err := client.CoreV1().Pods(p.Namespace).Create(ctx, p, metav1.CreateOptions{})
		return err
	})
}

// Bind binds the pods to the nodes in turn, Workers at a time, without deciding anything:
// how fast it is, is how fast any scheduler can be on that API server.
func Bind(ctx context.Context, client kubernetes.Interface, pods []*corev1.Pod, nodes []string) error {
	index := make(map[*corev1.Pod]int, len(pods))
	for i, p := range pods {
		index[p] = i
	}
	return Each(ctx, pods, func(ctx context.Context, p *corev1.Pod) error {
		return client.CoreV1().Pods(p.Namespace).Bind(ctx, &corev1.Binding{
			ObjectMeta: metav1.ObjectMeta{Name: p.Name, Namespace: p.Namespace},
			Target:     corev1.ObjectReference{Kind: "Node", Name: nodes[index[p]%len(nodes)]},
		}, metav1.CreateOptions{})
	})
}

// Each does something with all values, Workers at a time, and stops at the first error.
func Each[T any](ctx context.Context, all []T, do func(context.Context, T) error) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	work := make(chan T)
	var group sync.WaitGroup
	for range Workers {
		group.Go(func() {
			for v := range work {
				if err := do(ctx, v); err != nil {
					cancel(err)
				}
			}
		})
	}
	for _, v := range all {
		if ctx.Err() != nil {
			break
		}
		work <- v
	}
	close(work)
	group.Wait()
	return context.Cause(ctx)
}
