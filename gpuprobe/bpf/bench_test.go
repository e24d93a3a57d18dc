//go:build linux && (amd64 || arm64)

package bpf

import (
	"fmt"
	"testing"
	"time"
)

// BenchmarkLaunch is what a call of cuLaunchKernel costs a process, in ns of CPU time:
// of a function that does nothing else. The best of many rounds.
func BenchmarkLaunch(b *testing.B) {
	for _, tt := range []struct {
		name     string
		prologue int
		arm      bool // the process that calls
		other    bool // another process that uses the same library
	}{
		{"no probe", push, false, false},
		{"another pid is armed", push, false, true},
		{"armed, nop", nop, true, false},
		{"armed, push", push, true, false},
		{"armed, endbr64 and push", endbrPush, true, false},
		{"armed, single-stepped", subRSP, true, false},
	} {
		b.Run(tt.name, func(b *testing.B) {
			needKernel(b)
			lib := fakeDriver(b, b.TempDir(), tt.prologue)
			p := watch(b, Options{Libraries: []string{lib}})
			c, other := startCaller(b, lib), startCaller(b, lib)
			var pids []uint32
			if tt.arm {
				pids = append(pids, c.pid)
			}
			if tt.other {
				pids = append(pids, other.pid)
			}
			mustArm(b, p, pids...)
			n := 20_000
			if !tt.arm {
				n = 2_000_000
			}
			best := c.launch(n)
			for b.Loop() {
				best = min(best, c.launch(n))
			}
			b.ReportMetric(best, "ns/call")
			b.ReportMetric(0, "ns/op")
		})
	}
}

// BenchmarkArm is the time of arming and of disarming n pids that share a library.
func BenchmarkArm(b *testing.B) {
	for _, n := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("pids=%d", n), func(b *testing.B) {
			needKernel(b)
			lib := fakeDriver(b, b.TempDir(), push)
			p := watch(b, Options{Libraries: []string{lib}})
			var pids []uint32
			for range n {
				pids = append(pids, startCaller(b, lib).pid)
			}
			var on, off time.Duration
			for b.Loop() {
				begin := time.Now()
				mustArm(b, p, pids...)
				middle := time.Now()
				mustArm(b, p)
				on, off = on+middle.Sub(begin), off+time.Since(middle)
			}
			b.ReportMetric(on.Seconds()*1e3/float64(b.N), "ms/arm")
			b.ReportMetric(off.Seconds()*1e3/float64(b.N), "ms/disarm")
		})
	}
}

// BenchmarkWake is the time from a launch in another process to its event here, with the
// pipe by which the process is told to launch.
func BenchmarkWake(b *testing.B) {
	needKernel(b)
	lib := fakeDriver(b, b.TempDir(), push)
	p := watch(b, Options{Libraries: []string{lib}})
	c := startCaller(b, lib)
	var sum, worst time.Duration
	for b.Loop() {
		mustArm(b, p, c.pid)
		c.launch(1)
		e := wait(b, p, c.pid)
		took := time.Since(e.At)
		sum, worst = sum+took, max(worst, took)
		mustArm(b, p)
	}
	b.ReportMetric(sum.Seconds()*1e6/float64(b.N), "µs/wake")
	b.ReportMetric(worst.Seconds()*1e6, "µs-worst")
}

// BenchmarkCounts reads the map with so many pids in it.
func BenchmarkCounts(b *testing.B) {
	for _, n := range []int{64, 512, 4096} {
		b.Run(fmt.Sprintf("pids=%d", n), func(b *testing.B) {
			needKernel(b)
			lib := fakeDriver(b, b.TempDir(), push)
			p := watch(b, Options{Libraries: []string{lib}})
			for pid := range uint32(n) {
				if err := p.counter.m.Put(1<<24+pid, count{Launches: 1, Last: 1}); err != nil {
					b.Fatal(err)
				}
			}
			for b.Loop() {
				if counts, err := p.Counts(); err != nil || len(counts) != n {
					b.Fatalf("%d of %d, %v", len(counts), n, err)
				}
			}
		})
	}
}

// BenchmarkNew loads the programs, attaches them to a library, and takes them off.
func BenchmarkNew(b *testing.B) {
	for _, object := range []string{"lite", "v1"} {
		b.Run(object, func(b *testing.B) {
			needKernel(b)
			lib := fakeDriver(b, b.TempDir(), push)
			for b.Loop() {
				_ = watch(b, Options{Libraries: []string{lib}, object: object}).Close()
			}
		})
	}
}
