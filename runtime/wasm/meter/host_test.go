package meter_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"

	"github.com/musterhq/muster/runtime/wasm/meter"
)

// pages is the memory limit of the guests of these tests.
const pages = 512

// engine runs one module at a time.
type engine struct {
	rt     wazero.Runtime
	cancel bool // what the safepoint says
	visits int  // of the safepoint
}

func newEngine(t testing.TB, interpreter bool) *engine {
	cfg := wazero.NewRuntimeConfigCompiler()
	if interpreter {
		cfg = wazero.NewRuntimeConfigInterpreter()
	}
	ctx := context.Background()
	e := &engine{rt: wazero.NewRuntimeWithConfig(ctx, cfg.WithMemoryLimitPages(pages).WithCoreFeatures(api.CoreFeaturesV2))}
	t.Cleanup(func() { _ = e.rt.Close(ctx) })
	safepoint := api.GoFunc(func(_ context.Context, stack []uint64) {
		e.visits++
		stack[0] = 0
		if e.cancel {
			stack[0] = 1
		}
	})
	_, err := e.rt.NewHostModuleBuilder(meter.ImportModule).NewFunctionBuilder().
		WithGoFunction(safepoint, nil, []api.ValueType{api.ValueTypeI32}).Export(meter.ImportSafepoint).Instantiate(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// withWASI lets guests of Go run.
func (e *engine) withWASI() *engine {
	wasi_snapshot_preview1.MustInstantiate(context.Background(), e.rt)
	return e
}

// guest is an instance, metered or plain.
type guest struct {
	api.Module
	slice, rest api.MutableGlobal // nil in a plain one
}

func (e *engine) start(t testing.TB, bin []byte) *guest {
	t.Helper()
	m, err := e.rt.InstantiateWithConfig(context.Background(), bin, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		t.Fatal(err)
	}
	g := &guest{Module: m}
	g.slice, _ = m.ExportedGlobal(meter.ExportSlice).(api.MutableGlobal)
	g.rest, _ = m.ExportedGlobal(meter.ExportRest).(api.MutableGlobal)
	return g
}

// fuel sets the budget of the next call.
func (g *guest) fuel(budget int64) {
	if g.slice == nil {
		return
	}
	first := min(budget, 1<<20)
	g.slice.Set(uint64(first))
	g.rest.Set(uint64(budget - first))
}

// left is what is left of the budget; below zero if it did not suffice.
func (g *guest) left() int64 { return int64(g.slice.Get()) + int64(g.rest.Get()) }

// call calls an export with a budget, and returns what it used.
func (g *guest) call(budget int64, name string, args ...uint64) ([]uint64, int64, error) {
	g.fuel(budget)
	out, err := g.ExportedFunction(name).Call(context.Background(), args...)
	if g.slice == nil {
		return out, 0, err
	}
	return out, budget - g.left(), err
}

// instrument instruments with the normal prices.
func instrument(t testing.TB, bin []byte) []byte {
	t.Helper()
	out, _, err := meter.Instrument(bin, meter.Config{})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func read(t testing.TB, file string) []byte {
	t.Helper()
	bin, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return bin
}

var buildGo = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "meter")
	if err != nil {
		return nil, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	file := filepath.Join(dir, "gobench.wasm")
	cmd := exec.Command("go", "build", "-ldflags=-s -w", "-buildmode=c-shared", "-o", file, "./testdata/gobench")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	if out, err := cmd.CombinedOutput(); err != nil {
		return out, err
	}
	return os.ReadFile(file)
})

// goGuest is the same work as bench.c, compiled by Go.
func goGuest(t testing.TB) []byte {
	t.Helper()
	bin, err := buildGo()
	if err != nil {
		t.Fatalf("%v: %s", err, bin)
	}
	return bin
}
