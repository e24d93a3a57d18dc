package wasm

import (
	"context"
	"errors"
	"io/fs"
	"testing"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm/guests"
	"github.com/musterhq/muster/runtime/wasm/meter"
)

// BenchmarkMeter is what counting fuel costs: one call with 10,000 rows into a module as
// its compiler has made it, and into the same module rewritten. Only the call is
// measured, without the host's copies and its checks of the answer.
func BenchmarkMeter(b *testing.B) {
	for _, l := range []struct {
		name string
		read func(string) ([]byte, error)
		file string
	}{
		{"c", guests.Example, "aged-sjf-c"},
		{"rust", guests.Example, "aged-sjf-rust"},
		{"assemblyscript", guests.Example, "aged-sjf-assemblyscript"},
		{"go", guests.Build, "aged-sjf"},
		{"go-fair", guests.Build, "fair"},
	} {
		for _, how := range []string{"plain", "metered"} {
			b.Run(l.name+"/"+how, func(b *testing.B) {
				bin, err := l.read(l.file)
				if errors.Is(err, fs.ErrNotExist) {
					b.Skipf("bin/examples/%s.wasm is not there: tools/sdks.sh builds it where its compiler is installed", l.file)
				}
				if err != nil {
					b.Fatal(err)
				}
				benchmarkGuest(b, bin, how == "metered")
			})
		}
	}
}

// benchmarkGuest calls a job order again and again about the batch in its memory.
func benchmarkGuest(b *testing.B, bin []byte, metered bool) {
	raw := encoded(b, bin, 10_000)
	if metered {
		var err error
		if bin, _, err = meter.Instrument(bin, meter.Config{Slice: sliceUnits}); err != nil {
			b.Fatal(err)
		}
	}
	in := started(b, bin)
	refuel := func() {}
	if metered {
		in.slice, in.rest = counter(in.mod, meter.ExportSlice), counter(in.mod, meter.ExportRest)
		in.deep = in.mod.ExportedGlobal(meter.ExportStack)
		refuel = func() { in.fill(context.Background(), 1<<40) }
	}
	run := func(f api.Function) {
		refuel()
		if err := f.CallWithStack(in.ctx, in.stack[:]); err != nil {
			b.Fatal(err)
		}
	}
	if init := in.mod.ExportedFunction(hostabi.ExportInit); init != nil {
		run(init)
	}
	in.stack[0] = uint64(len(raw))
	run(in.mod.ExportedFunction(hostabi.ExportReserve))
	in.arena = uint32(in.stack[0])
	if !in.mod.Memory().Write(in.arena, raw) {
		b.Fatal("the arena lies outside of the memory")
	}
	f := in.mod.ExportedFunction(hostabi.KindJobOrder.Export())
	for b.Loop() {
		in.stack[0] = uint64(in.arena)
		if run(f); in.stack[0] != 0 {
			b.Fatalf("status %d", in.stack[0])
		}
	}
	b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/10_000, "ns/row")
}

// encoded is a batch of n jobs for a module.
func encoded(b *testing.B, bin []byte, n int) []byte {
	m, err := Load(b.Context(), bin, Options{Name: "p"})
	if err != nil {
		b.Fatal(err)
	}
	defer m.Close() //nolint:errcheck // always nil
	batch := &policies.JobBatch{
		N: n, User: make([]uint32, n), Dominant: make([]int64, n), UserShare: make([]int64, n),
		Wait: make([]int64, n), Duration: make([]int64, n),
	}
	for i := range n {
		batch.User[i], batch.Dominant[i] = uint32(i*31%(n/10)), int64(i*7%1000)
		batch.Wait[i], batch.Duration[i] = int64(i*7919%n)*1e9, int64(i*104729%n)*1e9
	}
	raw, err := m.EncodeJobs(batch)
	if err != nil {
		b.Fatal(err)
	}
	return raw
}

// started is an instance of a module as it is, in an engine of its own.
func started(b *testing.B, bin []byte) *instance {
	ctx := context.Background()
	rt := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfig().WithCoreFeatures(api.CoreFeaturesV2))
	b.Cleanup(func() { _ = rt.Close(ctx) })
	if err := addHostModules(ctx, rt); err != nil {
		b.Fatal(err)
	}
	mod, err := rt.InstantiateWithConfig(ctx, bin, wazero.NewModuleConfig().WithName("").WithStartFunctions())
	if err != nil {
		b.Fatal(err)
	}
	in := &instance{mod: mod, counters: new([maxCounters]int64)}
	in.ctx = callContext{in}
	return in
}
