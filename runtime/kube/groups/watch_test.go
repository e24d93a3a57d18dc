package groups_test

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"
	schedulingv1 "k8s.io/api/scheduling/v1"
	schedulingv1beta1 "k8s.io/api/scheduling/v1beta1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/discovery"
	discoveryfake "k8s.io/client-go/discovery/fake"
	dynamicfake "k8s.io/client-go/dynamic/fake"
	"k8s.io/client-go/kubernetes/fake"
	clienttesting "k8s.io/client-go/testing"

	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/groups/groupstest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var resources = map[string]schema.GroupVersionResource{
	"v1alpha2":     {Group: "scheduling.k8s.io", Version: "v1alpha2", Resource: "podgroups"},
	"workloads":    {Group: "scheduling.k8s.io", Version: "v1alpha2", Resource: "workloads"},
	"v1beta1":      {Group: "scheduling.k8s.io", Version: "v1beta1", Resource: "podgroups"},
	"volcano":      {Group: "scheduling.volcano.sh", Version: "v1beta1", Resource: "podgroups"},
	"coscheduling": {Group: "scheduling.x-k8s.io", Version: "v1alpha1", Resource: "podgroups"},
	"ray":          {Group: "ray.io", Version: "v1", Resource: "rayclusters"},
}

// cluster is an API server's worth of fakes, and what a Watch tells of it.
type cluster struct {
	t        *testing.T
	client   *fake.Clientset
	dynamic  *dynamicfake.FakeDynamicClient
	clock    *clock.Virtual
	watch    *groups.Watch
	log      *syncBuffer
	mu       sync.Mutex
	served   []*metav1.APIResourceList
	changes  []string
	forbid   map[schema.GroupVersionResource]bool
	asked    int
	finished chan error
}

// newCluster has fakes with no API of groups served.
func newCluster(t *testing.T) *cluster {
	c := &cluster{
		t: t, client: fake.NewClientset(), clock: clock.NewVirtual(1e18), log: &syncBuffer{},
		forbid: map[schema.GroupVersionResource]bool{}, finished: make(chan error, 1),
	}
	kinds := map[schema.GroupVersionResource]string{}
	for name, r := range resources {
		kinds[r] = "PodGroupList"
		switch name {
		case "workloads":
			kinds[r] = "WorkloadList"
		case "ray":
			kinds[r] = "RayClusterList"
		}
	}
	kinds[schema.GroupVersionResource{Group: "scheduling.k8s.io", Version: "v1beta1", Resource: "workloads"}] = "WorkloadList"
	c.dynamic = dynamicfake.NewSimpleDynamicClientWithCustomListKinds(runtime.NewScheme(), kinds)
	c.dynamic.PrependReactor("list", "*", func(a clienttesting.Action) (bool, runtime.Object, error) {
		c.mu.Lock()
		defer c.mu.Unlock()
		if c.forbid[a.GetResource()] {
			return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", fmt.Errorf("no rule"))
		}
		return false, nil, nil
	})
	return c
}

// ServerResourcesForGroupVersion answers discovery under the cluster's lock: the fake's
// list may not change while it is read.
type asker struct {
	discovery.DiscoveryInterface
	c *cluster
}

func (a asker) ServerResourcesForGroupVersion(gv string) (*metav1.APIResourceList, error) {
	a.c.mu.Lock()
	defer a.c.mu.Unlock()
	a.c.asked++
	f := &discoveryfake.FakeDiscovery{Fake: &clienttesting.Fake{Resources: a.c.served}}
	return f.ServerResourcesForGroupVersion(gv)
}

// serve installs an API by the names in resources.
func (c *cluster) serve(names ...string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, n := range names {
		r := resources[n]
		c.served = append(c.served, &metav1.APIResourceList{
			GroupVersion: r.GroupVersion().String(), APIResources: []metav1.APIResource{{Name: r.Resource}, {Name: "workloads"}},
		})
	}
}

func (c *cluster) allow(name string, yes bool) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forbid[resources[name]] = !yes
}

// run starts the Watch; it ends with the test.
func (c *cluster) run() {
	c.watch = groups.NewWatch(groups.WatchOptions{
		Client: c.client, Dynamic: c.dynamic, Discovery: asker{c.client.Discovery(), c}, Clock: c.clock,
		Log: slog.New(slog.NewTextHandler(c.log, nil)),
		OnChange: func(k groups.Key, g *groups.PodGroup) {
			c.mu.Lock()
			defer c.mu.Unlock()
			if g == nil {
				c.changes = append(c.changes, "- "+k.String())
			} else {
				c.changes = append(c.changes, fmt.Sprintf("+ %s min %d queue %s", k, g.Min, g.Queue))
			}
		},
	})
	ctx, cancel := context.WithCancel(c.t.Context())
	go func() { c.finished <- c.watch.Run(ctx) }()
	c.t.Cleanup(func() {
		cancel()
		select {
		case err := <-c.finished:
			if err != nil {
				c.t.Errorf("Run: %v", err)
			}
		case <-time.After(30 * time.Second):
			c.t.Error("Run did not end")
		}
	})
}

// until polls, as informers have goroutines of their own.
func (c *cluster) until(what string, ok func() bool) {
	c.t.Helper()
	for range 3000 {
		if ok() {
			return
		}
		time.Sleep(10 * time.Millisecond)
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.t.Fatalf("never: %s\nchanges:\n%s\nlog:\n%s", what, strings.Join(c.changes, "\n"), c.log)
}

func (c *cluster) heard(change string) func() bool {
	return func() bool {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, got := range c.changes {
			if got == change {
				return true
			}
		}
		return false
	}
}

// later is until, with the time between two looks passing at each poll.
func (c *cluster) later(what string, ok func() bool) {
	c.t.Helper()
	c.until(what, func() bool {
		c.clock.Advance(c.clock.Now() + int64(2*time.Minute))
		return ok()
	})
}

func (c *cluster) create(resource string, objects ...*unstructured.Unstructured) {
	c.t.Helper()
	for _, o := range objects {
		r := resources[resource]
		if o.GetKind() == "Workload" {
			r.Resource = "workloads"
		}
		if _, err := c.dynamic.Resource(r).Namespace(o.GetNamespace()).Create(c.t.Context(), o, metav1.CreateOptions{}); err != nil {
			c.t.Fatal(err)
		}
	}
}

func manifest(t *testing.T, name string) []*unstructured.Unstructured {
	t.Helper()
	f, err := groupstest.Load(name)
	if err != nil {
		t.Fatal(err)
	}
	return f.Objects
}

func TestAClusterWithoutGroupAPIsIsInSyncAndQuiet(t *testing.T) {
	c := newCluster(t)
	c.run()
	c.until("in sync", c.watch.HasSynced)
	if got := c.watch.Served(); len(got) > 0 {
		t.Errorf("served: %v", got)
	}
	if g := c.watch.PodGroup(groups.Volcano, "team-a", "x"); g != nil {
		t.Errorf("found %+v", g)
	}
	if c.log.String() != "" {
		t.Errorf("log:\n%s", c.log)
	}
}

func TestACRDThatIsInstalledLaterIsFollowedFromThenOn(t *testing.T) {
	c := newCluster(t)
	c.run()
	c.until("in sync", c.watch.HasSynced)
	c.serve("volcano")
	c.create("volcano", manifest(t, "kuberay-volcano")...)
	c.later("the group is told", c.heard("+ scheduling.volcano.sh team-a/ray-sample-pg min 3 queue research"))
	if g := c.watch.PodGroup(groups.Volcano, "team-a", "ray-sample-pg"); g == nil || g.Min != 3 {
		t.Errorf("found %+v", g)
	}
	if c.watch.Served()[groups.Volcano] != "v1beta1" {
		t.Errorf("served: %v", c.watch.Served())
	}
}

func TestAPodThatRefersToAnAPIHasItLookedForSoonAndNotOften(t *testing.T) {
	c := newCluster(t)
	c.run()
	c.until("in sync", c.watch.HasSynced)
	c.serve("coscheduling")
	c.create("coscheduling", manifest(t, "kuberay-scheduler-plugins")...)
	c.mu.Lock()
	before := c.asked
	c.mu.Unlock()
	for range 1000 {
		c.watch.PodGroup(groups.Coscheduling, "team-a", "sample")
	}
	c.mu.Lock()
	if c.asked != before {
		t.Errorf("asked %d times within no time", c.asked-before)
	}
	c.mu.Unlock()
	c.clock.Advance(c.clock.Now() + int64(6*time.Second)) // far less than the time between looks
	c.watch.PodGroup(groups.Coscheduling, "team-a", "sample")
	c.until("the group is told", c.heard("+ scheduling.x-k8s.io team-a/sample min 3 queue "))
}

func TestWhatMayNotBeReadIsToldOnceAndReadWhenAllowed(t *testing.T) {
	c := newCluster(t)
	c.serve("volcano")
	c.allow("volcano", false)
	c.create("volcano", manifest(t, "kuberay-volcano")...)
	c.run()
	c.until("in sync without it", c.watch.HasSynced)
	for range 20 {
		c.mu.Lock()
		n := c.asked
		c.mu.Unlock()
		c.later("another look", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.asked >= n+5 }) // versions are asked after
	}
	if n := strings.Count(c.log.String(), "level=WARN"); n != 1 || !strings.Contains(c.log.String(), "may not be read") {
		t.Errorf("%d warnings:\n%s", n, c.log)
	}
	c.allow("volcano", true)
	c.later("the group is told", c.heard("+ scheduling.volcano.sh team-a/ray-sample-pg min 3 queue research"))
}

func TestACRDThatIsRemovedTakesItsGroupsAlong(t *testing.T) {
	c := newCluster(t)
	c.serve("volcano")
	c.create("volcano", manifest(t, "kuberay-volcano")...)
	c.run()
	c.until("the group is told", c.heard("+ scheduling.volcano.sh team-a/ray-sample-pg min 3 queue research"))
	c.mu.Lock()
	c.served = nil
	c.mu.Unlock()
	c.later("the group has gone", c.heard("- scheduling.volcano.sh team-a/ray-sample-pg"))
}

func TestARayClusterTellsTheGangOfPodsThatSayNothing(t *testing.T) {
	c := newCluster(t)
	c.serve("ray")
	f, err := groupstest.Load("kuberay-raycluster")
	if err != nil {
		t.Fatal(err)
	}
	c.create("ray", f.Objects...)
	c.class("batch", 10)
	c.run()
	key := groups.Key{API: groups.Ray, Namespace: "team-a", Name: "sample"}
	c.until("the cluster is told", c.heard("+ "+key.String()+" min -1 queue root.test"))
	m, problems := groups.Read(f.Pods[2], c.watch, groups.Options{})
	if len(problems) > 0 || m.Refers == nil || *m.Refers != key || len(m.Info.Groups) != 3 || m.SliceSize != 2 {
		t.Errorf("%+v %v", m, problems)
	}

	// With Ray's autoscaler nobody knows how many there will be.
	o := f.Objects[0].DeepCopy()
	if err := unstructured.SetNestedField(o.Object, true, "spec", "enableInTreeAutoscaling"); err != nil {
		t.Fatal(err)
	}
	if _, err := c.dynamic.Resource(resources["ray"]).Namespace("team-a").Update(t.Context(), o, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("the group is elastic", func() bool {
		m, _ := groups.Read(f.Pods[2], c.watch, groups.Options{})
		return m.Info.Groups[1].Min == 2 && m.Info.Groups[2].Min == 0
	})
}

// class creates a PriorityClass.
func (c *cluster) class(name string, value int32) {
	c.t.Helper()
	o := &schedulingv1.PriorityClass{ObjectMeta: metav1.ObjectMeta{Name: name}, Value: value}
	if _, err := c.client.SchedulingV1().PriorityClasses().Create(c.t.Context(), o, metav1.CreateOptions{}); err != nil {
		c.t.Fatal(err)
	}
}

func TestAGroupHearsOfThePriorityClassThatItNames(t *testing.T) {
	c := newCluster(t)
	c.serve("volcano")
	f, err := groupstest.Load("volcano-job")
	if err != nil {
		t.Fatal(err)
	}
	c.create("volcano", f.Objects...)
	c.class("low", 1)
	c.run()
	key := "scheduling.volcano.sh team-a/sample-00000000-0000-4000-8000-000000000009"
	count := func() (n int) {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, got := range c.changes {
			if strings.HasPrefix(got, "+ "+key) {
				n++
			}
		}
		return n
	}
	c.until("the group is told", func() bool { return count() == 1 && c.watch.HasSynced() })
	m, problems := groups.Read(f.Pods[0], c.watch, groups.Options{})
	if m.Info.Priority != nil || !slices.Contains(codes(problems), "no-priority-class") {
		t.Errorf("without the class: %v %v", m.Info.Priority, problems)
	}
	if c.watch.PriorityClass("low") == nil {
		t.Error("a class that was there is not known, though all is synced")
	}

	c.class("high", 1000)
	c.until("the group is told again", func() bool { return count() == 2 })
	m, problems = groups.Read(f.Pods[0], c.watch, groups.Options{})
	if m.Info.Priority == nil || *m.Info.Priority != 1000 || len(problems) > 0 {
		t.Errorf("with the class: %v %v", m.Info.Priority, problems)
	}

	if err := c.client.SchedulingV1().PriorityClasses().Delete(t.Context(), "high", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("the group is told that it went", func() bool { return count() == 3 && c.watch.PriorityClass("high") == nil })
}

func TestPriorityClassesThatMayNotBeReadAreToldOnceAndAskedForAgain(t *testing.T) {
	c := newCluster(t)
	var forbidden atomic.Bool
	forbidden.Store(true)
	c.client.PrependReactor("list", "priorityclasses", func(a clienttesting.Action) (bool, runtime.Object, error) {
		if forbidden.Load() {
			return true, nil, apierrors.NewForbidden(a.GetResource().GroupResource(), "", fmt.Errorf("no rule"))
		}
		return false, nil, nil
	})
	c.class("high", 1000)
	c.run()
	c.until("all is synced without them", c.watch.HasSynced)
	for range 3 {
		c.mu.Lock()
		n := c.asked
		c.mu.Unlock()
		c.later("another look", func() bool { c.mu.Lock(); defer c.mu.Unlock(); return c.asked >= n+5 })
	}
	if n := strings.Count(c.log.String(), "priority classes may not be read"); n != 1 {
		t.Errorf("told %d times:\n%s", n, c.log)
	}
	forbidden.Store(false)
	c.later("the class is known", func() bool { return c.watch.PriorityClass("high") != nil })
}

func TestOnlyChangesThatSchedulingReadsAreTold(t *testing.T) {
	c := newCluster(t)
	c.serve("v1alpha2")
	objects := manifest(t, "native-v1alpha2")
	c.create("v1alpha2", objects[1])
	c.run()
	c.until("the group is told", c.heard("+ scheduling.k8s.io team-a/sample-cluster min 3 queue "))

	// The Workload comes: the group's queue is known. Then the group's status changes,
	// which is nobody's business, and then its minimum, which is.
	c.create("v1alpha2", objects[0])
	c.until("the Workload's queue is told", c.heard("+ scheduling.k8s.io team-a/sample-cluster min 3 queue root.test"))
	api := c.dynamic.Resource(resources["v1alpha2"]).Namespace("team-a")
	g := objects[1].DeepCopy()
	g.Object["status"] = map[string]any{"conditions": []any{map[string]any{"type": "PodGroupScheduled", "status": "True"}}}
	if _, err := api.Update(t.Context(), g, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	if err := unstructured.SetNestedField(g.Object, int64(5), "spec", "schedulingPolicy", "gang", "minCount"); err != nil {
		t.Fatal(err)
	}
	if _, err := api.Update(t.Context(), g, metav1.UpdateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("the minimum is told", c.heard("+ scheduling.k8s.io team-a/sample-cluster min 5 queue root.test"))
	if err := api.Delete(t.Context(), "sample-cluster", metav1.DeleteOptions{}); err != nil {
		t.Fatal(err)
	}
	c.until("the end is told", c.heard("- scheduling.k8s.io team-a/sample-cluster"))
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.changes) != 4 {
		t.Errorf("%d changes were told:\n%s", len(c.changes), strings.Join(c.changes, "\n"))
	}
}

func TestTheNativeAPIIsReadTypedInItsNewestVersion(t *testing.T) {
	c := newCluster(t)
	c.serve("v1alpha2", "v1beta1")
	var g schedulingv1beta1.PodGroup
	var w schedulingv1beta1.Workload
	objects := manifest(t, "native-v1beta1")
	for i, into := range []any{&w, &g} {
		if err := runtime.DefaultUnstructuredConverter.FromUnstructured(objects[i].Object, into); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.client.SchedulingV1beta1().PodGroups("team-a").Create(t.Context(), &g, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.client.SchedulingV1beta1().Workloads("team-a").Create(t.Context(), &w, metav1.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	c.run()
	c.until("the group is told", c.heard("+ scheduling.k8s.io team-a/sample-cluster min 3 queue root.test"))
	if c.watch.Served()[groups.Native] != "v1beta1" {
		t.Errorf("served: %v", c.watch.Served())
	}
	typed, untyped := groups.FromNative(&g), groups.FromObject(objects[1])
	if !same(typed, untyped) {
		t.Errorf("typed   %+v\nuntyped %+v", typed, untyped)
	}
}

// syncBuffer is a log that goroutines write and the test reads.
type syncBuffer struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *syncBuffer) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *syncBuffer) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}
