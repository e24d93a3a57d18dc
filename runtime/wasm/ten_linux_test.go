package wasm_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

func TestTheTenBadGuestsAreContainedAtTheSameUnitEachTime(t *testing.T) {
	const budget = 1_000_003
	want := map[string]policies.Code{
		"loop": policies.CodeOutOfFuel, "call-bomb": policies.CodeOutOfFuel, "bulk-bomb": policies.CodeOutOfFuel,
		"log-flood": policies.CodeOutOfFuel, "recursion": policies.CodeTrap, "memory-bomb": policies.CodeMemory,
		"nan": policies.CodeBadOutput, "liar": policies.CodeBadOutput, "out-of-bounds": policies.CodeTrap, "panic": policies.CodeTrap,
	}
	good := load(t, wasmtest.Good(), trusted)
	_, before := memoryOf(t)
	for _, bad := range wasmtest.TheTen() {
		t.Run(bad.Name, func(t *testing.T) {
			lines, fuel := 0, wasm.Budget{Base: budget - 3, PerRow: 1}
			if bad.Name == "memory-bomb" {
				fuel.Base = 1 << 28 // taking all memory costs more than the others need
			}
			m := load(t, bad.Module, wasm.Options{
				Name: "p", Fuel: fuel, Timeout: wasm.NoTimeout,
				Log: func(_ wasm.Level, line string) { lines++ },
			})
			var used [3]int64
			fastest := time.Hour
			for round := range used {
				start := time.Now()
				err := m.ScoreJobs(t.Context(), jobsOf(3))
				fastest = min(fastest, time.Since(start))
				var ce *policies.CallError
				if !errors.As(err, &ce) || ce.Code != want[bad.Name] || ce.Detail == "" || strings.Contains(ce.Detail, "\n") {
					t.Fatalf("got %v, want %s in one line", err, want[bad.Name])
				}
				used[round] = m.LastFuel()
				if err := good.ScoreJobs(t.Context(), jobsOf(3)); err != nil {
					t.Errorf("another policy: %v", err)
				}
			}
			if used[0] != used[1] || used[0] != used[2] || used[0] <= 0 {
				t.Errorf("it used %v units", used)
			}
			if want[bad.Name] == policies.CodeOutOfFuel && used[0] != budget {
				t.Errorf("it used %d units of %d", used[0], budget)
			}
			if m.Restarts() != len(used)-1 || m.Stats().Faults[want[bad.Name]] != int64(len(used)) {
				t.Errorf("%d restarts, faults %v", m.Restarts(), m.Stats().Faults)
			}
			if lines > 16*len(used) {
				t.Errorf("%d log lines of %d calls", lines, len(used))
			}
			if fastest > time.Second { // milliseconds, on a machine that does nothing else
				t.Errorf("a call took %v", fastest)
			}
			t.Logf("%s: %d units, %v", want[bad.Name], used[0], fastest)
		})
	}
	if _, after := memoryOf(t); after-before > 16*mib {
		t.Errorf("the ten left %d MiB of resident memory", (after-before)/mib)
	}
}
