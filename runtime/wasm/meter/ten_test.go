package meter_test

import (
	"context"
	"testing"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// withMuster gives guests the log, which goes nowhere.
func (e *engine) withMuster(t testing.TB) *engine {
	log := api.GoFunc(func(context.Context, []uint64) {})
	i32 := api.ValueTypeI32
	_, err := e.rt.NewHostModuleBuilder("muster_v1").NewFunctionBuilder().
		WithGoFunction(log, []api.ValueType{i32, i32, i32}, nil).Export("log").Instantiate(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return e.withWASI()
}

func TestTheBombsStopAtTheEndOfTheirFuelAndAtTheSameUnitEverywhere(t *testing.T) {
	const budget = 1_000_000
	compiler, interpreter := newEngine(t, false).withMuster(t), newEngine(t, true).withMuster(t)
	endless := map[string]bool{"loop": true, "call-bomb": true, "bulk-bomb": true, "log-flood": true}
	for _, bad := range wasmtest.TheTen() {
		t.Run(bad.Name, func(t *testing.T) {
			bin := instrument(t, bad.Module)
			g := compiler.start(t, bin)
			// Where the batch would be: an empty one, at 64.
			start := time.Now()
			_, used, err := g.call(budget, "muster_job_order", 64)
			took := time.Since(start)
			_, usedToo, errToo := interpreter.start(t, bin).call(budget, "muster_job_order", 64)
			if bad.Name == "recursion" && (err == nil || used > budget) {
				t.Errorf("%d units, %v: the call stack was not bounded before the budget", used, err)
			}
			if bad.Name == "recursion" && errToo != nil && kind(errToo) == "wasm error: stack overflow" {
				usedToo = used // the interpreter of wazero allows 2,000 frames, and no more
			}
			if used != usedToo || (err == nil) != (errToo == nil) {
				t.Errorf("compiler %d units, %v; interpreter %d units, %v", used, err, usedToo, errToo)
			}
			if endless[bad.Name] && (err == nil || used <= budget || used > budget+1<<17) {
				t.Errorf("%d units of %d, %v", used, budget, err)
			}
			t.Logf("%d units in %v: %v", used, took, err != nil)
		})
	}
}
