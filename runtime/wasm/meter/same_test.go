package meter_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/tetratelabs/wazero/api"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/runtime/wasm/meter"
)

// outcome is all that can be seen of a run.
type outcome struct {
	results string
	trap    string // the kind of trap
	memory  []byte
	global  uint64
	hosted  string // arguments of the calls of the host
}

func (o outcome) equal(p outcome) bool {
	return o.results == p.results && o.trap == p.trap && bytes.Equal(o.memory, p.memory) && o.global == p.global && o.hosted == p.hosted
}

func (o outcome) String() string {
	return fmt.Sprintf("results %s, trap %q, %d bytes of memory, global %d, host calls %s", o.results, o.trap, len(o.memory), o.global, o.hosted)
}

// recorder is an engine whose host function h.f records its calls.
type recorder struct {
	*engine
	calls []uint32
}

func newRecorder(t testing.TB, interpreter bool) *recorder {
	r := &recorder{engine: newEngine(t, interpreter)}
	f := api.GoFunc(func(_ context.Context, stack []uint64) {
		arg := api.DecodeU32(stack[0]) // the upper half may hold anything
		r.calls = append(r.calls, arg)
		stack[0] = api.EncodeU32(arg * 31)
	})
	i32 := []api.ValueType{api.ValueTypeI32}
	if _, err := r.rt.NewHostModuleBuilder("h").NewFunctionBuilder().WithGoFunction(f, i32, i32).Export("f").Instantiate(context.Background()); err != nil {
		t.Fatal(err)
	}
	return r
}

// run calls run three times in one instance, and says what could be seen and how much
// fuel went.
func (r *recorder) run(t testing.TB, bin []byte, budget int64) (outcome, int64) {
	g := r.start(t, bin)
	defer func() { _ = g.Close(context.Background()) }()
	r.calls = r.calls[:0]
	var o outcome
	var fuel int64
	for i := range uint64(3) {
		out, used, err := g.call(budget, "run", i, 12345*i)
		fuel += used
		o.results += fmt.Sprint(out)
		if err != nil {
			o.trap = kind(err)
			break
		}
	}
	size := g.Memory().Size()
	memory, _ := g.Memory().Read(0, size)
	o.memory = bytes.Clone(memory)
	o.global = g.ExportedGlobal("g").Get()
	o.hosted = fmt.Sprint(r.calls)
	return o, fuel
}

// enough fuel for most of the modules that are drawn, and little for a test.
const enough = 1 << 21

// kind is the first line of a trap.
func kind(err error) string {
	line, _, _ := strings.Cut(err.Error(), "\n")
	return line
}

func TestAMeteredModuleDoesWhatThePlainOneDoes(t *testing.T) {
	compiler, interpreter := newRecorder(t, false), newRecorder(t, true)
	traps, whole := 0, 0
	rapid.Check(t, func(t *rapid.T) {
		bin := module(t)
		metered, _, err := meter.Instrument(bin, meter.Config{})
		if err != nil {
			t.Fatalf("refused: %v", err)
		}
		compiled, fuel := compiler.run(suite, metered, enough)
		if fuel > enough {
			t.Skip("too much work for a test")
		}
		plain, _ := compiler.run(suite, bin, 0)
		interpreted, fuelToo := interpreter.run(suite, metered, enough)
		if strings.HasSuffix(plain.trap, "stack overflow") { // recursion is bounded sooner, and by the interpreter sooner still
			if compiled.trap == "" || interpreted.trap == "" {
				t.Fatalf("metered: %v\ninterpreter: %v\nplain: %v", compiled, interpreted, plain)
			}
			return
		}
		if !plain.equal(compiled) {
			t.Fatalf("metered: %v\nplain: %v", compiled, plain)
		}
		if !plain.equal(interpreted) {
			t.Fatalf("interpreter: %v\nplain: %v", interpreted, plain)
		}
		if fuel != fuelToo || fuel <= 0 {
			t.Fatalf("compiler used %d units, interpreter %d", fuel, fuelToo)
		}
		if whole++; plain.trap != "" {
			traps++
		}
	})
	t.Logf("%d modules, %d of them trapped", whole, traps)
	if traps == whole {
		t.Errorf("all %d modules trapped: the generator shows nothing", whole)
	}
}

// suite stands for the test inside of rapid's functions.
var suite testing.TB = fatal{}

// fatal is a testing.TB for code that fails only if the test itself is wrong.
type fatal struct{ testing.TB }

func (fatal) Helper()                   {}
func (fatal) Fatal(args ...any)         { panic(fmt.Sprint(args...)) }
func (fatal) Fatalf(f string, a ...any) { panic(fmt.Sprintf(f, a...)) }

func TestABudgetThatDoesNotSufficeStopsAtTheSameInstructionEverywhere(t *testing.T) {
	compiler, interpreter := newRecorder(t, false), newRecorder(t, true)
	stopped := 0
	rapid.Check(t, func(t *rapid.T) {
		bin := module(t)
		metered, _, err := meter.Instrument(bin, meter.Config{Slice: 1 << rapid.IntRange(4, 20).Draw(t, "slice")})
		if err != nil {
			t.Fatal(err)
		}
		budget := int64(rapid.IntRange(0, 4000).Draw(t, "budget"))
		a, fuel := compiler.run(suite, metered, budget)
		again, fuelAgain := compiler.run(suite, metered, budget)
		b, fuelToo := interpreter.run(suite, metered, budget)
		if !a.equal(again) || !a.equal(b) || fuel != fuelAgain || fuel != fuelToo {
			t.Fatalf("compiler %d units, %v\nagain %d units, %v\ninterpreter %d units, %v", fuel, a, fuelAgain, again, fuelToo, b)
		}
		if a.trap == "wasm error: unreachable" {
			stopped++
		}
	})
	if stopped == 0 {
		t.Error("no budget was too small: the test shows nothing")
	}
}

func TestAllSlicesCountTheSame(t *testing.T) {
	r := newRecorder(t, false)
	rapid.Check(t, func(t *rapid.T) {
		bin := module(t)
		var first outcome
		var fuel int64
		for i, slice := range []int64{1 << 20, 1, 100} {
			metered, _, err := meter.Instrument(bin, meter.Config{Slice: slice})
			if err != nil {
				t.Fatal(err)
			}
			o, used := r.run(suite, metered, enough)
			if used > enough {
				t.Skip("too much work for a test")
			}
			if i == 0 {
				first, fuel = o, used
			}
			if !o.equal(first) || used != fuel {
				t.Fatalf("slices of %d: %d units, %v\nof 2^20: %d units, %v", slice, used, o, fuel, first)
			}
		}
	})
}

func TestASafepointThatSaysStopStops(t *testing.T) {
	e := newEngine(t, false)
	g := e.start(t, instrument(t, read(t, "testdata/bench.wasm")))
	if _, _, err := g.call(1<<40, "fill"); err != nil {
		t.Fatal(err)
	}
	e.cancel, e.visits = true, 0
	_, used, err := g.call(1<<40, "sorted", 10_000)
	if err == nil || e.visits != 1 {
		t.Fatalf("%v after %d visits", err, e.visits)
	}
	if int64(g.slice.Get()) < 0 || used < 1<<20 || used > 1<<20+1000 {
		t.Errorf("slice %d after %d units: a cancelled guest is not one out of fuel", int64(g.slice.Get()), used)
	}
}

func TestAnInstanceHasNoFuelUntilItIsGivenSome(t *testing.T) {
	g := newEngine(t, false).start(t, instrument(t, read(t, "testdata/bench.wasm")))
	if _, err := g.ExportedFunction("aged").Call(context.Background(), 1); err == nil {
		t.Fatal("it ran")
	}
}

func TestTheSameGuestOfCAndGoGivesTheSameBitsMeteredAndPlain(t *testing.T) {
	for _, lang := range []string{"c", "go"} {
		bin := read(t, "testdata/bench.wasm")
		if lang == "go" {
			bin = goGuest(t)
		}
		plain := results(t, lang, bin)
		if metered := results(t, lang, instrument(t, bin)); plain != metered {
			t.Errorf("%s: plain %s, metered %s", lang, plain, metered)
		}
	}
}

func results(t *testing.T, lang string, bin []byte) string {
	e := newEngine(t, false)
	if lang == "go" {
		e.withWASI()
	}
	g := e.start(t, bin)
	said := ""
	for _, name := range []string{"_initialize", "fill", "aged", "mixed", "calls", "sorted"} {
		f := g.ExportedFunction(name)
		if f == nil {
			continue
		}
		out, _, err := g.call(1<<40, name, []uint64{10_000}[:len(f.Definition().ParamTypes())]...)
		if err != nil {
			t.Fatal(errors.Join(errors.New(name), err))
		}
		said += fmt.Sprint(out)
	}
	return said
}
