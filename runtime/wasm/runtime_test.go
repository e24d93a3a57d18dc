package wasm_test

import (
	"strconv"
	"sync"
	"testing"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

func TestNothingIsAllocatedPerCallAfterWarmUp(t *testing.T) {
	jobs, fair := jobsOf(500), library(t, "fair", trusted)
	queues, shares := queuesOf(50), library(t, "guaranteed-fair", trusted)
	victims, costs := victimsOf(500), library(t, "least-lost-work", trusted)
	for name, run := range map[string]func() error{
		"job order":    func() error { return fair.ScoreJobs(t.Context(), jobs) },
		"queue shares": func() error { return shares.Entitle(t.Context(), queues) },
		"victim costs": func() error { return costs.CostVictims(t.Context(), victims) },
	} {
		if n := testing.AllocsPerRun(20, func() {
			if err := run(); err != nil {
				t.Fatal(err)
			}
		}); n != 0 {
			t.Errorf("%s: %v allocations a call", name, n)
		}
	}
}

func TestAModuleIsCompiledOnceAndItsDigestIsThatOfTheFile(t *testing.T) {
	a, b := load(t, wasmtest.Good(), wasm.Options{Name: "a"}), load(t, wasmtest.Good(), wasm.Options{Name: "b"})
	if a.Info().Digest != b.Info().Digest || len(a.Info().Digest) != len("sha256:")+64 {
		t.Errorf("digests %q and %q", a.Info().Digest, b.Info().Digest)
	}
	if a.Info().Name != "a" || b.Info().Name != "b" {
		t.Errorf("names %q and %q", a.Info().Name, b.Info().Name)
	}
}

func TestMetadataNameThePolicyAndItsReasons(t *testing.T) {
	m := load(t, wasmtest.GoodWithMetadata(`{"name":"aging","version":"2.1","reasons":["","old"]}`), wasm.Options{Name: "file"})
	info := m.Info()
	if info.Name != "aging" || info.Version != "2.1" || len(info.Reasons) != 2 {
		t.Errorf("info %+v", info)
	}
	b := jobsOf(3)
	b.Reason[1] = 7
	if err := m.ScoreJobs(t.Context(), b); err != nil || b.Reason[1] != 0 {
		t.Errorf("reasons %v, error %v", b.Reason, err)
	}
}

func TestManyGoroutinesMayUseOneModule(t *testing.T) {
	m := load(t, wasmtest.Good(), wasm.Options{})
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			b := jobsOf(20)
			for range 50 {
				if err := m.ScoreJobs(t.Context(), b); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
}

func TestLoadingAndClosingManyTimesInARuntimeOfItsOwn(t *testing.T) {
	r, err := wasm.NewRuntime(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for i := range 50 {
		m, err := r.Load(t.Context(), wasmtest.GoodWithMetadata(`{"version":"`+strconv.Itoa(i)+`"}`), wasm.Options{})
		if err != nil {
			t.Fatal(err)
		}
		if err := m.ScoreJobs(t.Context(), jobsOf(3)); err != nil {
			t.Fatal(err)
		}
		if err := m.Close(); err != nil {
			t.Fatal(err)
		}
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
}

func TestAnInstanceGrowsItsArenaForALargerBatchAndKeepsIt(t *testing.T) {
	m := library(t, "fair", trusted)
	native := builtin(t, "fair")
	for _, n := range []int{0, 1, 10, 20_000, 63, 64, 65, 40_000} {
		got, want := jobsOf(n), jobsOf(n)
		if err := m.ScoreJobs(t.Context(), got); err != nil {
			t.Fatalf("%d rows: %v", n, err)
		}
		if err := native.ScoreJobs(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		for i := range want.Keys[0] {
			if got.Keys[0][i] != want.Keys[0][i] {
				t.Fatalf("%d rows: key %d is %d, the built-in says %d", n, i, got.Keys[0][i], want.Keys[0][i])
			}
		}
	}
	if m.Restarts() != 0 {
		t.Errorf("%d restarts", m.Restarts())
	}
}

func TestABatchThatNoLimitAllowsIsAMemoryFault(t *testing.T) {
	m := library(t, "fifo", wasm.Options{MemoryPages: 128}) // 8 MiB
	if err := m.ScoreJobs(t.Context(), jobsOf(300_000)); policies.CodeOf(err) != policies.CodeMemory {
		t.Error(err)
	}
	if err := m.ScoreJobs(t.Context(), jobsOf(10)); err != nil {
		t.Error("the next call:", err)
	}
}
