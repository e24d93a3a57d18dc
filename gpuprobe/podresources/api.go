// Package podresources asks the kubelet which devices it gave to which pod, by the
// pod-resources API (v1) on its socket, and gives device ids one form: the UUIDs that NVML
// has.
package podresources

import "context"

// Lister lists what is assigned. Kubelet is the usual one.
type Lister interface {
	// List is one call to the kubelet, which allows 100 a second.
	List(ctx context.Context) ([]Assignment, error)
}

// Assignment is one device of one container.
type Assignment struct {
	Namespace, Pod, Container string
	// Resource is the extended resource (nvidia.com/gpu, nvidia.com/mig-1g.10gb) or the
	// DRA driver (gpu.nvidia.com).
	Resource string
	// Device as NVML has it: GPU-…, MIG-…; an index as "nvidia0", a DRA device as
	// "pool/device" where the UUID is not told.
	Device string
	// Shared says that it is one of several replicas of the device (time slicing, MPS).
	Shared bool
}
