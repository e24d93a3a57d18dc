// Package kuberay plays the KubeRay operator as far as a scheduler meets it: it makes,
// replaces and deletes the pods of RayClusters, with the labels, annotations and owners
// that KubeRay 1.7 writes when it runs with --batch-scheduler=yunikorn. No Ray runs.
//
// What the pods look like was read off the real operator; the tests of runtime/kube/groups
// have fixtures of the same shape.
package kuberay

import (
	"cmp"
	"encoding/json"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/utils/ptr"
)

// Resource is the RayCluster's.
var Resource = schema.GroupVersionResource{Group: "ray.io", Version: "v1", Resource: "rayclusters"}

// Cluster is a RayCluster, as far as it says which pods there are.
type Cluster struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`
	Spec              Spec `json:"spec"`
}

// Spec is of ray.io/v1 RayClusterSpec.
type Spec struct {
	EnableInTreeAutoscaling *bool         `json:"enableInTreeAutoscaling,omitempty"`
	Suspend                 *bool         `json:"suspend,omitempty"`
	HeadGroupSpec           HeadGroup     `json:"headGroupSpec"`
	WorkerGroupSpecs        []WorkerGroup `json:"workerGroupSpecs,omitempty"`
}

// HeadGroup is the head's.
type HeadGroup struct {
	RayStartParams map[string]string      `json:"rayStartParams,omitempty"`
	Template       corev1.PodTemplateSpec `json:"template"`
}

// WorkerGroup is a number of equal workers.
type WorkerGroup struct {
	GroupName      string                 `json:"groupName"`
	Replicas       *int32                 `json:"replicas,omitempty"`
	MinReplicas    *int32                 `json:"minReplicas,omitempty"`
	MaxReplicas    *int32                 `json:"maxReplicas,omitempty"`
	NumOfHosts     int32                  `json:"numOfHosts,omitempty"`
	RayStartParams map[string]string      `json:"rayStartParams,omitempty"`
	Template       corev1.PodTemplateSpec `json:"template"`
	ScaleStrategy  struct {
		WorkersToDelete []string `json:"workersToDelete,omitempty"`
	} `json:"scaleStrategy,omitempty"`
}

func (g WorkerGroup) hosts() int32 { return max(g.NumOfHosts, 1) }

// size is how many pods the group wants.
func (g WorkerGroup) size() int { return int(ptr.Deref(g.Replicas, 0) * g.hosts()) }

// Labels and annotations that KubeRay writes.
const (
	LabelCluster  = "ray.io/cluster"
	LabelGroup    = "ray.io/group"
	LabelNodeType = "ray.io/node-type"

	HeadGroupName = "headgroup"

	labelGang  = "ray.io/gang-scheduling-enabled"
	labelApp   = "yunikorn.apache.org/app-id"
	labelQueue = "yunikorn.apache.org/queue"

	annotationGroup  = "yunikorn.apache.org/task-group-name"
	annotationGroups = "yunikorn.apache.org/task-groups"
)

// taskGroup is what KubeRay tells YuniKorn of a group.
type taskGroup struct {
	MinResource  map[string]resource.Quantity `json:"minResource"`
	NodeSelector map[string]string            `json:"nodeSelector,omitempty"`
	Affinity     *corev1.Affinity             `json:"affinity,omitempty"`
	Name         string                       `json:"name"`
	Tolerations  []corev1.Toleration          `json:"tolerations,omitempty"`
	MinMember    int32                        `json:"minMember"`
}

// taskGroups are derived anew for each pod. The minimum is minReplicas, not replicas, and
// resources are those of the template's containers alone: what is injected (autoscaler,
// init container) is left out, as KubeRay leaves it out.
func (c *Cluster) taskGroups() string {
	group := func(name string, template corev1.PodSpec, min int32) taskGroup {
		return taskGroup{
			Name: name, MinMember: min, MinResource: containers(template),
			NodeSelector: template.NodeSelector, Affinity: template.Affinity, Tolerations: template.Tolerations,
		}
	}
	groups := []taskGroup{group(HeadGroupName, c.Spec.HeadGroupSpec.Template.Spec, 1)}
	for _, g := range c.Spec.WorkerGroupSpecs {
		groups = append(groups, group(g.GroupName, g.Template.Spec, ptr.Deref(g.MinReplicas, 0)*g.hosts()))
	}
	text, err := json.Marshal(groups)
	if err != nil {
		panic(err) // no such value is possible
	}
	return string(text)
}

// containers sums what the containers ask for: limits count where requests are silent.
func containers(spec corev1.PodSpec) map[string]resource.Quantity {
	sum := map[string]resource.Quantity{}
	for _, c := range spec.Containers {
		asked := maps.Clone(c.Resources.Limits)
		if asked == nil {
			asked = corev1.ResourceList{}
		}
		maps.Copy(asked, c.Resources.Requests)
		for name, q := range asked {
			total := sum[string(name)]
			total.Add(q)
			sum[string(name)] = total
		}
	}
	return sum
}

// Head makes the head pod.
func (c *Cluster) Head() *corev1.Pod {
	template := *c.Spec.HeadGroupSpec.Template.DeepCopy()
	if ptr.Deref(c.Spec.EnableInTreeAutoscaling, false) {
		template.Spec.Containers = append(template.Spec.Containers, corev1.Container{
			Name: "autoscaler", Image: template.Spec.Containers[0].Image, Resources: both("500m", "512Mi"),
		})
	}
	p := c.pod(template, HeadGroupName, "head", c.Name+"-head-")
	p.Annotations["ray.io/ft-enabled"] = "false"
	p.Annotations["ray.io/kuberay-version"] = "v1.7.0"
	return p
}

// Worker makes a worker of a group: the given host of the given replica.
func (c *Cluster) Worker(g WorkerGroup, replica int, host int32, slice string) *corev1.Pod {
	template := *g.Template.DeepCopy()
	template.Spec.InitContainers = append(template.Spec.InitContainers, corev1.Container{
		Name: "wait-gcs-ready", Image: template.Spec.Containers[0].Image, Resources: both("200m", "256Mi"),
	})
	p := c.pod(template, g.GroupName, "worker", fmt.Sprintf("%s-%s-worker-", c.Name, g.GroupName))
	p.Labels["ray.io/worker-group-replica-index"] = fmt.Sprint(replica)
	if g.hosts() > 1 {
		p.Labels["ray.io/worker-group-replica-name"] = g.GroupName + "-" + slice
		p.Labels["ray.io/replica-host-index"] = fmt.Sprint(host)
	}
	return p
}

func both(cpu, memory string) corev1.ResourceRequirements {
	list := corev1.ResourceList{corev1.ResourceCPU: resource.MustParse(cpu), corev1.ResourceMemory: resource.MustParse(memory)}
	return corev1.ResourceRequirements{Requests: list, Limits: list}
}

// pod is what heads and workers have in common.
func (c *Cluster) pod(template corev1.PodTemplateSpec, group, kind, generateName string) *corev1.Pod {
	p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{
		GenerateName: generateName, Namespace: c.Namespace,
		Labels: maps.Clone(template.Labels), Annotations: maps.Clone(template.Annotations),
		OwnerReferences: []metav1.OwnerReference{{
			APIVersion: Resource.GroupVersion().String(), Kind: "RayCluster", Name: c.Name, UID: c.UID,
			Controller: ptr.To(true), BlockOwnerDeletion: ptr.To(true),
		}},
	}, Spec: template.Spec}
	if p.Labels == nil {
		p.Labels = map[string]string{}
	}
	if p.Annotations == nil {
		p.Annotations = map[string]string{}
	}
	maps.Copy(p.Labels, map[string]string{
		LabelCluster: c.Name, LabelGroup: group, LabelNodeType: kind, "ray.io/is-ray-node": "yes",
		"ray.io/identifier": c.Name + "-" + kind, "app.kubernetes.io/name": "kuberay", "app.kubernetes.io/created-by": "kuberay-operator",
	})
	p.Spec.RestartPolicy = cmp.Or(p.Spec.RestartPolicy, corev1.RestartPolicyAlways)
	p.Spec.Volumes = append(p.Spec.Volumes, corev1.Volume{Name: "shared-mem", VolumeSource: corev1.VolumeSource{
		EmptyDir: &corev1.EmptyDirVolumeSource{Medium: corev1.StorageMediumMemory},
	}})
	c.batch(p, group)
	return p
}

// batch adds what KubeRay's yunikorn plugin adds.
func (c *Cluster) batch(p *corev1.Pod, group string) {
	p.Spec.SchedulerName = "yunikorn"
	for from, to := range map[string]string{labelApp: "applicationId", labelQueue: "queue"} {
		if value, ok := c.Labels[from]; ok {
			p.Labels[to] = value
		}
	}
	if _, gang := c.Labels[labelGang]; gang {
		p.Annotations[annotationGroup] = group
		p.Annotations[annotationGroups] = c.taskGroups()
	}
}
