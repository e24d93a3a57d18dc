package meter_test

import (
	"context"
	"fmt"
	"testing"

	"github.com/musterhq/muster/runtime/wasm/meter"
)

// BenchmarkMeter is the price of the meter: the same loops of policies over 10,000
// rows, plain and metered, compiled by C and by Go. Fuel is given per row.
func BenchmarkMeter(b *testing.B) {
	for _, lang := range []string{"c", "go"} {
		for _, how := range []string{"plain", "metered"} {
			g := benchGuest(b, lang, how)
			for _, name := range []string{"aged", "mixed", "calls", "sorted"} {
				b.Run(fmt.Sprintf("%s/%s/%s", lang, name, how), func(b *testing.B) {
					f := g.ExportedFunction(name)
					stack := make([]uint64, 1)
					var used int64
					b.ReportAllocs()
					for b.Loop() {
						g.fuel(1 << 40)
						stack[0] = 10_000
						if err := f.CallWithStack(context.Background(), stack); err != nil {
							b.Fatal(err)
						}
						if g.slice != nil {
							used = 1<<40 - g.left()
						}
					}
					b.ReportMetric(float64(used)/10_000, "fuel/row")
				})
			}
		}
	}
}

func benchGuest(b *testing.B, lang, how string) *guest {
	e := newEngine(b, false)
	bin := read(b, "testdata/bench.wasm")
	if lang == "go" {
		e.withWASI()
		bin = goGuest(b)
	}
	if how == "metered" {
		bin = instrument(b, bin)
	}
	g := e.start(b, bin)
	if lang == "go" {
		if _, _, err := g.call(1<<40, "_initialize"); err != nil {
			b.Fatal(err)
		}
	}
	if _, _, err := g.call(1<<40, "fill"); err != nil {
		b.Fatal(err)
	}
	return g
}

// BenchmarkInstrument rewrites a guest of Go, of 1.8 MB, and a small one of C.
func BenchmarkInstrument(b *testing.B) {
	for name, bin := range map[string][]byte{"c": read(b, "testdata/bench.wasm"), "go": goGuest(b)} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			b.SetBytes(int64(len(bin)))
			for b.Loop() {
				if _, _, err := meter.Instrument(bin, meter.Config{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
