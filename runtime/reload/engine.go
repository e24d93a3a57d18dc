package reload

import (
	"context"
	"errors"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/wanted"
	"github.com/musterhq/muster/runtime/wasm"
)

// pageSize of Wasm memory, bytes.
const pageSize = 64 << 10

// Engine compiles modules by a Wasm runtime; nil is the one that the process shares.
func Engine(rt *wasm.Runtime) func(context.Context, []byte, wanted.Spec) (policies.Policy, error) {
	return func(ctx context.Context, module []byte, s wanted.Spec) (policies.Policy, error) {
		opt := EngineOptions(s)
		if rt != nil {
			return rt.Load(ctx, module, opt)
		}
		return wasm.Load(ctx, module, opt)
	}
}

// EngineOptions are the engine's limits and settings for a spec.
func EngineOptions(s wanted.Spec) wasm.Options {
	return wasm.Options{
		Name:        s.Name,
		MemoryPages: uint32((s.Limits.Memory + pageSize - 1) / pageSize),
		Fuel:        wasm.Budget{Base: s.Limits.FuelBase, PerRow: s.Limits.FuelPerRow},
		Timeout:     s.Limits.Timeout,
		Params:      s.Params,
	}
}

// refusal is why the engine does not take a module, in the engine's own words.
func refusal(v *version, err error) error {
	var load *wasm.LoadError
	var param *policies.ParamError
	switch {
	case errors.As(err, &param):
		return &reason.Error{Code: reason.BadParams, Where: "param " + param.Param, Problem: param.Problem, Hint: param.Hint, Err: err}
	case errors.As(err, &load):
		return &reason.Error{Code: reason.Code(load.Code), Where: load.Where, Problem: load.Problem, Hint: load.Hint, Err: err}
	case errors.Is(err, context.Canceled), errors.Is(err, context.DeadlineExceeded):
		return cancelled(err)
	}
	return &reason.Error{Code: reason.NotCompiled, Where: v.spec.Name, Problem: err.Error(), Err: err}
}
