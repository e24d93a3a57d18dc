package agent

import (
	"fmt"
	"testing"
)

// One sweep of 8 GPUs with 64 processes, half of them idle and armed, on fakes: what the
// agent itself costs every 5 s.
func BenchmarkSweep(b *testing.B) {
	for _, size := range []struct{ gpus, processes int }{{8, 64}, {8, 1024}} {
		b.Run(fmt.Sprintf("gpus=%d/processes=%d", size.gpus, size.processes), func(b *testing.B) {
			n := newNode(b, size.gpus, nil)
			each := size.processes / size.gpus
			for gpu := range size.gpus {
				use := map[uint32]int{}
				for i := range each {
					pid := uint32(gpu*each + i + 1)
					n.who.set(pid, fmt.Sprintf("pod-%d", pid), 1)
					use[pid] = i % 2 * 10
				}
				n.put(gpu, use)
				n.kube.give(gpu, "team", fmt.Sprintf("pod-%d", gpu))
			}
			n.run()
			b.ReportAllocs()
			for b.Loop() {
				n.sweep()
			}
			b.ReportMetric(float64(len(n.last().Uses)), "uses")
		})
	}
}

func BenchmarkReport(b *testing.B) {
	n := newNode(b, 8, nil)
	for gpu := range 8 {
		use := map[uint32]int{}
		for i := range 8 {
			pid := uint32(gpu*8 + i + 1)
			n.who.set(pid, fmt.Sprintf("pod-%d", pid), 1)
			use[pid] = 100
		}
		n.put(gpu, use)
	}
	s := n.run()
	b.ReportAllocs()
	for b.Loop() {
		s.Report(s.At)
	}
}
