package doctor

import (
	"errors"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/fake"
	k8stesting "k8s.io/client-go/testing"

	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/client"
	"github.com/musterhq/muster/runtime/serve/view"
)

const goodQueues = "partitions:\n- queues:\n  - name: root\n    submitacl: '*'\n    queues:\n    - name: a\n"

func queuesMap(name, text string) *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: name}, Data: map[string]string{"queues.yaml": text}}
}

// said is what the scheduler told of a ConfigMap so many minutes before noon.
func said(about, kind, reason, text string, ago int) *corev1.Event {
	return &corev1.Event{
		ObjectMeta:     metav1.ObjectMeta{Namespace: "muster-system", Name: about + "." + reason},
		InvolvedObject: corev1.ObjectReference{Kind: "ConfigMap", Namespace: "muster-system", Name: about},
		Type:           kind, Reason: reason, Message: text, LastTimestamp: metav1.NewTime(noon.Add(-time.Duration(ago) * time.Minute)),
	}
}

func TestQueuesThatDoNotHoldAreToldWithPlaceAndHint(t *testing.T) {
	const at = "muster-queues"
	invalid := said(at, "Warning", "InvalidQueues", "1 error; the queues before hold on\nqueues.yaml:3:5: error[unknown-key]: a queue has no key \"nam\"", 9)
	told := pod("muster-0", "scheduler", "x")
	told.Spec.Containers[0].Args = []string{"--queues=configmap:muster-system/other"}
	crd := pod("muster-0", "scheduler", "x")
	crd.Spec.Containers[0].Command = []string{"muster", "scheduler", "--queues", "crd"}
	file := pod("muster-0", "scheduler", "x")
	file.Spec.Containers[0].Args = []string{"--queues", "file:/etc/q.yaml"}
	packed := queuesMap(at, "")
	packed.Data, packed.BinaryData = nil, map[string][]byte{"queues.yaml.gz": {1}}
	for name, c := range map[string]struct {
		there []runtime.Object
		state State
		text  string
	}{
		"good":                {[]runtime.Object{queuesMap(at, goodQueues)}, OK, "have no errors"},
		"there is none":       {nil, Warning, "there is no ConfigMap muster-system/muster-queues"},
		"missing, as told":    {[]runtime.Object{said(at, "Warning", "MissingQueues", "it is gone; nothing is scheduled until there is one", 2)}, Warning, "MissingQueues: it is gone; nothing is scheduled until there is one"},
		"there is one again":  {[]runtime.Object{queuesMap(at, goodQueues), said(at, "Warning", "MissingQueues", "it is gone", 2), said(at, "Normal", "QueuesApplied", "they hold", 1)}, OK, "have no errors"},
		"no default":          {[]runtime.Object{queuesMap(at, strings.Replace(goodQueues, "- queues", "- name: gpu\n  queues", 1))}, Warning, "have no partition default, so the scheduler goes on"},
		"refused as invalid":  {[]runtime.Object{queuesMap(at, goodQueues), invalid}, Warning, `since 2026-01-31T11:51:00Z: InvalidQueues: 1 error; the queues before hold on queues.yaml:3:5: error[unknown-key]`},
		"jobs are in the way": {[]runtime.Object{queuesMap(at, goodQueues), said(at, "Warning", "QueuesRefused", "root.a has jobs", 1)}, Warning, "QueuesRefused: root.a has jobs"},
		"mended since":        {[]runtime.Object{queuesMap(at, goodQueues), invalid, said(at, "Normal", "QueuesApplied", "these queues hold", 3)}, OK, "have no errors"},
		"spoilt since":        {[]runtime.Object{queuesMap(at, goodQueues), invalid, said(at, "Normal", "QueuesApplied", "these queues hold", 20)}, Warning, "InvalidQueues"},
		"of another":          {[]runtime.Object{queuesMap(at, goodQueues), said("else", "Warning", "InvalidQueues", "x", 1)}, OK, ""},
		"the event is gone":   {[]runtime.Object{queuesMap(at, strings.Replace(goodQueues, "name: a", "nam: a", 1))}, Warning, "have 2 errors, so the scheduler goes on with those that were good last: queues.yaml:6:7"},
		"without effect":      {[]runtime.Object{queuesMap(at, goodQueues+"      policies: {fairness: drf}\n")}, Warning, "hold, but 1 of their settings have no effect: queues.yaml:7:18"},
		"no key":              {[]runtime.Object{&corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "muster-system", Name: at}}}, Warning, "has no key queues.yaml"},
		"packed":              {[]runtime.Object{packed}, OK, "nothing bad"},
		"packed and refused":  {[]runtime.Object{packed, invalid}, Warning, "InvalidQueues"},
		"elsewhere":           {[]runtime.Object{told, queuesMap(at, goodQueues)}, Warning, "there is no ConfigMap muster-system/other"},
		"objects":             {[]runtime.Object{crd}, Skipped, "Queue objects"},
		"a file":              {[]runtime.Object{file}, Skipped, "file:/etc/q.yaml"},
	} {
		got := queues(t.Context(), fake.NewClientset(c.there...), here)
		if got.State != c.state || !strings.Contains(got.Text, c.text) || got.State != OK && got.Hint == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestAConfigMapThatMayNotBeReadIsNoWarning(t *testing.T) {
	api := fake.NewClientset()
	api.PrependReactor("get", "configmaps", func(k8stesting.Action) (bool, runtime.Object, error) { return true, nil, errors.New("forbidden") })
	in := here
	in.Queues = "configmap:other/q"
	if got := queues(t.Context(), api, in); got.State != Skipped || !strings.Contains(got.Text, "other/q can't be read: forbidden") {
		t.Errorf("%+v", got)
	}
}

func TestPoliciesThatQueuesNameAndThatDoNotDecideAreTold(t *testing.T) {
	of := func(p serve.Policy, kinds ...string) serve.Policy {
		p.Kinds, p.Queues = kinds, []string{"root.a"}
		return p
	}
	refused := serve.Policy{Name: "mine", Refused: &reload.Version{State: reload.Refused, Code: "digest", Text: "it is another file", Hint: "load it anew"}}
	for name, c := range map[string]struct {
		of    serve.Policy
		state State
		text  string
	}{
		"built in":           {of(serve.Policy{Name: "fifo", BuiltIn: true}, "job_order"), OK, "every policy"},
		"active":             {of(loaded("mine", "1.0"), "job_order"), OK, "every policy"},
		"missing":            {of(serve.Policy{Name: "mien", BuiltIn: true}, "job_order"), Warning, "mien, named by root.a: nothing of the name decides job_order"},
		"of another kind":    {of(serve.Policy{Name: "fifo", BuiltIn: true}, "job_order", "victim_costs"), Warning, "decides victim_costs"},
		"not active":         {of(serve.Policy{Name: "mine"}, "job_order"), Warning, "mine, named by root.a: not active"},
		"refused":            {of(refused, "job_order"), Warning, "refused: it is another file [digest] load it anew"},
		"on its way":         {of(serve.Policy{Name: "mine", Incoming: &reload.Version{State: "compiling"}}, "job_order"), Warning, "not active yet, compiling"},
		"named by no queue":  {serve.Policy{Name: "mine"}, OK, ""},
		"loaded for nothing": {of(serve.Policy{Name: "mine", Active: &reload.Version{Kinds: []string{"victim_costs"}}}, "job_order"), Warning, "does not decide job_order"},
	} {
		if got := named([]serve.Policy{c.of}); got.State != c.state || !strings.Contains(got.Text, c.text) || got.State != OK && got.Hint == "" {
			t.Errorf("%s: %+v", name, got)
		}
	}
}

func TestOneThatStandsBySaysWhetherItIsReady(t *testing.T) {
	for name, c := range map[string]struct {
		ready error
		want  string
		state State
	}{
		"it is not": {errors.New("there is no ConfigMap muster-system/muster-queues"), "/readyz says: there is no ConfigMap muster-system/muster-queues", Failure},
		"it is":     {nil, "/readyz says: ok", OK},
	} {
		source := view.NewSource(nil, nil, view.Options{Leader: func() view.Leadership { return view.Leadership{Holder: "muster-1"} }})
		s := httptest.NewServer(serve.Handler(serve.Config{Source: source, Ready: func() error { return c.ready }}))
		asked, err := client.New(client.Options{Server: s.URL})
		if err != nil {
			t.Fatal(err)
		}
		checks, err := Scheduler(t.Context(), asked, time.Now)
		i := slices.IndexFunc(checks, func(k Check) bool { return k.Name == "ready" })
		if err != nil || i < 0 || checks[i].Text != c.want || checks[i].State != c.state || checks[0].State != Failure {
			t.Errorf("%s: %+v, %v", name, checks, err)
		}
		asked.Close()
		s.Close()
	}
}
