package groups

import "cmp"

// The labels that KubeRay puts on every pod (ray-operator, controllers/ray/utils).
const (
	rayCluster      = "ray.io/cluster"
	rayGroup        = "ray.io/group"
	rayNodeType     = "ray.io/node-type"
	rayReplica      = "ray.io/worker-group-replica-name"
	rayOriginName   = "ray.io/originated-from-cr-name"
	rayOriginKind   = "ray.io/originated-from-crd"
	rayHeadGroup    = "headgroup"
	rayHeadNodeType = "head"
)

// kuberay reads Ray pods that carry nothing but KubeRay's labels. The RayCluster is the
// job. Nothing on its pods says how many workers it needs, so the head alone is the
// gang, its only member, and the workers that exist are surplus, as with Ray's
// autoscaler, which starts from the head too; muster.dev/gang-min in the pod templates
// asks for more. All pods of a RayJob that say so are one job, submitter and retries
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
	r.m.Info.Min, r.m.Info.Groups = -1, []Group{{Name: rayHeadGroup, Min: 1, Leader: true}}
	return true
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
	r.m.Slice = r.label(rayReplica)
}
