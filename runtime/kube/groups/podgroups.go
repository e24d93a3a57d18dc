package groups

import (
	"cmp"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/types"
	requests "k8s.io/component-helpers/resource"

	"github.com/musterhq/muster/builtin/amount"
)

// The keys by which pods name the PodGroups of Volcano and of coscheduling, and by
// which the groups of Kueue and of coscheduling before its CRD carry themselves.
const (
	volcanoGroup       = "scheduling.k8s.io/group-name"
	volcanoGroupOld    = "scheduling.volcano.sh/group-name"
	volcanoQueue       = "volcano.sh/queue-name"
	volcanoQueueOld    = "scheduling.volcano.sh/queue-name"
	volcanoTask        = "volcano.sh/task-spec"
	volcanoPreemptable = "volcano.sh/preemptable"

	coschedulingGroup = "scheduling.x-k8s.io/pod-group"
	lightGroup        = "pod-group.scheduling.sigs.k8s.io"
	lightName         = "pod-group.scheduling.sigs.k8s.io/name"
	lightMin          = "pod-group.scheduling.sigs.k8s.io/min-available"

	kueueGroup = "kueue.x-k8s.io/pod-group-name"
	kueueCount = "kueue.x-k8s.io/pod-group-total-count"
	kueueQueue = "kueue.x-k8s.io/queue-name"
)

// native reads spec.schedulingGroup (KEP-4671). One PodGroup is one job: the API has
// gangs of PodGroups only in its alpha CompositePodGroup.
func (r *reader) native() bool {
	g := r.pod.Spec.SchedulingGroup
	if g == nil || g.PodGroupName == nil || *g.PodGroupName == "" {
		return false
	}
	r.job("podgroup", "podgroup", *g.PodGroupName)
	r.fromPodGroup(Native, *g.PodGroupName)
	return true
}

func (r *reader) volcano() bool {
	name := cmp.Or(r.annotation(volcanoGroup), r.annotation(volcanoGroupOld))
	if name == "" {
		return false
	}
	r.job("volcano", "volcano", name)
	r.m.Group = r.annotation(volcanoTask)
	r.m.Info.LastVictim = r.either(volcanoPreemptable) == "false"
	r.fromPodGroup(Volcano, name)
	r.m.Info.Queue = cmp.Or(r.m.Info.Queue, r.either(volcanoQueue), r.either(volcanoQueueOld))
	r.minResources(r.objects.PodGroup(Volcano, r.pod.Namespace, name))
	return true
}

// minResources tells that a group's minResources are not held back for pods to come: what
// holds is the minimum of pods. Spark's operator writes a minimum of one, and what all of
// the application needs.
func (r *reader) minResources(g *PodGroup) {
	if g == nil || g.Min > 1 || g.MinTask != nil || r.label(sparkRole) == "executor" {
		return
	}
	asks, _ := resourcesOf(requests.PodRequests(r.pod, requests.PodResourcesOptions{}), func(q resource.Quantity) (resource.Quantity, error) { return q, nil })
	for _, e := range g.MinResources {
		have, _ := asks.Get(e.Name)
		quota := e.Name == amount.PodsName || strings.Contains(e.Name, "requests.") || strings.Contains(e.Name, "limits.") || strings.HasPrefix(e.Name, "count/")
		if !quota && e.Amount > have {
			r.problem("unsupported-min-resources", g.Key().String()+" spec.minResources", "write minMember for what must start together",
				"%s of %s are not held back for pods to come; the group starts when %d of its pods can", amount.Format(e.Name, e.Amount), e.Name, max(1, g.Min))
			return
		}
	}
}

// coscheduling reads the label of today and those from before the CRD, of which the
// latter may bring their minimum along (lightweight coscheduling, KEP-2 of
// scheduler-plugins).
func (r *reader) coscheduling() bool {
	light := cmp.Or(r.label(lightName), r.label(lightGroup))
	name := cmp.Or(r.label(coschedulingGroup), light)
	if name == "" {
		return false
	}
	r.job("coscheduling", "coscheduling", name)
	if r.label(coschedulingGroup) == "" && r.label(lightMin) != "" {
		r.m.Info.Min = r.count(labelsField, lightMin, r.label(lightMin))
		r.declared = true
		return true
	}
	r.fromPodGroup(Coscheduling, name)
	return true
}

// kueue reads plain pods that form one of Kueue's pod groups. All of the group must be
// there, so its count is its minimum.
func (r *reader) kueue() bool {
	name := r.label(kueueGroup)
	if name == "" {
		return false
	}
	r.job("kueue", "kueue", name)
	r.declared = true
	if text, ok := r.pod.Annotations[kueueCount]; ok {
		r.m.Info.Min = r.count(annotationsField, kueueCount, text)
	} else {
		r.problem("no-count", at(annotationsField, kueueCount), "write the number of pods of the group there",
			"pod group %s does not say how many pods it has; they start one by one", name)
	}
	return true
}

// fromPodGroup takes over what a group object says, or has the pod wait for it.
func (r *reader) fromPodGroup(api API, name string) {
	r.m.Refers = &Key{api, r.pod.Namespace, name}
	r.declared = true
	g := r.objects.PodGroup(api, r.pod.Namespace, name)
	if g == nil {
		r.m.Wait = "PodGroup " + r.pod.Namespace + "/" + name + " (" + string(api) + ") is not there yet"
		return
	}
	r.take(g)
}

// take takes over what a group object says.
func (r *reader) take(g *PodGroup) {
	api, i := g.API, &r.m.Info
	i.Queue, i.Min, i.Whole, i.Topology = g.Queue, g.Min, g.Whole, g.Topology
	i.Groups = g.MinTask
	i.PriorityClass, i.Priority, i.NeverPreempts = g.PriorityClass, g.Priority, g.NeverPreempts
	i.Created = g.Created
	i.Object = &corev1.ObjectReference{
		APIVersion: string(api) + "/" + g.Version, Kind: kindOf(api),
		Namespace: g.Namespace, Name: g.Name, UID: types.UID(g.UID),
	}
	r.problems = append(r.problems, g.Problems...)
	r.annotations(g.Annotations, kindOf(api)+" "+g.Namespace+"/"+g.Name+" "+annotationsField)
}

// count reads a number of pods; what is none is 0, with a problem.
func (r *reader) count(field, key, text string) int32 {
	n, err := strconv.ParseInt(text, 10, 32)
	switch {
	case err != nil:
		r.problem("bad-number", at(field, key), "write a whole number, such as 4", "%q is not a number of pods", text)
		return 0
	case n < 0:
		r.problem("bad-number", at(field, key), "write 0 for pods that start one by one", "%d pods can't run together", n)
		return 0
	}
	return r.bounded(at(field, key), n)
}
