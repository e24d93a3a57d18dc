package meter_test

import (
	"fmt"
	"testing"

	"github.com/tetratelabs/wazero/api"

	"github.com/musterhq/muster/runtime/wasm/meter"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

const slots = 1 << 17 // the default room

func room(g *guest) int32 { return int32(g.ExportedGlobal(meter.ExportStack).Get()) }

func TestFunctionsThatCallThemselvesGiveTheirRoomBackHoweverTheyLeave(t *testing.T) {
	bin := read(t, "testdata/recursive.wasm")
	_, report, err := meter.Instrument(bin, meter.Config{})
	if err != nil || report.Guarded != 7 {
		t.Fatalf("%d functions are guarded, %v", report.Guarded, err)
	}
	e := newEngine(t, false)
	plain, g := e.start(t, bin), e.start(t, instrument(t, bin))
	for _, c := range []struct {
		export string
		arg    uint64
	}{{"fac", 20}, {"fib", 15}, {"even", 100}, {"even", 101}, {"deep", 1000}, {"wide", 300}} {
		want, _, err := plain.call(0, c.export, c.arg)
		if err != nil {
			t.Fatal(err)
		}
		got, _, err := g.call(1<<30, c.export, c.arg)
		if err != nil || fmt.Sprint(got) != fmt.Sprint(want) {
			t.Errorf("%s(%d): got %v, %v, want %v", c.export, c.arg, got, err, want)
		}
		if room(g) != slots {
			t.Errorf("%s(%d) left %d of %d slots", c.export, c.arg, room(g), slots)
		}
	}
}

func TestTheCallStackIsBoundedWhateverTheBudget(t *testing.T) {
	bin := read(t, "testdata/recursive.wasm")
	for export, arg := range map[string]uint64{"down": 0, "deep": 1 << 30, "fac": 1 << 30, "even": 1 << 30, "wide": 1 << 30} {
		g := newEngine(t, false).start(t, instrument(t, bin))
		var args []uint64
		if export != "down" {
			args = append(args, arg)
		}
		_, used, err := g.call(1<<40, export, args...)
		if err == nil || kind(err) != "wasm error: unreachable" || room(g) >= 0 {
			t.Errorf("%s: %v with %d slots left", export, err, room(g))
		}
		if used > 1<<22 {
			t.Errorf("%s used %d units before it was stopped", export, used)
		}
	}
}

func TestTheRoomIsThatOfTheConfig(t *testing.T) {
	bin, _, err := meter.Instrument(read(t, "testdata/recursive.wasm"), meter.Config{StackSlots: 1000})
	if err != nil {
		t.Fatal(err)
	}
	g := newEngine(t, false).start(t, bin)
	if _, _, err := g.call(1<<30, "fac", api.EncodeI64(50)); err != nil {
		t.Error(err)
	}
	if _, _, err := g.call(1<<30, "fac", api.EncodeI64(200)); err == nil {
		t.Error("200 frames fit into 1,000 slots")
	}
}

func TestWhatCanNotCallItselfIsNotGuarded(t *testing.T) {
	for name, bin := range map[string][]byte{"the guest in C": read(t, "testdata/bench.wasm"), "a tree of calls": wasmtest.CallBomb()} {
		_, report, err := meter.Instrument(bin, meter.Config{})
		if err != nil || report.Guarded != 0 {
			t.Errorf("%s: %d functions are guarded, %v", name, report.Guarded, err)
		}
	}
}
