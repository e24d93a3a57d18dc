package suite

import (
	"context"
	"os"
	"path/filepath"
	"strings"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
)

func (s Subject) openModule(ctx context.Context) (*opened, error) {
	o := &opened{bin: s.Module, name: s.Name}
	if s.Wasm != "" {
		var err error
		if o.bin, err = os.ReadFile(s.Wasm); err != nil {
			return nil, err
		}
		o.name = strings.TrimSuffix(filepath.Base(s.Wasm), ".wasm")
	}
	o.fresh = func(ctx context.Context) (policies.Policy, error) {
		return loadModule(ctx, o.bin, wasm.Options{Name: o.name}, s.Params)
	}
	p, err := o.fresh(ctx)
	if err != nil {
		return o, err
	}
	o.main, o.close = p, func() { _ = p.Close() }
	return o, nil
}

func loadModule(ctx context.Context, bin []byte, opt wasm.Options, params map[string]any) (policies.Policy, error) {
	return wasm.Load(ctx, bin, opt)
}
