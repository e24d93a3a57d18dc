package wasm_test

import (
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// good makes a call that must give the answer of the built-in twin.
func good(t *testing.T, m *wasm.Module, n int) {
	t.Helper()
	got, want := jobsOf(n), jobsOf(n)
	if err := m.ScoreJobs(t.Context(), got); err != nil {
		t.Fatal(err)
	}
	if err := builtin(t, "fair").ScoreJobs(t.Context(), want); err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(got.Keys[0], want.Keys[0]) {
		t.Error("other keys than the built-in's")
	}
}

func TestAfterACallThatRanOutOfFuelTheNextOneIsGood(t *testing.T) {
	m := library(t, "fair", wasm.Options{Fuel: wasm.Budget{Base: 2_000_000, PerRow: 1}, Timeout: wasm.NoTimeout})
	for round := range 3 {
		err := m.ScoreJobs(t.Context(), jobsOf(10_000))
		if policies.CodeOf(err) != policies.CodeOutOfFuel {
			t.Fatal(err)
		}
		if used := m.LastFuel(); used != 2_010_000 {
			t.Errorf("it has used %d of 2,010,000 units", used)
		}
		good(t, m, 10)
		if m.Restarts() != round+1 {
			t.Errorf("%d restarts after %d faults", m.Restarts(), round+1)
		}
	}
	s := m.Stats()
	if s.Faults[policies.CodeOutOfFuel] != 3 || s.Calls != 6 || s.Rows != 30_030 || s.MaxFuel != 2_010_000 || s.TotalFuel <= 3*2_010_000 || s.Pages == 0 {
		t.Errorf("%+v", s)
	}
}

func TestAfterAPanicInGoTheNextCallIsGood(t *testing.T) {
	m := library(t, "fair", trusted)
	raw, err := m.EncodeJobs(jobsOf(10))
	if err != nil {
		t.Fatal(err)
	}
	_, err = m.CallRaw(t.Context(), without(raw, hostabi.JobKey0))
	if policies.CodeOf(err) != policies.CodeInternal || !strings.Contains(err.Error(), "index out of range") {
		t.Errorf("got %v, want what the panic said", err)
	}
	good(t, m, 10)
}

func TestAGuestThatRunsForLongStopsNobodyElse(t *testing.T) {
	m := load(t, wasmtest.Loop(), wasm.Options{Fuel: wasm.Budget{Base: 1 << 30}, Timeout: wasm.NoTimeout})
	var done atomic.Bool
	go func() {
		defer done.Store(true)
		if err := m.CostVictims(t.Context(), &policies.VictimBatch{N: 1}); policies.CodeOf(err) != policies.CodeOutOfFuel {
			t.Error(err)
		}
	}()
	collections := 0 // each one stops the world twice: it waits for a call that can't be interrupted
	for !done.Load() {
		runtime.GC()
		collections++
	}
	if collections < 10 {
		t.Errorf("%d collections while the guest ran: it has no safepoints", collections)
	}
}
