package loop_test

import (
	"context"
	"fmt"
	"runtime"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
)

// workload is one of the like-for-like workloads that yunikorn-core was measured
// with (see docs/benchmarks.md): pods asked for through events, placed by the
// loop, and counted when the plan that binds them is handed to the actor.
type workload struct {
	name            string
	nodes, pods     int
	parents, leaves int // leaves in all
	appsPerLeaf     int
	placement       pack.Strategy
	mixed           bool
	gang            bool
}

var workloads = []workload{
	{name: "W1", nodes: 1000, pods: 10_000, parents: 2, leaves: 10, appsPerLeaf: 1},
	{name: "W1", nodes: 5000, pods: 50_000, parents: 2, leaves: 10, appsPerLeaf: 1},
	{name: "W1", nodes: 50_000, pods: 50_000, parents: 2, leaves: 10, appsPerLeaf: 1},
	{name: "W2", nodes: 1000, pods: 10_000, parents: 1, leaves: 1, appsPerLeaf: 1},
	{name: "W3", nodes: 5000, pods: 50_000, parents: 10, leaves: 100, appsPerLeaf: 1},
	{name: "W4", nodes: 5000, pods: 50_000, parents: 2, leaves: 10, appsPerLeaf: 10},
	{name: "W4", nodes: 5000, pods: 50_000, parents: 2, leaves: 10, appsPerLeaf: 80},
	{name: "W5", nodes: 5000, pods: 50_000, parents: 2, leaves: 10, appsPerLeaf: 1, placement: pack.BinPack},
	{name: "W6", nodes: 5000, pods: 50_000, parents: 2, leaves: 10, appsPerLeaf: 10, placement: pack.BinPack, mixed: true},
	{name: "W6-fragmentation", nodes: 5000, pods: 50_000, parents: 2, leaves: 10, appsPerLeaf: 10, mixed: true},
	{name: "G1", nodes: 1000, pods: 4000, parents: 1, leaves: 1, appsPerLeaf: 1, gang: true},
	{name: "full", nodes: 10_000, pods: 100_000, parents: 2, leaves: 10, appsPerLeaf: 100},
}

func (w workload) String() string {
	return fmt.Sprintf("%s/nodes=%d/pods=%d/leaves=%d/apps=%d/%s", w.name, w.nodes, w.pods, w.leaves, w.appsPerLeaf, w.placement)
}

// sizes of the mixed workload, GPUs per pod.
var sizes = []int64{1, 1, 1, 2, 4, 8}

func (w workload) tree() spec.Tree {
	root := &spec.Queue{Name: "root"}
	share := int64(w.nodes) * 10 / int64(w.leaves)
	for p := range w.parents {
		parent := &spec.Queue{Name: fmt.Sprintf("p%02d", p)}
		for l := range w.leaves / w.parents {
			parent.Children = append(parent.Children, &spec.Queue{
				Name: fmt.Sprintf("q%02d", l), Guaranteed: spec.GPUs(share),
			})
		}
		root.Children = append(root.Children, parent)
	}
	return spec.Tree{Root: root}
}

func (w workload) nodeEvents() []ledger.Event {
	gpus := int64(10)
	if w.mixed {
		gpus = 30 // a third used at the end, as in the measured workload
	}
	out := make([]ledger.Event, w.nodes)
	for i := range out {
		out[i] = ledger.NodeAdded{Node: spec.Node{Name: fmt.Sprintf("n%05d", i), Capacity: request(gpus*4000, gpus<<34, gpus, gpus)}}
	}
	return out
}

func request(cpu, mem, gpus, pods int64) spec.Resources {
	var r spec.Resources
	r = r.Set(amount.CPUName, amount.Amount(cpu))
	r = r.Set(amount.MemoryName, amount.Amount(mem))
	r = r.Set(amount.GPUName, amount.Amount(gpus*1000))
	return r.Set(amount.PodsName, amount.Amount(pods))
}

func (w workload) jobEvents() (out []ledger.Event) {
	jobs := w.leaves * w.appsPerLeaf
	for i := range jobs {
		each := int64(w.pods*(i+1)/jobs - w.pods*i/jobs)
		leaf := i % w.leaves
		per := w.leaves / w.parents
		gpus, priority := int64(1), int64(0)
		if w.mixed {
			gpus = sizes[i/w.leaves%len(sizes)]
			if i%4 == 0 {
				priority = 100
			}
		}
		g := spec.TaskGroup{Name: "pods", Size: each, Request: request(4000*gpus, gpus<<34, gpus, 1)}
		if w.gang {
			g.Min = each
		}
		out = append(out, ledger.JobSubmitted{Job: &spec.Job{
			ID: fmt.Sprintf("j%05d", i), Queue: fmt.Sprintf("root.p%02d.q%02d", leaf/per, leaf%per),
			User: "u", Priority: priority, Submit: int64(i), Tasks: []spec.TaskGroup{g},
		}})
	}
	return out
}

type counter struct{ binds []plan.Bind }

func (c *counter) Act(_ spec.Time, r ledger.Result) { c.binds = append(c.binds, r.Taken.Binds...) }

// BenchmarkCycle fills an empty cluster: allocations per second from the first
// event to the last bind in the actor's hands, with a predicate asked for every
// node chosen.
func BenchmarkCycle(b *testing.B) {
	for _, w := range workloads {
		b.Run(w.String(), func(b *testing.B) { w.run(b, cycle.Set{}) })
	}
}

func (w workload) run(b *testing.B, set cycle.Set) {
	b.ReportAllocs()
	set.Placement = w.placement
	set.Filter = func(world.ShapeID, world.NodeIx) bool { return true }
	nodes, jobs := w.nodeEvents(), w.jobEvents()
	var before, after runtime.MemStats
	var objects, bytes uint64
	placed := 0
	for range b.N {
		b.StopTimer()
		c := &counter{binds: make([]plan.Bind, 0, w.pods)}
		p := loop.New(ledger.New(w.tree()), set, c, clock.NewVirtual(1e9))
		p.Post(nodes...)
		p.Turn(context.Background())
		runtime.GC()
		runtime.ReadMemStats(&before)
		b.StartTimer()
		p.Post(jobs...)
		for {
			if t := p.Turn(context.Background()); t.Taken.Empty() {
				break
			}
		}
		b.StopTimer()
		runtime.ReadMemStats(&after)
		objects += after.Mallocs - before.Mallocs
		bytes += after.TotalAlloc - before.TotalAlloc
		placed += len(c.binds)
		b.StartTimer()
	}
	if placed != b.N*w.pods {
		b.Fatalf("%d of %d pods placed", placed, b.N*w.pods)
	}
	n := float64(placed)
	b.ReportMetric(n/b.Elapsed().Seconds(), "alloc/s")
	b.ReportMetric(float64(objects)/n, "objects/alloc")
	b.ReportMetric(float64(bytes)/n, "bytes/alloc")
}
