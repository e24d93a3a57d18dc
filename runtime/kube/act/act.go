// Package act carries out what was decided: it binds pods, gives notice, evicts, and
// tells why pods wait, with bounded concurrency and rate. It decides nothing.
//
// Three lanes share one view of the API server (gate.go). Binds come first: units begin
// in the order given, a big gang takes turns with those behind it, and no more than
// Options.Workers requests are in flight. Evictions and notices have a few requests of
// their own. What is only told (conditions of waiting pods, events) is coalesced, rate
// limited, and slowed down to a tenth while pods are being bound.
//
// A request whose answer was lost may have been carried out: before it is repeated the
// object is read. So a pod is bound at most once, and reported exactly once, unless the
// process ends first; then the record of the gang (intent.go) tells the next leader.
//
// It needs these rights: pods get, patch, delete; pods/binding and pods/eviction create;
// pods/status patch; configmaps get, list, create, delete in its own namespace;
// events.k8s.io events create, patch; and for claims persistentvolumeclaims get, patch,
// persistentvolumes get, list, update, nodes get, storageclasses get.
package act

import (
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
)

// Pod names one pod: a pod of the same name with another UID is another pod.
type Pod struct {
	types.NamespacedName
	UID types.UID
}

// Work is what one turn asks for. It is a value: Do may keep it.
type Work struct {
	Units     []Unit
	Notices   []Notice
	Withdraws []Withdraw
	Evicts    []Evict
	Waiting   []Waiting
	Events    []Event
}

// Unit is tasks that start together or not at all.
type Unit struct {
	Job string
	// Gang units of more than one pod are recorded as intended before the first bind, so
	// that whoever leads next can finish them.
	Gang  bool
	Binds []Bind
	// Done and Records are set by Intents only, and given back to Do as they are: the
	// binds of the unit that the last leader already made, and the names of its records.
	Done    []Bind
	Records []string
}

// Bind puts one pod on a node.
type Bind struct {
	Pod  Pod
	Task int32
	Node string
	// Claims must be bound to the node first (namespace/name).
	Claims []string
	// Because is told in the pod's Scheduled event.
	Because string
}

// Notice tells a pod that it will be evicted at Deadline, so that it can checkpoint.
type Notice struct {
	Pod      Pod
	Job      string
	Deadline time.Time
	Reason   string // stable, CamelCase: Reclaimed, PriorityPreempted
	Text     string
}

// Withdraw takes a notice back: the pod stays.
type Withdraw struct {
	Pod  Pod
	Text string
}

// Evict ends a pod. Those of one job in one Work go in the order given, several at a
// time; the last one, and leaders, only when all others have gone or failed.
type Evict struct {
	Pod    Pod
	Job    string
	Leader bool
	Reason string
	Text   string
	For    *corev1.ObjectReference // the preemptor, told of as well; nil if unknown
	// Broken says that the pod goes because its place is of no use any more, not for
	// another pod: condition and event then have Reason for their reason.
	Broken bool
}

// Waiting is why a pod does not start. A pod whose Waiting does not change is told once.
type Waiting struct {
	Pod Pod
	// Capacity says that only nodes are missing: then, and only then, the pod gets the
	// condition PodScheduled=False, reason Unschedulable, which autoscalers act on.
	Capacity bool
	// Gated pods are blocked by quota, policy or order: their condition has another
	// reason, Code in CamelCase ("QueueMax"), that no autoscaler acts on.
	Code string // stable, of plan.Code or of Problem
	Text string
	// Nominated is the node kept for the pod while victims leave, "" if none.
	Nominated string
}

// Event is told on an object.
type Event struct {
	About  corev1.ObjectReference
	Type   string // Normal or Warning
	Reason string // stable, CamelCase
	Text   string
}

// Outcomes hears what came of it. It is called from any goroutine and must not block.
type Outcomes interface {
	// Bound pods are bound as far as the API server says.
	// Of each Bind either Bound or BindFailed is heard, once, unless Run ends first.
	Bound(job string, task int32, pod Pod, node string)
	// BindFailed: the pod was not bound; gone says that it exists no more. The rest of a
	// gang unit whose bind failed for good was not tried.
	BindFailed(job string, task int32, pod Pod, node string, err error, gone bool)
	// EvictFailed: the pod still runs, and no further try is made.
	EvictFailed(job string, pod Pod, err error)
	// Paused says that the API server is away (or back): nothing is carried out until then.
	Paused(paused bool)
}
