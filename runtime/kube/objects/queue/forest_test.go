package queue

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"pgregory.net/rapid"
	"sigs.k8s.io/yaml"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/config"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
)

// read makes Queue objects of lines "name: {spec}"; the first is the oldest.
func read(t testing.TB, text string) versions {
	out := versions{}
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		name, body, _ := strings.Cut(line, ": ")
		q := &api.Queue{}
		if err := yaml.UnmarshalStrict([]byte(body), &q.Spec); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		q.Name, q.UID = name, "uid-"+metav1.ObjectMeta{Name: name}.UID
		q.CreationTimestamp = metav1.Unix(int64(i), 0)
		out[name] = q
	}
	return out
}

// paths draws a tree: what its queues are called and what is set on them.
func paths(q *spec.Queue, above string) (out []string) {
	path := strings.TrimPrefix(above+"."+q.Name, ".")
	line := path
	if len(q.Guaranteed) > 0 {
		line += fmt.Sprintf(" guaranteed %v", q.Guaranteed)
	}
	if len(q.Max) > 0 {
		line += fmt.Sprintf(" max %v", q.Max)
	}
	out = append(out, line)
	for _, c := range q.Children {
		out = append(out, paths(c, path)...)
	}
	return out
}

// TestJudge tells, for objects that come and change, which tree is made of them and what
// each is told. "judge" is given what there is now; what holds is what it made before.
func TestJudge(t *testing.T) {
	datadriven.Walk(t, "testdata/judge", func(t *testing.T, path string) {
		held := versions{}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			v := judge(read(t, d.Input), held)
			var b strings.Builder
			if v.tree == nil {
				b.WriteString("no tree\n")
			} else {
				held = v.used
				b.WriteString(strings.Join(paths(v.tree.Root, ""), "\n") + "\n")
			}
			for _, name := range slices.Sorted(maps.Keys(v.findings)) {
				f := v.findings[name]
				if f.reason == Applied && len(f.lines) == 0 {
					continue
				}
				fmt.Fprintf(&b, "%s: %s\n", name, f.reason)
				for _, line := range f.lines {
					fmt.Fprintf(&b, "  %s\n", line)
				}
			}
			return b.String()
		})
	})
}

// TestEveryFieldOfAQueueArrives: an object with everything makes what a queues.yaml with
// everything does.
func TestEveryFieldOfAQueueArrives(t *testing.T) {
	objects := read(t, `
root: {adminACL: ops, template: {weight: 3}, policies: {fairness: drf}, pool: {placement: binpack, usageHalfLife: 24h, useMaxAge: 1m, placementRules: [{name: user, create: true, filter: {type: allow, users: [a], groups: [g]}, parents: [{name: fixed, value: r}]}, {name: provided}]}}
r: {dynamicChildren: true, submitACL: "alice,bob dev"}
a: {parent: r, guaranteed: {cpu: 64, memory: 256Gi, nvidia.com/gpu: 8, "nvidia.com/gpu:H100": 4}, max: {nvidia.com/gpu: "16"}, maxApplications: 10, weight: 2, policies: {jobOrder: fair, fairness: drf, victims: youngest-first}, strictFIFO: true, reserveAfter: never, minRuntime: 5m, preemption: {policy: fence, delay: 1h30m, idleAfter: 30m, idleGrace: 20s}, properties: {application.sort.policy: fifo}, limits: [{name: each, users: ["*"], max: {nvidia.com/gpu: 4}}, {groups: [dev], maxApplications: 2}], template: {max: {nvidia.com/gpu: 2}, minRuntime: 1m}}`)
	want, problems := config.Parse("queues.yaml", []byte(`
partitions:
- name: default
  placement: binpack
  usageHalfLife: 24h
  useMaxAge: 1m
  placementrules:
  - {name: user, create: true, filter: {type: allow, users: [a], groups: [g]}, parent: {name: fixed, value: r}}
  - name: provided
  queues:
  - name: root
    adminacl: ops
    childtemplate: {weight: 3}
    policies: {fairness: drf}
    queues:
    - name: r
      parent: true
      submitacl: alice,bob dev
      queues:
      - name: a
        resources:
          guaranteed: {vcore: 64, memory: 256Gi, nvidia.com/gpu: 8, "nvidia.com/gpu:H100": 4}
          max: {nvidia.com/gpu: 16}
        maxapplications: 10
        weight: 2
        policies: {jobOrder: fair, fairness: drf, victims: youngest-first}
        strictFIFO: true
        reserveAfter: never
        minRuntime: 5m
        preemption: {policy: fence, delay: 1h30m, idleAfter: 30m, idleGrace: 20s}
        properties: {application.sort.policy: fifo}
        limits:
        - {limit: each, users: ["*"], maxresources: {nvidia.com/gpu: 4}}
        - {groups: [dev], maxapplications: 2}
        childtemplate: {resources: {max: {nvidia.com/gpu: 2}}, minRuntime: 1m}
`))
	if want == nil {
		t.Fatal(problems)
	}
	v := judge(objects, versions{})
	if v.tree == nil {
		t.Fatal(v.findings)
	}
	if got, want := string(config.Render(v.tree)), string(config.Render(&want.Partitions[0].Tree)); got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// TestAnyObjectsMakeATree: whatever is written into objects, judge ends, what it makes is
// valid by itself, says something of every object, and an object that is not accepted is
// never in the tree as it is now.
func TestAnyObjectsMakeATree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		names := []string{"a", "b", "c", "d", "e"}
		draw := func(label string) versions {
			out := versions{}
			for _, name := range names {
				if !rapid.Bool().Draw(t, label+name) {
					continue
				}
				q := &api.Queue{}
				q.Name = name
				q.CreationTimestamp = metav1.NewTime(time.Unix(rapid.Int64Range(0, 2).Draw(t, "age"), 0))
				q.Spec.Parent = rapid.SampledFrom(append([]string{"", "root", "f"}, names...)).Draw(t, "parent")
				q.Spec.Name = rapid.SampledFrom([]string{"", "x", "y y", "X"}).Draw(t, "name")
				amounts := rapid.SampledFrom([]api.Resources{nil, {"cpu": api.MustParse("2")}, {"cpu": api.MustParse("5")}})
				q.Spec.Guaranteed, q.Spec.Max = amounts.Draw(t, "guaranteed"), amounts.Draw(t, "max")
				q.Spec.MaxApplications = rapid.SampledFrom([]int64{0, 0, 3, 5}).Draw(t, "apps")
				out[name] = q
			}
			return out
		}
		held := judge(draw("held"), versions{}).used
		now := draw("now")
		v := judge(now, held)
		if v.tree == nil {
			t.Fatalf("no tree: %v", v.findings)
		}
		if _, problems := config.Parse("again", config.Render(v.tree)); problems.Err() != nil {
			t.Fatal(problems)
		}
		for name, q := range now {
			f, ok := v.findings[name]
			if !ok || f.reason != Applied && len(f.lines) == 0 {
				t.Fatalf("nothing is said of %s", name)
			}
			if (f.reason == Applied) != same(v.used[name], q) {
				t.Fatalf("%s is %s, but in the tree is %v", name, f.reason, v.used[name])
			}
		}
	})
}

// BenchmarkJudge is one look at a thousand Queue objects, one of them changed to nonsense.
func BenchmarkJudge(b *testing.B) {
	objects := versions{}
	for i := range 1000 {
		q := &api.Queue{}
		q.Name = fmt.Sprintf("q%d", i)
		if i >= 10 {
			q.Spec.Parent = fmt.Sprintf("q%d", i%10)
		}
		q.Spec.Max = api.Resources{"nvidia.com/gpu": api.MustParse("64"), "memory": api.MustParse("1Ti")}
		objects[q.Name] = q
	}
	held := judge(objects, versions{}).used
	bad := objects["q999"].DeepCopy()
	bad.Spec.Max["nvidia.com/gpu"] = api.MustParse("65")
	now := maps.Clone(objects)
	now["q999"] = bad
	for b.Loop() {
		if v := judge(now, held); v.tree == nil || v.findings["q999"].reason != Invalid {
			b.Fatal(v.findings["q999"])
		}
	}
}
