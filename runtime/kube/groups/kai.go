package groups

import (
	"cmp"
	"regexp"
	"slices"
)

// What KAI and its pod grouper read and write (KAI-Scheduler, pkg/common/constants).
const (
	kaiQueue          = "kai.scheduler/queue"
	kaiQueueOld       = "runai/queue"
	kaiPreemptibility = "kai.scheduler/preemptibility"
	kaiPriorityClass  = "priorityClassName"
	kaiGroup          = "pod-group-name"
	kaiSubGroup       = "kai.scheduler/subgroup-name"
	kaiRequired       = "kai.scheduler/topology-required-placement"
	kaiPreferred      = "kai.scheduler/topology-preferred-placement"
)

// kaiUnmovable is the priority from which on KAI does not preempt a job that says nothing
// about it: that of its class build.
const kaiUnmovable = 100

// madeByGrouper is how KAI's pod grouper names the groups that it makes of owners.
var madeByGrouper = regexp.MustCompile(`^pg-.*[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}`)

// kai makes pods with KAI's queue label KAI's: grouped by owner, as its podgrouper
// does, in the queue of the label.
func (r *reader) kai() {
	queue := cmp.Or(r.label(kaiQueue), r.label(kaiQueueOld))
	if queue == "" || !slices.Contains([]string{"kuberay", "spark", "job", "owner", "pod"}, r.m.Dialect) {
		return
	}
	r.m.Dialect, r.m.Info.Queue = "kai", queue
	r.m.Info.PriorityClass = r.label(kaiPriorityClass)
	r.kaiGroup()
}

// kaiGroup reads a pod of a PodGroup that was not made of its owner. These objects
// (scheduling.run.ai) are not read: the pods must say how many of them start together.
func (r *reader) kaiGroup() {
	name := r.annotation(kaiGroup)
	if name == "" || madeByGrouper.MatchString(name) {
		return
	}
	r.job("kai", "kai", name)
	r.m.Group, r.declared = r.label(kaiSubGroup), false
	r.m.Info.Min, r.m.Info.Groups = 0, nil
	if r.annotation(KeyGangMin) == "" {
		r.fatal("unsupported-podgroup", at(annotationsField, kaiGroup), "annotate the pods with "+KeyGangMin,
			"PodGroups of KAI are not read, so it is not known how many pods of %s start together", name)
	}
}

// kaiMayMove says whether a job of KAI's may be preempted.
func (r *reader) kaiMayMove() {
	if r.m.Dialect != "kai" {
		return
	}
	switch text := r.label(kaiPreemptibility); text {
	case "":
		priority := r.m.Info.Priority
		if priority == nil {
			priority = r.pod.Spec.Priority
		}
		r.m.Info.NonPreemptible = priority != nil && *priority >= kaiUnmovable
	case "preemptible", "semi-preemptible": // of a semi-preemptible job the gang is spared; surplus goes first here anyway
	case "non-preemptible":
		r.m.Info.NonPreemptible = true
	default:
		r.problem("bad-preemptibility", at(labelsField, kaiPreemptibility), "write preemptible or non-preemptible", "%q is not known", text)
	}
}

// kaiTopology takes the node label whose value all pods of the job must share.
func (r *reader) kaiTopology(from map[string]string, field string) {
	r.m.Info.Topology = cmp.Or(r.m.Info.Topology, from[kaiRequired])
	if text := from[kaiPreferred]; text != "" {
		r.problem("preference-ignored", at(field, kaiPreferred), "only "+kaiRequired+" decides where the pods run",
			"that the pods would like to share a %s is not taken into account", text)
	}
}
