//go:build linux && (amd64 || arm64)

package nvml

import (
	"testing"
	"time"
)

// BenchmarkSweep is what the agent asks every 5 s of a node with 8 GPUs and 8 processes
// on each, through the guard. The driver is a stub that answers at once: this is what the
// agent adds.
func BenchmarkSweep(b *testing.B) {
	s := newStub(b)
	for i := range uint32(8) {
		s.set(i, keyProcesses, 8)
		s.set(i, keyLiveSamples, 1)
	}
	for _, guard := range []bool{false, true} {
		name := "bare"
		if guard {
			name = "guarded"
		}
		b.Run(name, func(b *testing.B) {
			inner, err := Open(s.path)
			if err != nil {
				b.Fatal(err)
			}
			lib := inner
			if guard {
				lib = Guard(inner, time.Minute)
			}
			defer func() { _ = lib.Close() }()
			b.ReportAllocs()
			for b.Loop() {
				sweep(b, lib)
			}
			b.ReportMetric(8*8, "processes")
		})
	}
}

// sweep asks all GPUs all that changes; 64 processes and 64 uses come back, and what draws.
func sweep(b *testing.B, lib Library) {
	list, err := lib.Devices()
	if err != nil {
		b.Fatal(err)
	}
	seen, used := 0, 0
	for _, g := range list {
		_, e1 := g.Memory()
		_, e2 := g.Utilization()
		processes, e3 := g.Processes()
		use, e4 := g.ProcessUtilization()
		_, e5 := g.Status()
		_, _ = g.GPM() // too early, but for the first
		for _, err := range []error{e1, e2, e3, e4, e5} {
			if err != nil {
				b.Fatal(err)
			}
		}
		seen += len(processes)
		used += len(use)
	}
	if seen != 72 || used != 64 {
		b.Fatal(seen, used)
	}
}

// BenchmarkCall is one question to the stub, through purego.
func BenchmarkCall(b *testing.B) {
	list := newStub(b).gpus(b)
	b.ReportAllocs()
	for b.Loop() {
		if _, err := list[0].Memory(); err != nil {
			b.Fatal(err)
		}
	}
}
