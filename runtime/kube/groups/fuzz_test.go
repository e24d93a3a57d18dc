package groups_test

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/groups/groupstest"
)

// Whatever stands in the annotation: no crash, groups that the core accepts, and a
// problem wherever YuniKorn's JSON decoder would have refused the text.
func FuzzTaskGroups(f *testing.F) {
	for _, name := range groupstest.Names() {
		fixture, err := groupstest.Load(name)
		if err != nil {
			f.Fatal(err)
		}
		for _, p := range fixture.Pods {
			if text := p.Annotations[taskGroups]; text != "" {
				f.Add(text)
			}
		}
	}
	for _, text := range []string{"", "[", "[[]]", "[{}]", `[{"name":1}]`, `[{"minResource":{"cpu":"1e99"}}]`, "null", "[null]", "\xff", `[{"name":"a","minMember":1},]`} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, problems := groups.Read(app(text), noObjects{}, groups.Options{})
		if m.Job != "team-a/yunikorn/a" {
			t.Fatalf("the job became %q", m.Job)
		}
		if text != "" && !json.Valid([]byte(text)) && len(problems) == 0 {
			t.Errorf("%q is no JSON and nobody is told", text)
		}
		seen := map[string]bool{}
		for _, g := range m.Info.Groups {
			if g.Name == "" || seen[g.Name] || g.Min < 0 || g.Min > spec.MaxTasks {
				t.Errorf("group %+v", g)
			}
			seen[g.Name] = true
			checkAmounts(t, g.Request)
		}
	})
}

func checkAmounts(t *testing.T, r spec.Resources) {
	t.Helper()
	if !slices.IsSortedFunc(r, func(a, b spec.Resource) int { return strings.Compare(a.Name, b.Name) }) {
		t.Errorf("unsorted: %v", r)
	}
	for _, e := range r {
		if e.Amount < 0 || e.Amount > amount.Limit {
			t.Errorf("%s is %d", e.Name, e.Amount)
		}
	}
}

// Any annotation with any value gives a job and, at worst, problems.
func FuzzAnnotations(f *testing.F) {
	keys := []string{
		groups.KeyQueue, groups.KeyNotice, groups.KeyCheckpointEvery, groups.KeyRestartCost, groups.KeyDuration,
		groups.KeyDeadline, groups.KeyNonPreemptible, groups.KeyGangMin, taskGroups,
		"yunikorn.apache.org/user.info", "yunikorn.apache.org/schedulingPolicyParameters", "yunikorn.apache.org/allow-preemption",
		"scheduling.k8s.io/group-name", "label:kueue.x-k8s.io/pod-group-name", "kueue.x-k8s.io/pod-group-total-count",
		"label:leaderworkerset.sigs.k8s.io/name", "leaderworkerset.sigs.k8s.io/size", "label:ray.io/cluster",
		"label:pod-group.scheduling.sigs.k8s.io", "label:pod-group.scheduling.sigs.k8s.io/min-available",
	}
	for i, v := range []string{"10m", "-1", "true", "2026-11-30T18:00:00Z", `{"user":"a"}`, "a=b c", "999999999999999999999", "[]"} {
		f.Add(byte(i), v, byte(i+3), v)
	}
	f.Fuzz(func(t *testing.T, a byte, x string, b byte, y string) {
		p := pod(keys[int(a)%len(keys)], x, keys[int(b)%len(keys)], y)
		m, problems := groups.Read(p, noObjects{}, groups.Options{})
		if !strings.HasPrefix(m.Job, "team-a/") || m.Dialect == "" {
			t.Errorf("%+v", m)
		}
		i := m.Info
		if i.Min < -1 || i.Min > spec.MaxTasks || i.Notice < 0 || i.Duration < 0 || i.Checkpoint < 0 || i.RestartCost < 0 || i.GangTimeout < 0 {
			t.Errorf("%+v", i)
		}
		for _, p := range problems {
			if p.Code == "" || p.Field == "" || p.Text == "" {
				t.Errorf("%+v", p)
			}
		}
	})
}

// Reading leaves the pod as it was, and says the same each time.
func TestReadingIsAFunction(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f, err := groupstest.Load(rapid.SampledFrom(groupstest.Names()).Draw(t, "manifest"))
		if err != nil {
			t.Fatal(err)
		}
		p := rapid.SampledFrom(f.Pods).Draw(t, "pod")
		for key := range p.Annotations {
			if rapid.Bool().Draw(t, "spoil "+key) {
				p.Annotations[key] = rapid.String().Draw(t, "value")
			}
		}
		before := p.String()
		a, pa := groups.Read(p, f.Table(), groups.Options{})
		b, pb := groups.Read(p, f.Table(), groups.Options{})
		if p.String() != before {
			t.Fatal("the pod was changed")
		}
		if !same(a, b) || !same(pa, pb) {
			t.Fatalf("%+v, then %+v", a, b)
		}
	})
}

func same(a, b any) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}
