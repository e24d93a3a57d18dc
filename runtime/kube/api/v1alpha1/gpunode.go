package v1alpha1

import (
	"fmt"
	"slices"
	"strconv"

	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// GPUNode is what the GPUs of one node are and how they are, told by the node's probe.
// It has the name of the node. The probe writes the status, and only when something
// changed: how much the GPUs are used is not here, as it changes all the time.
//
// +kubebuilder:object:root=true
// +kubebuilder:subresource:status
// +kubebuilder:resource:scope=Cluster,shortName=gn,categories=muster
// +kubebuilder:printcolumn:name="GPUs",type=integer,JSONPath=`.status.gpuCount`
// +kubebuilder:printcolumn:name="Healthy",type=integer,JSONPath=`.status.healthyCount`
// +kubebuilder:printcolumn:name="Product",type=string,JSONPath=`.status.product`
// +kubebuilder:printcolumn:name="Driver",type=string,JSONPath=`.status.driver`
// +kubebuilder:printcolumn:name="Trouble",type=string,JSONPath=`.status.trouble`,priority=1
// +kubebuilder:printcolumn:name="Age",type=date,JSONPath=`.metadata.creationTimestamp`
type GPUNode struct {
	metav1.TypeMeta   `json:",inline"`
	metav1.ObjectMeta `json:"metadata,omitempty"`

	// +kubebuilder:default={}
	Spec   GPUNodeSpec   `json:"spec,omitempty"`
	Status GPUNodeStatus `json:"status,omitempty"`
}

// GPUNodeList is a list of GPUNodes.
//
// +kubebuilder:object:root=true
type GPUNodeList struct {
	metav1.TypeMeta `json:",inline"`
	metav1.ListMeta `json:"metadata,omitempty"`
	Items           []GPUNode `json:"items"`
}

// GPUNodeSpec is what an administrator says of the GPUs of a node. Empty leaves all to
// the probe.
type GPUNodeSpec struct {
	// IgnoredXIDs are XID errors of the driver that make no GPU of this node unhealthy.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:Minimum=1
	// +kubebuilder:validation:items:Maximum=4095
	IgnoredXIDs []int32 `json:"ignoredXIDs,omitempty"`
	// CordonedGPUs get no new work, and are told as Failed with the reason Cordoned.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	CordonedGPUs []GPUUUID `json:"cordonedGPUs,omitempty"`
	// RepairedGPUs work again: what they failed of before then is over. Only needed of a
	// GPU that was reset while machine and driver ran on, and whose driver does not tell
	// (by its recovery action) that nothing is left to be done.
	// +optional
	// +listType=map
	// +listMapKey=uuid
	// +kubebuilder:validation:MaxItems=64
	RepairedGPUs []RepairedGPU `json:"repairedGPUs,omitempty"`
}

// RepairedGPU is a GPU that was repaired.
type RepairedGPU struct {
	UUID GPUUUID     `json:"uuid"`
	At   metav1.Time `json:"at"`
}

// GPUUUID names a GPU, or a MIG instance of one, in all the world.
//
// +kubebuilder:validation:MaxLength=64
// +kubebuilder:validation:XValidation:rule="self.matches('^((GPU|MIG)-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|MIG-GPU-[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/[0-9]+/[0-9]+)$')",message="write the UUID of a GPU as nvidia-smi -L prints it: GPU-8f1c… in lower case"
type GPUUUID string

// GPUNodeStatus is what the probe says.
type GPUNodeStatus struct {
	// ObservedGeneration is the generation of the spec that the probe follows.
	// +optional
	ObservedGeneration int64 `json:"observedGeneration,omitempty"`
	// Driver is the version of NVIDIA's driver, 580.95.05.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Driver string `json:"driver,omitempty"`
	// CUDA is the newest version that the driver supports, 13.0.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	CUDA string `json:"cuda,omitempty"`
	// DriverLoad is another one after each start of the machine, and of the driver on it.
	// While it is the same, a probe that starts holds against a GPU what is written here.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	DriverLoad string `json:"driverLoad,omitempty"`
	// GPUs by index. One that fell off the bus stays in the list, as Failed.
	// +optional
	// +listType=map
	// +listMapKey=uuid
	// +kubebuilder:validation:MaxItems=64
	GPUs []GPU `json:"gpus,omitempty"`
	// GPUCount, HealthyCount, Product and Trouble sum up GPUs for tables. GPUCount is
	// absent until the driver was asked.
	// +optional
	GPUCount *int64 `json:"gpuCount,omitempty"`
	// +optional
	HealthyCount *int64 `json:"healthyCount,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Product string `json:"product,omitempty"`
	// +optional
	// +kubebuilder:validation:MaxLength=256
	Trouble string `json:"trouble,omitempty"`
	// Conditions are NVMLReady, EBPFReady, PodResourcesReady and DriverResponsive.
	// +optional
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=16
	Conditions []metav1.Condition `json:"conditions,omitempty"`
}

// GPU is one GPU of a node.
type GPU struct {
	// UUID as the driver has it; "index-3" of one that it can't tell, as it fell off the bus.
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UUID string `json:"uuid"`
	// Index as nvidia-smi counts.
	// +kubebuilder:validation:Minimum=0
	Index int32 `json:"index"`
	// Product as the driver names it: NVIDIA H100 80GB HBM3.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Product string `json:"product,omitempty"`
	// Memory of the GPU in all.
	// +optional
	Memory *Quantity `json:"memory,omitempty"`
	// PCI address: 00000000:18:00.0.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	PCI string `json:"pci,omitempty"`
	// MIGMode says that the GPU is cut into instances, of which there may be none yet.
	// +optional
	MIGMode bool `json:"migMode,omitempty"`
	// MIG are the instances.
	// +optional
	// +listType=map
	// +listMapKey=uuid
	// +kubebuilder:validation:MaxItems=16
	MIG []MIGInstance `json:"mig,omitempty"`
	// Clique is the fabric's UUID and the clique in it; GPUs of one clique, on whatever
	// nodes, reach each other by NVLink.
	// +optional
	// +kubebuilder:validation:MaxLength=128
	Clique string `json:"clique,omitempty"`
	// Peers are the PCI addresses at the other ends of NVLinks, each once.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=32
	Peers  []string  `json:"peers,omitempty"`
	Health GPUHealth `json:"health"`
}

// MIGInstance is a part of a GPU.
type MIGInstance struct {
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=64
	UUID string `json:"uuid"`
	// Profile says how large it is: 1g.10gb.
	// +optional
	// +kubebuilder:validation:MaxLength=32
	Profile string `json:"profile,omitempty"`
}

// GPUHealth is how a GPU is.
//
// +kubebuilder:validation:XValidation:rule="self.state == 'Healthy' || has(self.reason) && size(self.reason) > 0",message="a GPU that is not Healthy has a reason",fieldPath=".reason"
type GPUHealth struct {
	State GPUState `json:"state"`
	// Reason in CamelCase: Xid79, RecoveryReset, GpuLost, DriverUnresponsive, Cordoned.
	// +optional
	// +kubebuilder:validation:MaxLength=64
	Reason string `json:"reason,omitempty"`
	// RecoveryAction is what the driver asks for; empty if it does not tell.
	// +optional
	RecoveryAction GPURecovery `json:"recoveryAction,omitempty"`
	// Since is when the state began, as far as a probe has seen it.
	// +optional
	Since *metav1.Time `json:"since,omitempty"`
}

// GPUState says whether a GPU can be used.
//
// +kubebuilder:validation:Enum=Healthy;Degraded;Failed;Unresponsive;Unknown
type GPUState string

// States of a GPU. Degraded works, with less, and no capacity is lost. The capacity of
// one that Failed leaves at once. Of one that is Unresponsive, new work is kept away, and
// its jobs stay. Unknown is not measured, or not any more.
const (
	GPUHealthy      GPUState = "Healthy"
	GPUDegraded     GPUState = "Degraded"
	GPUFailed       GPUState = "Failed"
	GPUUnresponsive GPUState = "Unresponsive"
	GPUUnknown      GPUState = "Unknown"
)

// GPURecovery is NVML's recovery action.
//
// +kubebuilder:validation:Enum=None;Reset;Reboot;Drain;DrainAndReset;Other
type GPURecovery string

// Recovery actions, in the order of their numbers.
const (
	RecoveryNone          GPURecovery = "None"
	RecoveryReset         GPURecovery = "Reset"
	RecoveryReboot        GPURecovery = "Reboot"
	RecoveryDrain         GPURecovery = "Drain"
	RecoveryDrainAndReset GPURecovery = "DrainAndReset"
	RecoveryOther         GPURecovery = "Other" // one that is newer than this probe
)

// Conditions of a GPUNode.
const (
	GPUNodeNVMLReady         = "NVMLReady"         // the driver's library answers
	GPUNodeEBPFReady         = "EBPFReady"         // launches can be seen
	GPUNodePodResourcesReady = "PodResourcesReady" // the kubelet tells which pod has which device
	GPUNodeDriverResponsive  = "DriverResponsive"  // no call hangs in the driver
)

// Recovery is the name of NVML's recovery action n.
func Recovery(n uint32) GPURecovery {
	known := []GPURecovery{RecoveryNone, RecoveryReset, RecoveryReboot, RecoveryDrain, RecoveryDrainAndReset}
	if int64(n) < int64(len(known)) {
		return known[n]
	}
	return RecoveryOther
}

// Bytes is an amount of memory, written in the largest unit that loses nothing.
func Bytes(n uint64) *Quantity {
	q := Quantity(*resource.NewQuantity(int64(min(n, 1<<62)), resource.BinarySI))
	return &q
}

// Summarize sets GPUCount, HealthyCount, Product and Trouble from GPUs.
func (s *GPUNodeStatus) Summarize() {
	all, healthy := int64(len(s.GPUs)), int64(0)
	var products []string
	s.Product, s.Trouble = "", ""
	for _, g := range s.GPUs {
		if g.Product != "" && !slices.Contains(products, g.Product) {
			products = append(products, g.Product)
		}
		if g.Health.State == GPUHealthy {
			healthy++
		} else if s.Trouble == "" {
			s.Trouble = fmt.Sprintf("%d: %s %s", g.Index, g.Health.State, g.Health.Reason)
		}
	}
	s.GPUCount, s.HealthyCount = &all, &healthy
	if len(products) > 0 {
		s.Product = products[0]
	}
	if more := len(products) - 1; more > 0 {
		s.Product += " and " + strconv.Itoa(more) + " more"
	}
	if more := all - healthy - 1; more > 0 {
		s.Trouble += ", and " + strconv.FormatInt(more, 10) + " more"
	}
}
