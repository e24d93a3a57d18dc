// Package groups reads which job a pod belongs to, in the words of whoever made it:
// native PodGroups, YuniKorn's labels and task groups, KubeRay's labels, Volcano's and
// coscheduling's PodGroups, KAI's queue label, owners. There is no PodGroup of our own.
package groups

import (
	"time"

	"github.com/musterhq/muster/builtin/spec"
	corev1 "k8s.io/api/core/v1"
)

// Member is what a pod says about its job.
type Member struct {
	// Job is the job's id: "namespace/kind/name" in a form that a replacement of the pod,
	// and a scheduler that starts anew, come to as well.
	Job string
	// Dialect that told: podgroup, yunikorn, kuberay, volcano, coscheduling, kai, job,
	// owner or pod.
	Dialect string
	// Group is the name of the pod's task group in the job, "" if it has only one.
	Group string
	// Wait says that the job is not known well enough yet ("PodGroup team/x is not there
	// yet"): the pod must wait until that object comes.
	Wait string
	Info Info
}

// Info is what the members of a job say about it. Members may differ (KubeRay derives
// it anew for each pod): the newest one counts.
type Info struct {
	Queue      string // as written, "" if none is named
	User       string // "" is unknown
	UserGroups []string
	// Min of the job's pods, of whatever group, must run together; 0 is elastic, and -1
	// says that the groups say it.
	Min int32
	// Groups that were declared, in order; pods of other groups are surplus.
	Groups []Group
	// Whole says that a preemption takes all pods or none, even surplus (native
	// disruptionMode all).
	Whole          bool
	NonPreemptible bool
	// PriorityClass of the job, where it has one of its own.
	PriorityClass string
	Notice        time.Duration // wanted between notice and eviction, to checkpoint
	Checkpoint    time.Duration // interval of the job's own checkpoints
	RestartCost   time.Duration
	Duration      time.Duration // declared run time
	Deadline      time.Time
	Created       time.Time // of the object that stands for the job, zero if the pods must tell
	// Topology is the node label whose value all pods must share, "" if none.
	Topology string
	// Object is what events about the job are attached to, besides pods; nil if there is
	// none that we may write about.
	Object *corev1.ObjectReference
}

// Group is a declared task group.
type Group struct {
	Name string
	Min  int32
	// Request is what one task is declared to ask for, nil if nothing was declared: then
	// only pods tell. A group with a request is reserved at Min tasks before its pods
	// exist (a RayJob's submitter comes only after its workers run).
	Request      spec.Resources
	NodeSelector map[string]string
	Tolerations  []corev1.Toleration
	Leader       bool
}

// PodGroup is a group object of any API, as far as scheduling reads it.
type PodGroup struct {
	API             API
	Namespace, Name string
	UID             string
	Created         time.Time
	Min             int32
	MinResources    spec.Resources // of the whole gang, nil if none
	Queue           string
	PriorityClass   string
	Priority        *int32
	Whole           bool // disruptionMode all
	Topology        string
	Labels          map[string]string
	Annotations     map[string]string
}

// API names the kind of a group object.
type API string

// The APIs that are read.
const (
	Native       API = "scheduling.k8s.io"
	Volcano      API = "scheduling.volcano.sh"
	Coscheduling API = "scheduling.x-k8s.io"
)

// Objects finds group objects, nil where there is none (yet).
type Objects interface {
	PodGroup(api API, namespace, name string) *PodGroup
}
