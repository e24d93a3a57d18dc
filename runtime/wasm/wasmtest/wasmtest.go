// Package wasmtest has small Wasm modules for tests, written by hand: one that is
// good, and one for each way in which a policy can misbehave. Each decides all three
// kinds, and does the same in each, unless its comment says otherwise. The host must
// refuse or contain every one of them.
package wasmtest

import (
	"math"

	"github.com/musterhq/muster/hostabi"
)

// Indices of the functions of a guest, before those of its kinds.
const (
	fnMarker = iota
	fnReserve
	fnFind
)

// guest is a module that follows the ABI; bodies are the functions of its kinds.
func guest(jobs, queues, victims asm) *module {
	return &module{funcs: []function{
		fnMarker:  {hostabi.ExportMarker, typNone, nil},
		fnReserve: {hostabi.ExportReserve, typI32, growing},
		fnFind:    {"", typFind, find},
		{hostabi.KindJobOrder.Export(), typI32, jobs},
		{hostabi.KindQueueShares.Export(), typI32, queues},
		{hostabi.KindVictimCosts.Export(), typI32, victims},
	}}
}

func all(body asm) *module { return guest(body, body, body) }

// growing is muster_reserve: new pages at the end of memory, 0 if there are none.
// Local 1 is the number of the first new page.
var growing = code(
	get(0), i32(65535), opI32Add, i32(16), opI32ShrU, opMemoryGrow, 0, tee(1),
	i32(-1), opI32Eq, opIf, typeVoid, i32(0), opReturn, opEnd,
	get(1), i32(65536), opI32Mul,
)

// find is (batch, column id) -> address of the column. Local 2 walks over the
// descriptors, local 3 counts what is left of them.
var find = code(
	get(0), get(0), load(28), opI32Add, set(2),
	get(0), load16(24), get(0), load16(26), opI32Add, set(3),
	opLoop, typeVoid,
	get(3), opI32Eqz, opIf, typeVoid, opUnreachable, opEnd,
	get(2), load(0), get(1), opI32Eq, opIf, typeVoid,
	get(0), get(2), load(8), opI32Add, opReturn, opEnd,
	get(2), get(0), load(32), opI32Add, set(2),
	get(3), i32(1), opI32Sub, set(3),
	opBr, 0,
	opEnd, opUnreachable,
)

// column leaves the address of a column on the stack.
func column(id hostabi.ColumnID) asm { return code(get(0), i32(int64(id)), call(fnFind)) }

// set64 stores a number into the first element of a column.
func set64(id hostabi.ColumnID, v int64) asm { return code(column(id), i64(v), store64()) }

func set32(id hostabi.ColumnID, v int64) asm { return code(column(id), i32(v), store(0)) }

var ok = i32(0)

// Good answers all zeros: fifo, no entitlement, all victims for free.
func Good() []byte { return all(ok).bytes() }

// GoodWithMetadata is Good with a custom section muster.policy of that content.
func GoodWithMetadata(json string) []byte {
	m := all(ok)
	m.custom = map[string][]byte{hostabi.SectionName: []byte(json)}
	return m.bytes()
}

// Trap executes unreachable.
func Trap() []byte { return all(asm{opUnreachable}).bytes() }

// Infinity is NaN with an infinite key.
func Infinity() []byte { return floats(math.Inf(-1)).bytes() }

func floats(v float64) *module {
	return guest(
		code(set32(hostabi.JobKeyFormat, 1), column(hostabi.JobKey0), f64(v), storeF64(), ok),
		code(set64(hostabi.QueueEntitled, -1), ok),
		code(set64(hostabi.VictimCost, -1), ok),
	)
}

// FloatKeys answers two keys of job_order, the second descending: the floats 1.5 and
// -0 in the first row, and -2.5 and 3 in the second, which the batch must have.
func FloatKeys() []byte {
	row := func(id hostabi.ColumnID, i int64, v float64) asm {
		return code(column(id), i32(8*i), opI32Add, f64(v), storeF64())
	}
	return guest(code(
		set32(hostabi.JobKeyCount, 2), set32(hostabi.JobKeyFormat, 0b1101),
		row(hostabi.JobKey0, 0, 1.5), row(hostabi.JobKey0, 1, -2.5),
		row(hostabi.JobKey1, 0, math.Copysign(0, -1)), row(hostabi.JobKey1, 1, 3), ok,
	), ok, ok).bytes()
}

// FiveKeys says that it has filled five key columns; as fairness it answers a
// negative rank, as victim costs a veto of 2.
func FiveKeys() []byte {
	return guest(
		code(set32(hostabi.JobKeyCount, 5), ok),
		code(set64(hostabi.QueueRank, -1), ok),
		code(set32(hostabi.VictimVeto, 2), ok),
	).bytes()
}

// Status returns a status of its own, with a text.
func Status(status hostabi.Status, text string) []byte {
	body := code(get(0), get(0), load(80), opI32Add, set(1))
	for i := range len(text) {
		body = code(body, get(1), i32(int64(text[i])), asm{opI32Store8, 0}, asm(uleb(uint64(i))))
	}
	return all(code(body, get(0), i32(int64(len(text))), store(88), i32(int64(status)))).bytes()
}

// HugeErrorText says that its error text is 4 GiB long, and overwrites the header.
func HugeErrorText() []byte {
	return all(code(
		get(0), i32(0), store(0), get(0), i32(-1), store(12), get(0), i32(-1), store(80),
		get(0), i32(-1), store(84), get(0), i32(-1), store(88), i32(4),
	)).bytes()
}

const wasi = "wasi_snapshot_preview1"

// importing is a guest whose functions call imports, which are functions 0 and up.
func importing(body asm, imports ...imported) []byte {
	m := all(body)
	m.imports = imports
	return m.bytes()
}

// Chatty logs "hello" as information 20 times and adds 3 to counter 7 in each call,
// and 1 to counter 1,000,000, which is not there.
func Chatty() []byte {
	body := code(text(0, "hello"), i32(7), i64(3), call(1), i32(1_000_000), i64(1), call(1))
	for range 20 {
		body = code(body, i32(0), i32(0), i32(5), call(0))
	}
	return importing(code(body, ok),
		imported{hostabi.ImportModule, "log", typLog}, imported{hostabi.ImportModule, "counter_add", typCount})
}

// LogsFromNowhere logs 4 GiB, and then a text outside of its memory.
func LogsFromNowhere() []byte {
	return importing(code(i32(0), i32(0), i32(-1), call(0), i32(0), i32(-5), i32(5), call(0), ok),
		imported{hostabi.ImportModule, "log", typLog})
}

// Exit ends itself by proc_exit, with 0.
func Exit() []byte {
	return importing(code(i32(0), call(0), ok), imported{wasi, "proc_exit", typExit})
}

// LastWords writes a line to stderr, and traps.
func LastWords() []byte {
	return importing(code(
		text(64, "boom: it broke\n"), i32(0), i32(64), store(0), i32(0), i32(15), store(4),
		i32(2), i32(0), i32(1), i32(32), call(0), opDrop, opUnreachable,
	), imported{wasi, "fd_write", typWrite})
}

// text stores a text into memory.
func text(at int, s string) asm {
	var out asm
	for i := range len(s) {
		out = code(out, i32(int64(at+i)), i32(int64(s[i])), store8())
	}
	return out
}

func reserving(body asm) []byte {
	m := all(ok)
	m.funcs[fnReserve].body = body
	return m.bytes()
}

// BadPointer lends an arena that lies outside of its memory.
func BadPointer() []byte { return reserving(i32(-64)) }

// BadLength lends an arena that begins inside of its memory and ends outside.
func BadLength() []byte { return reserving(i32(65536 - 64)) }

// Unaligned lends an arena at an odd address.
func Unaligned() []byte { return reserving(i32(65)) }

// NoRoom refuses every arena.
func NoRoom() []byte { return reserving(i32(0)) }

// TrapInReserve traps when it is asked for memory.
func TrapInReserve() []byte { return reserving(asm{opUnreachable}) }

// WrongSignature exports its kinds as (i64) -> (i32).
func WrongSignature() []byte {
	m := all(ok)
	for i := 3; i < 6; i++ {
		m.funcs[i].typ = typI64
	}
	return m.bytes()
}

// MissingMarker does not say which ABI it speaks.
func MissingMarker() []byte { return renamed(fnMarker, "") }

// OtherVersion speaks ABI 2.
func OtherVersion() []byte { return renamed(fnMarker, "muster_abi_v2") }

// MissingReserve does not export muster_reserve.
func MissingReserve() []byte { return renamed(fnReserve, "") }

func renamed(f int, export string) []byte {
	m := all(ok)
	m.funcs[f].export = export
	return m.bytes()
}

// MissingMemory does not export its memory.
func MissingMemory() []byte {
	m := all(ok)
	m.noMemory = true
	return m.bytes()
}

// NoKind decides nothing.
func NoKind() []byte {
	m := all(ok)
	m.funcs = m.funcs[:3]
	return m.bytes()
}

// ForbiddenImport imports wasi_snapshot_preview1.path_open, which opens files.
func ForbiddenImport() []byte {
	m := all(ok)
	m.imports = []imported{{wasi, "path_open", typNone}}
	return m.bytes()
}

// WrongImport imports muster_v1.log with a signature of its own.
func WrongImport() []byte {
	m := all(ok)
	m.imports = []imported{{hostabi.ImportModule, "log", typNone}}
	return m.bytes()
}

// StartFunction has a start function.
func StartFunction() []byte {
	m := all(ok)
	m.start = 1 + fnMarker
	return m.bytes()
}

// TooMuchMemory starts with 2 GiB of memory.
func TooMuchMemory() []byte {
	m := all(ok)
	m.minPages = 32768
	return m.bytes()
}

// TrapInInit traps in _initialize.
func TrapInInit() []byte { return initialising(asm{opUnreachable}) }

// LoopInInit never returns from _initialize.
func LoopInInit() []byte { return initialising(code(opLoop, typeVoid, opBr, 0, opEnd)) }

func initialising(body asm) []byte {
	m := all(ok)
	m.funcs = append(m.funcs, function{hostabi.ExportInit, typNone, body})
	return m.bytes()
}

// NotWasm is a text.
func NotWasm() []byte { return []byte("#!/bin/sh\necho this is not WebAssembly\n") }

// Truncated is Good without its second half.
func Truncated() []byte { return Good()[:len(Good())/2] }

// BadCode is a module whose sections are right and whose code is not.
func BadCode() []byte { return all(asm{opDrop, opDrop}).bytes() }
