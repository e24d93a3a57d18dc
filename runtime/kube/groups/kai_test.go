package groups_test

import (
	"slices"
	"testing"

	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/musterhq/muster/runtime/kube/groups"
)

const kaiQueue = "label:kai.scheduler/queue"

func TestAPodGroupOfKAIsThatSomebodyMadeIsNotPassedOver(t *testing.T) {
	const group, sub = "pod-group-name", "label:kai.scheduler/subgroup-name"
	for _, c := range []struct {
		name string
		keys []string
		job  string
		min  int32
		code string // of a fatal problem
	}{
		{"nobody knows how many start together", []string{kaiQueue, "q", group, "train"}, "team-a/kai/train", 0, "unsupported-podgroup"},
		{"the pods say it", []string{kaiQueue, "q", group, "train", groups.KeyGangMin, "4"}, "team-a/kai/train", 4, ""},
		{"sub-groups are groups of the job", []string{kaiQueue, "q", group, "train", sub, "workers", groups.KeyGangMin, "4"}, "team-a/kai/train", 4, ""},
		{"one of the pod grouper's is named after its owner", []string{kaiQueue, "q", group, "pg-train-00000000-0000-4000-8000-000000000009"}, "team-a/pod/p", 0, ""},
		{"so is that of a replica", []string{kaiQueue, "q", group, "pg-train-00000000-0000-4000-8000-000000000009-group-2"}, "team-a/pod/p", 0, ""},
		{"the annotation means nothing without KAI's queue", []string{group, "train"}, "team-a/pod/p", 0, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := pod(c.keys...)
			m, problems := groups.Read(p, noObjects{}, groups.Options{})
			if m.Job != c.job || m.Info.Min != c.min || m.Info.Groups != nil || c.job == "team-a/kai/train" && m.Group != p.Labels["kai.scheduler/subgroup-name"] {
				t.Errorf("got %+v", m)
			}
			if c.code == "" && len(problems) > 0 || c.code != "" && (len(problems) != 1 || problems[0].Code != c.code || !problems[0].Fatal) {
				t.Errorf("problems %v, want %q", problems, c.code)
			}
		})
	}
}

func TestKAIsTopologyHoldsAsFarAsItIsRequired(t *testing.T) {
	const required, preferred = "kai.scheduler/topology-required-placement", "kai.scheduler/topology-preferred-placement"
	ray := &groups.Table{}
	ray.Put(groups.FromObject(&unstructured.Unstructured{Object: map[string]any{
		"apiVersion": "ray.io/v1", "kind": "RayCluster",
		"metadata": map[string]any{"namespace": "team-a", "name": "c", "annotations": map[string]any{required: "block"}},
	}}))
	native := &groups.Table{}
	native.Put(&groups.PodGroup{API: groups.Coscheduling, Namespace: "team-a", Name: "g", Topology: "zone"})
	for _, c := range []struct {
		name     string
		objects  groups.Objects
		keys     []string
		topology string
		told     []string
	}{
		{"on the pods", noObjects{}, []string{kaiQueue, "q", required, "rack"}, "rack", nil},
		{"on the RayCluster", ray, []string{kaiQueue, "q", "label:ray.io/cluster", "c"}, "block", nil},
		{"a wish is told", noObjects{}, []string{kaiQueue, "q", preferred, "rack"}, "", []string{"preference-ignored"}},
		{"another group's own comes first", native, []string{"label:scheduling.x-k8s.io/pod-group", "g", required, "rack"}, "zone", nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, problems := groups.Read(pod(c.keys...), c.objects, groups.Options{})
			if m.Info.Topology != c.topology || !slices.Equal(codes(problems), c.told) {
				t.Errorf("topology %q, problems %v; want %q, %v", m.Info.Topology, problems, c.topology, c.told)
			}
		})
	}
}
