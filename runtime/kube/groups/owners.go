package groups

import (
	"cmp"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

const (
	sparkApp  = "spark-app-selector"
	sparkRole = "spark-role"

	lwsName   = "leaderworkerset.sigs.k8s.io/name"
	lwsGroup  = "leaderworkerset.sigs.k8s.io/group-index"
	lwsWorker = "leaderworkerset.sigs.k8s.io/worker-index"
	lwsSize   = "leaderworkerset.sigs.k8s.io/size"

	jobsetName  = "jobset.sigs.k8s.io/jobset-name"
	jobsetGroup = "jobset.sigs.k8s.io/replicatedjob-name"

	trainName = "training.kubeflow.org/job-name"
	trainRole = "training.kubeflow.org/replica-type"

	templateHash = "pod-template-hash"
)

// leads has the roles of the training operators' pods whose loss ends the job.
var leads = map[string]bool{"master": true, "launcher": true, "chief": true}

// role finds the leader of a job by the labels of whoever made it, whatever dialect names
// the job.
func (r *reader) role() {
	switch {
	case r.label(sparkRole) != "":
		r.m.Group = cmp.Or(r.m.Group, r.label(sparkRole))
		r.m.Leader = r.m.Leader || r.label(sparkRole) == "driver"
	case leads[r.label(trainRole)], r.label(lwsName) != "" && r.label(lwsWorker) == "0":
		r.m.Leader = true
	}
}

// spark reads the pods of Spark on Kubernetes: the driver must run, executors come as
// the driver asks for them.
func (r *reader) spark() bool {
	app := r.label(sparkApp)
	if app == "" {
		return false
	}
	r.job("spark", "spark", app)
	r.m.Info.Min, r.m.Info.Groups = -1, []Group{{Name: "driver", Min: 1, Leader: true}}
	return true
}

// labelled reads controllers that spread a job over several owners and say in labels
// which pods belong together.
func (r *reader) labelled() bool {
	switch {
	case r.label(lwsName) != "":
		r.leaderWorkerSet()
	case r.label(jobsetName) != "":
		r.job("owner", "jobset", r.label(jobsetName))
		r.m.Group = r.label(jobsetGroup)
	case r.label(trainName) != "":
		r.job("owner", "trainingjob", r.label(trainName))
		r.m.Group = r.label(trainRole)
	default:
		return false
	}
	return true
}

// leaderWorkerSet: each replica of the set is a gang of its own, and says how large. With
// the startup policy LeaderReady, which only the set tells, the workers are made when the
// leader runs: the gang is the leader then. Where sets can't be read, muster.dev/gang-min
// on the pods says so.
func (r *reader) leaderWorkerSet() {
	r.job("owner", "leaderworkerset", r.label(lwsName)+"-"+r.label(lwsGroup))
	if size := r.annotation(lwsSize); size != "" {
		r.m.Info.Min = r.count(annotationsField, lwsSize, size)
	}
	r.m.Refers = &Key{LeaderWorkerSet, r.pod.Namespace, r.label(lwsName)}
	if g := r.objects.PodGroup(LeaderWorkerSet, r.pod.Namespace, r.label(lwsName)); g != nil {
		r.m.Info.Min, r.m.Info.Queue = g.Min, g.Queue
		r.problems = append(r.problems, g.Problems...)
		r.annotations(g.Annotations, g.Key().String()+" "+annotationsField)
	}
}

// leaderWorkerSet reads a LeaderWorkerSet (leaderworkerset.x-k8s.io/v1).
func (f fields) leaderWorkerSet() {
	size := int64(1)
	if f.value("spec", "leaderWorkerTemplate", "size") != nil {
		size = f.number("spec", "leaderWorkerTemplate", "size")
	}
	f.g.setMin("spec.leaderWorkerTemplate.size", size)
	if f.text("spec", "startupPolicy") == "LeaderReady" {
		f.g.Min = 1
	}
}

// controller takes the pod's controller for the job: a Job's or a Deployment's pods come
// and go under one name. DaemonSets' and static pods stand for themselves, each being
// for one node.
func (r *reader) controller() bool {
	o := r.owner()
	if o == nil || o.Kind == "DaemonSet" || o.Kind == "Node" {
		return false
	}
	group := groupOf(o)
	dialect, kind, name := "owner", strings.ToLower(o.Kind), o.Name
	switch group {
	case "batch":
		dialect = "job"
	case "apps":
		if name != r.deployment(o) {
			kind, name = "deployment", r.deployment(o)
		}
	case "", "ray.io":
	default: // kinds of unknown groups may be named alike
		kind += "." + group
	}
	r.job(dialect, kind, name)
	return true
}

func groupOf(o *metav1.OwnerReference) string {
	v, err := schema.ParseGroupVersion(o.APIVersion)
	if err != nil {
		return o.APIVersion
	}
	return v.Group
}

// deployment is the Deployment behind a ReplicaSet, which is named after it and the hash
// of the pod template; the owner's own name if there is none.
func (r *reader) deployment(o *metav1.OwnerReference) string {
	hash := r.label(templateHash)
	name, ok := strings.CutSuffix(o.Name, "-"+hash)
	if o.Kind != "ReplicaSet" || hash == "" || !ok {
		return o.Name
	}
	return cmp.Or(name, o.Name)
}
