package trace

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/pattern"
)

// same compares what both forms can say.
func same(t interface{ Fatalf(string, ...any) }, what string, want, got *Trace) {
	for _, d := range []string{cmp.Diff(want.Nodes, got.Nodes), cmp.Diff(want.Queues, got.Queues), cmp.Diff(want.Jobs, got.Jobs)} {
		if d != "" {
			t.Fatalf("%s: %s", what, d)
		}
	}
}

func fromYAML(t interface{ Fatalf(string, ...any) }, text []byte) *Trace {
	ps := &Problems{}
	tr := parse(source{"x.yaml", text}, Options{}, ps)
	if ps.Total > 0 {
		t.Fatalf("%v\n%s", ps, text)
	}
	tr.settle()
	return tr
}

func TestEveryKindOfTraceComesBackFromYAMLAndCSV(t *testing.T) {
	for _, tr := range []*Trace{
		Talk1(), Talk2(), Use(),
		mustLoad(t, shared(t, "shockwave-tacc32/jobs_120_with_published_results.csv.gz"), Options{}),
		mustLoad(t, shared(t, "openb-2023/openb_pod_list_cpu0.csv.gz"), Options{}),
	} {
		t.Run(tr.Name, func(t *testing.T) {
			dir := t.TempDir()
			if err := WriteCSV(dir, tr); err != nil {
				t.Fatal(err)
			}
			same(t, "csv", tr, mustLoad(t, dir, Options{}))
			var b bytes.Buffer
			if err := WriteYAML(&b, tr); err != nil {
				t.Fatal(err)
			}
			back := fromYAML(t, b.Bytes())
			same(t, "yaml", tr, back)
			if back.Name != tr.Name || back.End != tr.End {
				t.Errorf("name %q, end %d", back.Name, back.End)
			}
		})
	}
}

func TestAnyTraceComesBackFromYAML(t *testing.T) {
	names := []string{"a", "true", "0", "x: y", "null", "-", "q\"uote", "ü b", "n1", "1e3", "#c", "[z"}
	rapid.Check(t, func(rt *rapid.T) {
		tr := &Trace{Name: rapid.SampledFrom(names).Draw(rt, "name")}
		root := &spec.Queue{Name: "root", Parent: true}
		tr.Queues.Root = root
		for i := range rapid.IntRange(1, 4).Draw(rt, "queues") {
			root.Children = append(root.Children, &spec.Queue{
				Name: fmt.Sprintf("q%d", i), Weight: rapid.Int64Range(0, 5).Draw(rt, "weight"),
				Guaranteed: spec.Resources{{Name: "nvidia.com/gpu", Amount: 1500}},
				IdleAfter:  rapid.SampledFrom([]spec.Duration{0, -1, 90 * spec.Second, hour}).Draw(rt, "idle after"),
				IdleGrace:  rapid.SampledFrom([]spec.Duration{0, 1, 10 * spec.Second}).Draw(rt, "idle grace"),
			})
		}
		for i := range rapid.IntRange(1, 5).Draw(rt, "nodes") {
			n := spec.Node{Name: fmt.Sprintf("n%02d", i*rapid.IntRange(1, 2).Draw(rt, "step")), Capacity: resources(8000, 100, 5)}
			if !slices.ContainsFunc(tr.Nodes, func(o spec.Node) bool { return o.Name == n.Name }) {
				tr.Nodes = append(tr.Nodes, n)
			}
		}
		for i := range rapid.IntRange(0, 5).Draw(rt, "jobs") {
			tr.Jobs = append(tr.Jobs, drawJob(rt, fmt.Sprint(rapid.SampledFrom(names).Draw(rt, "id"), i), names))
		}
		tr.settle()
		var b bytes.Buffer
		if err := WriteYAML(&b, tr); err != nil {
			rt.Fatal(err)
		}
		same(rt, b.String(), tr, fromYAML(rt, b.Bytes()))
	})
}

func drawJob(rt *rapid.T, id string, users []string) Job {
	d := func(name string) int64 { return rapid.Int64Range(0, maxSeconds*spec.Second).Draw(rt, name) }
	size := rapid.Int64Range(1, 1000).Draw(rt, "size")
	g := spec.TaskGroup{
		Name: "worker", Size: size, Min: rapid.Int64Range(0, size).Draw(rt, "min"),
		Request: resources(rapid.Int64Range(1, 1000).Draw(rt, "gpu"), rapid.Int64Range(0, maxCPU).Draw(rt, "cpu"), rapid.Int64Range(0, maxMiB).Draw(rt, "mem")),
	}
	return Job{Run: d("run"), Use: drawUse(rt), Warmup: rapid.Bool().Draw(rt, "warm"), Job: spec.Job{
		ID: id, Queue: "root.q0", User: rapid.SampledFrom(users).Draw(rt, "user"), Submit: d("submit"), Duration: d("declared"), Deadline: d("deadline"),
		Notice: d("notice"), CheckpointEvery: d("checkpoint"), RestartCost: d("restart"), NonPreemptible: rapid.Bool().Draw(rt, "np"),
		Priority: rapid.Int64Range(-5, 5).Draw(rt, "priority"), Tasks: []spec.TaskGroup{g},
	}}
}

func drawUse(rt *rapid.T) pattern.Pattern {
	texts := []string{"", "busy", "idle", "busy for 30s, idle", "duty=2ms/20s", " train=0.9/1m for 5m,hang for 1s , repeat "}
	p, err := pattern.Parse(rapid.SampledFrom(texts).Draw(rt, "use"))
	if err != nil {
		return pattern.Pattern{}
	}
	return p
}

func TestATraceOfSeveralTaskGroupsIsNotWrittenWrong(t *testing.T) {
	tr := Talk1()
	tr.Jobs[0].Tasks = append(tr.Jobs[0].Tasks, tr.Jobs[0].Tasks[0])
	if err := WriteYAML(&bytes.Buffer{}, tr); err == nil {
		t.Error("it was written")
	}
	if err := WriteCSV(t.TempDir(), tr); err == nil {
		t.Error("it was written")
	}
}

func TestNumberedNodesAreWrittenAsOneEntry(t *testing.T) {
	var b bytes.Buffer
	if err := WriteYAML(&b, Talk1()); err != nil {
		t.Fatal(err)
	}
	want := "nodes:\n  - node: n\n    gpus: 4\n    count: 25\nqueues:\n"
	if !bytes.Contains(b.Bytes(), []byte(want)) {
		t.Errorf("%s", b.Bytes()[:200])
	}
}
