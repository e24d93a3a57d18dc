package mirror

import (
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/pods"
	"github.com/musterhq/muster/runtime/usage"
)

// replicasLabel says how many pods a GPU is offered to (GPU feature discovery).
const replicasLabel = "nvidia.com/gpu.replicas"

const (
	// evictAgain is how often pods that are still on a GPU that failed are looked at.
	evictAgain = 10 * time.Second
	// handOutSlack is how much later than a failure a pod must have been bound to say
	// that the node still gives the GPU away: clocks differ, and binds were under way.
	handOutSlack = 10 * time.Second
)

// health is what a node said of its GPUs. It is kept only while some can't be used.
type health struct {
	gpus  []usage.GPUHealth
	since map[string]time.Time // when a GPU was first said to have failed, by UUID
	// handsOut says that the node gave a pod a GPU of which it was known to have failed:
	// its device plugin does not see what the driver says, so that whoever is evicted from
	// there would be put there again. The node takes nothing new until either has changed.
	handsOut bool
	looked   time.Time
}

// Health takes in the state of all GPUs of a node. Those that can't be used leave its
// capacity; pods on those that failed are evicted.
func (m *Mirror) Health(node string, gpus []usage.GPUHealth) {
	m.mu.Lock()
	defer m.mu.Unlock()
	was := m.health[node]
	if was == nil && !slices.ContainsFunc(gpus, unusable) {
		return
	}
	now := &health{gpus: slices.Clone(gpus), since: map[string]time.Time{}, looked: m.o.Now()}
	for _, g := range gpus {
		if !broken(g) {
			continue
		}
		now.since[g.UUID] = m.o.Now()
		if t, ok := was.failed(g.UUID); ok {
			now.since[g.UUID], now.handsOut = t, now.handsOut || was.handsOut
		}
	}
	m.tellHealth(node, was, now)
	if m.health[node] = now; !slices.ContainsFunc(gpus, unusable) {
		delete(m.health, node)
	}
	if n := m.nodes[node]; n != nil {
		n.read = nil // its capacity is another
		m.look(n)
	}
}

func unusable(g usage.GPUHealth) bool { return g.Failed || g.Unresponsive }

// cordoned is the reason of GPUs that an administrator keeps new work off (GPUNode).
const cordoned = "Cordoned"

// broken GPUs are of no use to those either who have them.
func broken(g usage.GPUHealth) bool { return g.Failed && g.Reason != cordoned }

// failed says since when a GPU is known to have failed.
func (h *health) failed(uuid string) (since time.Time, ok bool) {
	if h != nil {
		since, ok = h.since[uuid]
	}
	return since, ok
}

// usable is the node with what its GPUs that work can offer, and what pods still hold of
// the others: as they go, it shrinks. A device plugin that has itself taken GPUs out is
// not counted a second time.
func (m *Mirror) usable(n *node) *corev1.Node {
	h := m.health[n.name]
	if h == nil {
		return n.obj
	}
	obj := *n.obj
	obj.Status.Allocatable = maps.Clone(n.obj.Status.Allocatable)
	for name, have := range n.obj.Status.Allocatable {
		if left := h.left(n.obj, string(name), m.held(n)); left < have.Value() {
			obj.Status.Allocatable[name] = *resource.NewQuantity(left, resource.DecimalSI)
		}
	}
	return &obj
}

// held counts the pods that hold something of a resource on one GPU.
func (m *Mirror) held(n *node) func(g *usage.GPUHealth, name string) int64 {
	return func(g *usage.GPUHealth, name string) (count int64) {
		for _, ref := range g.Pods {
			if p := m.podNamed(ref); p != nil && p.on == n {
				if a, _ := p.used.Get(name); a > 0 {
					count++
				}
			}
		}
		return count
	}
}

func nobody(*usage.GPUHealth, string) int64 { return 0 }

// left is how much of a resource there is: all, less the part of each GPU that can't be
// used, but for what is still held of it.
func (h *health) left(n *corev1.Node, name string, held func(*usage.GPUHealth, string) int64) int64 {
	have, whole := n.Status.Allocatable[corev1.ResourceName(name)], n.Status.Capacity[corev1.ResourceName(name)]
	all := max(have.Value(), whole.Value())
	each, lost := h.each(n, name, all), int64(0)
	for i := range h.gpus {
		if g := &h.gpus[i]; each > 0 && unusable(*g) {
			lost += max(0, each-held(g, name))
		}
	}
	return max(0, all-lost)
}

// each is how much of a resource one GPU makes up, 0 if it is no resource of GPUs. Which
// GPUs are split into MIG instances can't be told: on a node that has both kinds one that
// fails is counted with both, so that nothing is put on it.
func (h *health) each(n *corev1.Node, name string, all int64) int64 {
	count := int64(len(h.gpus))
	switch {
	case strings.HasPrefix(name, migPrefix):
		whole := n.Status.Capacity[amount.GPUName]
		return up(all, max(1, count-whole.Value()/replicas(n)))
	case name == amount.GPUName || isPart(name):
		if split(n) {
			return replicas(n)
		}
		return up(all, count)
	}
	return 0
}

func up(a, b int64) int64 { return (a + b - 1) / b }

// replicas is how many pods the node's GPUs are offered to, each.
func replicas(n *corev1.Node) int64 {
	if r, err := strconv.ParseInt(n.Labels[replicasLabel], 10, 32); err == nil && r > 1 {
		return r
	}
	return 1
}

// split says whether some GPUs of the node are offered as MIG instances by their profile.
func split(n *corev1.Node) bool {
	for name, q := range n.Status.Capacity { //muster:anyorder any
		if strings.HasPrefix(string(name), migPrefix) && !q.IsZero() {
			return true
		}
	}
	return false
}

// handing finds out whether the node gives away GPUs that failed, and says why it takes
// nothing while it does.
func (m *Mirror) handing(n *node) *pods.Problem {
	h := m.health[n.name]
	if h == nil {
		return nil
	}
	n.read = nil // what it has depends on who is still there
	if m.o.StayOnFailedGPUs {
		return nil
	}
	if !h.handsOut {
		if g, p := m.givenLate(n, h); p != nil {
			h.handsOut = true
			m.useStats.HandedOut++
			m.nodeEvent(n.name, corev1.EventTypeWarning, "FailedGPUHandedOut", fmt.Sprintf(
				"pod %s/%s was given %s, which has failed: Muster puts no new pods here until the device plugin takes it out, or it works again", p.obj.Namespace, p.obj.Name, name(g)))
		}
	}
	if !h.handsOut || n.obj == nil || h.takenOut(n.obj) {
		return nil
	}
	return &pods.Problem{Code: "failed-gpu-handed-out", Field: "status.allocatable", Fatal: true, Text: "the node gives pods a GPU that has failed"}
}

// takenOut says that the device plugin itself offers no more than what works.
func (h *health) takenOut(n *corev1.Node) bool {
	for name, have := range n.Status.Allocatable { //muster:anyorder all
		if h.left(n, string(name), nobody) < have.Value() {
			return false
		}
	}
	return true
}

// givenLate finds a pod that was bound after the GPU that it has had failed.
func (m *Mirror) givenLate(n *node, h *health) (*usage.GPUHealth, *pod) {
	for i := range h.gpus {
		g := &h.gpus[i]
		since, failed := h.failed(g.UUID)
		if !failed {
			continue
		}
		for _, ref := range g.Pods {
			p := m.podNamed(ref)
			if p != nil && p.on == n && m.since(p) > nanos(since.Add(handOutSlack)) {
				return g, p
			}
		}
	}
	return nil, nil
}

// evictFailed evicts our pods from the node's GPUs that failed. Those of a GPU that does
// not answer stay: it may yet come back.
func (m *Mirror) evictFailed(n *node) {
	h := m.health[n.name]
	if h == nil || m.o.StayOnFailedGPUs {
		return
	}
	var victims []*slot
	for i := range h.gpus {
		g := &h.gpus[i]
		if !broken(*g) {
			continue
		}
		for _, ref := range g.Pods {
			p := m.podNamed(ref)
			if p == nil || p.on != n || p.slot == nil || !p.slot.stays() || p.obj.DeletionTimestamp != nil {
				continue
			}
			p.slot.state, p.slot.keep = leaving, time.Time{}
			p.slot.why = evicting{reason: GPUFailed, text: fmt.Sprintf("%s of node %s failed: %s", name(g), n.name, g.Reason), broken: true}
			victims = append(victims, p.slot)
		}
	}
	sortLeadersLast(victims)
	for _, s := range victims {
		m.useStats.Evicted++
		m.drive(s)
	}
}

// GPUFailed is the reason of evictions from, and of events about, a GPU that failed.
const GPUFailed = "GPUFailed"

func name(g *usage.GPUHealth) string { return fmt.Sprintf("GPU %d (%s)", g.Index, g.UUID) }

// tellHealth tells on the node what has become of its GPUs.
func (m *Mirror) tellHealth(node string, was, now *health) {
	if !m.begun {
		return
	}
	before := map[string]usage.GPUHealth{}
	if was != nil {
		for _, g := range was.gpus {
			before[g.UUID] = g
		}
	}
	for i := range now.gpus {
		g := &now.gpus[i]
		old := before[g.UUID]
		switch {
		case broken(*g) && !broken(old):
			m.nodeEvent(node, corev1.EventTypeWarning, GPUFailed, fmt.Sprintf("%s failed: %s; it is no part of the node's capacity any more", name(g), g.Reason))
		case g.Failed && !unusable(old):
			m.nodeEvent(node, corev1.EventTypeNormal, "GPUCordoned", fmt.Sprintf("%s gets no new pods", name(g)))
		case g.Unresponsive && !unusable(old):
			m.nodeEvent(node, corev1.EventTypeWarning, "GPUUnresponsive", fmt.Sprintf("%s does not answer: %s; it gets no new pods", name(g), g.Reason))
		case unusable(old) && !unusable(*g):
			m.nodeEvent(node, corev1.EventTypeNormal, "GPURecovered", fmt.Sprintf("%s works again", name(g)))
		}
	}
}

func (m *Mirror) nodeEvent(node, kind, reason, text string) {
	m.out.work.Events = append(m.out.work.Events, act.Event{
		About: corev1.ObjectReference{APIVersion: "v1", Kind: "Node", Name: node, UID: types.UID(node)}, Type: kind, Reason: reason, Text: text,
	})
}

// sweepHealth looks again at nodes of which GPUs failed: an eviction may have failed too.
func (m *Mirror) sweepHealth(now time.Time) {
	for name, h := range m.health { //muster:anyorder each for itself
		if n := m.nodes[name]; n != nil && len(h.since) > 0 && now.Sub(h.looked) >= evictAgain {
			h.looked = now
			m.look(n)
		}
	}
}
