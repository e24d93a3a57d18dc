package reload_test

import (
	"testing"
	"time"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/wasm/guests"
)

// BenchmarkSwap loads one of two versions into a loop that decides all the time, in
// turns: an operation is everything from reading the file to the old version's
// retirement. The pauses are those of the loop's turns.
func BenchmarkSwap(b *testing.B) {
	small := [2][]byte{module("1"), module("2")}
	b.Run("guest=handwritten", func(b *testing.B) { benchmarkSwap(b, small) })
	var big [2][]byte
	for i, name := range []string{"fifo", "priority-fifo"} {
		var err error
		if big[i], err = guests.Build(name); err != nil {
			b.Fatal(err)
		}
	}
	b.Run("guest=Go", func(b *testing.B) { benchmarkSwap(b, big) })
}

func benchmarkSwap(b *testing.B, versions [2][]byte) {
	busy := newBusyLoop(b)
	h := newHost(b, func(o *reload.Options) { o.Swap = reload.Into(busy.Swap, cycle.Set{}) })
	for i, v := range versions { // both are compiled before the clock starts
		h.write([]string{"a.wasm", "b.wasm"}[i], v)
		h.load(file("order", []string{"a.wasm", "b.wasm"}[i]))
	}
	b.ReportAllocs()
	for i := 0; b.Loop(); i++ {
		h.load(file("order", []string{"a.wasm", "b.wasm"}[i%2]))
	}
	b.StopTimer()
	if err := h.Close(); err != nil {
		b.Fatal(err)
	}
	busy.stop()
	p := pauses(busy.turns)
	for part, unit := range map[float64]string{0.5: "pause-p50-µs", 0.99: "pause-p99-µs", 1: "pause-max-µs"} {
		b.ReportMetric(float64(at(p, part))/float64(time.Microsecond), unit)
	}
	b.ReportMetric(float64(len(p)), "turns")
}
