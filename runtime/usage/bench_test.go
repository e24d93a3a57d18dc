package usage_test

import (
	"fmt"
	goruntime "runtime"
	"testing"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/wire"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/usage"
)

// eight is a full report of a node with 8 GPUs and a pod on each.
func eight(node string) *wire.NodeReport {
	r := report(1, true, nvmlUp)
	r.Node = node
	for i := range 8 {
		g := gpuAt(i, wire.Health_HEALTHY, "")
		busy, memory := uint32(900), uint64(70<<30)
		g.Uuid, g.Busy, g.MemoryUsed, g.MemoryTotal, g.Product = fmt.Sprintf("GPU-%s-%d", node, i), &busy, &memory, &memory, "H100"
		u := use(fmt.Sprintf("%s-%d", node, i), i, 900, 0, 0)
		u.Gpu, u.Memory = g.Uuid, &memory
		r.Gpus, r.Uses = append(r.Gpus, g), append(r.Uses, u)
	}
	return r
}

// BenchmarkApply takes in a report in which one pod of eight changed.
func BenchmarkApply(b *testing.B) {
	c := clock.NewVirtual(1e18)
	table := usage.NewTable(&sink{}, usage.TableOptions{Clock: c})
	s, _ := table.Open("n")
	full := eight("n")
	if _, err := s.Apply(full); err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for i := 2; b.Loop(); i++ {
		c.Advance(c.Now() + 10*spec.Second)
		r := report(uint64(i), false, nvmlUp, full.Uses[i%8])
		if v, err := s.Apply(r); err != nil || v != usage.Taken {
			b.Fatal(v, err)
		}
	}
}

// BenchmarkSnapshot is of 5,000 nodes with 8 GPUs, and says what each takes in memory.
func BenchmarkSnapshot(b *testing.B) {
	heap := func() float64 {
		var m goruntime.MemStats
		goruntime.GC()
		goruntime.ReadMemStats(&m)
		return float64(m.HeapAlloc)
	}
	const nodes = 5000
	before := heap()
	table := usage.NewTable(nil, usage.TableOptions{})
	for i := range nodes {
		s, _ := table.Open(nodeName(i))
		if _, err := s.Apply(eight(nodeName(i))); err != nil {
			b.Fatal(err)
		}
	}
	each := (heap() - before) / nodes
	b.ReportAllocs()
	for b.Loop() {
		if len(table.Snapshot()) != nodes {
			b.Fatal("not all are there")
		}
	}
	b.ReportMetric(each, "heap-bytes/node")
}
