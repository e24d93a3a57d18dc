package scheduler

import (
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/musterhq/muster/runtime/kube"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/mirror"
	"github.com/musterhq/muster/runtime/kube/pods"
	"github.com/musterhq/muster/runtime/ledger"
)

// bare has a namespace and nothing else.
type bare struct{ pods.Objects }

func (bare) Namespace(name string) *corev1.Namespace {
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
}
func (bare) PodGroup(groups.API, string, string) *groups.PodGroup { return nil }

// one is a pod of ours, on a node if that is named.
func one(name, node string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: name, UID: types.UID(name)},
		Spec:       corev1.PodSpec{SchedulerName: "muster", NodeName: node, Containers: []corev1.Container{{Name: "c"}}},
	}
}

func TestJobsWhosePodsWaitAreNamedThoughNoQueueTakesThem(t *testing.T) {
	p := connected(t, Options{})
	if got := p.seen.waiting(); len(got) != 0 {
		t.Errorf("a replica that stands by knows of %v", got)
	}
	m := mirror.New(mirror.Options{
		Schedulers: []string{"muster"}, Objects: bare{}, Groups: bare{},
		Post: func(...ledger.Event) uint64 { return 0 }, Applied: func() uint64 { return 0 },
		Do: func(act.Work) {}, Forget: func(act.Pod) {}, Abandon: func(act.Unit) {},
		Queue: func(groups.Info, string) (string, *pods.Problem) {
			return "", &pods.Problem{Code: "acl-denied", Text: "eve may not submit", Fatal: true}
		},
	})
	p.seen.leader = &kube.Leader{Mirror: m}
	m.PodChanged(one("denied", ""))
	m.PodChanged(one("bound", "n"))
	foreign := one("foreign", "")
	foreign.Spec.SchedulerName = "default-scheduler"
	m.PodChanged(foreign)
	m.Begin(nil)
	m.Flush()
	got := p.seen.waiting()
	if !slices.Equal(got, []string{"team/pod/denied"}) {
		t.Fatalf("got %v", got)
	}
	if why := p.seen.Extra(got[0]); len(why) == 0 || why[0].Code != "acl-denied" {
		t.Errorf("the reason is %v", why)
	}
}
