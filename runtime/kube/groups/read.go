package groups

import (
	"cmp"
	"fmt"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// Read tells which job a pod belongs to, and what is wrong with how it says so. It
// depends on its arguments alone. The first dialect that the pod speaks decides; what
// it leaves open (a queue, say) is filled from Muster's own annotations.
func Read(pod *corev1.Pod, o Objects, opt Options) (Member, []Problem) {
	r := &reader{pod: pod, objects: o, opt: opt}
	for _, speaks := range dialects {
		if speaks(r) {
			break
		}
	}
	r.user()
	r.ray()
	r.role()
	r.kai()
	r.priority()
	r.kaiMayMove()
	r.allowPreemption()
	r.m.Info.Queue = cmp.Or(r.m.Info.Queue, r.strayQueue())
	r.annotations(pod.Annotations, annotationsField)
	r.gangMin()
	if r.m.Info.Object == nil {
		r.m.Info.Object = r.ownerObject()
	}
	return r.m, r.problems
}

// dialects in the order in which they are asked. Native groups come first because the
// API server vouches for them; plain pods always say yes.
var dialects = []func(*reader) bool{
	(*reader).native, (*reader).yunikorn, (*reader).volcano, (*reader).coscheduling,
	(*reader).kueue, (*reader).kuberay, (*reader).spark, (*reader).labelled,
	(*reader).controller, (*reader).plain,
}

// reader is one pod being read.
type reader struct {
	pod      *corev1.Pod
	objects  Objects
	opt      Options
	m        Member
	problems []Problem
	// declared says that the dialect has told the gang: muster.dev/gang-min is not asked.
	declared bool
}

const (
	annotationsField = "metadata.annotations"
	labelsField      = "metadata.labels"
)

// at names a label or an annotation as a field.
func at(field, key string) string { return field + "[" + key + "]" }

func (r *reader) problem(code, field, hint, format string, args ...any) {
	r.problems = append(r.problems, Problem{Code: code, Field: field, Hint: hint, Text: fmt.Sprintf(format, args...)})
}

func (r *reader) fatal(code, field, hint, format string, args ...any) {
	r.problem(code, field, hint, format, args...)
	r.problems[len(r.problems)-1].Fatal = true
}

func (r *reader) label(key string) string      { return r.pod.Labels[key] }
func (r *reader) annotation(key string) string { return r.pod.Annotations[key] }

// either prefers the label to the annotation of the same key, as YuniKorn does.
func (r *reader) either(key string) string { return cmp.Or(r.label(key), r.annotation(key)) }

// job names the pod's job.
func (r *reader) job(dialect, kind, name string) {
	r.m.Dialect = dialect
	r.m.Job = r.pod.Namespace + "/" + kind + "/" + name
}

// owner is the controller that made the pod, nil if there is none.
func (r *reader) owner() *metav1.OwnerReference { return metav1.GetControllerOfNoCopy(r.pod) }

// ownerObject is the pod's controller as the target of events.
func (r *reader) ownerObject() *corev1.ObjectReference {
	o := r.owner()
	if o == nil || o.Kind == "Node" { // a static pod: nobody looks for a job's events at its node
		return nil
	}
	return &corev1.ObjectReference{APIVersion: o.APIVersion, Kind: o.Kind, Namespace: r.pod.Namespace, Name: o.Name, UID: o.UID}
}

func (r *reader) plain() bool {
	r.job("pod", "pod", r.pod.Name)
	return true
}
