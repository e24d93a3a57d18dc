package v1alpha1

import (
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/conversion"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Group is the API group of Muster's own objects.
const Group = "muster.dev"

// Names of the API.
var (
	GroupVersion = schema.GroupVersion{Group: Group, Version: "v1alpha1"}
	Queues       = GroupVersion.WithResource("queues")
	Policies     = GroupVersion.WithResource("policies")
	GPUNodes     = GroupVersion.WithResource("gpunodes")
	QueueKind    = GroupVersion.WithKind("Queue")
	PolicyKind   = GroupVersion.WithKind("Policy")
	GPUNodeKind  = GroupVersion.WithKind("GPUNode")
)

// AddToScheme makes the kinds known to a scheme.
func AddToScheme(s *runtime.Scheme) error {
	s.AddKnownTypes(GroupVersion, &Queue{}, &QueueList{}, &Policy{}, &PolicyList{}, &GPUNode{}, &GPUNodeList{})
	metav1.AddToGroupVersion(s, GroupVersion)
	return nil
}

var equalities = conversion.EqualitiesOrDie(Quantity.Equal)

// SameSpec says whether two specs ask for the same: amounts are compared as such, and
// what is empty is as good as absent.
func SameSpec[T QueueSpec | PolicySpec](a, b *T) bool { return equalities.DeepEqual(a, b) }
