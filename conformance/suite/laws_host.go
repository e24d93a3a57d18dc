package suite

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"time"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// WasmHost is Muster's own host, to be held to the laws of the profile host. Fuel and
// memory have the limits that operators get; the clock has none, because how soon it
// strikes depends on how busy the machine is.
func WasmHost() Loader { return wasmHost{} }

type wasmHost struct{}

func (wasmHost) Load(ctx context.Context, name string, bin []byte) (policies.Policy, error) {
	return load(ctx, bin, wasm.Options{Name: name, Timeout: wasm.NoTimeout})
}

// guest is one of the suite's own guests, and what the host must make of it.
type guest struct {
	law       string
	bin       func() []byte
	code      policies.Code // of every call; "" if it is answered
	refused   wasm.LoadCode // at load, if it must not get that far
	statement string
}

// guests lists the bad guests, and one that is good.
func guests() []guest {
	return []guest{
		{"host/good-guest", wasmtest.Good, "", "", "A good guest is loaded and answered for."},
		{"host/endless-loop", wasmtest.Loop, policies.CodeOutOfFuel, "", "A loop without end runs out of fuel."},
		{"host/recursion", wasmtest.Recursion, policies.CodeTrap, "", "A recursion without end runs out of its call stack."},
		{"host/call-bomb", wasmtest.CallBomb, policies.CodeOutOfFuel, "", "A tree of calls without a loop runs out of fuel."},
		{"host/bulk-bomb", wasmtest.BulkBomb, policies.CodeOutOfFuel, "", "Bulk memory operations without end run out of fuel."},
		{"host/log-flood", wasmtest.LogFlood, policies.CodeOutOfFuel, "", "A guest that logs without end runs out of fuel."},
		{"host/memory-bomb", wasmtest.MemoryBomb, policies.CodeMemory, "", "A guest that takes all the memory there is meets its limit."},
		{"host/not-a-number", wasmtest.NaN, policies.CodeBadOutput, "", "An answer that is no finite number, or negative, is refused."},
		{"host/infinity", wasmtest.Infinity, policies.CodeBadOutput, "", "An infinite answer is refused."},
		{"host/liar", wasmtest.Liar, policies.CodeBadOutput, "", "A guest that overwrites the whole batch and says that all is well is refused."},
		{"host/five-keys", wasmtest.FiveKeys, policies.CodeBadOutput, "", "A guest that claims to have filled columns that do not exist is refused."},
		{"host/unreachable", wasmtest.Trap, policies.CodeTrap, "", "A trap is a trap."},
		{"host/out-of-bounds", wasmtest.TrapOutOfBounds, policies.CodeTrap, "", "A write outside of the guest's memory is a trap."},
		{"host/panic", wasmtest.Panic, policies.CodeTrap, "", "A guest that panics has trapped."},
		{"host/exit", wasmtest.Exit, policies.CodeTrap, "", "A guest that exits has trapped, whatever the status it exits with."},
		{"host/arena-outside", wasmtest.BadPointer, policies.CodeABI, "", "An arena outside of the guest's memory is a breach of the ABI."},
		{"host/arena-too-short", wasmtest.BadLength, policies.CodeABI, "", "An arena that ends outside of the guest's memory is a breach of the ABI."},
		{"host/arena-odd", wasmtest.Unaligned, policies.CodeABI, "", "An arena at an odd address is a breach of the ABI."},
		{"host/no-arena", wasmtest.NoRoom, policies.CodeMemory, "", "A guest without room for the batch has met its memory limit."},
		{"host/long-log", wasmtest.Chatty, "", "", "A guest that logs without measure is answered for, and its log is cut."},
		{"host/error-text", wasmtest.HugeErrorText, policies.CodeInternal, "", "An error text that claims to be of 4 GiB is cut to its room."},
		{"host/other-version", wasmtest.OtherVersion, "", wasm.WrongVersion, "A guest of another major version is refused at load."},
		{"host/missing-export", wasmtest.MissingReserve, "", wasm.MissingExport, "A guest without muster_reserve is refused at load."},
		{"host/wrong-signature", wasmtest.WrongSignature, "", wasm.WrongSignature, "A guest whose functions have other parameters is refused at load."},
	}
}

func hostLaws() []Law {
	var laws []Law
	for _, g := range guests() {
		laws = append(laws, Law{
			ID: g.law, Profile: Host, Severity: Must, Statement: g.statement,
			test: custom(func(c *caseOf) (*breach, gen.Batch) { return c.contains(g) }),
		})
	}
	return append(laws, Law{
		ID: "host/delays-nobody", Profile: Host, Severity: Must,
		Statement: "While bad guests run, a goroutine that ticks every 0.5 ms is never held up for more than 10 ms.",
		test:      custom(delaysNobody),
	})
}

// contains loads a guest and makes three calls of each kind: the second one meets a new
// instance where the first was discarded.
func (c *caseOf) contains(g guest) (*breach, gen.Batch) {
	p, err := c.subject.Host.Load(c.ctx, g.law, g.bin())
	if err != nil {
		var le *wasm.LoadError
		if errors.As(err, &le) && g.refused == le.Code {
			return nil, gen.Batch{}
		}
		return broken("refused at load: " + err.Error()), gen.Batch{}
	}
	defer func() { _ = p.Close() }()
	if g.refused != "" {
		return broken(fmt.Sprintf("it was loaded, want a refusal: %s", g.refused)), gen.Batch{}
	}
	for round := range 3 {
		for _, k := range allKinds {
			b := gen.Of(k, c.rnd, 2, policies.Info{})
			if a := ask(c.ctx, p, b, fillers[0]); a.code != g.code {
				want := answer{code: g.code}
				if g.code != "" {
					want.err = errOutput
				}
				return broken(fmt.Sprintf("%s, call %d: %s, want %s", k, round+1, a.word(), want.word())), b
			}
		}
	}
	return nil, gen.Batch{}
}

const (
	tick        = 500 * time.Microsecond
	delayLimit  = 10 * time.Millisecond
	delayTrials = 8
	delayRows   = 1000 // enough fuel for a long call
)

// delaysNobody times each bad guest up to delayTrials times: a host that holds up
// others does so every time, a busy machine only now and then. How late the ticker is
// while Go code is as busy for as long is measured as well, and allowed.
func delaysNobody(c *caseOf) (*breach, gen.Batch) {
	for _, g := range guests() {
		if g.refused != "" {
			continue
		}
		p, err := c.subject.Host.Load(c.ctx, "host/delays-nobody", g.bin())
		if err != nil {
			continue // the guest's own law says so
		}
		best := time.Duration(1 << 62)
		for range delayTrials {
			began := time.Now()
			late := lateness(func() { ask(c.ctx, p, gen.Of(policies.JobOrder, c.rnd, delayRows, policies.Info{}), fillers[0]) })
			took := time.Since(began)
			usual := lateness(func() { spin(took) })
			if best = min(best, late-usual); best <= delayLimit {
				break
			}
		}
		_ = p.Close()
		if best > delayLimit {
			return broken(fmt.Sprintf("while the guest of %s ran, the ticker was %v late, in each of %d trials", g.law, best.Round(time.Millisecond), delayTrials)), gen.Batch{}
		}
	}
	return nil, gen.Batch{}
}

// spin is work that Go can interrupt.
func spin(d time.Duration) {
	for began := time.Now(); time.Since(began) < d; {
		for i := range 1000 {
			_ = i * i
		}
	}
}

// lateness is how late a ticker was at worst while work ran. The garbage collector is
// kept busy meanwhile, because it is what waits for guests that can't be interrupted.
func lateness(work func()) time.Duration {
	stop, worst := make(chan struct{}), make(chan time.Duration)
	go func() {
		late := time.Duration(0)
		for {
			began := time.Now()
			time.Sleep(tick)
			late = max(late, time.Since(began)-tick)
			select {
			case <-stop:
				worst <- late
				return
			default:
			}
		}
	}()
	collector := make(chan struct{})
	go func() {
		defer close(collector)
		for {
			runtime.GC()
			select {
			case <-stop:
				return
			case <-time.After(5 * time.Millisecond):
			}
		}
	}()
	work()
	close(stop)
	late := <-worst
	<-collector
	return late
}
