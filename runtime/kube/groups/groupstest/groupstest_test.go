package groupstest_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"

	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/groups/groupstest"
)

func requests(pairs ...string) corev1.ResourceList {
	out := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		out[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return out
}

func cluster(t *testing.T, c groupstest.RayCluster) groupstest.Fixture {
	t.Helper()
	f, err := c.Make()
	if err != nil {
		t.Fatal(err)
	}
	return f
}

// What is made of code is what was written by hand, but for names and UIDs.
func TestAMadeClusterIsTheManifests(t *testing.T) {
	for _, manifest := range []string{"kuberay", "kuberay-yunikorn", "kuberay-volcano", "kuberay-scheduler-plugins", "native-v1alpha2", "native-v1beta1"} {
		t.Run(manifest, func(t *testing.T) {
			want, err := groupstest.Copy(manifest, "sample", "team-a")
			if err != nil {
				t.Fatal(err)
			}
			got := cluster(t, groupstest.RayCluster{
				Manifest: manifest,
				Groups:   []groupstest.Workers{{Name: "worker", Replicas: 2, Min: 2, Requests: requests("cpu", "1", "memory", "1Gi")}},
			})
			if len(got.Pods) != len(want.Pods) {
				t.Fatalf("%d pods, want %d", len(got.Pods), len(want.Pods))
			}
			for i, p := range got.Pods {
				w := want.Pods[i]
				if !strings.HasPrefix(p.Name, w.GenerateName) || p.GenerateName != w.GenerateName {
					t.Errorf("pod %s, want %s", p.Name, w.Name)
				}
				p.Name, p.UID = w.Name, w.UID
				if d := cmp.Diff(written(t, w), written(t, p)); d != "" {
					t.Errorf("pod %d (-want +got):\n%s", i, d)
				}
			}
		})
	}
}

// written is a pod as the API server would get it.
func written(t *testing.T, p *corev1.Pod) string {
	t.Helper()
	out, err := json.MarshalIndent(p, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(out)
}

func TestAClusterIsAsLargeAsWanted(t *testing.T) {
	f := cluster(t, groupstest.RayCluster{
		Name: "big", Namespace: "team-b", Queue: "root.x", Scheduler: "muster", Annotations: map[string]string{groups.KeyNotice: "30s"},
		Groups: []groupstest.Workers{
			{Name: "gpu", Replicas: 500, Min: 400, Requests: requests("cpu", "8", "nvidia.com/gpu", "8"), NodeSelector: map[string]string{"a": "b"}},
			{Name: "tpu", Replicas: 3, Min: 2, Hosts: 4, Requests: requests("google.com/tpu", "4")},
		},
	})
	table := f.Table()
	table.Put(&groups.PodGroup{API: groups.Ray, Namespace: "team-b", Name: "big", Hosts: map[string]int32{"tpu": 4}})
	names, uids, slices := map[string]bool{}, map[string]bool{}, map[string]int{}
	var infos []groups.Info
	for _, p := range f.Pods {
		names[p.Name], uids[string(p.UID)] = true, true
		m, problems := groups.Read(p, table, groups.Options{})
		if len(problems) > 0 || m.Job != "team-b/yunikorn/big" || m.Info.Queue != "root.x" || p.Spec.SchedulerName != "muster" {
			t.Fatalf("%+v %v", m, problems)
		}
		slices[m.Slice]++
		infos = append(infos, m.Info)
	}
	if len(f.Pods) != 1+500+12 || len(names) != len(f.Pods) || len(uids) != len(f.Pods) || len(slices) != 4 {
		t.Errorf("%d pods with %d names and %d UIDs in %d slices", len(f.Pods), len(names), len(uids), len(slices)-1)
	}
	info := groups.Merge(infos...)
	if g := info.Groups; len(g) != 3 || g[1].Min != 400 || g[2].Min != 8 || info.Notice == 0 {
		t.Errorf("%+v", info)
	}
}

func TestAReplacementIsOfTheSameGroupUnderAnotherName(t *testing.T) {
	f := cluster(t, groupstest.RayCluster{Groups: []groupstest.Workers{{Name: "w", Replicas: 1, Min: 1, Requests: requests("cpu", "1")}}})
	old := f.Pods[1]
	next := groupstest.Replacement(old, 1)
	a, _ := groups.Read(old, f.Table(), groups.Options{})
	b, _ := groups.Read(next, f.Table(), groups.Options{})
	if next.Name == old.Name || next.UID == old.UID || a.Job != b.Job || a.Group != b.Group {
		t.Errorf("%s %s %+v", next.Name, next.UID, b)
	}
}

func TestCopiesAreToldApartAndSpeakTheSame(t *testing.T) {
	seen := map[string]bool{}
	for _, name := range groupstest.Names() {
		for _, job := range []string{"one", "two"} {
			f, err := groupstest.Copy(name, job, "team-"+job)
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range f.Pods {
				m, problems := groups.Read(p, f.Table(), groups.Options{})
				if p.Namespace != "team-"+job || !strings.Contains(m.Job, job) || m.Wait != "" || len(problems) > 0 {
					t.Errorf("%s: %+v %v", name, m, problems)
				}
				if key := name + string(p.UID); seen[key] {
					t.Errorf("%s: UID %s twice", name, p.UID)
				} else {
					seen[key] = true
				}
			}
		}
	}
}
