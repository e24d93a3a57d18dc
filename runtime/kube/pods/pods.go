// Package pods reads what a pod asks for and what a node offers into the core's terms:
// requests, where a pod may run, and how it stands to other pods. Everything is a pure
// function of API objects that the caller has at hand.
package pods

import (
	"github.com/musterhq/muster/builtin/spec"
	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
)

// Objects looks up what a pod refers to. A method returns nil where there is no such
// object (yet). Informer caches answer it.
type Objects interface {
	Namespace(name string) *corev1.Namespace
	Claim(namespace, name string) *corev1.PersistentVolumeClaim
	Volume(name string) *corev1.PersistentVolume
	// VolumesOf lists the volumes of a class that nobody has claimed.
	VolumesOf(class string) []*corev1.PersistentVolume
	Class(name string) *storagev1.StorageClass
}

// Task is what a pod asks for.
type Task struct {
	// Request has cpu, memory, pods (1) and whatever else containers, sidecars, init
	// containers and overhead add up to (KEP-753, KEP-2837), in base units.
	Request spec.Resources
	// GPUTypes are the GPU types that selector and affinity leave, nil if any.
	GPUTypes []string
	Where    spec.Where
	Near     spec.Near
	// Bind lists the claims (namespace/name) that must be bound to the chosen node before
	// the pod is: those of WaitForFirstConsumer classes.
	Bind []string
}

// Problem is why a pod can't be scheduled by us, or what of it is not taken into account.
type Problem struct {
	Code  string // stable: unsupported-claims, no-claim, bad-quantity, …
	Field string // spec.affinity.podAffinity, …
	Text  string
	// Fatal problems keep the pod from being scheduled; the others are told and passed
	// over (a preference that no decision uses).
	Fatal bool
	// Wait says that the problem ends by itself when an object comes: a claim, a volume.
	Wait bool
}
