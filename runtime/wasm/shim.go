package wasm

import (
	"context"
	"strings"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/sys"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/hostabi/wasmbin"
	"github.com/musterhq/muster/runtime/wasm/meter"
)

const wasiModule = "wasi_snapshot_preview1"

// WASI error numbers that the shim answers with.
const (
	wasiOK    = 0
	wasiBadf  = 8
	wasiFault = 21
)

// fixedTime is what every clock of a guest shows, always: 2020-01-01. The time of
// the cycle is in the batch.
const fixedTime = 1577836800_000_000_000

// hostFunc is one function that a guest may import.
type hostFunc struct {
	module, name string
	params       string // one letter a parameter: i for i32, I for i64
	result       bool   // i32
	call         func(in *instance, mod api.Module, stack []uint64)
}

// hostFuncs is everything a guest can reach: two functions of Muster, and the ten
// of WASI that Go's runtime links, without clock, chance, files or network. The last
// one is called by the code that the rewriter adds; a policy may not import it.
var hostFuncs = []hostFunc{
	{hostabi.ImportModule, "log", "iii", false, logLine},
	{hostabi.ImportModule, "counter_add", "iI", false, counterAdd},
	{wasiModule, "sched_yield", "", true, answer(wasiOK)},
	{wasiModule, "proc_exit", "i", false, procExit},
	{wasiModule, "args_get", "ii", true, answer(wasiOK)},
	{wasiModule, "args_sizes_get", "ii", true, zeroSizes},
	{wasiModule, "clock_time_get", "iIi", true, clockTime},
	{wasiModule, "environ_get", "ii", true, answer(wasiOK)},
	{wasiModule, "environ_sizes_get", "ii", true, zeroSizes},
	{wasiModule, "fd_write", "iiii", true, fdWrite},
	{wasiModule, "random_get", "ii", true, randomGet},
	{wasiModule, "poll_oneoff", "iiii", true, pollOneoff},
	{meter.ImportModule, meter.ImportSafepoint, "", true, safepoint},
}

// signature is the type of the function in Wasm.
func (f *hostFunc) signature() wasmbin.FuncType {
	var t wasmbin.FuncType
	for _, p := range f.params {
		t.Params = append(t.Params, map[rune]wasmbin.ValType{'i': wasmbin.I32, 'I': wasmbin.I64}[p])
	}
	if f.result {
		t.Results = []wasmbin.ValType{wasmbin.I32}
	}
	return t
}

// allowedImports are what a policy may import, by module.name.
var allowedImports = func() map[string]wasmbin.FuncType {
	m := map[string]wasmbin.FuncType{}
	for _, f := range hostFuncs {
		if f.module != meter.ImportModule {
			m[f.module+"."+f.name] = f.signature()
		}
	}
	return m
}()

// addHostModules makes hostFuncs importable in a wazero runtime.
func addHostModules(ctx context.Context, rt wazero.Runtime) error {
	for _, name := range []string{hostabi.ImportModule, wasiModule, meter.ImportModule} {
		b := rt.NewHostModuleBuilder(name)
		for _, f := range hostFuncs {
			if f.module != name {
				continue
			}
			t := f.signature()
			b.NewFunctionBuilder().WithGoModuleFunction(goFunction(f), valueTypes(t.Params), valueTypes(t.Results)).Export(f.name)
		}
		if _, err := b.Instantiate(ctx); err != nil {
			return err
		}
	}
	return nil
}

func goFunction(f hostFunc) api.GoModuleFunc {
	return func(ctx context.Context, mod api.Module, stack []uint64) {
		if c, ok := ctx.(callContext); ok {
			f.call(c.in, mod, stack)
		}
	}
}

func valueTypes(ts []wasmbin.ValType) []api.ValueType {
	out := make([]api.ValueType, len(ts))
	for i, t := range ts {
		out[i] = api.ValueType(t)
	}
	return out
}

func answer(errno uint64) func(*instance, api.Module, []uint64) {
	return func(_ *instance, _ api.Module, stack []uint64) { stack[0] = errno }
}

// logLine is muster_v1.log(level, ptr, len).
func logLine(in *instance, mod api.Module, stack []uint64) {
	if text, ok := mod.Memory().Read(uint32(stack[1]), uint32(stack[2])); ok {
		in.log(Level(uint32(stack[0])), text)
	}
}

// counterAdd is muster_v1.counter_add(id, value).
func counterAdd(in *instance, _ api.Module, stack []uint64) {
	if id := uint32(stack[0]); id < maxCounters {
		in.counters[id] += int64(stack[1])
	}
}

func procExit(_ *instance, _ api.Module, stack []uint64) {
	panic(exited(uint32(stack[0])))
}

// exited ends a guest that asked for it. The engine reads code 0 as success and two
// others as an end of time; a policy that exits has failed.
func exited(code uint32) error {
	if code == 0 || code == sys.ExitCodeContextCanceled || code == sys.ExitCodeDeadlineExceeded {
		code = 1
	}
	return sys.NewExitError(code)
}

func zeroSizes(_ *instance, mod api.Module, stack []uint64) {
	m := mod.Memory()
	ok := m.WriteUint32Le(uint32(stack[0]), 0) && m.WriteUint32Le(uint32(stack[1]), 0)
	stack[0] = errnoOf(ok)
}

func clockTime(_ *instance, mod api.Module, stack []uint64) {
	stack[0] = errnoOf(mod.Memory().WriteUint64Le(uint32(stack[2]), fixedTime))
}

// randomGet fills with the same numbers in every instance (splitmix64, Steele, Lea
// and Flood 2014).
func randomGet(in *instance, mod api.Module, stack []uint64) {
	buf, ok := mod.Memory().Read(uint32(stack[0]), uint32(stack[1]))
	for i := range buf {
		if i%8 == 0 {
			in.random += 0x9e3779b97f4a7c15
		}
		z := in.random
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		buf[i] = byte((z ^ z>>31) >> (8 * (i % 8)))
	}
	stack[0] = errnoOf(ok)
}

// fdWrite takes what goes to stdout and stderr as log lines.
func fdWrite(in *instance, mod api.Module, stack []uint64) {
	fd, iovs, n, result := uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])
	if fd != 1 && fd != 2 {
		stack[0] = wasiBadf
		return
	}
	m, total, ok := mod.Memory(), uint32(0), n <= 1024
	for i := uint32(0); ok && i < n; i++ {
		p, ok1 := m.ReadUint32Le(iovs + 8*i)
		l, ok2 := m.ReadUint32Le(iovs + 8*i + 4)
		text, ok3 := m.Read(p, l)
		if ok = ok1 && ok2 && ok3; ok {
			in.stderr(text)
			total += l
		}
	}
	stack[0] = errnoOf(ok && m.WriteUint32Le(result, total))
}

// pollOneoff answers every subscription at once: time does not pass in a guest.
func pollOneoff(_ *instance, mod api.Module, stack []uint64) {
	subs, events, n, result := uint32(stack[0]), uint32(stack[1]), uint32(stack[2]), uint32(stack[3])
	m, ok := mod.Memory(), n <= 1024
	for i := uint32(0); ok && i < n; i++ {
		user, ok1 := m.ReadUint64Le(subs + 48*i)
		tag, ok2 := m.ReadByte(subs + 48*i + 8)
		event, ok3 := m.Read(events+32*i, 32)
		if ok = ok1 && ok2 && ok3; ok {
			clear(event)
			ok = m.WriteUint64Le(events+32*i, user)
			event[10] = tag
		}
	}
	stack[0] = errnoOf(ok && m.WriteUint32Le(result, n))
}

func errnoOf(ok bool) uint64 {
	if ok {
		return wasiOK
	}
	return wasiFault
}

// Level of a log line, as slog numbers them divided by 4.
type Level int32

// The levels. What a guest writes to stderr is LevelWarn.
const (
	LevelDebug Level = iota - 1
	LevelInfo
	LevelWarn
	LevelError
)

// Limits of what one call may log, and of counters.
const (
	maxLogLines = 16
	maxLogBytes = 4096
	maxCounters = 64
)

func (in *instance) log(level Level, text []byte) {
	if in.logLines >= maxLogLines || in.logBytes >= maxLogBytes {
		return
	}
	text = text[:min(len(text), maxLogBytes-in.logBytes)]
	in.logLines++
	in.logBytes += len(text)
	if in.onLog != nil {
		in.onLog(level, strings.ToValidUTF8(string(text), "\uFFFD"))
	}
}

// stderr gathers lines; the first ones of a call are kept, to explain a trap.
func (in *instance) stderr(text []byte) {
	room := maxSaid - len(in.said)
	in.said = append(in.said, text[:min(len(text), room)]...)
	for _, c := range text {
		if c != '\n' && len(in.line) < maxLogBytes {
			in.line = append(in.line, c)
			continue
		}
		in.log(LevelWarn, in.line)
		in.line = in.line[:0]
	}
}

// lastWords is the first line of stderr that says something.
func (in *instance) lastWords() string {
	for _, l := range strings.Split(strings.ToValidUTF8(string(in.said), "\uFFFD"), "\n") {
		if l = strings.TrimSpace(l); l != "" {
			return l
		}
	}
	return ""
}
