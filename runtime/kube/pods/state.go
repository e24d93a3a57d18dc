package pods

import (
	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/component-helpers/scheduling/corev1"
)

// Gated pods have scheduling gates left (KEP-3521): they are not to be scheduled yet.
func Gated(pod *corev1.Pod) bool { return len(pod.Spec.SchedulingGates) > 0 }

// Priority is the pod's priority as admission resolved it from its class.
func Priority(pod *corev1.Pod) int64 { return int64(schedulingv1.PodPriority(pod)) }

// NeverPreempts says that the pod waits rather than evict others.
func NeverPreempts(pod *corev1.Pod) bool {
	return pod.Spec.PreemptionPolicy != nil && *pod.Spec.PreemptionPolicy == corev1.PreemptNever
}

// Terminal pods have ended and take nothing of their node any more.
func Terminal(pod *corev1.Pod) bool {
	return pod.Status.Phase == corev1.PodSucceeded || pod.Status.Phase == corev1.PodFailed
}

// Terminating pods were deleted and still hold what they have until they are gone.
func Terminating(pod *corev1.Pod) bool { return pod.DeletionTimestamp != nil }

// Placed pods have a node.
func Placed(pod *corev1.Pod) bool { return pod.Spec.NodeName != "" }

// Ready is the pod's Ready condition, of which readiness gates (KEP-580) are a part.
func Ready(pod *corev1.Pod) bool {
	for i := range pod.Status.Conditions {
		if c := &pod.Status.Conditions[i]; c.Type == corev1.PodReady {
			return c.Status == corev1.ConditionTrue
		}
	}
	return false
}
