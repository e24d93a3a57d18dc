package groups_test

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	schedulingv1 "k8s.io/api/scheduling/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/runtime/kube/groups"
)

// classes is a table with the classes of KAI, one that evicts nobody, and one whose pods
// YuniKorn spares.
func classes() *groups.Table {
	t := &groups.Table{}
	for _, o := range []*schedulingv1.PriorityClass{
		{ObjectMeta: metav1.ObjectMeta{Name: "train"}, Value: 50},
		{ObjectMeta: metav1.ObjectMeta{Name: "build"}, Value: 100},
		{ObjectMeta: metav1.ObjectMeta{Name: "polite"}, Value: 7, PreemptionPolicy: ptr(corev1.PreemptNever)},
		{ObjectMeta: metav1.ObjectMeta{Name: "dear", Annotations: map[string]string{"yunikorn.apache.org/allow-preemption": "false"}}, Value: 9},
	} {
		t.PutClass(groups.FromClass(o))
	}
	return t
}

func TestWhatAPriorityClassSaysOfAJob(t *testing.T) {
	const kai, class, move, spare = "label:kai.scheduler/queue", "label:priorityClassName", "label:kai.scheduler/preemptibility", "yunikorn.apache.org/allow-preemption"
	for _, c := range []struct {
		name  string
		pod   *corev1.Pod
		class string // of the pod
		want  groups.Info
		told  string // code of a problem
	}{
		{"KAI's label has the class's value", pod(kai, "q", class, "train"), "", groups.Info{Priority: ptr(int32(50))}, ""},
		{"KAI does not preempt what is as high as build", pod(kai, "q", class, "build"), "", groups.Info{Priority: ptr(int32(100)), NonPreemptible: true}, ""},
		{"unless the job says that it may", pod(kai, "q", class, "build", move, "preemptible"), "", groups.Info{Priority: ptr(int32(100))}, ""},
		{"nor what is lower and says that it may not", pod(kai, "q", class, "train", move, "non-preemptible"), "", groups.Info{Priority: ptr(int32(50)), NonPreemptible: true}, ""},
		{"a class that evicts nobody", pod(kai, "q", class, "polite"), "", groups.Info{Priority: ptr(int32(7)), NeverPreempts: true}, ""},
		{"a class that is not there is told", pod(kai, "q", class, "gone"), "", groups.Info{}, "no-priority-class"},
		{"the label means nothing without KAI's queue", pod(class, "build"), "", groups.Info{}, ""},
		{"YuniKorn spares the pods of a class", pod("label:applicationId", "a"), "dear", groups.Info{LastVictim: true}, ""},
		{"those without an application as well", pod(), "dear", groups.Info{LastVictim: true}, ""},
		{"but a pod has the last word", pod("label:applicationId", "a", spare, "true"), "dear", groups.Info{}, ""},
		{"and the first", pod(spare, "false"), "train", groups.Info{LastVictim: true}, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			c.pod.Spec.PriorityClassName = c.class
			m, problems := groups.Read(c.pod, classes(), groups.Options{})
			i := m.Info
			if (i.Priority == nil) != (c.want.Priority == nil) || i.Priority != nil && *i.Priority != *c.want.Priority {
				t.Errorf("priority %v, want %v", i.Priority, c.want.Priority)
			}
			if i.NonPreemptible != c.want.NonPreemptible || i.NeverPreempts != c.want.NeverPreempts || i.LastVictim != c.want.LastVictim {
				t.Errorf("got %+v, want %+v", i, c.want)
			}
			if got := codes(problems); c.told == "" && len(got) > 0 || c.told != "" && !slices.Equal(got, []string{c.told}) {
				t.Errorf("problems %v, want %q", problems, c.told)
			}
		})
	}
	t.Run("the API server's own priority counts for KAI too", func(t *testing.T) {
		p := pod(kai, "q")
		p.Spec.Priority = ptr(int32(125))
		if m, _ := groups.Read(p, classes(), groups.Options{}); !m.Info.NonPreemptible || m.Info.Priority != nil {
			t.Errorf("got %+v", m.Info)
		}
	})
}
