package wasm_test

import (
	"context"
	"errors"
	"math"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// short is a time limit for tests that run into it.
const short = 20 * time.Millisecond

func load(t testing.TB, bin []byte, opt wasm.Options) *wasm.Module {
	t.Helper()
	if opt.Name == "" {
		opt.Name = "p"
	}
	m, err := wasm.Load(t.Context(), bin, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := m.Close(); err != nil {
			t.Error(err)
		}
	})
	return m
}

// ask makes one call of each kind and returns the errors.
func ask(ctx context.Context, p policies.Policy) map[policies.Kind]error {
	one := []int64{0}
	return map[policies.Kind]error{
		policies.JobOrder: p.ScoreJobs(ctx, jobsOf(2)),
		policies.QueueShares: p.Entitle(ctx, &policies.QueueBatch{
			N: 1, R: 1, Resources: []string{"cpu"}, Capacity: one, Parent: []int32{-1}, Depth: one, Leaf: []uint8{1},
			Weight: one, Priority: one, Guaranteed: one, Max: one, Demand: one, Used: one,
		}),
		policies.VictimCosts: p.CostVictims(ctx, &policies.VictimBatch{N: 2}),
	}
}

func TestMisbehaviourIsContained(t *testing.T) {
	for _, c := range []struct {
		name   string
		bin    []byte
		code   policies.Code
		detail string
		kept   bool // the instance goes on
	}{
		{"unreachable code", wasmtest.Trap(), policies.CodeTrap, "unreachable", false},
		{"a write outside of memory", wasmtest.TrapOutOfBounds(), policies.CodeTrap, "out of bounds", false},
		{"a loop without end", wasmtest.Loop(), policies.CodeOutOfFuel, "units of fuel", false},
		{"recursion without end", wasmtest.Recursion(), policies.CodeTrap, "the call stack is full", false},
		{"a memory bomb", wasmtest.MemoryBomb(), policies.CodeMemory, "unreachable", false},
		{"keys that are not numbers", wasmtest.NaN(), policies.CodeBadOutput, "", false},
		{"infinite keys", wasmtest.Infinity(), policies.CodeBadOutput, "", false},
		{"five keys", wasmtest.FiveKeys(), policies.CodeBadOutput, "", false},
		{"an arena outside of memory", wasmtest.BadPointer(), policies.CodeABI, "outside the memory", false},
		{"an arena that ends outside of memory", wasmtest.BadLength(), policies.CodeABI, "outside the memory", false},
		{"an arena at an odd address", wasmtest.Unaligned(), policies.CodeABI, "not a multiple of 64", false},
		{"no arena at all", wasmtest.NoRoom(), policies.CodeMemory, "refused", false},
		{"a trap when asked for an arena", wasmtest.TrapInReserve(), policies.CodeMemory, "muster_reserve", false},
		{"an exit, even with 0", wasmtest.Exit(), policies.CodeTrap, "exit", false},
		{"a trap after a line on stderr", wasmtest.LastWords(), policies.CodeTrap, "boom: it broke", false},
		{"a wish for the built-in", wasmtest.Status(hostabi.StatusAbstain, ""), policies.CodeAbstain, "status 1", true},
		{"a complaint about the batch", wasmtest.Status(hostabi.StatusBadInput, "no queue"), policies.CodeBadInput, "no queue", true},
		{"a complaint about its parameters", wasmtest.Status(hostabi.StatusBadParams, "half < 0"), policies.CodeBadParams, "half < 0", true},
		{"a fault of its own", wasmtest.Status(hostabi.StatusInternal, "oops"), policies.CodeInternal, "oops", true},
		{"a status that is not known", wasmtest.Status(77, ""), policies.CodeInternal, "status 77", true},
		{"an error text of 4 GiB", wasmtest.HugeErrorText(), policies.CodeInternal, "", true},
	} {
		t.Run(c.name, func(t *testing.T) {
			m := load(t, c.bin, trusted)
			for round := range 2 {
				for kind, err := range ask(t.Context(), m) {
					var ce *policies.CallError
					if !errors.As(err, &ce) {
						t.Fatalf("round %d, %s: got %v, want a *CallError", round, kind, err)
					}
					if ce.Code != c.code || ce.Kind != kind || ce.Policy != "p" || !strings.Contains(ce.Detail, c.detail) {
						t.Errorf("round %d: got %v, want code %s about %q", round, ce, c.code, c.detail)
					}
				}
			}
			if restarts := m.Restarts(); c.kept != (restarts == 0) {
				t.Errorf("%d restarts after six failed calls", restarts)
			}
		})
	}
}

// endless is more fuel than any test waits for: the clock or the caller ends the call.
var endless = wasm.Budget{Base: math.MaxInt64}

func TestTheWatchdogHoldsALoopToItsTime(t *testing.T) {
	m := load(t, wasmtest.Loop(), wasm.Options{Fuel: endless, Timeout: short})
	start := time.Now()
	err := m.CostVictims(t.Context(), &policies.VictimBatch{N: 1})
	if took := time.Since(start); took < short || took > short+5*time.Second {
		t.Errorf("the call took %v, the limit is %v", took, short)
	}
	if policies.CodeOf(err) != policies.CodeWatchdog || !strings.Contains(err.Error(), short.String()) {
		t.Error(err)
	}
}

func TestTheCallersDeadlineAndCancellationCount(t *testing.T) {
	m := load(t, wasmtest.Loop(), wasm.Options{Fuel: endless, Timeout: wasm.NoTimeout})
	deadline, cancel := context.WithTimeout(t.Context(), short)
	defer cancel()
	if err := m.CostVictims(deadline, &policies.VictimBatch{N: 1}); policies.CodeOf(err) != policies.CodeWatchdog {
		t.Error("deadline:", err)
	}
	cancelled, stop := context.WithCancel(t.Context())
	time.AfterFunc(short, stop)
	if err := m.CostVictims(cancelled, &policies.VictimBatch{N: 1}); policies.CodeOf(err) != policies.CodeWatchdog {
		t.Error("cancellation:", err)
	}
}

func TestALoopStopsAtTheSameUnitOfFuelEveryTime(t *testing.T) {
	for _, budget := range []int64{1, 1000, 1 << 20, 1<<20 + 1, 3_000_001} {
		m := load(t, wasmtest.Loop(), wasm.Options{Fuel: wasm.Budget{Base: budget, PerRow: 1}, Timeout: wasm.NoTimeout})
		for range 3 {
			err := m.CostVictims(t.Context(), &policies.VictimBatch{N: 0})
			if policies.CodeOf(err) != policies.CodeOutOfFuel {
				t.Fatalf("budget %d: %v", budget, err)
			}
			if used := m.LastFuel(); used != budget {
				t.Errorf("budget %d: used %d", budget, used)
			}
		}
	}
}

func TestFuelGrowsWithTheRowsAndIsTheSameForTheSameBatch(t *testing.T) {
	m := library(t, "priority-fifo", trusted)
	var last int64
	for _, n := range []int{0, 1, 100, 10_000} {
		b := jobsOf(n)
		var used [2]int64
		for i := range used {
			if err := m.ScoreJobs(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			used[i] = m.LastFuel()
			m.Restart() // so that both start from the same memory
		}
		if used[0] != used[1] || used[0] <= last {
			t.Errorf("%d rows: %v units, %d before", n, used, last)
		}
		last = used[1]
	}
}

func TestAMemoryBombTakesNoMoreThanItsLimit(t *testing.T) {
	m := load(t, wasmtest.MemoryBomb(), wasm.Options{MemoryPages: 512})
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	for range 20 {
		if err := m.CostVictims(t.Context(), &policies.VictimBatch{N: 1}); policies.CodeOf(err) != policies.CodeMemory {
			t.Fatal(err)
		}
	}
	runtime.ReadMemStats(&after)
	if grown := after.TotalAlloc - before.TotalAlloc; grown > 32<<20 {
		t.Errorf("20 bombs of 32 MiB allocated %d bytes of the host's heap", grown)
	}
}

func TestFloatKeysComeOutAsIntegersOfTheSameOrder(t *testing.T) {
	m := load(t, wasmtest.FloatKeys(), wasm.Options{})
	b := jobsOf(2)
	if err := m.ScoreJobs(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	if b.NKeys != 2 {
		t.Fatalf("%d keys, want 2", b.NKeys)
	}
	if b.Keys[0][0] <= b.Keys[0][1] {
		t.Errorf("1.5 became %d, -2.5 became %d", b.Keys[0][0], b.Keys[0][1])
	}
	if b.Keys[1][0] <= b.Keys[1][1] {
		t.Errorf("descending, -0 became %d, 3 became %d", b.Keys[1][0], b.Keys[1][1])
	}
	if want := ^int64(math.Float64bits(0)); b.Keys[1][0] != want {
		t.Errorf("descending, -0 became %d, 0 is %d", b.Keys[1][0], want)
	}
}

func TestABatchWithAColumnOfTheWrongLengthIsTheHostsFault(t *testing.T) {
	m := load(t, wasmtest.Good(), wasm.Options{})
	b := jobsOf(3)
	b.Wait = b.Wait[:2]
	err := m.ScoreJobs(t.Context(), b)
	if policies.CodeOf(err) != policies.CodeUnknownErr || !strings.Contains(err.Error(), "job.wait") {
		t.Error(err)
	}
	if m.Restarts() != 0 {
		t.Error("the instance was discarded")
	}
}

func TestAClosedModuleAnswersWithAnError(t *testing.T) {
	m := load(t, wasmtest.Good(), wasm.Options{})
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	for kind, err := range ask(t.Context(), m) {
		if err == nil {
			t.Errorf("%s: no error", kind)
		}
	}
}

func TestTheGoodModuleAnswersEverything(t *testing.T) {
	m := load(t, wasmtest.Good(), wasm.Options{})
	for kind, err := range ask(t.Context(), m) {
		if err != nil {
			t.Errorf("%s: %v", kind, err)
		}
	}
	if want := policies.JobOrder | policies.QueueShares | policies.VictimCosts; m.Info().Kinds != want {
		t.Errorf("kinds %v, want %v", m.Info().Kinds, want)
	}
}
