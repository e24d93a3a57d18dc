package node

import (
	"fmt"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/gpuprobe/agent"
	"github.com/musterhq/muster/gpuprobe/wire"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
)

// Status is what a State says of inventory and health; how much is used is not in it. ok
// is false before the driver was asked for the first time.
func Status(s *agent.State) (out api.GPUNodeStatus, ok bool) {
	if s.Sweep == 0 {
		return out, false
	}
	out.Driver, out.DriverLoad = s.System.Driver, s.System.Load
	if s.System.CUDA > 0 {
		out.CUDA = fmt.Sprintf("%d.%d", s.System.CUDA/1000, s.System.CUDA%1000/10)
	}
	responsive := true
	for i := range s.GPUs {
		g := &s.GPUs[i]
		if g.Parent != "" && len(out.GPUs) > 0 {
			last := &out.GPUs[len(out.GPUs)-1]
			last.MIG = append(last.MIG, api.MIGInstance{UUID: g.UUID, Profile: g.Profile})
			continue
		}
		responsive = responsive && g.Health != wire.Health_UNRESPONSIVE
		out.GPUs = append(out.GPUs, inventory(g))
	}
	for i := range s.Sources {
		if name := conditionOf[s.Sources[i].Name]; name != "" {
			out.Conditions = append(out.Conditions, condition(name, s.Sources[i].Up, s.Sources[i].Reason, s.Sources[i].Detail))
		}
	}
	if responsive {
		out.Conditions = append(out.Conditions, condition(api.GPUNodeDriverResponsive, true, "", ""))
	} else {
		out.Conditions = append(out.Conditions, condition(api.GPUNodeDriverResponsive, false, "Hangs", "the driver does not answer for a GPU"))
	}
	return out, true
}

var conditionOf = map[string]string{
	agent.SourceNVML: api.GPUNodeNVMLReady, agent.SourceEBPF: api.GPUNodeEBPFReady, agent.SourcePodResources: api.GPUNodePodResourcesReady,
}

func condition(name string, up bool, reason, detail string) metav1.Condition {
	c := metav1.Condition{Type: name, Status: metav1.ConditionFalse, Reason: reason, Message: detail}
	if up {
		c.Status, c.Reason = metav1.ConditionTrue, "Up"
	}
	return c
}

var states = map[wire.Health]api.GPUState{
	wire.Health_HEALTH_UNKNOWN: api.GPUUnknown, wire.Health_HEALTHY: api.GPUHealthy, wire.Health_DEGRADED: api.GPUDegraded,
	wire.Health_FAILED: api.GPUFailed, wire.Health_UNRESPONSIVE: api.GPUUnresponsive,
}

// healths is states the other way round; what a newer probe says is unknown.
var healths = map[api.GPUState]wire.Health{
	api.GPUHealthy: wire.Health_HEALTHY, api.GPUDegraded: wire.Health_DEGRADED,
	api.GPUFailed: wire.Health_FAILED, api.GPUUnresponsive: wire.Health_UNRESPONSIVE,
}

func inventory(g *agent.GPU) api.GPU {
	out := api.GPU{
		UUID: g.UUID, Index: int32(g.Index), Product: g.Product, PCI: g.PCI, MIGMode: g.MIG,
		Clique: g.Clique, Peers: g.Peers,
		Health: api.GPUHealth{State: states[g.Health], Reason: g.HealthReason},
	}
	if g.MemoryTotal != nil {
		out.Memory = api.Bytes(*g.MemoryTotal)
	}
	if g.Recovery != nil {
		out.Health.RecoveryAction = api.Recovery(*g.Recovery)
	}
	if !g.HealthSince.IsZero() {
		since := metav1.NewTime(g.HealthSince)
		out.Health.Since = &since
	}
	return out
}

// keep has a status keep the GPUs of the past, as the driver has not told of any since the
// start: what failed must not be forgotten by that.
func keep(s, past *api.GPUNodeStatus) {
	s.GPUs, s.DriverLoad = slices.Clone(past.GPUs), past.DriverLoad
	for i := range s.GPUs {
		if h := &s.GPUs[i].Health; h.State == api.GPUHealthy {
			*h = api.GPUHealth{State: api.GPUUnknown, Reason: "NvmlDown"}
		}
	}
}

// Past is what an earlier probe said of health, by the status that it left; err is why that
// can't be read.
func Past(s api.GPUNodeStatus, err error) agent.Past {
	out := agent.Past{Load: s.DriverLoad}
	if err != nil {
		out.Unknown = err.Error()
	}
	for i := range s.GPUs {
		g := &s.GPUs[i]
		p := agent.PastGPU{UUID: g.UUID, Index: int(g.Index), Product: g.Product, PCI: g.PCI, Health: healths[g.Health.State], Reason: g.Health.Reason}
		if g.Health.Since != nil {
			p.Since = g.Health.Since.Time
		}
		out.GPUs = append(out.GPUs, p)
	}
	return out
}
