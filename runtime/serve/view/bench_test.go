package view

import (
	"fmt"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/usage"
)

// large has 5,000 nodes in 50 queues, 20,000 running tasks of 5,000 jobs, and 5,000 jobs
// that wait.
func large(tb testing.TB) *world.World {
	root := &spec.Queue{Name: "root", Parent: true}
	for q := range 50 {
		root.Children = append(root.Children, &spec.Queue{Name: fmt.Sprintf("q%02d", q), Guaranteed: spec.GPUs(100), Max: spec.GPUs(4000)})
	}
	res := amount.NewTable()
	w := world.New(res, quota.New(res, spec.Tree{Root: root}))
	for n := range 5000 {
		w.AddNode(spec.Node{
			Name: fmt.Sprintf("node-%05d", n), GPUType: []string{"H100", "A100", "L40S"}[n%3],
			Capacity: spec.Resources{{Name: "cpu", Amount: 96_000}, {Name: "memory", Amount: 1 << 40}}.Set(amount.GPUName, 8000),
		})
	}
	w.Quota.Rescale()
	for j := range 10_000 {
		q, _ := w.Quota.Lookup(fmt.Sprintf("root.q%02d", j%50))
		job := w.AddJob(&spec.Job{
			ID: fmt.Sprintf("team-%d/job-%05d", j%50, j), User: fmt.Sprintf("u%d", j%200), Submit: int64(j),
			Tasks: []spec.TaskGroup{{Name: "worker", Min: 4, Size: 4, Request: spec.Resources{{Name: "cpu", Amount: 4000}, {Name: "memory", Amount: 1 << 34}}.Set(amount.GPUName, 2000)}},
		}, q)
		if j < 5000 {
			for i := range job.Tasks {
				w.Place(&job.Tasks[i], world.NodeIx(j), 3<<(2*i), world.Bound, int64(j))
			}
			continue
		}
		job.Notes = &plan.Why{Code: plan.QueueMax, Queue: "root", Resource: amount.GPUName, Used: 4000, Max: 4000, Need: 8000}
	}
	return w
}

// BenchmarkCapture is what a snapshot costs the loop.
func BenchmarkCapture(b *testing.B) {
	w := large(b)
	b.ReportAllocs()
	for b.Loop() {
		if c := capture(w, 1, 20_000); len(c.tasks) != 20_000 || len(c.jobs) != 10_000 {
			b.Fatal(len(c.tasks), len(c.jobs))
		}
	}
}

// BenchmarkRender is what it costs beside the loop.
func BenchmarkRender(b *testing.B) {
	c := capture(large(b), 1, 20_000)
	b.ReportAllocs()
	for b.Loop() {
		if s := render(c); s.Pool.Pending != 5000 {
			b.Fatal(s.Pool)
		}
	}
}

// BenchmarkMeasure is what it costs beside the loop to bring reports of 40,000 GPUs to
// jobs and queues, and to list them.
func BenchmarkMeasure(b *testing.B) {
	c := capture(large(b), 1, 20_000)
	nodes, busy, given := make([]usage.Node, 5000), uint32(700), true
	for n := range nodes {
		nodes[n] = usage.Node{Name: fmt.Sprintf("node-%05d", n), Connected: true}
		for g := range uint32(8) {
			uuid := fmt.Sprintf("GPU-%d-%d", n, g)
			nodes[n].GPUs = append(nodes[n].GPUs, &wire.Gpu{Uuid: uuid, Index: g, Busy: &busy})
			nodes[n].Uses = append(nodes[n].Uses, &wire.Use{Owner: fmt.Sprintf("team-%d/job-%05d", n%50, n), Gpu: uuid, Busy: &busy, Assigned: &given})
		}
	}
	pods := func(uid, _, _ string) (string, bool) { return uid, true }
	b.ReportAllocs()
	for b.Loop() {
		c.measure(nodes, pods)
		s := render(c)
		if m := s.Queues[0].Of(amount.GPUName).Measured; m.Busy != 40_000*700 || m.Unknown != 0 {
			b.Fatal(m)
		}
		if gpus := s.renderGPUs(byNode(nodes), pods); len(gpus) != 40_000 || gpus[0].Uses[0].Queue != "root.q00" {
			b.Fatal(len(gpus), gpus[0])
		}
	}
}

// BenchmarkSample is what a sample of use over time costs the loop, every five seconds.
func BenchmarkSample(b *testing.B) {
	w, u := large(b), newUsage()
	b.ReportAllocs()
	for now := spec.Time(0); b.Loop(); now += FineStep {
		u.sample(w, now, nil)
	}
}
