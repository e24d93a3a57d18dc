package groups

import (
	"cmp"
	"strconv"
	"time"
)

// The labels that KubeRay puts on every pod (ray-operator, controllers/ray/utils).
const (
	rayCluster       = "ray.io/cluster"
	rayGroup         = "ray.io/group"
	rayNodeType      = "ray.io/node-type"
	rayReplica       = "ray.io/worker-group-replica-name"
	rayOriginName    = "ray.io/originated-from-cr-name"
	rayOriginKind    = "ray.io/originated-from-crd"
	rayPriorityClass = "ray.io/priority-class-name"
	rayHeadGroup     = "headgroup"
	rayHeadNodeType  = "head"
)

// kuberay reads Ray pods that carry nothing but KubeRay's labels. The RayCluster is the
// job, and its gang what its spec says: see rayGang. Where RayClusters can't be read
// nothing tells how many workers there must be: the head alone is then the gang, and the
// workers that exist are surplus. muster.dev/gang-min in the pod templates asks for so
// many pods of whatever group besides. All pods of a RayJob that say so are one job, submitter and retries
// included; the clusters of a RayService, of which an upgrade runs two, stay apart.
func (r *reader) kuberay() bool {
	switch {
	case r.label(rayOriginKind) == "RayJob" && r.label(rayOriginName) != "":
		r.job("kuberay", "rayjob", r.label(rayOriginName))
	case r.label(rayCluster) != "":
		r.job("kuberay", "raycluster", r.label(rayCluster))
	default:
		return false
	}
	if r.label(rayCluster) == "" {
		r.m.Group, r.m.Leader = "submittergroup", true
	}
	r.rayGang()
	return true
}

// rayGang takes the gang from the RayCluster.
func (r *reader) rayGang() {
	r.m.Info.Min, r.m.Info.Groups = -1, []Group{{Name: rayHeadGroup, Min: 1, Leader: true}}
	name := r.label(rayCluster)
	if name == "" {
		return
	}
	r.m.Refers = &Key{Ray, r.pod.Namespace, name}
	if g := r.objects.PodGroup(Ray, r.pod.Namespace, name); g != nil {
		r.take(g)
		r.m.Info.Created = time.Time{} // a RayCluster may lie suspended for days before its pods come
	}
}

// ray reads a RayCluster (ray.io/v1). A worker group's minimum is minReplicas; where
// that is 0, as KubeRay has it by default, it is replicas, unless Ray's autoscaler says
// how many there are: then the group is elastic. KAI's pod grouper does the same.
func (f fields) ray() {
	g := f.g
	g.Min, g.PriorityClass = -1, g.Labels[rayPriorityClass]
	g.MinTask = []Group{{Name: rayHeadGroup, Min: 1, Leader: true}}
	scaled, _ := f.value("spec", "enableInTreeAutoscaling").(bool)
	list, _ := f.value("spec", "workerGroupSpecs").([]any)
	for i, item := range list {
		object, _ := item.(map[string]any)
		w := fields{object, g}
		hosts, n := max(1, w.number("numOfHosts")), w.number("minReplicas")
		if n == 0 && !scaled {
			n = w.number("replicas")
			if w.value("maxReplicas") != nil { // KubeRay makes no more
				n = min(n, w.number("maxReplicas"))
			}
		}
		if suspended, _ := w.value("suspend").(bool); suspended {
			n = 0
		}
		name := w.text("groupName")
		where := "spec.workerGroupSpecs[" + strconv.Itoa(i) + "]"
		each := g.bounded(where+".numOfHosts", hosts) // so that the product can't overflow
		least := g.bounded(where+".minReplicas", int64(g.bounded(where+".minReplicas", n))*int64(each))
		g.MinTask = append(g.MinTask, Group{Name: name, Min: least})
		if hosts > 1 {
			if g.Hosts == nil {
				g.Hosts = map[string]int32{}
			}
			g.Hosts[name] = each
		}
	}
}

// ray takes over what KubeRay's labels say, whatever dialect named the job. The hosts of
// a replica with numOfHosts > 1 are a slice: a TPU pod slice, say, that is of use whole
// or not at all.
func (r *reader) ray() {
	if r.label(rayCluster) == "" {
		return
	}
	r.m.Group = cmp.Or(r.m.Group, r.label(rayGroup))
	r.m.Leader = r.m.Leader || r.label(rayNodeType) == rayHeadNodeType
	if r.m.Slice = r.label(rayReplica); r.m.Slice == "" {
		return
	}
	if g := r.objects.PodGroup(Ray, r.pod.Namespace, r.label(rayCluster)); g != nil {
		r.m.SliceSize = g.Hosts[r.label(rayGroup)]
	} else {
		r.problem("unknown-hosts", at(labelsField, rayReplica), "let Muster list and watch rayclusters of ray.io",
			"RayCluster %s can't be read, so it is not known how many hosts replica %s has: they start one by one", r.label(rayCluster), r.m.Slice)
	}
	if r.m.Refers == nil {
		r.m.Refers = &Key{Ray, r.pod.Namespace, r.label(rayCluster)}
	}
}
