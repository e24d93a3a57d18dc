// Package groups reads which job a pod belongs to, in the words of whoever made it:
// native PodGroups, YuniKorn's labels and task groups, KubeRay's labels, Volcano's and
// coscheduling's PodGroups, KAI's queue label, owners. There is no PodGroup of our own.
//
// [Read] is a pure function of a pod and the group objects at hand; [Merge] joins what
// the pods of a job say. [Watch] keeps the group objects of whichever APIs a cluster
// serves, and [Status] writes back what their users look at.
package groups

import (
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/musterhq/muster/builtin/spec"
)

// Member is what a pod says about its job.
type Member struct {
	// Job is the job's id: "namespace/kind/name" in a form that a replacement of the pod,
	// and a scheduler that starts anew, come to as well.
	Job string
	// Dialect that told: podgroup, yunikorn, kuberay, volcano, coscheduling, kai, kueue,
	// spark, job, owner or pod.
	Dialect string
	// Group is the name of the pod's task group in the job, "" if it has only one.
	Group string
	// Leader pods (a Ray head, a RayJob's submitter, a Spark driver) are evicted last.
	Leader bool
	// Slice names the pods of the group that are of use only together (the hosts of one
	// multi-host Ray replica), "" if each is of use alone: they start together and leave
	// together. SliceSize is how many there are, 0 if nobody told.
	Slice     string
	SliceSize int32
	// Wait says that the job is not known well enough yet ("PodGroup team/x is not there
	// yet"): the pod must wait until that object comes.
	Wait string
	// Refers to this group object, nil if to none: the pod is read anew when it changes.
	Refers *Key
	Info   Info
}

// Key names a group object.
type Key struct {
	API             API
	Namespace, Name string
}

func (k Key) String() string { return string(k.API) + " " + k.Namespace + "/" + k.Name }

// Info is what the members of a job say about it. Members may differ (KubeRay derives
// it anew for each pod; a Spark driver alone declares groups): Merge joins them, and
// the newest that says anything counts.
type Info struct {
	Queue      string // as written, "" if none is named
	User       string // "" is unknown
	UserGroups []string
	// Min of the job's pods, of whatever group, must run together; 0 is elastic, and -1
	// says that the groups say it. A positive Min holds beside the Min of each group.
	Min int32
	// Groups that were declared, in order; pods of other groups are surplus.
	Groups []Group
	// Whole says that a preemption takes all pods or none, even surplus (native
	// disruptionMode all).
	Whole          bool
	NonPreemptible bool
	// LastVictim jobs ask to be spared while others can be taken, without a right to it
	// (YuniKorn's allow-preemption: "false").
	LastVictim bool
	// NeverPreempts jobs evict nobody (native preemptionPolicy Never).
	NeverPreempts bool
	// PriorityClass of the job, where it has one of its own. Priority is its value where
	// the API server has resolved it.
	PriorityClass string
	Priority      *int32
	Notice        time.Duration // wanted between notice and eviction, to checkpoint
	Checkpoint    time.Duration // interval of the job's own checkpoints
	RestartCost   time.Duration
	Duration      time.Duration // declared run time
	Deadline      time.Time
	// GangTimeout is YuniKorn's placeholderTimeoutInSeconds, 0 if not given. Soft is its
	// gangSchedulingStyle Soft, if written out or if a timeout is: after the timeout the pods
	// may start one by one. Muster holds no placeholders, so a Hard gang just goes on waiting.
	GangTimeout time.Duration
	Soft        bool
	Created     time.Time // of the object that stands for the job, zero if the pods must tell
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
	Affinity     *corev1.Affinity
	Leader       bool
}

// PodGroup is a group object of any API, as far as scheduling reads it.
type PodGroup struct {
	API             API
	Version         string // v1beta1: the version it was read in
	Namespace, Name string
	UID             string
	Created         time.Time
	Min             int32
	// MinTask is the minimum of single groups (Volcano's minTaskMember, sorted by name;
	// a RayCluster's head and worker groups).
	MinTask []Group
	// Hosts is the number of hosts of a replica, of the groups where it is not 1.
	Hosts         map[string]int32
	MinResources  spec.Resources // of the whole gang, nil if none
	Queue         string
	PriorityClass string
	Priority      *int32
	NeverPreempts bool
	Whole         bool // disruptionMode all
	Topology      string
	// Workload is the name of the Workload that the group was made from, "" if none.
	Workload    string
	Labels      map[string]string
	Annotations map[string]string
	// Problems of the object; Read hands them to each member.
	Problems []Problem
}

// Key is the group's own.
func (g *PodGroup) Key() Key { return Key{g.API, g.Namespace, g.Name} }

// API names the kind of a group object.
type API string

// The APIs that are read.
const (
	Native       API = "scheduling.k8s.io"
	Volcano      API = "scheduling.volcano.sh"
	Coscheduling API = "scheduling.x-k8s.io"
	// Ray are RayClusters: what a cluster's pods leave open, its spec says.
	Ray API = "ray.io"
	// LeaderWorkerSet objects say whether workers come with their leader or after it.
	LeaderWorkerSet API = "leaderworkerset.x-k8s.io"
)

// status says whether an API's objects have a status that is ours to write.
func (a API) status() bool { return a != Ray && a != LeaderWorkerSet }

// Objects finds group objects, nil where there is none (yet).
type Objects interface {
	PodGroup(api API, namespace, name string) *PodGroup
}

// Options say how far pods are believed. The zero value reads as the dialects' own
// schedulers do.
type Options struct {
	// IgnoreUsers leaves yunikorn.apache.org/user.info unread: for clusters in which
	// nothing keeps people from writing somebody else's name there.
	IgnoreUsers bool
	// KueueQueues takes kueue.x-k8s.io/queue-name for the name of a queue. Leave it off
	// where Kueue runs above Muster: its LocalQueues are no queues of ours.
	KueueQueues bool
}

// Problem is what a pod or its group object says that makes no sense, or that is not
// taken into account.
type Problem struct {
	Code  string // stable: bad-task-groups, bad-duration, …
	Field string // metadata.annotations[yunikorn.apache.org/task-groups][1].minMember
	Text  string // one sentence
	Hint  string // what to write instead, "" if there is nothing
	// Fatal problems keep the pod from being scheduled; the others are told and passed
	// over.
	Fatal bool
}

func (p Problem) String() string {
	s := p.Field + ": " + p.Text + " [" + p.Code + "]"
	if p.Hint != "" {
		s += "; " + p.Hint
	}
	return s
}
