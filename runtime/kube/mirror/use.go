package mirror

import (
	"fmt"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/usage"
)

var _ usage.Sink = (*Mirror)(nil)

// UseStats counts what nodes said of their GPUs. Counters only grow.
type UseStats struct {
	Measured    uint64 // measurements taken for a pod
	Elsewhere   uint64 // refused: of a pod that runs on another node
	Strangers   uint64 // passed over: of pods that are not known (yet, or any more)
	Unrequested uint64 // pods that use a GPU which they did not ask for
	Evicted     uint64 // pods evicted from GPUs that failed
	HandedOut   uint64 // times a node gave pods a GPU that was known to have failed
}

// UseStats reads the counters.
func (m *Mirror) UseStats() UseStats {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.useStats
}

// measured is what a node said last of a pod's GPUs. It is kept as long as the pod, so
// that a task that is told anew gets it too.
type measured struct {
	usage.PodUse
	node string // that said so
	told bool   // the ledger has it, for this start of the task
}

// Used takes in what the pods on a node do with their GPUs. Nothing is decided for a
// percent, so it goes with the next flush; only a pod that woke up, or that nobody
// watches any more, has one of its own. A node is believed about pods that are bound to
// it, and about no others.
func (m *Mirror) Used(node string, uses []usage.PodUse) {
	m.mu.Lock()
	defer m.mu.Unlock()
	urgent := false
	for i := range uses {
		u := &uses[i]
		p := m.podNamed(usage.PodRef{UID: u.UID, Namespace: u.Namespace, Name: u.Name})
		switch {
		case p == nil || p.over():
			m.useStats.Strangers++
			continue
		case p.node() != "" && p.node() != node:
			m.useStats.Elsewhere++
			continue
		}
		m.useStats.Measured++
		urgent = urgent || woke(p.use, u)
		p.use = &measured{PodUse: *u, node: node}
		m.measured[p] = true
	}
	if urgent {
		m.wake()
	}
}

// woke says whether a pod that was idle has done something since, or may have.
func woke(was *measured, now *usage.PodUse) bool {
	return was != nil && was.Known && was.Idle > 0 && (!now.Known || now.At-now.Idle > was.At)
}

// podNamed finds a pod by its UID, or by its name where that is all that is known.
func (m *Mirror) podNamed(ref usage.PodRef) *pod {
	if ref.UID != "" {
		return m.pods[types.UID(ref.UID)]
	}
	return m.names[types.NamespacedName{Namespace: ref.Namespace, Name: ref.Name}]
}

// JobOf says which job a pod of ours belongs to.
func (m *Mirror) JobOf(ref usage.PodRef) (id string, ok bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if p := m.podNamed(ref); p != nil && p.job != nil {
		return p.job.id, true
	}
	return "", false
}

// postUses posts the measurements that have come since the last flush.
func (m *Mirror) postUses() {
	for _, p := range sortedKeys(m.measured, func(p *pod) string { return string(p.obj.UID) }) {
		m.postUse(p)
	}
	clear(m.measured)
}

// postUse posts what is known of a pod's GPUs, if it has a place in the ledger. It is no
// event about the slot: a plan that was made without it holds all the same.
func (m *Mirror) postUse(p *pod) {
	u, s := p.use, p.slot
	if p.over() || p.node() != u.node {
		return
	}
	asked := devices(p.used)
	if u.Unassigned || asked == 0 && len(p.obj.Spec.ResourceClaims) == 0 {
		m.tellUnrequested(p)
		return
	}
	if s == nil || s.node != u.node || s.state != placed && s.state != leaving {
		return
	}
	u.told = true
	ev := ledger.UseMeasured{Job: s.job.id, Task: s.index, At: u.At}
	if u.Known && int64(u.GPUs) >= asked {
		ev.Known = true
		ev.Busy = min(max(u.Busy, 0), amount.One)
		ev.Idle, ev.Watched = max(u.Idle, 0), max(u.Watched, 0)
	}
	m.post(ev)
}

// remeasure has the use of a task that the ledger may not have posted again: anew says
// that it has certainly not.
func (m *Mirror) remeasure(p *pod, anew bool) {
	if u := p.use; u != nil && (anew || !u.told) {
		u.told = false
		m.measured[p] = true
	}
}

// The resources of NVIDIA's device plugin besides whole GPUs.
const (
	migPrefix    = "nvidia.com/mig-"
	sharedSuffix = ".shared" // of time slices that are offered under a name of their own
)

func isPart(name string) bool {
	return strings.HasPrefix(name, migPrefix) || strings.HasPrefix(name, "nvidia.com/gpu") && strings.HasSuffix(name, sharedSuffix)
}

// devices is how many GPUs, or parts of such, a request asks for.
func devices(r spec.Resources) (n int64) {
	for _, e := range r {
		switch {
		case e.Name == amount.GPUName:
			n += int64(e.Amount) / 1000
		case isPart(e.Name):
			n += int64(e.Amount)
		}
	}
	return n
}

// tellUnrequested tells a pod, once, that it uses what it did not ask for. Whoever has
// the GPU shares it unknowingly; the scheduler can't charge it to anybody.
func (m *Mirror) tellUnrequested(p *pod) {
	p.use.told = true
	if p.unrequested {
		return
	}
	p.unrequested = true
	m.useStats.Unrequested++
	m.out.work.Events = append(m.out.work.Events, act.Event{
		About: reference(p), Type: corev1.EventTypeWarning, Reason: "GPUUseWithoutRequest",
		Text: fmt.Sprintf("it uses %s on %s that it was not given: another pod may have been given the same; request the GPU, and take NVIDIA_VISIBLE_DEVICES out of the pod", gpus(p.use.GPUs), p.node()),
	})
}

func gpus(n int) string {
	if n == 1 {
		return "a GPU"
	}
	return fmt.Sprintf("%d GPUs", n)
}
