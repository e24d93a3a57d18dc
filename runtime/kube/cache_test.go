package kube

import (
	"context"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/musterhq/muster/runtime/kube/mirror"
	"github.com/musterhq/muster/runtime/kube/route"
)

// eventually polls, generously.
func eventually(t *testing.T, what string, ok func() bool) {
	t.Helper()
	for end := time.Now().Add(time.Minute); time.Now().Before(end); time.Sleep(5 * time.Millisecond) {
		if ok() {
			return
		}
	}
	t.Fatalf("not in time: %s", what)
}

// A watch that breaks is followed by a list, and what was deleted and made anew under its
// name meanwhile comes as one change of one object.
func TestAPodThatWasReplacedWhileTheWatchWasBrokenIsGone(t *testing.T) {
	named := func(uid string) *corev1.Pod {
		return &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: "team", Name: "web-0", UID: types.UID(uid), ResourceVersion: uid},
			Spec:       corev1.PodSpec{SchedulerName: "muster"},
		}
	}
	client := fake.NewClientset(named("1"))
	var mu sync.Mutex
	var watches []*watch.FakeWatcher
	client.PrependWatchReactor("pods", func(clienttesting.Action) (bool, watch.Interface, error) {
		mu.Lock()
		defer mu.Unlock()
		watches = append(watches, watch.NewFake())
		return true, watches[len(watches)-1], nil
	})
	objs, err := newObjects(client, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := mirror.New(mirror.Options{Schedulers: []string{"muster"}, Objects: objs})
	ctx, cancel := context.WithCancel(t.Context())
	defer objs.factory.Shutdown()
	defer cancel()
	if err := objs.feed(ctx, m, func(string) {}); err != nil {
		t.Fatal(err)
	}
	if got := m.Unbound(); len(got) != 1 || got[0] != "1" {
		t.Fatalf("at first there are %v", got)
	}
	tracker := client.Tracker()
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	if err := tracker.Delete(pods, "team", "web-0"); err != nil {
		t.Fatal(err)
	}
	if err := tracker.Create(pods, named("2"), "team"); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a watch", func() bool { mu.Lock(); defer mu.Unlock(); return len(watches) > 0 })
	mu.Lock()
	watches[0].Error(&metav1.Status{Status: metav1.StatusFailure, Code: 410, Reason: metav1.StatusReasonExpired})
	mu.Unlock()
	eventually(t, "the new pod, alone", func() bool { got := m.Unbound(); return len(got) == 1 && got[0] == "2" })
}

func TestNothingIsRememberedOfNamespacesThatAreGone(t *testing.T) {
	r := newRig(t, "partitions: [{name: default, queues: [{name: root, queues: [{name: a}]}]}]", Options{})
	if err := r.s.followNamespaces(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer r.s.objects.factory.Shutdown()
	defer cancel()
	r.s.objects.factory.Start(ctx.Done())
	api := r.s.o.Client.CoreV1().Namespaces()
	for name, quota := range map[string]string{"good": `{"cpu": "8"}`, "bad": "eight"} {
		ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Annotations: map[string]string{nsMax: quota}}}
		if _, err := api.Create(ctx, ns, metav1.CreateOptions{}); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the namespace", func() bool { return r.s.objects.Namespace(name) != nil })
		r.s.quotaOf(name)
	}
	told := func() int { r.s.garden.mu.Lock(); defer r.s.garden.mu.Unlock(); return len(r.s.garden.told) }
	if n := told(); n != 1 {
		t.Errorf("%d namespaces are remembered, want the one that was told something", n)
	}
	if err := api.Delete(ctx, "bad", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "nothing to be remembered", func() bool { return told() == 0 })
}

func TestANamespaceSaysUnderWhichQueueItsJobsAreAndMaySayItLater(t *testing.T) {
	r := newRig(t, `
partitions:
  - name: default
    placementrules: [{name: tag, value: namespace, create: true, parent: {name: tag, value: namespace.parentqueue}}]
    queues: [{name: root, queues: [{name: org, parent: true}]}]`, Options{}).leads()
	if err := r.s.followNamespaces(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	defer r.s.objects.factory.Shutdown()
	defer cancel()
	r.s.objects.factory.Start(ctx.Done())
	ns := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: "ml"}}
	api := r.s.o.Client.CoreV1().Namespaces()
	if _, err := api.Create(ctx, ns, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "the namespace", func() bool { return r.s.objects.Namespace("ml") != nil })
	r.node("n", "4")
	r.pod("ml", "train", "")
	r.settle()
	if why := r.why("ml/pod/train"); !strings.Contains(why, "namespace ml has none") {
		t.Errorf("before the namespace names a queue: %q", why)
	}
	ns.Annotations = map[string]string{route.ParentQueueKey: "root.org"}
	if _, err := api.Update(ctx, ns, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	eventually(t, "a queue below the one that is named", func() bool {
		r.tend()
		return slices.Equal(r.queues(), []string{"root.org.ml"})
	})
}
