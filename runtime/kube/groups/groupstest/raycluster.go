package groupstest

import (
	"encoding/json"
	"fmt"
	"hash/fnv"
	"maps"
	"strconv"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
)

// RayCluster makes the pods of a Ray cluster of any size, as KubeRay does, from the head
// and the first worker of a manifest.
type RayCluster struct {
	// Manifest has the dialect: kuberay-yunikorn if "", or kuberay, kuberay-volcano,
	// kuberay-kai, kuberay-scheduler-plugins, native-v1alpha2, native-v1beta1.
	Manifest        string
	Name, Namespace string // sample and team-a if ""
	Queue           string // the manifest's if ""
	// Scheduler is spec.schedulerName, the manifest's if "".
	Scheduler string
	// NoGang leaves out the task groups, as without ray.io/gang-scheduling-enabled.
	NoGang bool
	Head   corev1.ResourceList // the manifest's if nil
	Groups []Workers
	// Annotations are put on all pods, as from the pod templates.
	Annotations map[string]string
}

// Workers is one worker group of a RayCluster.
type Workers struct {
	Name          string
	Replicas, Min int // replicas that exist, and minReplicas
	Hosts         int // numOfHosts, 1 if 0
	Requests      corev1.ResourceList
	NodeSelector  map[string]string
	Tolerations   []corev1.Toleration
}

func (w Workers) hosts() int { return max(1, w.Hosts) }

// Make makes the pods, head first, and the group objects of the dialect.
func (c RayCluster) Make() (Fixture, error) {
	c.Manifest, c.Name, c.Namespace = or(c.Manifest, "kuberay-yunikorn"), or(c.Name, "sample"), or(c.Namespace, "team-a")
	from, err := Copy(c.Manifest, c.Name, c.Namespace)
	if err != nil {
		return Fixture{}, err
	}
	if len(from.Pods) < 2 {
		return Fixture{}, fmt.Errorf("manifest %s has no head and worker", c.Manifest)
	}
	if c.Head == nil {
		c.Head = from.Pods[0].Spec.Containers[0].Resources.Requests
	}
	out := Fixture{Objects: from.Objects, Pods: []*corev1.Pod{c.pod(from.Pods[0], "headgroup", c.Name+"-head-", 0, Workers{Requests: c.Head})}}
	for _, g := range c.Groups {
		for i := range g.Replicas * g.hosts() {
			p := c.pod(from.Pods[1], g.Name, c.Name+"-"+g.Name+"-worker-", i, g)
			p.Labels["ray.io/worker-group-replica-index"] = strconv.Itoa(i / g.hosts())
			if g.hosts() > 1 {
				p.Labels["ray.io/worker-group-replica-name"] = g.Name + "-" + suffix(c.Namespace, c.Name, g.Name, i/g.hosts())
				p.Labels["ray.io/replica-host-index"] = strconv.Itoa(i % g.hosts())
			}
			out.Pods = append(out.Pods, p)
		}
	}
	return out, c.objects(out.Objects)
}

// Replacement is the pod that the operator makes when one is gone: of the same group,
// under a new name. Generation tells replacements of one pod apart.
func Replacement(p *corev1.Pod, generation int) *corev1.Pod {
	next := p.DeepCopy()
	s := suffix(p.Namespace, p.Name, "again", generation)
	next.Name = p.GenerateName + s
	next.UID = types.UID(fmt.Sprintf("%s-%s", p.UID, s))
	next.Spec.NodeName, next.Status, next.ResourceVersion, next.DeletionTimestamp = "", corev1.PodStatus{}, "", nil
	return next
}

func or(s, other string) string {
	if s == "" {
		return other
	}
	return s
}

// suffix is five characters as the API server appends to a generateName, but always the
// same for the same pod.
func suffix(parts ...any) string {
	const letters = "bcdfghjklmnpqrstvwxz2456789"
	h := fnv.New64a()
	fmt.Fprint(h, parts...)
	out, n := [5]byte{}, h.Sum64()
	for i := range out {
		out[i] = letters[n%uint64(len(letters))]
		n /= uint64(len(letters))
	}
	return string(out[:])
}

// pod is the i-th pod of a group after a template.
func (c RayCluster) pod(from *corev1.Pod, group, generate string, i int, w Workers) *corev1.Pod {
	p := from.DeepCopy()
	s := suffix(c.Namespace, c.Name, group, i)
	p.GenerateName, p.Name = generate, generate+s
	p.UID = types.UID(fmt.Sprintf("%s-%s-%s-%d", from.UID[:8], s, group, i))
	p.Labels["ray.io/group"] = group
	for _, key := range []string{"queue", "volcano.sh/queue-name", "kai.scheduler/queue", "muster.dev/queue"} {
		if _, ok := p.Labels[key]; ok && c.Queue != "" {
			p.Labels[key] = c.Queue
		}
	}
	c.annotate(p, group)
	p.Spec.SchedulerName = or(c.Scheduler, p.Spec.SchedulerName)
	if w.Requests != nil {
		main := &p.Spec.Containers[0].Resources
		main.Requests, main.Limits = w.Requests.DeepCopy(), w.Requests.DeepCopy()
	}
	p.Spec.NodeSelector, p.Spec.Tolerations = maps.Clone(w.NodeSelector), append(p.Spec.Tolerations, w.Tolerations...)
	return p
}

func (c RayCluster) annotate(p *corev1.Pod, group string) {
	const name, list = "yunikorn.apache.org/task-group-name", "yunikorn.apache.org/task-groups"
	switch _, gang := p.Annotations[name]; {
	case gang && c.NoGang:
		delete(p.Annotations, name)
		delete(p.Annotations, list)
	case gang:
		p.Annotations[name], p.Annotations[list] = group, c.taskGroups()
	}
	if _, ok := p.Annotations["volcano.sh/task-spec"]; ok {
		p.Annotations["volcano.sh/task-spec"] = group
	}
	maps.Copy(p.Annotations, c.Annotations)
}

// taskGroup has its fields in the order in which KubeRay writes them.
type taskGroup struct {
	MinResource  map[string]string   `json:"minResource"`
	NodeSelector map[string]string   `json:"nodeSelector,omitempty"`
	Name         string              `json:"name"`
	Tolerations  []corev1.Toleration `json:"tolerations,omitempty"`
	MinMember    int                 `json:"minMember"`
}

func (c RayCluster) taskGroups() string {
	list := []taskGroup{{MinResource: texts(c.Head), Name: "headgroup", MinMember: 1}}
	for _, g := range c.Groups {
		list = append(list, taskGroup{texts(g.Requests), g.NodeSelector, g.Name, g.Tolerations, g.Min * g.hosts()})
	}
	out, err := json.Marshal(list)
	if err != nil {
		panic(err) // texts and numbers
	}
	return string(out)
}

func texts(list corev1.ResourceList) map[string]string {
	out := map[string]string{}
	for name, q := range list {
		out[string(name)] = q.String()
	}
	return out
}

// objects gives the group objects the size of the cluster: head and wanted replicas, as
// KubeRay does without its autoscaler.
func (c RayCluster) objects(list []*unstructured.Unstructured) error {
	size := int64(1)
	for _, g := range c.Groups {
		size += int64(g.Replicas * g.hosts())
	}
	for _, o := range list {
		if o.GetKind() != "PodGroup" {
			continue
		}
		path := []string{"spec", "minMember"}
		if o.GroupVersionKind().Group == "scheduling.k8s.io" {
			path = []string{"spec", "schedulingPolicy", "gang", "minCount"}
		}
		if err := unstructured.SetNestedField(o.Object, size, path...); err != nil {
			return err
		}
		unstructured.RemoveNestedField(o.Object, "spec", "minResources")
		if _, ok, _ := unstructured.NestedString(o.Object, "spec", "queue"); ok && c.Queue != "" {
			if err := unstructured.SetNestedField(o.Object, c.Queue, "spec", "queue"); err != nil {
				return err
			}
		}
	}
	return nil
}
