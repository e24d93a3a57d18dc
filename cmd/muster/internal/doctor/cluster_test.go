package doctor

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	authorizationv1 "k8s.io/api/authorization/v1"
	coordinationv1 "k8s.io/api/coordination/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	fakediscovery "k8s.io/client-go/discovery/fake"
	"k8s.io/client-go/kubernetes/fake"
	"k8s.io/client-go/rest"
	k8stesting "k8s.io/client-go/testing"
)

var (
	noon = time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC)
	here = Installation{Namespace: "muster-system", Account: "muster", Lease: "muster-scheduler"}
)

func at(t time.Time) func() time.Time { return func() time.Time { return t } }

// cluster is one that has all kinds, a leader that renewed its lease ago, and an account
// that may do everything but what is named.
func cluster(ago time.Duration, missing ...string) *fake.Clientset {
	holder, seconds, renewed := "muster-0_7", int32(15), metav1.NewMicroTime(noon.Add(-ago))
	api := fake.NewClientset(&coordinationv1.Lease{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: "muster-scheduler"},
		Spec:       coordinationv1.LeaseSpec{HolderIdentity: &holder, LeaseDurationSeconds: &seconds, RenewTime: &renewed},
	}, pod("muster-0", "scheduler", "musterhq/muster:0.4.0"), queuesMap("muster-queues", goodQueues), pod("muster-probe-x", "probe", "musterhq/muster:0.4.0"))
	api.Discovery().(*fakediscovery.FakeDiscovery).Resources = []*metav1.APIResourceList{{
		GroupVersion: ourGroup, APIResources: []metav1.APIResource{{Name: "queues"}, {Name: "policies"}, {Name: "gpunodes"}},
	}}
	api.PrependReactor("create", "subjectaccessreviews", func(a k8stesting.Action) (bool, runtime.Object, error) {
		r := a.(k8stesting.CreateAction).GetObject().(*authorizationv1.SubjectAccessReview)
		of := r.Spec.ResourceAttributes
		asked := right{of.Group, of.Resource, of.Subresource, of.Verb, of.Namespace}.String()
		r.Status.Allowed = r.Spec.User == "system:serviceaccount:muster-system:muster" && !slices.Contains(missing, asked)
		return true, r, nil
	})
	return api
}

func pod(name, component, image string) *corev1.Pod {
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: name, Labels: map[string]string{"app.kubernetes.io/name": "muster", "app.kubernetes.io/component": component}},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: component, Image: image}}},
	}
}

func states(checks []Check) string {
	var out []string
	for _, c := range checks {
		out = append(out, c.Name+" "+string(c.State))
	}
	return strings.Join(out, ", ")
}

func diagnose(t *testing.T, api *fake.Clientset) []Check {
	t.Helper()
	checks, err := Cluster(t.Context(), api, here, at(noon))
	if err != nil {
		t.Fatal(err)
	}
	return checks
}

func TestAClusterThatHasEverythingIsWell(t *testing.T) {
	checks := diagnose(t, cluster(5*time.Second))
	if got := states(checks); got != "crds ok, lease ok, queues ok, versions ok, rights ok" || Worst(checks) != OK {
		t.Errorf("%s: %+v", got, checks)
	}
}

func TestWhatAClusterLacksIsNamed(t *testing.T) {
	noKinds := cluster(0)
	noKinds.Discovery().(*fakediscovery.FakeDiscovery).Resources = nil
	someKinds := cluster(0)
	someKinds.Discovery().(*fakediscovery.FakeDiscovery).Resources[0].APIResources = []metav1.APIResource{{Name: "queues"}}
	upgraded := cluster(0)
	if err := upgraded.Tracker().Add(pod("muster-probe-y", "probe", "musterhq/muster:0.3.0")); err != nil {
		t.Fatal(err)
	}
	unlisted := cluster(0)
	unlisted.PrependReactor("list", "pods", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("forbidden")
	})
	unasked := cluster(0)
	unasked.PrependReactor("create", "subjectaccessreviews", func(k8stesting.Action) (bool, runtime.Object, error) {
		return true, nil, errors.New("forbidden")
	})
	for name, c := range map[string]struct {
		api          *fake.Clientset
		states, text string
	}{
		"no kinds":               {noKinds, "crds warn, lease ok, queues ok, versions ok, rights ok", "no gpunodes, policies, queues of muster.dev/v1alpha1"},
		"old kinds":              {someKinds, "crds warn, lease ok, queues ok, versions ok, rights ok", "no gpunodes, policies of"},
		"a silent leader":        {cluster(time.Minute), "crds ok, lease fail, queues ok, versions ok, rights ok", "has not renewed it for 1m0s"},
		"half an upgrade":        {upgraded, "crds ok, lease ok, queues ok, versions warn, rights ok", "run 2 images: musterhq/muster:0.3.0 of 1 probe pods, musterhq/muster:0.4.0 of 1 probe pods, musterhq/muster:0.4.0 of 1 scheduler pods"},
		"pods can't be listed":   {unlisted, "crds ok, lease ok, queues skip, versions skip, rights ok", "can't be listed: forbidden"},
		"missing rights":         {cluster(0, "create pods/binding", "patch queues/status.muster.dev"), "crds ok, lease ok, queues ok, versions ok, rights fail", "may not create pods/binding, patch queues/status.muster.dev"},
		"budgets are respected":  {cluster(0, "delete pods"), "crds ok, lease ok, queues ok, versions ok, rights ok", ""},
		"rights can't be asked":  {unasked, "crds ok, lease ok, queues ok, versions ok, rights skip", "can't be asked: forbidden"},
		"the lease is elsewhere": {fake.NewClientset(), "crds warn, lease fail, queues warn, versions skip, rights skip", "there is no lease muster-system/muster-scheduler"},
	} {
		checks := diagnose(t, c.api)
		var text string
		for _, k := range checks {
			text += k.Text + "\n"
			if k.State != OK && k.Hint == "" {
				t.Errorf("%s: %s has no hint", name, k.Name)
			}
		}
		if got := states(checks); got != c.states || !strings.Contains(text, c.text) {
			t.Errorf("%s: %s\n%s", name, got, text)
		}
	}
}

func TestEveryRightOfTheManifestsIsAskedFor(t *testing.T) {
	list, err := needed("muster-system")
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, r := range list {
		names = append(names, r.String()+" in "+r.namespace)
	}
	for _, want := range []string{"watch pods in ", "create pods/eviction in ", "update leases.coordination.k8s.io in muster-system", "create tokenreviews.authentication.k8s.io in ", "patch policies/status.muster.dev in "} {
		if !slices.Contains(names, want) {
			t.Errorf("%s is not asked for", want)
		}
	}
}

func TestClocksAreComparedByWhatTheOtherTold(t *testing.T) {
	for off, want := range map[time.Duration]State{
		0: OK, -900 * time.Millisecond: OK, 4 * time.Second: OK, -5 * time.Second: OK, 6 * time.Second: Warning, -7 * time.Second: Warning, 2 * time.Minute: Failure, -time.Hour: Failure,
	} {
		if c := clock("clock", "it", noon.Add(off).Truncate(time.Second), noon, noon.Add(100*time.Millisecond)); c.State != want {
			t.Errorf("off by %s: %+v", off, c)
		}
	}
	if c := clock("clock", "it", time.Time{}, noon, noon); c.State != Skipped {
		t.Errorf("%+v", c)
	}
}

func TestTheAPIServersClockIsAskedAndItsSilenceIsAFailure(t *testing.T) {
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Date", noon.Add(time.Hour).Format(http.TimeFormat))
	}))
	config := &rest.Config{Host: s.URL}
	c, err := Clock(t.Context(), config, at(noon))
	if err != nil || c.State != Failure || !strings.Contains(c.Text, "off by 1h0m0s") {
		t.Errorf("%+v, %v", c, err)
	}
	s.Close()
	if c, err := Clock(t.Context(), config, at(noon)); err != nil || c.State != Failure || !strings.Contains(c.Text, "does not answer") {
		t.Errorf("%+v, %v", c, err)
	}
}
