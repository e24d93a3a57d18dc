package meter_test

import (
	"context"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// lateness runs work while the garbage collector runs every 20 ms, and says by how much
// a goroutine that sleeps 0.5 ms at a time woke up too late, at worst.
func lateness(work func()) time.Duration {
	stop, worst := make(chan struct{}), make(chan time.Duration)
	every := func(d time.Duration, do func(late time.Duration)) func() {
		done := make(chan struct{})
		go func() {
			defer close(done)
			for {
				start := time.Now()
				time.Sleep(d)
				do(time.Since(start) - d)
				select {
				case <-stop:
					return
				default:
				}
			}
		}()
		return func() { <-done }
	}
	var lates []time.Duration
	collector := every(20*time.Millisecond, func(time.Duration) { runtime.GC() })
	sleeper := every(500*time.Microsecond, func(late time.Duration) { lates = append(lates, late) })
	work()
	close(stop)
	go func() { collector(); sleeper(); worst <- slices.Max(lates) }()
	return <-worst
}

// spinning makes calls of 200 ms or more, and notes how long they took.
func spinning(t *testing.T, bin []byte) (work func(), calls *[]time.Duration) {
	g := newEngine(t, false).start(t, bin)
	f := g.ExportedFunction("muster_test_spin")
	spin := func(turns uint64) time.Duration {
		g.fuel(1 << 50)
		start := time.Now()
		if _, err := f.Call(context.Background(), turns); err != nil {
			t.Error(err)
		}
		return time.Since(start)
	}
	const probe = 10_000_000
	fastest := min(spin(probe), spin(probe), spin(probe))
	turns := uint64(200 * time.Millisecond * probe / fastest)
	calls = new([]time.Duration)
	return func() {
		took := spin(turns)
		*calls = append(*calls, took)
		if took < long {
			turns *= 2 // the probe ran while the machine was busy
		}
	}, calls
}

// busy is a loop in Go of the same length, which can be preempted anywhere: what the
// machine and its other work do to the sleeper anyway.
func busy() {
	for start := time.Now(); time.Since(start) < 200*time.Millisecond; {
	}
}

const (
	long      = 150 * time.Millisecond // a call that is shorter shows nothing
	tolerable = 10 * time.Millisecond
)

func TestALongCallDelaysNobodyByMoreThanTenMilliseconds(t *testing.T) {
	work, calls := spinning(t, instrument(t, wasmtest.Slow()))
	var seen [][2]time.Duration
	for range 20 { // other work on the machine may delay the sleeper in any one of them
		late, anyway := lateness(work), lateness(busy)
		if (*calls)[len(*calls)-1] < long {
			continue
		}
		seen = append(seen, [2]time.Duration{late, anyway})
		if late <= tolerable {
			t.Logf("calls %v; late by %v at worst, beside a loop of Go %v", *calls, late, anyway)
			return
		}
	}
	for _, s := range seen {
		if s[0] <= s[1]+tolerable {
			t.Logf("the machine is busy: metered and Go %v", seen)
			return
		}
	}
	t.Errorf("worst delays beside a metered guest, and beside a loop of Go: %v, calls %v", seen, *calls)
}

func TestWithoutTheMeterTheSameCallStopsEverybody(t *testing.T) {
	work, calls := spinning(t, wasmtest.Slow())
	var seen []time.Duration
	for len(seen) < 3 || slices.Max(*calls) < long {
		seen = append(seen, lateness(work))
	}
	if worst := slices.Max(seen); worst < 5*tolerable {
		t.Errorf("delays %v, calls %v: then the test of the meter shows nothing", seen, *calls)
	}
	t.Logf("calls %v; delays %v", *calls, seen)
}
