package suite

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/conformance/suite/mbatch"
	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
)

// module is a loaded Wasm policy, with what only such a one can be asked.
type module interface {
	policies.Policy
	Metadata() hostabi.Metadata
	CallRaw(ctx context.Context, batch []byte) (wasm.Answer, error)
	MoveArena(ctx context.Context) error
	Restart()
	Stats() wasm.Stats
	EncodeJobs(b *policies.JobBatch) ([]byte, error)
	EncodeQueues(b *policies.QueueBatch) ([]byte, error)
	EncodeVictims(b *policies.VictimBatch) ([]byte, error)
}

var _ module = (*wasm.Module)(nil)

func (s Subject) openModule(ctx context.Context) (*opened, error) {
	o := &opened{bin: s.Module, name: s.Name}
	if s.Wasm != "" {
		var err error
		if o.bin, err = os.ReadFile(s.Wasm); err != nil {
			return nil, err
		}
		o.name = strings.TrimSuffix(filepath.Base(s.Wasm), ".wasm")
	}
	// Fuel bounds the calls, and not the clock: a report must not depend on how busy the
	// machine is.
	opt := wasm.Options{Name: o.name, Params: s.Params, Fuel: s.Fuel, Timeout: wasm.NoTimeout}
	o.fresh = func(ctx context.Context) (policies.Policy, error) { return load(ctx, o.bin, opt) }
	slow := opt
	slow.Interpreter = true
	o.interpreted = func(ctx context.Context) (policies.Policy, error) { return load(ctx, o.bin, slow) }
	began := time.Now()
	p, err := o.fresh(ctx)
	o.compiled = time.Since(began)
	if err != nil {
		return o, err
	}
	o.main, o.close = p, func() { _ = p.Close() }
	return o, nil
}

// load is wasm.Load without the trap of a nil *Module in an interface.
func load(ctx context.Context, bin []byte, opt wasm.Options) (policies.Policy, error) {
	m, err := wasm.Load(ctx, bin, opt)
	if err != nil {
		return nil, err
	}
	return m, nil
}

// encode writes a batch as the subject is sent it; nil for no batch.
func (r *run) encode(b gen.Batch) []byte {
	var buf []byte
	var err error
	switch {
	case b.Kind() == 0:
		return nil
	case r.module == nil:
		buf, err = mbatch.Encode(b)
	case b.Jobs != nil:
		buf, err = r.module.EncodeJobs(b.Jobs)
	case b.Queues != nil:
		buf, err = r.module.EncodeQueues(b.Queues)
	default:
		buf, err = r.module.EncodeVictims(b.Victims)
	}
	if err != nil {
		return nil // too large to be a file: the failure's own text remains
	}
	return buf
}
