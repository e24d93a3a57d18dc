package usage

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/gpuprobe/wire"
)

// tellHealth tells of the health of all GPUs if that of any changed.
func (n *nodeState) tellHealth(sink Sink) {
	now := n.healthNow()
	if len(now) == 0 && len(n.health) == 0 && !n.up("nvml") {
		return // it can't see its GPUs, which does not mean that there are none
	}
	if n.healthTold && slices.EqualFunc(n.health, now, GPUHealth.equal) {
		return
	}
	n.health, n.healthTold = now, true
	if sink != nil {
		sink.Health(n.name, slices.Clone(now))
	}
}

func (h GPUHealth) equal(o GPUHealth) bool {
	return h.UUID == o.UUID && h.Index == o.Index && h.Failed == o.Failed && h.Unresponsive == o.Unresponsive &&
		h.Reason == o.Reason && slices.Equal(h.Pods, o.Pods)
}

// healthNow is the health of each GPU. One whose health can't be measured any more keeps
// its last, and so does one that the probe does not see while the driver is away: a GPU
// does not get well by being out of sight.
func (n *nodeState) healthNow() []GPUHealth {
	pods := n.podsByGPU()
	out := make([]GPUHealth, 0, len(n.gpus))
	for i := range n.gpus {
		g := &n.gpus[i]
		if g.parent != "" {
			continue
		}
		h := GPUHealth{UUID: g.uuid, Index: int(g.index), Pods: pods[g.uuid]}
		h.Failed = g.health == wire.Health_FAILED
		h.Unresponsive = g.health == wire.Health_UNRESPONSIVE
		h.Reason = g.reason
		if k := n.healthOf(g.uuid); k >= 0 && g.health == wire.Health_HEALTH_UNKNOWN {
			old := &n.health[k]
			h.Failed, h.Unresponsive, h.Reason = old.Failed, old.Unresponsive, old.Reason
		}
		out = append(out, h)
	}
	if !n.up("nvml") {
		out = n.keepUnseen(out)
	}
	return out
}

func (n *nodeState) keepUnseen(out []GPUHealth) []GPUHealth {
	for _, old := range n.health {
		if !slices.ContainsFunc(out, func(h GPUHealth) bool { return h.UUID == old.UUID }) {
			out = append(out, old)
		}
	}
	slices.SortFunc(out, func(a, b GPUHealth) int {
		return cmp.Or(cmp.Compare(a.Index, b.Index), cmp.Compare(a.UUID, b.UUID))
	})
	return out
}

func (n *nodeState) healthOf(uuid string) int {
	return slices.IndexFunc(n.health, func(h GPUHealth) bool { return h.UUID == uuid })
}

func (n *nodeState) up(source string) bool {
	return slices.ContainsFunc(n.sources, func(s *wire.Source) bool { return s.GetName() == source && s.GetUp() })
}

// podsByGPU has those that use each GPU, or an instance of it, sorted, each once.
func (n *nodeState) podsByGPU() map[string][]PodRef {
	parent := make(map[string]string)
	for i := range n.gpus {
		if g := &n.gpus[i]; g.parent != "" {
			parent[g.uuid] = g.parent
		}
	}
	refs, of := n.pods()
	out := make(map[string][]PodRef, len(n.gpus))
	for i, k := range of {
		if k < 0 {
			continue
		}
		uuid := cmp.Or(parent[n.uses[i].gpu], n.uses[i].gpu)
		out[uuid] = append(out[uuid], refs[k])
	}
	for uuid, pods := range out {
		slices.SortFunc(pods, func(a, b PodRef) int {
			return cmp.Or(cmp.Compare(a.UID, b.UID), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
		})
		out[uuid] = slices.Compact(pods)
	}
	return out
}
