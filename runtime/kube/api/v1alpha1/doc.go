// Package v1alpha1 has Muster's own objects in Kubernetes: Queue, Policy and GPUNode of
// the group muster.dev. The deep copies and the CRDs in deploy/crds are generated from it.
//
// All kinds belong to the cluster, not to a namespace. A queue's guarantee is a part of
// the whole cluster, a policy decides over the jobs of everybody, and a GPUNode is part of
// a node: who may write them must not follow from being the administrator of some
// namespace.
//
// The rules here are those that can be judged by one object alone. What concerns several
// (a child with more than its parent) is judged by the scheduler, which tells in the
// object's conditions.
//
// +kubebuilder:object:generate=true
// +groupName=muster.dev
package v1alpha1

//go:generate go tool -modfile=../../../../tools/go.mod controller-gen object crd:maxDescLen=400 paths=. output:crd:dir=../../../../deploy/crds
