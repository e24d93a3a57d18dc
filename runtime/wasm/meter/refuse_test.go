package meter_test

import (
	"bytes"
	"context"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"

	"github.com/musterhq/muster/hostabi/wasmbin"
	"github.com/musterhq/muster/runtime/wasm/meter"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// small is a module of one function () -> () with this code, two i32 locals, a memory
// and an i32 global, and more sections, which stand at their places.
func small(code []byte, more map[wasmbin.SectionID][]byte) []byte {
	body := append([]byte{1, 2, wasmI32}, code...)
	secs := map[wasmbin.SectionID][]byte{
		wasmbin.SecType:     {1, 0x60, 0, 0},
		wasmbin.SecFunction: {1, 0},
		wasmbin.SecMemory:   {1, 0, 1},
		wasmbin.SecGlobal:   {1, wasmI32, 1, 0x41, 0, 0x0b},
		wasmbin.SecCode:     append(wasmbin.AppendU([]byte{1}, uint64(len(body))), body...),
	}
	for id, b := range more {
		secs[id] = b
	}
	ids := make([]wasmbin.SectionID, 0, len(secs))
	for id := range secs {
		ids = append(ids, id)
	}
	slices.SortFunc(ids, func(a, b wasmbin.SectionID) int {
		if a.Before(b) {
			return -1
		}
		return 1
	})
	out := wasmbin.AppendHead(nil)
	for _, id := range ids {
		out = wasmbin.AppendSection(out, id, secs[id])
	}
	return out
}

func named(name string, rest ...byte) []byte {
	return append(append([]byte{1}, wasmbin.AppendName(nil, name)...), rest...)
}

func TestAModuleThatCouldReachTheMeterIsRefused(t *testing.T) {
	end := []byte{0x0b}
	for _, c := range []struct {
		name, want string
		bin        []byte
	}{
		{"it reads the global behind its own", "global 1 does not exist", small([]byte{0x23, 1, 0x1a, 0x0b}, nil)},
		{"it writes the global behind its own", "global 2 does not exist", small([]byte{0x42, 0, 0x24, 2, 0x0b}, nil)},
		{"it writes the local behind its own", "local 2 does not exist", small([]byte{0x03, 0x40, 0x42, 0, 0x21, 2, 0x0c, 0, 0x0b, 0x0b}, nil)},
		{"it calls a helper", "function 1 does not exist", small([]byte{0x10, 1, 0x0b}, nil)},
		{"it refers to a helper", "function 3 does not exist", small([]byte{0xd2, 3, 0x1a, 0x0b}, nil)},
		{"a block has the type of a helper", "type 2 does not exist", small([]byte{0x02, 2, 0x0b, 0x0b}, nil)},
		{"an indirect call has the type of a helper", "type 1 does not exist", small([]byte{0x41, 0, 0x11, 1, 0, 0x0b}, nil)},
		{"it exports a name of the meter", "the names of the meter", small(end, map[wasmbin.SectionID][]byte{wasmbin.SecExport: named(meter.ExportSlice, 3, 0)})},
		{"it exports the global of the meter", "global 1 does not exist", small(end, map[wasmbin.SectionID][]byte{wasmbin.SecExport: named("x", 3, 1)})},
		{"it exports a helper", "function 1 does not exist", small(end, map[wasmbin.SectionID][]byte{wasmbin.SecExport: named("x", 0, 1)})},
		{"it starts in a helper", "function 1 does not exist", small(end, map[wasmbin.SectionID][]byte{wasmbin.SecStart: {1}})},
		{"it grows a memory that it has not", "memory 0 does not exist", slices.Concat(wasmbin.AppendHead(nil), []byte{
			1, 4, 1, 0x60, 0, 0, 3, 2, 1, 0, 10, 9, 1, 7, 0, 0x41, 0, 0x40, 0, 0x1a, 0x0b,
		})},
		{"it puts a helper into a table", "function 1 does not exist", small(end, map[wasmbin.SectionID][]byte{
			wasmbin.SecTable: {1, 0x70, 0, 1}, wasmbin.SecElement: {1, 0, 0x41, 0, 0x0b, 1, 1},
		})},
		{"a global starts as one of the meter", "global 1 does not exist", small(end, map[wasmbin.SectionID][]byte{wasmbin.SecGlobal: {1, wasmI32, 1, 0x23, 1, 0x0b}})},
		{"it imports from the meter", "the names of the meter", small(end, map[wasmbin.SectionID][]byte{
			wasmbin.SecImport: named(meter.ImportModule, append(wasmbin.AppendName(nil, "safepoint"), 0, 0)...),
		})},
	} {
		refused(t, c.name, c.bin, c.want)
	}
}

func refused(t *testing.T, name string, bin []byte, want string) {
	t.Helper()
	_, _, err := meter.Instrument(bin, meter.Config{})
	var we *wasmbin.Error
	if !errors.As(err, &we) || !strings.Contains(we.Problem, want) || we.Offset < 8 || we.Offset > len(bin) {
		t.Errorf("%s: %v, want %q with a position", name, err, want)
	}
}

func TestWhatIsNotKnownIsRefusedWithItsPosition(t *testing.T) {
	end := []byte{0x0b}
	huge := []byte{0xff, 0xff, 0xff, 0xff, 0x0f}
	for _, c := range []struct {
		name, want string
		bin        []byte
	}{
		{"an atomic", "unknown instruction fe", small([]byte{0xfe, 0, 0x0b}, nil)},
		{"a tail call", "unknown instruction 12", small([]byte{0x12, 0, 0x0b}, nil)},
		{"an exception", "unknown instruction 08", small([]byte{0x08, 0, 0x0b}, nil)},
		{"a relaxed vector instruction", "unknown instruction fd 80 02", small([]byte{0xfd, 0x80, 0x02, 0x0b}, nil)},
		{"a second memory", "memory 1", small([]byte{0x3f, 1, 0x1a, 0x0b}, nil)},
		{"tags", "exceptions", small(end, map[wasmbin.SectionID][]byte{wasmbin.SecTag: {0}})},
		{"a body without an end", "cut off", small([]byte{0x01}, nil)},
		{"code behind the end", "behind the end", small([]byte{0x0b, 0x01}, nil)},
		{"4 billion functions", "cannot fit", small(end, map[wasmbin.SectionID][]byte{wasmbin.SecFunction: huge})},
		{"4 billion types", "cannot fit", small(end, map[wasmbin.SectionID][]byte{wasmbin.SecType: huge})},
		{"4 billion labels", "cannot fit", small(append([]byte{0x0e}, huge...), nil)},
		{"4 billion locals", "locals", small(nil, map[wasmbin.SectionID][]byte{wasmbin.SecCode: {1, 8, 1, 0xff, 0xff, 0xff, 0xff, 0x0f, wasmI32, 0x0b}})},
		{"4 billion locals, in two parts", "locals", small(nil, map[wasmbin.SectionID][]byte{
			wasmbin.SecCode: {1, 10, 2, 10, wasmI32, 0xf7, 0xff, 0xff, 0xff, 0x0f, wasmI32, 0x0b},
		})},
		{"a table of 16 million elements", "elements", small(end, map[wasmbin.SectionID][]byte{wasmbin.SecTable: {1, 0x70, 0, 0x80, 0x80, 0x80, 8}})},
		{"more functions than bodies", "functions have code", small(end, map[wasmbin.SectionID][]byte{wasmbin.SecFunction: {2, 0, 0}})},
	} {
		refused(t, c.name, c.bin, c.want)
	}
}

func TestPricesOutOfRangeAreRefused(t *testing.T) {
	for _, c := range []meter.Config{{Slice: -1}, {Slice: 1 << 50}, {CallSurcharge: -1}, {CallSurcharge: 1 << 30}, {BulkBytes: 3}, {BulkBytes: -64}} {
		if _, _, err := meter.Instrument(wasmtest.Good(), c); err == nil {
			t.Errorf("%+v was taken", c)
		}
	}
}

func TestInstrumentingTwiceGivesTheSameBytesAndAMeteredModuleIsRefused(t *testing.T) {
	bin := read(t, "testdata/bench.wasm")
	a, b := instrument(t, bin), instrument(t, bin)
	if !bytes.Equal(a, b) {
		t.Error("two runs differ")
	}
	refused(t, "metered", a, "the names of the meter")
}

// Four times as many blocks take four times as long, give or take what the machine does
// beside; in the square it would be sixteen times.
func TestAMillionNestedBlocksTakeLinearTime(t *testing.T) {
	few, many := nested(t, 50_000), nested(t, 200_000)
	if many > 10*few {
		t.Errorf("50,000 blocks take %v, 200,000 take %v", few, many)
	}
	if _, _, err := meter.Instrument(nestedLoops(1_000_000), meter.Config{}); err != nil {
		t.Error(err)
	}
}

func nestedLoops(n int) []byte {
	return small(append(bytes.Repeat([]byte{0x03, 0x40}, n), bytes.Repeat([]byte{0x0b}, n+1)...), nil)
}

// nested is the shortest of some times.
func nested(t *testing.T, n int) time.Duration {
	bin, best := nestedLoops(n), time.Hour
	for range 5 {
		start := time.Now()
		if _, _, err := meter.Instrument(bin, meter.Config{}); err != nil {
			t.Fatal(err)
		}
		best = min(best, time.Since(start))
	}
	return best
}

func TestATableGrowsNoFurtherThanTheLimit(t *testing.T) {
	// run() = table.grow(null, 2^27)
	bin := small([]byte{0xd0, 0x70, 0x41, 0x80, 0x80, 0x80, 0xc0, 0, 0xfc, 15, 0, 0x0b}, map[wasmbin.SectionID][]byte{
		wasmbin.SecType: {1, 0x60, 0, 1, wasmI32}, wasmbin.SecTable: {1, 0x70, 0, 1}, wasmbin.SecExport: named("run", 0, 0),
	})
	g := newEngine(t, false).start(t, instrument(t, bin))
	out, _, err := g.call(1<<40, "run")
	if err != nil || int32(out[0]) != -1 {
		t.Errorf("grew: %v, %v", out, err)
	}
}

func TestBulkInstructionsPayByLengthAndTheLongestStopsAtOnce(t *testing.T) {
	fill := func(n ...byte) []byte { // memory.fill(0, 0, n)
		return small(append(append([]byte{0x41, 0, 0x41, 0, 0x41}, n...), 0xfc, 11, 0, 0x0b), map[wasmbin.SectionID][]byte{wasmbin.SecExport: named("run", 0, 0)})
	}
	e := newEngine(t, false)
	_, page, err := e.start(t, instrument(t, fill(0x80, 0x80, 4))).call(1<<20, "run")
	_, none, err2 := e.start(t, instrument(t, fill(0))).call(1<<20, "run")
	if err != nil || err2 != nil || page-none != 65536/64 {
		t.Errorf("a page costs %d units more than nothing (%v, %v), want %d", page-none, err, err2, 65536/64)
	}
	_, used, err := e.start(t, instrument(t, fill(0x7f))).call(1<<20, "run") // 2^32-1 bytes
	if err == nil || used < 1<<26-1 || used > 1<<26+1000 {
		t.Errorf("4 GiB: %d units, %v", used, err)
	}
}

// FuzzInstrument: whatever it is given, it answers, and what was valid stays valid.
func FuzzInstrument(f *testing.F) {
	f.Add(small([]byte{0x0b}, nil))
	f.Add(small([]byte{0x03, 0x40, 0x0c, 0, 0x0b, 0x0b}, nil))
	f.Add(wasmbin.AppendHead(nil))
	f.Add(wasmtest.Good())
	f.Add(wasmtest.Chatty())
	f.Add(read(f, "testdata/bench.wasm"))
	f.Add(read(f, "testdata/every.wasm"))
	rt := wazero.NewRuntimeWithConfig(context.Background(), wazero.NewRuntimeConfigInterpreter().WithCoreFeatures(api.CoreFeaturesV2))
	f.Cleanup(func() { _ = rt.Close(context.Background()) })
	f.Fuzz(func(t *testing.T, bin []byte) {
		out, _, err := meter.Instrument(bin, meter.Config{})
		if err != nil {
			if we := (*wasmbin.Error)(nil); !errors.As(err, &we) || we.Offset > len(bin) {
				t.Fatalf("%T: %v", err, err)
			}
			return
		}
		if len(bin) > 1<<16 || !valid(rt, bin) {
			return
		}
		if !valid(rt, out) {
			t.Fatalf("a valid module is no longer one: % x", bin)
		}
	})
}

func valid(rt wazero.Runtime, bin []byte) bool {
	c, err := rt.CompileModule(context.Background(), bin)
	if err != nil {
		return false
	}
	_ = c.Close(context.Background())
	return true
}
