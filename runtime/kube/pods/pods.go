// Package pods reads what a pod asks for and what a node offers into the core's terms:
// requests, where a pod may run, and how it stands to other pods. The answers are those of
// kube-scheduler's filters (k8s.io/kubernetes/pkg/scheduler/framework/plugins); what the
// core can't say is refused with a Problem, never passed over in silence. Everything is a
// pure function of API objects that the caller has at hand; Terms, which remembers what
// pods say of one another, belongs to one goroutine.
package pods

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"slices"

	corev1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"

	"github.com/musterhq/muster/builtin/spec"
)

// Objects looks up what a pod refers to. A method returns nil where there is no such
// object (yet). Informer caches answer it.
type Objects interface {
	Namespace(name string) *corev1.Namespace
	Claim(namespace, name string) *corev1.PersistentVolumeClaim
	Volume(name string) *corev1.PersistentVolume
	// VolumesOf lists the volumes of a class that nobody has claimed, and those that wait for
	// a claim which their claimRef names (phase Available).
	VolumesOf(class string) []*corev1.PersistentVolume
	Class(name string) *storagev1.StorageClass
	// NodesWith lists the names of the nodes that have a value of a per-node label
	// (kubernetes.io/hostname and Options.PerNode).
	NodesWith(label, value string) []string
	// HasNode says that there is a node of that name.
	HasNode(name string) bool
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

	shape string
}

// Shape tells tasks apart that the core must tell apart: tasks of equal shape, as Read
// returned them, can be in one task group. Bind is no part of it.
func (t *Task) Shape() string { return t.shape }

func (t *Task) shapeOf() string {
	text, err := json.Marshal(struct {
		Request  spec.Resources
		GPUTypes []string
		Where    string
		Near     spec.Near
	}{t.Request, t.GPUTypes, t.Where.Key(), t.Near})
	if err != nil {
		panic(err) // strings and integers only
	}
	sum := sha256.Sum256(text)
	return hex.EncodeToString(sum[:16])
}

// Problem is why a pod can't be scheduled by us, or what of it is not taken into account.
type Problem struct {
	Code  string // stable: unsupported-claims, no-claim, bad-quantity, …
	Field string // spec.affinity.podAffinity, …
	Text  string
	Hint  string // what to do about it, "" if there is nothing but to wait
	// Fatal problems keep the pod from being scheduled; the others are told and passed
	// over (a preference that no decision uses).
	Fatal bool
	// Wait says that the problem ends by itself when an object comes: a claim, a volume.
	Wait bool
}

// Options say what is particular about a cluster. The zero value is of use.
type Options struct {
	// GPULabels are the node labels that name the GPU product, the first that a node has
	// counts; nil is DefaultGPULabels.
	GPULabels []string
	// GPUTypes gives products (values of GPULabels) their type in place of GPUType.
	GPUTypes map[string]string
	// PerNode are labels that differ from node to node, besides kubernetes.io/hostname; nil
	// is DefaultPerNode. The core does not see them, as it puts nodes with equal labels into
	// one class: selectors that ask for them are answered by name. As a topology each of
	// them means the node itself.
	PerNode []string
	// Gates must all be open before a node takes anything.
	Gates []Gate
}

// DefaultGPULabels are the labels of GPU feature discovery, of AMD's node labeller, of GKE
// and of Karpenter on AWS.
var DefaultGPULabels = []string{
	"nvidia.com/gpu.product", "amd.com/gpu.product-name",
	"cloud.google.com/gke-accelerator", "karpenter.k8s.aws/instance-gpu-name",
}

func (o *Options) gpuLabels() []string {
	if o.GPULabels == nil {
		return DefaultGPULabels
	}
	return o.GPULabels
}

// DefaultPerNode are per-node labels that common components write.
var DefaultPerNode = []string{
	"nvidia.com/gfd.timestamp", "alpha.eksctl.io/instance-id", "k3s.io/hostname", "k3s.io/internal-ip",
	"topology.hostpath.csi/node", "topology.topolvm.io/node", "openebs.io/nodename",
}

// PerNodeLabels lists the labels that Objects.NodesWith must know.
func (o *Options) PerNodeLabels() []string {
	if o.PerNode == nil {
		return append([]string{corev1.LabelHostname}, DefaultPerNode...)
	}
	return append([]string{corev1.LabelHostname}, o.PerNode...)
}

// perNode says whether a label tells nodes apart one by one.
func (o *Options) perNode(label string) bool {
	more := o.PerNode
	if more == nil {
		more = DefaultPerNode
	}
	return label == corev1.LabelHostname || slices.Contains(more, label)
}
