package pods_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/pods"
)

func affine(kind, terms string) string {
	return "containers: []\naffinity: {" + kind + ": {requiredDuringSchedulingIgnoredDuringExecution: [" + terms + "]}}"
}

func labelled(t testing.TB, labels map[string]string, spec string) *corev1.Pod {
	p := podOf(t, spec)
	p.Labels = labels
	return p
}

var spaces = []*corev1.Namespace{
	{ObjectMeta: metav1.ObjectMeta{Name: "team", Labels: map[string]string{"org": "ml", "kubernetes.io/metadata.name": "team"}}},
	{ObjectMeta: metav1.ObjectMeta{Name: "other", Labels: map[string]string{"org": "web", "kubernetes.io/metadata.name": "other"}}},
}

func TestWhomAnAffinityTermMeans(t *testing.T) {
	web := "labelSelector: {matchLabels: {app: web}}"
	for _, c := range []struct {
		name, term string
		own        map[string]string // labels of the pod that says it
		space      string
		labels     map[string]string
		want       bool
	}{
		{"pods of the own namespace", web, nil, "team", map[string]string{"app": "web"}, true},
		{"not those with other labels", web, nil, "team", map[string]string{"app": "db"}, false},
		{"not those of other namespaces", web, nil, "other", map[string]string{"app": "web"}, false},
		{"namespaces by name", web + ", namespaces: [other]", nil, "other", map[string]string{"app": "web"}, true},
		{"names leave the own namespace out", web + ", namespaces: [other]", nil, "team", map[string]string{"app": "web"}, false},
		{"namespaces by label", web + ", namespaceSelector: {matchLabels: {org: web}}", nil, "other", map[string]string{"app": "web"}, true},
		{"a selector leaves the own namespace out", web + ", namespaceSelector: {matchLabels: {org: web}}", nil, "team", map[string]string{"app": "web"}, false},
		{"names and labels add up", web + ", namespaces: [team], namespaceSelector: {matchLabels: {org: web}}", nil, "team", map[string]string{"app": "web"}, true},
		{"the empty namespace selector means all", web + ", namespaceSelector: {}", nil, "other", map[string]string{"app": "web"}, true},
		{"a namespace that is not known yet has no labels to select", web + ", namespaceSelector: {matchLabels: {org: web}}", nil, "new", map[string]string{"app": "web"}, false},
		{"the empty label selector means all pods", "labelSelector: {}", nil, "team", nil, true},
		{"none means none", "namespaces: [team]", nil, "team", map[string]string{"app": "web"}, false},
		{"expressions", "labelSelector: {matchExpressions: [{key: app, operator: NotIn, values: [db]}, {key: v, operator: Exists}]}", nil, "team", map[string]string{"v": "1"}, true},
		{"matchLabelKeys takes the own value", web + ", matchLabelKeys: [rev]", map[string]string{"rev": "1"}, "team", map[string]string{"app": "web", "rev": "1"}, true},
		{"another value is not meant", web + ", matchLabelKeys: [rev]", map[string]string{"rev": "1"}, "team", map[string]string{"app": "web", "rev": "2"}, false},
		{"a key that the pod lacks says nothing", web + ", matchLabelKeys: [rev]", nil, "team", map[string]string{"app": "web", "rev": "2"}, true},
		{"mismatchLabelKeys leaves the own value out", web + ", mismatchLabelKeys: [tenant]", map[string]string{"tenant": "1"}, "team", map[string]string{"app": "web", "tenant": "1"}, false},
		{"and takes others", web + ", mismatchLabelKeys: [tenant]", map[string]string{"tenant": "1"}, "team", map[string]string{"app": "web", "tenant": "2"}, true},
		{
			"what the API server has merged stays, though the pod's label has changed since",
			"labelSelector: {matchLabels: {app: web}, matchExpressions: [{key: rev, operator: In, values: ['1']}]}, matchLabelKeys: [rev]",
			map[string]string{"rev": "2"},
			"team",
			map[string]string{"app": "web", "rev": "1"},
			true,
		},
	} {
		for _, kind := range []string{"podAffinity", "podAntiAffinity"} {
			t.Run(c.name+"/"+kind, func(t *testing.T) {
				cl := &cluster{namespaces: spaces}
				terms := cl.terms()
				task, problems := pods.Read(labelled(t, c.own, affine(kind, "{topologyKey: zone, "+c.term+"}")), cl, terms)
				said := slices.Concat(task.Near.Needs, task.Near.Avoids)
				if problems != nil || len(said) != 1 || said[0].Topology != "zone" {
					t.Fatalf("%+v %+v", problems, task.Near)
				}
				other := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: c.space, Name: "other", Labels: c.labels}}
				if got := slices.Contains(terms.Counts(other), said[0].ID); got != c.want {
					t.Errorf("counted: %v", got)
				}
			})
		}
	}
}

func TestAllTermsOfAffinityMustMeanAPod(t *testing.T) {
	cl := &cluster{}
	terms := cl.terms()
	p := labelled(t, map[string]string{"a": "1", "b": "1"}, affine("podAffinity",
		"{topologyKey: zone, labelSelector: {matchLabels: {a: '1'}}}, {topologyKey: rack, labelSelector: {matchLabels: {b: '1'}}}"))
	task, _ := pods.Read(p, cl, terms)
	if n := task.Near.Needs; len(n) != 2 || n[0].ID != n[1].ID || n[0].Topology != "rack" || n[1].Topology != "zone" {
		t.Fatalf("needs %+v", n)
	}
	half := labelled(t, map[string]string{"a": "1"}, "containers: []")
	if terms.Counts(half) != nil {
		t.Error("a pod that one of the terms means is counted")
	}
	if got := task.Near.Counts; len(got) != 1 || got[0] != task.Near.Needs[0].ID {
		t.Errorf("the first pod does not count for what it needs, so it could never start: %v", got)
	}
}

func TestTheHostNameAsTopologyIsTheNodeItself(t *testing.T) {
	p := labelled(t, nil, affine("podAntiAffinity", "{topologyKey: kubernetes.io/hostname, labelSelector: {}}"))
	p.Spec.TopologySpreadConstraints = parse[corev1.PodSpec](t, "containers: []\ntopologySpreadConstraints: [{maxSkew: 1, topologyKey: kubernetes.io/hostname, whenUnsatisfiable: DoNotSchedule, labelSelector: {}}]").TopologySpreadConstraints
	near := mustRead(t, p, &cluster{}).Near
	if near.Avoids[0].Topology != "" || near.Spread[0].Topology != "" {
		t.Errorf("%+v", near)
	}
}

func TestSpreadConstraints(t *testing.T) {
	const zone = "maxSkew: 2, topologyKey: zone, whenUnsatisfiable: DoNotSchedule"
	own := map[string]string{"app": "web", "rev": "7"}
	for _, c := range []struct {
		name, constraint string
		want             spec.Spread // without ID
		counts           map[string]string
		counted          bool
		codes            string
	}{
		{"the pod counts for its own constraint", zone + ", labelSelector: {matchLabels: {app: web}}", spec.Spread{Term: spec.Term{Topology: "zone"}, MaxSkew: 2, MinDomains: 1, Self: true}, map[string]string{"app": "web"}, true, ""},
		{"or it does not", zone + ", labelSelector: {matchLabels: {app: db}}", spec.Spread{Term: spec.Term{Topology: "zone"}, MaxSkew: 2, MinDomains: 1}, map[string]string{"app": "db"}, true, ""},
		{"no selector counts nobody", zone, spec.Spread{Term: spec.Term{Topology: "zone"}, MaxSkew: 2, MinDomains: 1}, own, false, ""},
		{"minDomains", zone + ", minDomains: 5, labelSelector: {}", spec.Spread{Term: spec.Term{Topology: "zone"}, MaxSkew: 2, MinDomains: 5, Self: true}, nil, true, ""},
		{"matchLabelKeys", zone + ", matchLabelKeys: [rev], labelSelector: {}", spec.Spread{Term: spec.Term{Topology: "zone"}, MaxSkew: 2, MinDomains: 1, Self: true}, map[string]string{"rev": "6"}, false, ""},
		{"taints honoured", zone + ", nodeTaintsPolicy: Honor, labelSelector: {}", spec.Spread{Term: spec.Term{Topology: "zone"}, MaxSkew: 2, MinDomains: 1, Self: true}, nil, true, ""},
		{"taints ignored in so many words", zone + ", nodeTaintsPolicy: Ignore, labelSelector: {}", spec.Spread{Term: spec.Term{Topology: "zone"}, MaxSkew: 2, MinDomains: 1, Self: true}, nil, true, "spread-taints"},
		{"affinity ignored, and there is none", zone + ", nodeAffinityPolicy: Ignore, labelSelector: {}", spec.Spread{Term: spec.Term{Topology: "zone"}, MaxSkew: 2, MinDomains: 1, Self: true}, nil, true, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := &cluster{}
			terms := cl.terms()
			task, problems := pods.Read(labelled(t, own, "containers: []\ntopologySpreadConstraints: [{"+c.constraint+"}]"), cl, terms)
			if got := strings.Join(codes(problems), " "); got != c.codes || len(task.Near.Spread) != 1 {
				t.Fatalf("%s %+v", got, task.Near)
			}
			got := task.Near.Spread[0]
			id := got.ID
			got.ID = ""
			if got != c.want {
				t.Errorf("got %+v", got)
			}
			other := labelled(t, c.counts, "containers: []")
			if got := slices.Contains(terms.Counts(other), id); got != c.counted {
				t.Errorf("counted: %v", got)
			}
			other.Namespace = "other"
			if slices.Contains(terms.Counts(other), id) {
				t.Error("pods of another namespace are counted")
			}
			other.Namespace, other.DeletionTimestamp = "team", &metav1.Time{}
			if slices.Contains(terms.Counts(other), id) {
				t.Error("pods that were deleted are counted")
			}
		})
	}
}

func TestNodesWithoutALabelOfTheSpreadTakeNoSuchPod(t *testing.T) {
	task := mustRead(t, podOf(t, "containers: []\ntopologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule}, {maxSkew: 1, topologyKey: rack, whenUnsatisfiable: DoNotSchedule}]"), &cluster{})
	if got := verdict(t, task, nodeOf("n", map[string]string{"zone": "a"})); got != "topology" {
		t.Errorf("got %q", got)
	}
	if got := verdict(t, task, nodeOf("n", map[string]string{"zone": "a", "rack": "1"})); got != "" {
		t.Errorf("got %q", got)
	}
}

func TestWhatIsNotSupportedIsToldWithFieldAndHint(t *testing.T) {
	const weighted = "{weight: 1, podAffinityTerm: {topologyKey: zone, labelSelector: {}}}"
	for _, c := range []struct{ name, spec, code, field string }{
		{"dynamic resource allocation", "containers: []\nresourceClaims: [{name: gpu, resourceClaimName: x}]", "unsupported-claims!", "spec.resourceClaims"},
		{"preferred nodes", "containers: []\naffinity: {nodeAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [{weight: 1, preference: {}}, {weight: 2, preference: {}}]}}", "preference-ignored", "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution"},
		{"preferred neighbours", "containers: []\naffinity: {podAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [" + weighted + "]}}", "preference-ignored", "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution"},
		{"neighbours to avoid", "containers: []\naffinity: {podAntiAffinity: {preferredDuringSchedulingIgnoredDuringExecution: [" + weighted + "]}}", "preference-ignored", "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution"},
		{"spread if possible", "containers: []\ntopologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: ScheduleAnyway}]", "preference-ignored", "spec.topologySpreadConstraints"},
		{"spread over nodes that are not selected", "containers: []\nnodeSelector: {a: b}\ntopologySpreadConstraints: [{maxSkew: 1, topologyKey: zone, whenUnsatisfiable: DoNotSchedule, nodeAffinityPolicy: Ignore}]", "unsupported-spread!", "spec.topologySpreadConstraints[0].nodeAffinityPolicy"},
		{"a selector that can't be read", affine("podAffinity", "{topologyKey: zone, labelSelector: {matchExpressions: [{key: a, operator: In}]}}"), "bad-selector!", "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector"},
		{"Gt on pods", affine("podAntiAffinity", "{topologyKey: zone, labelSelector: {matchExpressions: [{key: a, operator: Gt, values: ['1']}]}}"), "bad-selector!", "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].labelSelector"},
		{"no topology", affine("podAffinity", "{topologyKey: '', labelSelector: {}}"), "bad-selector!", "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[0].topologyKey"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cl := &cluster{}
			_, problems := pods.Read(podOf(t, c.spec), cl, cl.terms())
			if got := codes(problems); !slices.Equal(got, []string{c.code}) || problems[0].Field != c.field || problems[0].Hint == "" {
				t.Errorf("got %v %+v", got, problems)
			}
		})
	}
}

func TestHostPortsConflictAsKubeSchedulerHasIt(t *testing.T) {
	specs := []string{"hostPort: 80", "hostPort: 80, hostIP: 0.0.0.0", "hostPort: 80, hostIP: 10.0.0.1", "hostPort: 80, hostIP: 10.0.0.2", "hostPort: 80, protocol: UDP", "hostPort: 81", "hostPort: 0"}
	conflicts := map[[2]int]bool{{0, 0}: true, {0, 1}: true, {0, 2}: true, {0, 3}: true, {1, 1}: true, {1, 2}: true, {1, 3}: true, {2, 2}: true, {3, 3}: true, {4, 4}: true, {5, 5}: true}
	for i, a := range specs {
		for j, b := range specs {
			x := mustRead(t, podOf(t, "containers: [{name: a, ports: [{containerPort: 1, "+a+"}]}]"), &cluster{}).Near
			y := mustRead(t, podOf(t, "initContainers: [{name: a, restartPolicy: Always, ports: [{containerPort: 1, "+b+"}]}]\ncontainers: []"), &cluster{}).Near
			want := conflicts[[2]int{min(i, j), max(i, j)}]
			if keepOff(&x, &y) != want || keepOff(&y, &x) != want {
				t.Errorf("%q and %q conflict: %v %v, want %v", a, b, keepOff(&x, &y), keepOff(&y, &x), want)
			}
		}
	}
	if near := mustRead(t, podOf(t, "initContainers: [{name: a, ports: [{containerPort: 1, hostPort: 80}]}]\ncontainers: []"), &cluster{}).Near; !near.Empty() {
		t.Errorf("the port of an init container that ends is kept: %+v", near)
	}
}

// keepOff says that x avoids what y counts for, on the node itself.
func keepOff(x, y *spec.Near) bool {
	return slices.ContainsFunc(x.Avoids, func(a spec.Term) bool { return a.Topology == "" && slices.Contains(y.Counts, a.ID) })
}

func TestDisksNamedInThePodHaveOneUserUnlessAllOnlyRead(t *testing.T) {
	specs := []string{"gcePersistentDisk: {pdName: d}", "gcePersistentDisk: {pdName: d, readOnly: true}", "awsElasticBlockStore: {volumeID: d, readOnly: true}", "iscsi: {targetPortal: x, iqn: d, lun: 0}", "emptyDir: {}"}
	conflicts := map[[2]int]bool{{0, 0}: true, {0, 1}: true, {2, 2}: true, {3, 3}: true}
	for i, a := range specs {
		for j, b := range specs {
			x := mustRead(t, podOf(t, "containers: []\nvolumes: [{name: v, "+a+"}]"), &cluster{}).Near
			y := mustRead(t, podOf(t, "containers: []\nvolumes: [{name: v, "+b+"}]"), &cluster{}).Near
			if want := conflicts[[2]int{min(i, j), max(i, j)}]; keepOff(&x, &y) != want {
				t.Errorf("%q and %q conflict: %v", a, b, !want)
			}
		}
	}
}

func TestTermsComeAndGoWithTheirPods(t *testing.T) {
	cl := &cluster{namespaces: spaces}
	terms := cl.terms()
	quiet := labelled(t, map[string]string{"app": "web"}, "containers: []")
	pods.Read(quiet, cl, terms)
	if terms.Version() != 0 || terms.Len() != 0 {
		t.Fatalf("a pod that speaks of no other made %d terms", terms.Len())
	}
	loner := affine("podAntiAffinity", "{topologyKey: zone, labelSelector: {matchLabels: {app: web}}}")
	a, b := named("a", podOf(t, loner), nil), named("b", podOf(t, loner), nil)
	pods.Read(a, cl, terms)
	v := terms.Version()
	if v == 0 || !terms.CountedSince(quiet, 0) || terms.CountedSince(a, 0) || len(terms.Counts(quiet)) != 1 {
		t.Fatalf("a new term is not told: version %d", v)
	}
	pods.Read(b, cl, terms)
	if terms.Version() != v || terms.Len() != 1 || terms.CountedSince(quiet, v) {
		t.Error("a term that is known is told again")
	}
	terms.Forget(a)
	if terms.Len() != 1 {
		t.Error("the term is gone while b uses it")
	}
	pods.Read(b, cl, terms) // again: uses are not added up
	terms.Forget(b)
	terms.Forget(b)
	if terms.Len() != 0 || terms.Counts(quiet) != nil {
		t.Errorf("%d terms are left", terms.Len())
	}
	pods.Read(b, cl, terms)
	if terms.Version() == v || len(terms.Counts(quiet)) != 1 {
		t.Error("a term that comes back is not told")
	}
}

func TestAPodThatChangesItsMindDropsItsTerms(t *testing.T) {
	cl := &cluster{}
	terms := cl.terms()
	p := labelled(t, nil, affine("podAntiAffinity", "{topologyKey: zone, labelSelector: {matchLabels: {a: '1'}}, matchLabelKeys: [rev]}"))
	p.Labels = map[string]string{"rev": "1"}
	pods.Read(p, cl, terms)
	p = p.DeepCopy()
	p.Labels = map[string]string{"rev": "2"}
	pods.Read(p, cl, terms)
	if terms.Len() != 1 {
		t.Errorf("%d terms", terms.Len())
	}
}

func TestNamespacesThatChangeTheirLabelsMatterToSomeTerms(t *testing.T) {
	cl := &cluster{namespaces: []*corev1.Namespace{spaces[0].DeepCopy()}}
	terms := cl.terms()
	pods.Read(named("a", podOf(t, affine("podAntiAffinity", "{topologyKey: zone, labelSelector: {}}")), nil), cl, terms)
	if terms.Relabelled() {
		t.Error("no term selects namespaces")
	}
	p := named("b", podOf(t, affine("podAntiAffinity", "{topologyKey: zone, labelSelector: {}, namespaceSelector: {matchLabels: {new: label}}}")), nil)
	before, _ := pods.Read(p, cl, terms)
	cl.namespaces[0].Labels["new"] = "label"
	v := terms.Version()
	if !terms.Relabelled() || terms.Version() == v {
		t.Error("a term selects namespaces, and nothing is told")
	}
	after, _ := pods.Read(p, cl, terms)
	if len(after.Near.Counts) != len(before.Near.Counts)+1 {
		t.Errorf("counted for %v, then %v", before.Near.Counts, after.Near.Counts)
	}
}

// anyTerm is an affinity term over few words, so that terms and pods meet.
func anyTerm() *rapid.Generator[corev1.PodAffinityTerm] {
	return rapid.Custom(func(t *rapid.T) corev1.PodAffinityTerm {
		out := corev1.PodAffinityTerm{TopologyKey: rapid.SampledFrom([]string{"zone", "rack"}).Draw(t, "topology")}
		out.LabelSelector = anyLabelSelector().Draw(t, "selector")
		out.Namespaces = rapid.SliceOfN(rapid.SampledFrom([]string{"team", "other", "new"}), 0, 2).Draw(t, "namespaces")
		if rapid.Bool().Draw(t, "spaces") {
			out.NamespaceSelector = anyLabelSelector().Draw(t, "namespaceSelector")
		}
		return out
	})
}

func anyLabelSelector() *rapid.Generator[*metav1.LabelSelector] {
	keys, values := []string{"org", "app"}, []string{"ml", "web", "db"}
	return rapid.Custom(func(t *rapid.T) *metav1.LabelSelector {
		switch rapid.IntRange(0, 5).Draw(t, "kind") {
		case 0:
			return nil
		case 1:
			return &metav1.LabelSelector{}
		}
		s := &metav1.LabelSelector{}
		if rapid.Bool().Draw(t, "labels") {
			s.MatchLabels = map[string]string{rapid.SampledFrom(keys).Draw(t, "key"): rapid.SampledFrom(values).Draw(t, "value")}
		}
		for range rapid.IntRange(0, 2).Draw(t, "expressions") {
			e := metav1.LabelSelectorRequirement{Key: rapid.SampledFrom(keys).Draw(t, "key"), Operator: rapid.SampledFrom([]metav1.LabelSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist"}).Draw(t, "op")}
			if e.Operator == "In" || e.Operator == "NotIn" {
				e.Values = rapid.SliceOfN(rapid.SampledFrom(values), 1, 3).Draw(t, "values")
			}
			s.MatchExpressions = append(s.MatchExpressions, e)
		}
		return s
	})
}

// means is the definition of whom a term means: PodAffinityTerm's documentation.
func means(t *rapid.T, cl *cluster, owner *corev1.Pod, term *corev1.PodAffinityTerm, p *corev1.Pod) bool {
	selector, err := metav1.LabelSelectorAsSelector(term.LabelSelector)
	if err != nil {
		t.Fatal(err)
	}
	spaces := term.Namespaces
	if len(spaces) == 0 && term.NamespaceSelector == nil {
		spaces = []string{owner.Namespace}
	}
	inSpace := slices.Contains(spaces, p.Namespace)
	if ns := cl.Namespace(p.Namespace); ns != nil && term.NamespaceSelector != nil {
		of, err := metav1.LabelSelectorAsSelector(term.NamespaceSelector)
		if err != nil {
			t.Fatal(err)
		}
		inSpace = inSpace || of.Matches(labels.Set(ns.Labels))
	}
	return inSpace && selector.Matches(labels.Set(p.Labels))
}

func TestTermsCountThoseWhomTheySelect(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		cl := &cluster{namespaces: spaces}
		terms := cl.terms()
		anyLabels := rapid.MapOfN(rapid.SampledFrom([]string{"org", "app"}), rapid.SampledFrom([]string{"ml", "web", "db"}), 0, 2)
		var owners []*corev1.Pod
		var said [][]spec.Term
		for i := range rapid.IntRange(1, 5).Draw(t, "owners") {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: rapid.SampledFrom([]string{"team", "other"}).Draw(t, "namespace"), Name: fmt.Sprint(i)}}
			list := rapid.SliceOfN(anyTerm(), 1, 3).Draw(t, "terms")
			p.Spec.Affinity = &corev1.Affinity{PodAffinity: &corev1.PodAffinity{RequiredDuringSchedulingIgnoredDuringExecution: list}}
			if rapid.Bool().Draw(t, "anti") {
				p.Spec.Affinity = &corev1.Affinity{PodAntiAffinity: &corev1.PodAntiAffinity{RequiredDuringSchedulingIgnoredDuringExecution: list[:1]}}
			}
			task, problems := pods.Read(p, cl, terms)
			if problems != nil {
				t.Fatal(problems)
			}
			owners, said = append(owners, p), append(said, slices.Concat(task.Near.Needs, task.Near.Avoids))
		}
		for i, p := range owners { // some go again
			if rapid.IntRange(0, 3).Draw(t, "gone") == 0 {
				terms.Forget(p)
				said[i] = nil
			}
		}
		for range 5 {
			p := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: rapid.SampledFrom([]string{"team", "other", "new"}).Draw(t, "namespace"), Labels: anyLabels.Draw(t, "labels")}}
			want := map[string]bool{}
			for i, owner := range owners {
				need, avoid := owner.Spec.Affinity.PodAffinity, owner.Spec.Affinity.PodAntiAffinity
				all := true
				var list []corev1.PodAffinityTerm
				if need != nil {
					list = need.RequiredDuringSchedulingIgnoredDuringExecution
				} else {
					list = avoid.RequiredDuringSchedulingIgnoredDuringExecution
				}
				for j := range list {
					all = all && means(t, cl, owner, &list[j], p)
				}
				if all && said[i] != nil {
					want[said[i][0].ID] = true
				}
			}
			var wanted []string
			for id := range want {
				wanted = append(wanted, id)
			}
			slices.Sort(wanted)
			if got := terms.Counts(p); !slices.Equal(got, wanted) {
				t.Fatalf("pod %s %v counts for %v, want %v", p.Namespace, p.Labels, got, wanted)
			}
		}
	})
}

func TestTermsHaveTheSameNamesWhateverCameBefore(t *testing.T) {
	cl := &cluster{}
	one, two := cl.terms(), cl.terms()
	a := affine("podAffinity", "{topologyKey: zone, labelSelector: {matchLabels: {a: '1', b: '2'}}}")
	b := affine("podAffinity", "{topologyKey: zone, namespaces: [team, team], labelSelector: {matchLabels: {b: '2'}, matchExpressions: [{key: a, operator: In, values: ['1', '1']}]}}")
	pods.Read(named("x", podOf(t, affine("podAntiAffinity", "{topologyKey: zone, labelSelector: {}}")), nil), cl, two)
	x, _ := pods.Read(named("a", podOf(t, a), nil), cl, one)
	y, _ := pods.Read(named("b", podOf(t, b), nil), cl, two)
	if x.Near.Needs[0] != y.Near.Needs[0] {
		t.Errorf("one set of pods has two names: %v %v", x.Near.Needs, y.Near.Needs)
	}
	const p, q = "{topologyKey: zone, labelSelector: {matchLabels: {p: '1'}}}", "{topologyKey: zone, labelSelector: {matchLabels: {q: '1'}}}"
	x, _ = pods.Read(named("c", podOf(t, affine("podAffinity", p+","+q)), nil), cl, one)
	y, _ = pods.Read(named("d", podOf(t, affine("podAffinity", q+","+p+","+q)), nil), cl, two)
	if len(y.Near.Needs) != 1 || x.Near.Needs[0] != y.Near.Needs[0] {
		t.Errorf("the order of terms matters: %v %v", x.Near.Needs, y.Near.Needs)
	}
}
