package wasm

import (
	"context"
	"sync"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/musterhq/muster/runtime/wasm/meter"
)

// maxIdle is how many compiled modules without a user a Runtime keeps, so that a
// rollback needs no compiling. One takes 20 KB (C) to 10 MB (Go).
const maxIdle = 16

// Runtime compiles and holds modules. A module is compiled once for each digest and
// memory limit. The zero value is not usable; the package's Load uses one of its own.
type Runtime struct {
	cache wazero.CompilationCache

	mu      sync.Mutex // serialises compiling and closing
	engines map[engineKey]wazero.Runtime
	code    map[codeKey]*code
	clock   uint64
}

// engineKey is what a wazero runtime fixes for all its modules.
type engineKey struct {
	pages       uint32
	interpreter bool
}

type codeKey struct {
	engineKey
	digest string
}

// code is one compiled module.
type code struct {
	rt       wazero.Runtime
	compiled wazero.CompiledModule
	report   meter.Report
	users    int
	lastUse  uint64
	mu       sync.Mutex // instances of one module start and end one at a time
}

// NewRuntime returns a runtime that keeps compiled modules in memory, and in
// cacheDir if that is not empty. The directory holds machine code that is run
// unchecked: make it private (mode 0700), and never share it.
func NewRuntime(cacheDir string) (*Runtime, error) {
	r := &Runtime{engines: map[engineKey]wazero.Runtime{}, code: map[codeKey]*code{}}
	if cacheDir == "" {
		r.cache = wazero.NewCompilationCache()
		return r, nil
	}
	var err error
	r.cache, err = wazero.NewCompilationCacheWithDir(cacheDir)
	return r, err
}

// Close frees all compiled modules. Close the Modules first.
func (r *Runtime) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	ctx := context.Background()
	for k, e := range r.engines {
		_ = e.Close(ctx) // closes instances; they have no exit code to report
		delete(r.engines, k)
	}
	clear(r.code)
	return r.cache.Close(ctx)
}

// engine returns the wazero runtime for a pair of limits; r.mu is held.
func (r *Runtime) engine(ctx context.Context, k engineKey) (wazero.Runtime, error) {
	if e, ok := r.engines[k]; ok {
		return e, nil
	}
	config := wazero.NewRuntimeConfig()
	if k.interpreter {
		config = wazero.NewRuntimeConfigInterpreter()
	}
	e := wazero.NewRuntimeWithConfig(ctx, config.
		WithCoreFeatures(api.CoreFeaturesV2).
		WithCompilationCache(r.cache).
		WithMemoryLimitPages(k.pages).
		WithCloseOnContextDone(false). // it slows guests 3 to 5 times, and can be escaped
		WithDebugInfoEnabled(false))
	if err := addHostModules(ctx, e); err != nil {
		_ = e.Close(ctx) // the first error is the one to show
		return nil, err
	}
	r.engines[k] = e
	return e, nil
}

// acquire rewrites a module so that it counts its fuel, and compiles it, or finds it
// compiled. Give it back by release. On disk, machine code is found by the rewritten
// bytes, so another version of the rewriter never meets the code of an older one.
func (r *Runtime) acquire(ctx context.Context, k codeKey, bin []byte) (*code, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	c, ok := r.code[k]
	if !ok {
		e, err := r.engine(ctx, k.engineKey)
		if err != nil {
			return nil, err
		}
		metered, report, err := meter.Instrument(bin, meter.Config{Slice: sliceUnits})
		if err != nil {
			return nil, err
		}
		compiled, err := e.CompileModule(ctx, metered)
		if err != nil {
			return nil, err
		}
		c = &code{rt: e, compiled: compiled, report: report}
		r.code[k] = c
	}
	c.users++
	return c, nil
}

func (r *Runtime) release(c *code) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.clock++
	c.users--
	c.lastUse = r.clock
	r.evict()
}

// evict drops the modules that were idle longest; r.mu is held.
func (r *Runtime) evict() {
	for {
		idle, oldest := 0, codeKey{}
		var at uint64
		for k, c := range r.code {
			if c.users > 0 {
				continue
			}
			if idle == 0 || c.lastUse < at {
				oldest, at = k, c.lastUse
			}
			idle++
		}
		if idle <= maxIdle {
			return
		}
		_ = r.code[oldest].compiled.Close(context.Background()) // always nil
		delete(r.code, oldest)
	}
}

var shared = sync.OnceValues(func() (*Runtime, error) { return NewRuntime("") })
