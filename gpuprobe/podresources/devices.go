package podresources

import "strings"

// Driver is NVIDIA's DRA driver.
const Driver = "gpu.nvidia.com"

// domain is where NVIDIA's device plugin, and those of clouds in its place, have their
// resources: nvidia.com/gpu, nvidia.com/gpu.shared, nvidia.com/mig-1g.10gb, and whatever
// name a plugin's configuration gives them.
const domain = "nvidia.com/"

// Device gives the id of a device of an extended resource the form that NVML has. ok is
// false of what is no GPU: other resources, and devices of NVIDIA that no process
// computes on (a VF that is passed through, a network card).
//
// Plugins write
//
//	GPU-8f1c…  MIG-8f1c…  MIG-GPU-8f1c…/7/0     as NVML does, the last before driver 470
//	GPU-8f1c…::3                                a replica: time slicing, MPS
//	GPU-8f1c…-3                                 a replica of HAMi and its relatives
//	nvidia0  nvidia0/gi2                        on GKE: by index, and a MIG instance
//	nvidia0/vgpu1  nvidia0/gi2/vgpu1            replicas there
func Device(resource, id string) (device string, shared, ok bool) {
	name, isOurs := strings.CutPrefix(resource, domain)
	if !isOurs || name == "" {
		return "", false, false
	}
	shared = strings.HasSuffix(name, ".shared")
	base, replica, cut := strings.Cut(id, "::")
	if cut && !isNumber(replica) {
		return "", false, false
	}
	device, part, ok := uuid(base)
	if !ok {
		device, part, ok = indexed(base)
	}
	return device, ok && (shared || cut || part), ok
}

// uuidLength is that of 8-4-4-4-12 hexadecimal digits.
const uuidLength = 36

// uuid reads a UUID with its prefix, and whether the id is of a replica.
func uuid(id string) (device string, replica, ok bool) {
	prefix := ""
	for _, p := range []string{"MIG-GPU-", "MIG-", "GPU-"} {
		if strings.HasPrefix(id, p) {
			prefix = p
			break
		}
	}
	if prefix == "" || len(id) < len(prefix)+uuidLength {
		return "", false, false
	}
	end := len(prefix) + uuidLength
	number, rest := strings.ToLower(id[len(prefix):end]), id[end:]
	if !isUUID(number) {
		return "", false, false
	}
	device = prefix + number
	if prefix == "MIG-GPU-" { // the instance is told by two numbers
		gi, ci, _ := strings.Cut(strings.TrimPrefix(rest, "/"), "/")
		return device + rest, false, strings.HasPrefix(rest, "/") && isNumber(gi) && isNumber(ci)
	}
	if rest == "" {
		return device, false, true
	}
	return device, true, rest[0] == '-' && isNumber(rest[1:])
}

// indexed reads nvidia0, nvidia0/gi2, nvidia0/vgpu1 and nvidia0/gi2/vgpu1.
func indexed(id string) (device string, replica, ok bool) {
	device, rest, more := strings.Cut(id, "/")
	if index, isOne := strings.CutPrefix(device, "nvidia"); !isOne || !isNumber(index) {
		return "", false, false
	}
	if instance, after, goesOn := strings.Cut(rest, "/"); strings.HasPrefix(instance, "gi") {
		if !isNumber(instance[len("gi"):]) {
			return "", false, false
		}
		device, rest, more = device+"/"+instance, after, goesOn
	}
	if !more {
		return device, false, true
	}
	number, isReplica := strings.CutPrefix(rest, "vgpu")
	return device, true, isReplica && isNumber(number)
}

// Claimed is a device of a DRA claim as "pool/device", if it is of NVIDIA's driver. Its
// UUID is an attribute in the driver's ResourceSlice, which the kubelet does not tell.
// share is the id of a share of a device that several claims have.
func Claimed(driver, pool, device, share string) (name string, shared, ok bool) {
	if driver != Driver || pool == "" || device == "" {
		return "", false, false
	}
	return pool + "/" + device, share != "", true
}

// isUUID says whether s is 8-4-4-4-12 hexadecimal digits.
func isUUID(s string) bool {
	for i := range len(s) {
		c := s[i]
		if dash := i == 8 || i == 13 || i == 18 || i == 23; dash != (c == '-') {
			return false
		} else if !dash && (c < '0' || c > '9') && (c < 'a' || c > 'f') {
			return false
		}
	}
	return len(s) == uuidLength
}

// isNumber says whether s is a small number, as indexes and replicas are.
func isNumber(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return len(s) >= 1 && len(s) <= 5
}
