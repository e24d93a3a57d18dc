package pods

import (
	"hash/maphash"
	"maps"
	"reflect"
	"slices"

	corev1 "k8s.io/api/core/v1"
)

// Pods of one template differ in their names only, and clusters start anew with thousands
// of them, so what was read of the last pod of each kind is kept. Pods are compared in full
// where Read looks: a hash only finds whom to compare with.

// memo is what was read of a pod without problems that keep it waiting.
type memo struct {
	pod   *corev1.Pod
	task  Task
	told  []Problem
	used  []string // terms
	epoch uint64   // of the registry when Counts was taken
}

const maxMemos = 4096

// recall answers for a pod that is like one read before.
func (t *Terms) recall(pod *corev1.Pod, hash uint64) (*memo, bool) {
	m := t.memos[hash]
	if m == nil || !alike(m.pod, pod) {
		return nil, false
	}
	if slices.ContainsFunc(m.used, func(id string) bool { return t.terms[id] == nil }) {
		return nil, false
	}
	t.hold(uid(pod), m.used)
	if m.epoch != t.epoch {
		if now := t.Counts(pod); !slices.Equal(now, m.task.Near.Counts) {
			m.task.Near.Counts = now
			m.task.shape = m.task.shapeOf()
		}
		m.epoch = t.epoch
	}
	return m, true
}

func (t *Terms) remember(hash uint64, m *memo) {
	if len(t.memos) >= maxMemos {
		clear(t.memos)
	}
	m.epoch = t.epoch
	t.memos[hash] = m
}

// selfContained pods say all that Read looks at: no claims, no resize under way, no disks
// of their own, no devices.
func selfContained(pod *corev1.Pod) bool {
	return len(pod.Spec.ResourceClaims) == 0 && !resized(pod) && !slices.ContainsFunc(pod.Spec.Volumes, func(v corev1.Volume) bool {
		_, isDisk := disk(&v)
		return isDisk || v.PersistentVolumeClaim != nil || v.Ephemeral != nil
	})
}

// likeness hashes a part of what alike compares.
func (t *Terms) likeness(pod *corev1.Pod) uint64 {
	h := maphash.String(t.seed, pod.Namespace)
	mix := func(m map[string]string, salt uint64) {
		for k, v := range m { // a sum has no order
			h += (maphash.String(t.seed, k) ^ salt) * (maphash.String(t.seed, v) | 1)
		}
	}
	mix(pod.Labels, 1)
	mix(pod.Spec.NodeSelector, 2)
	for i := range pod.Spec.Containers {
		for name, q := range pod.Spec.Containers[i].Resources.Requests {
			h += maphash.String(t.seed, string(name)) * uint64(q.Value()+int64(i)<<1|1)
		}
	}
	return h
}

// alike says that Read has the same answer for two self-contained pods.
func alike(a, b *corev1.Pod) bool {
	x, y := &a.Spec, &b.Spec
	return a.Namespace == b.Namespace && maps.Equal(a.Labels, b.Labels) &&
		Terminating(a) == Terminating(b) && sameFractions(a, b) &&
		maps.Equal(x.NodeSelector, y.NodeSelector) &&
		slices.EqualFunc(x.Tolerations, y.Tolerations, sameToleration) &&
		sameContainers(x.Containers, y.Containers) && sameContainers(x.InitContainers, y.InitContainers) &&
		sameList(x.Overhead, y.Overhead) && samePodLevel(x.Resources, y.Resources) &&
		reflect.DeepEqual(x.Affinity, y.Affinity) &&
		reflect.DeepEqual(x.TopologySpreadConstraints, y.TopologySpreadConstraints)
}

func sameFractions(a, b *corev1.Pod) bool {
	return !slices.ContainsFunc(fractionKeys, func(k string) bool {
		x, inA := a.Annotations[k]
		y, inB := b.Annotations[k]
		return inA != inB || x != y
	})
}

func sameToleration(a, b corev1.Toleration) bool {
	return a.Key == b.Key && a.Operator == b.Operator && a.Value == b.Value && a.Effect == b.Effect
}

func sameContainers(a, b []corev1.Container) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if !sameContainer(&a[i], &b[i]) {
			return false
		}
	}
	return true
}

func sameContainer(a, b *corev1.Container) bool {
	if (a.RestartPolicy == nil) != (b.RestartPolicy == nil) || a.RestartPolicy != nil && *a.RestartPolicy != *b.RestartPolicy {
		return false
	}
	return sameList(a.Resources.Requests, b.Resources.Requests) && slices.Equal(a.Ports, b.Ports)
}

func samePodLevel(a, b *corev1.ResourceRequirements) bool {
	if a == nil || b == nil {
		return a == b
	}
	return sameList(a.Requests, b.Requests) && sameList(a.Limits, b.Limits)
}

func sameList(a, b corev1.ResourceList) bool {
	if len(a) != len(b) {
		return false
	}
	for name, q := range a {
		if other, ok := b[name]; !ok || q.Cmp(other) != 0 {
			return false
		}
	}
	return true
}

// resized says that what is allocated to a pod, or in effect, is not (only) what its spec
// asks for (KEP-1287), or that devices allot resources of the node (KEP-5517).
func resized(pod *corev1.Pod) bool {
	s := &pod.Status
	if s.Resources != nil || s.AllocatedResources != nil || len(s.NodeAllocatableResourceClaimStatuses) > 0 {
		return true
	}
	pending := func(c corev1.PodCondition) bool { return c.Type == corev1.PodResizePending }
	return slices.ContainsFunc(s.Conditions, pending) ||
		differ(s.ContainerStatuses, pod.Spec.Containers) || differ(s.InitContainerStatuses, pod.Spec.InitContainers)
}

func differ(statuses []corev1.ContainerStatus, containers []corev1.Container) bool {
	for i := range statuses {
		st := &statuses[i]
		if st.AllocatedResources == nil && st.Resources == nil {
			continue
		}
		at := slices.IndexFunc(containers, func(c corev1.Container) bool { return c.Name == st.Name })
		if at < 0 {
			return true
		}
		want := containers[at].Resources.Requests
		if st.AllocatedResources != nil && !sameList(st.AllocatedResources, want) || st.Resources != nil && !sameList(st.Resources.Requests, want) {
			return true
		}
	}
	return false
}
