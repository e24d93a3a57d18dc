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
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/guests"
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

// BenchmarkCycleWasm is the same with Wasm policies of all three kinds.
func BenchmarkCycleWasm(b *testing.B) {
	set := cycle.Set{Generation: 1, Named: map[string]policies.Policy{}}
	for _, name := range []string{"fifo", "guaranteed-fair", "least-lost-work"} {
		set.Named[name] = module(b, name)
	}
	for _, w := range workloads {
		b.Run(w.String(), func(b *testing.B) { w.run(b, set) })
	}
}

// module loads a shipped guest, bounded by fuel alone, so that a busy machine changes
// nothing.
func module(tb testing.TB, name string) policies.Policy {
	bin, err := guests.Build(name)
	if err != nil {
		tb.Fatal(err)
	}
	m, err := wasm.Load(context.Background(), bin, wasm.Options{Name: name, Timeout: wasm.NoTimeout})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := m.Close(); err != nil {
			tb.Error(err)
		}
	})
	return m
}

// BenchmarkFull is a cluster with nothing to give: 1,000 nodes with 7 of 8 GPUs
// free and 1,000 jobs that ask for 8. S1 is a cycle in which one node changed, S2
// is a small job behind them all, P1 one preemption.
func BenchmarkFull(b *testing.B) {
	for _, nodes := range []int{1000, 5000} {
		b.Run(fmt.Sprintf("S1/nodes=%d/pending=1000", nodes), func(b *testing.B) {
			p := saturated(b, nodes)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				p.Post(ledger.NodeAdded{Node: eightGPUs(i%nodes, 8)})
				p.Turn(context.Background())
			}
		})
		b.Run(fmt.Sprintf("S2/nodes=%d/pending=1000", nodes), func(b *testing.B) {
			p := saturated(b, nodes)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				id := fmt.Sprintf("s%d", i)
				p.Post(ledger.JobSubmitted{Job: gpuJob(id, 1, int64(1e6+i))})
				if t := p.Turn(context.Background()); len(t.Taken.Binds) != 1 {
					b.Fatal("the small job did not start")
				}
				p.Post(ledger.JobGone{ID: id})
				p.Turn(context.Background())
			}
		})
	}
}

func eightGPUs(i int, gpus int64) spec.Node {
	return spec.Node{Name: fmt.Sprintf("n%05d", i), Capacity: request(96_000, 1<<40, gpus, 64)}
}

func gpuJob(id string, gpus, submit int64) *spec.Job {
	return &spec.Job{
		ID: id, Queue: "root.default", User: "u", Submit: submit,
		Tasks: []spec.TaskGroup{{Name: "t", Min: 1, Size: 1, Request: request(1000, 1<<30, gpus, 1)}},
	}
}

func saturated(b *testing.B, nodes int) *loop.Loop {
	p := loop.New(ledger.New(spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "default", ReserveAfter: -1}}}}),
		cycle.Set{}, nil, clock.NewVirtual(1e9))
	for i := range nodes {
		p.Post(ledger.NodeAdded{Node: eightGPUs(i, 8)}, ledger.JobSubmitted{Job: gpuJob(fmt.Sprintf("f%05d", i), 1, int64(i))})
	}
	p.Swap(cycle.Set{Placement: pack.Spread}) // one GPU on every node
	if t := p.Turn(context.Background()); len(t.Taken.Binds) != nodes {
		b.Fatalf("%d of %d nodes are held", len(t.Taken.Binds), nodes)
	}
	for i := range 1000 {
		p.Post(ledger.JobSubmitted{Job: gpuJob(fmt.Sprintf("w%05d", i), 8, int64(10_000+i))})
	}
	if t := p.Turn(context.Background()); len(t.Taken.Binds) != 0 {
		b.Fatal("an 8-GPU job found a place")
	}
	return p
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
