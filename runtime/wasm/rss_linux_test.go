package wasm_test

import (
	"fmt"
	"os"
	"runtime/debug"
	"testing"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

const mib = 1 << 20

// memoryOf returns the address space and the resident memory of the process, in bytes,
// after Go's heap has given back what it does not use.
func memoryOf(t *testing.T) (space, resident int64) {
	t.Helper()
	debug.FreeOSMemory()
	raw, err := os.ReadFile("/proc/self/statm")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fmt.Sscan(string(raw), &space, &resident); err != nil {
		t.Fatal(err)
	}
	page := int64(os.Getpagesize())
	return space * page, resident * page
}

func TestMemoryThatAGuestUsedGoesBackWhenItIsClosed(t *testing.T) {
	r, err := wasm.NewRuntime("")
	if err != nil {
		t.Fatal(err)
	}
	b := jobsOf(400_000)
	_, before := memoryOf(t)
	m, err := r.Load(t.Context(), wasmtest.Good(), wasm.Options{MemoryPages: 4096, Timeout: wasm.NoTimeout})
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ScoreJobs(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	_, during := memoryOf(t)
	if during-before < 30*mib {
		t.Errorf("a batch of 400,000 rows took %d MiB: the test measures nothing", (during-before)/mib)
	}
	if err := m.Close(); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	if _, after := memoryOf(t); after-before > 8*mib {
		t.Errorf("%d MiB are still there of %d", (after-before)/mib, (during-before)/mib)
	}
}

func TestFaultsLeaveNoMemoryBehind(t *testing.T) {
	modules := map[string]*wasm.Module{
		"memory bomb": load(t, wasmtest.MemoryBomb(), trusted), "recursion": load(t, wasmtest.Recursion(), trusted),
		"trap": load(t, wasmtest.Trap(), trusted), "loop": load(t, wasmtest.Loop(), trusted),
	}
	fault := func(rounds int) {
		for range rounds {
			for name, m := range modules {
				if err := m.CostVictims(t.Context(), &policies.VictimBatch{N: 100}); err == nil {
					t.Fatal(name, "answered")
				}
			}
		}
	}
	fault(2)
	spaceBefore, before := memoryOf(t)
	fault(40)
	spaceAfter, after := memoryOf(t)
	if after-before > 8*mib {
		t.Errorf("160 faults left %d MiB of resident memory", (after-before)/mib)
	}
	if spaceAfter-spaceBefore > 256*mib { // one instance has 64 MiB
		t.Errorf("160 faults left %d MiB of address space", (spaceAfter-spaceBefore)/mib)
	}
}
