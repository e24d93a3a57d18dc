package pods

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/builtin/spec"
)

// use is something of a node that pods can't share: a host port, a disk. It counts for some
// terms and avoids others, both on the node itself.
type use struct{ counts, avoids []string }

func (u use) terms() []spec.Term {
	var out []spec.Term
	for _, id := range u.avoids {
		out = append(out, spec.Term{ID: id})
	}
	return out
}

// resident lists what a pod keeps for itself on its node.
func resident(pod *corev1.Pod) []use {
	var out []use
	for i := range pod.Spec.InitContainers {
		if c := &pod.Spec.InitContainers[i]; c.RestartPolicy != nil && *c.RestartPolicy == corev1.ContainerRestartPolicyAlways {
			out = append(out, ports(c)...)
		}
	}
	for i := range pod.Spec.Containers {
		out = append(out, ports(&pod.Spec.Containers[i])...)
	}
	for i := range pod.Spec.Volumes {
		if u, ok := disk(&pod.Spec.Volumes[i]); ok {
			out = append(out, u)
		}
	}
	return out
}

func ports(c *corev1.Container) []use {
	var out []use
	for i := range c.Ports {
		if c.Ports[i].HostPort > 0 {
			out = append(out, port(&c.Ports[i]))
		}
	}
	return out
}

// port is NodePorts' rule: two pods with a host port of the same protocol conflict if their
// addresses are equal or one of them is 0.0.0.0 (which "" means too).
func port(p *corev1.ContainerPort) use {
	protocol, ip := p.Protocol, p.HostIP
	if protocol == "" {
		protocol = corev1.ProtocolTCP
	}
	if ip == "" {
		ip = "0.0.0.0"
	}
	name := fmt.Sprintf("port:%s/%d", protocol, p.HostPort)
	mine := name + "@" + ip
	if ip == "0.0.0.0" {
		return use{counts: []string{name, mine}, avoids: []string{name}}
	}
	return use{counts: []string{name, mine}, avoids: []string{mine, name + "@0.0.0.0"}}
}

// disk is VolumeRestrictions' rule for disks that are named in the pod itself: an EBS
// volume has one user on a node; the others may be shared by pods that only read.
func disk(v *corev1.Volume) (use, bool) {
	switch {
	case v.AWSElasticBlockStore != nil:
		return shared("disk:ebs/"+v.AWSElasticBlockStore.VolumeID, false), true
	case v.GCEPersistentDisk != nil:
		return shared("disk:gce/"+v.GCEPersistentDisk.PDName, v.GCEPersistentDisk.ReadOnly), true
	case v.ISCSI != nil:
		return shared("disk:iscsi/"+v.ISCSI.IQN, v.ISCSI.ReadOnly), true
	case v.RBD != nil: // KEP-2923: gone from kubelets; monitors are taken for one cluster
		return shared(strings.Join([]string{"disk:rbd", v.RBD.RBDPool, v.RBD.RBDImage}, "/"), v.RBD.ReadOnly), true
	}
	return use{}, false
}

func shared(name string, readOnly bool) use {
	if readOnly {
		return use{counts: []string{name}, avoids: []string{name + "!"}}
	}
	return use{counts: []string{name, name + "!"}, avoids: []string{name}}
}
