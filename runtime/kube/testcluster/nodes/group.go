package nodes

import (
	"fmt"
	"maps"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"sigs.k8s.io/yaml"
)

// Labels of the nodes, beside Kubernetes' own. Those of the GPU are what NVIDIA's GPU
// feature discovery writes.
const (
	LabelProduct   = "nvidia.com/gpu.product"
	LabelGPUs      = "nvidia.com/gpu.count"
	LabelGPUMemory = "nvidia.com/gpu.memory"
	LabelRack      = "muster.dev/rack"

	ResourceGPU corev1.ResourceName = "nvidia.com/gpu"
)

// Racks are filled one after the other, and dealt out to the zones in turn.
const (
	nodesPerRack = 16
	zones        = 3
)

// Group is a number of equal nodes.
type Group struct {
	Count int `json:"count"`
	// Name is what the nodes' names begin with; the product in lower case if empty.
	Name string `json:"name,omitempty"`
	// Product is the value of the label nvidia.com/gpu.product, and says how big the
	// node is; CPU, or nothing, is a node without GPUs.
	Product string `json:"product,omitempty"`
	// Zone and Rack put all nodes of the group into one place; else they are spread.
	Zone string `json:"zone,omitempty"`
	Rack string `json:"rack,omitempty"`
	// Labels, Taints and Capacity are added to, or replace, what the product says.
	Labels   map[string]string                         `json:"labels,omitempty"`
	Taints   []corev1.Taint                            `json:"taints,omitempty"`
	Capacity map[corev1.ResourceName]resource.Quantity `json:"capacity,omitempty"`
}

// ParseFile reads a nodes file: YAML or JSON with a list "nodes" of groups.
func ParseFile(text []byte) ([]Group, error) {
	var file struct {
		Nodes []Group `json:"nodes"`
	}
	if err := yaml.UnmarshalStrict(text, &file); err != nil {
		return nil, fmt.Errorf("nodes file: %w", err)
	}
	for i, g := range file.Nodes {
		if err := g.validate(); err != nil {
			return nil, fmt.Errorf("nodes file: nodes[%d]: %w", i, err)
		}
	}
	return file.Nodes, nil
}

func (g Group) validate() error {
	if g.Count < 0 || g.Count > maxNodes {
		return fmt.Errorf("count: %d is not from 0 to %d", g.Count, maxNodes)
	}
	if _, err := shapeOf(g.Product); err != nil && g.Product != "" && len(g.Capacity) == 0 {
		return err
	}
	for _, name := range validation.IsDNS1123Subdomain(g.prefix()) {
		return fmt.Errorf("name: %q %s", g.prefix(), name)
	}
	for label, value := range g.labels(0) {
		for _, problem := range append(validation.IsQualifiedName(label), validation.IsValidLabelValue(value)...) {
			return fmt.Errorf("label %s=%q: %s", label, value, problem)
		}
	}
	return nil
}

// prefix is what the names of the group's nodes begin with.
func (g Group) prefix() string {
	switch {
	case g.Name != "":
		return g.Name
	case g.Product != "":
		return strings.ToLower(g.Product)
	}
	return strings.ToLower(CPU)
}

// Node makes the group's i-th node, i from 0. It carries its status, which the API
// server keeps when a node is made.
func (g Group) Node(i int) *corev1.Node {
	name := fmt.Sprintf("%s-%04d", g.prefix(), i)
	labels := g.labels(i)
	labels[corev1.LabelHostname] = name
	capacity := g.capacity()
	return &corev1.Node{
		ObjectMeta: metav1.ObjectMeta{Name: name, Labels: labels},
		Spec:       corev1.NodeSpec{Taints: g.Taints},
		Status:     corev1.NodeStatus{Capacity: capacity, Allocatable: capacity},
	}
}

func (g Group) labels(i int) map[string]string {
	rack := i / nodesPerRack
	labels := map[string]string{
		corev1.LabelOSStable:       "linux",
		corev1.LabelArchStable:     "amd64",
		corev1.LabelTopologyRegion: "region-1",
		corev1.LabelTopologyZone:   "zone-" + string(rune('a'+rack%zones)),
		LabelRack:                  fmt.Sprintf("%s-rack-%d", g.prefix(), rack),
	}
	if s, _ := shapeOf(g.Product); s.gpus > 0 {
		labels[LabelProduct] = g.Product
		labels[LabelGPUs] = strconv.Itoa(s.gpus)
		labels[LabelGPUMemory] = strconv.Itoa(s.gpuMemory)
	} else if g.Product != "" && g.Product != CPU {
		labels[LabelProduct] = g.Product
	}
	if g.Zone != "" {
		labels[corev1.LabelTopologyZone] = g.Zone
	}
	if g.Rack != "" {
		labels[LabelRack] = g.Rack
	}
	maps.Copy(labels, g.Labels)
	return labels
}

func (g Group) capacity() corev1.ResourceList {
	s, err := shapeOf(g.Product)
	if err != nil {
		s = shapes[CPU]
	}
	capacity := corev1.ResourceList{
		corev1.ResourceCPU:              resource.MustParse(s.cpu),
		corev1.ResourceMemory:           resource.MustParse(s.memory),
		corev1.ResourcePods:             resource.MustParse("110"),
		corev1.ResourceEphemeralStorage: resource.MustParse("1Ti"),
	}
	if s.gpus > 0 {
		capacity[ResourceGPU] = *resource.NewQuantity(int64(s.gpus), resource.DecimalSI)
	}
	maps.Copy(capacity, g.Capacity)
	return capacity
}
