package wasmtest

import (
	"encoding/binary"
	"math"
	"slices"
)

// asm is a piece of Wasm code.
type asm []byte

// The few instructions that the modules need (core specification, section 5.4).
const (
	opUnreachable = 0x00
	opLoop        = 0x03
	opIf          = 0x04
	opEnd         = 0x0b
	opBr          = 0x0c
	opBrIf        = 0x0d
	opReturn      = 0x0f
	opCall        = 0x10
	opDrop        = 0x1a
	opLocalGet    = 0x20
	opLocalSet    = 0x21
	opLocalTee    = 0x22
	opI32Load     = 0x28
	opI32Load16U  = 0x2f
	opI32Store    = 0x36
	opI64Store    = 0x37
	opI32Store8   = 0x3a
	opF64Store    = 0x39
	opMemoryGrow  = 0x40
	opI32Const    = 0x41
	opI64Const    = 0x42
	opF64Const    = 0x44
	opI32Eqz      = 0x45
	opI32Eq       = 0x46
	opI32Add      = 0x6a
	opI32Sub      = 0x6b
	opI32Mul      = 0x6c
	opI32ShrU     = 0x76

	typeVoid = 0x40
	typeI32  = 0x7f
	typeI64  = 0x7e
)

func code(parts ...any) asm {
	var out asm
	for _, p := range parts {
		switch v := p.(type) {
		case asm:
			out = append(out, v...)
		case int:
			out = append(out, byte(v))
		}
	}
	return out
}

func i32(v int64) asm      { return append(asm{opI32Const}, sleb(v)...) }
func i64(v int64) asm      { return append(asm{opI64Const}, sleb(v)...) }
func get(i int) asm        { return asm{opLocalGet, byte(i)} }
func set(i int) asm        { return asm{opLocalSet, byte(i)} }
func tee(i int) asm        { return asm{opLocalTee, byte(i)} }
func call(f int) asm       { return append(asm{opCall}, uleb(uint64(f))...) }
func load(offset int) asm  { return append(asm{opI32Load, 2}, uleb(uint64(offset))...) }
func load16(o int) asm     { return append(asm{opI32Load16U, 1}, uleb(uint64(o))...) }
func store(offset int) asm { return append(asm{opI32Store, 2}, uleb(uint64(offset))...) }
func store64() asm         { return asm{opI64Store, 3, 0} }
func store8() asm          { return asm{opI32Store8, 0, 0} }
func storeF64() asm        { return asm{opF64Store, 3, 0} }

func f64(v float64) asm {
	return binary.LittleEndian.AppendUint64(asm{opF64Const}, math.Float64bits(v))
}

func uleb(v uint64) []byte { return binary.AppendUvarint(nil, v) }

func sleb(v int64) []byte {
	var out []byte
	for {
		c := byte(v & 0x7f)
		v >>= 7
		if v == 0 && c&0x40 == 0 || v == -1 && c&0x40 != 0 {
			return append(out, c)
		}
		out = append(out, c|0x80)
	}
}

// function is one function: its type, its code, and the name under which it is
// exported, if any. It has four i32 locals after its parameters.
type function struct {
	export string
	typ    int
	body   asm
}

// imported is one imported function.
type imported struct {
	module, name string
	typ          int
}

// module is what is written into a binary.
type module struct {
	imports  []imported
	funcs    []function
	noMemory bool
	minPages int
	start    int // 1 + index of the start function, 0 for none
	custom   map[string][]byte
}

// The function types of every module here.
const (
	typNone  = iota // () -> ()
	typI32          // (i32) -> (i32)
	typI64          // (i64) -> (i32), wrong for every export
	typFind         // (i32 i32) -> (i32)
	typLog          // (i32 i32 i32) -> ()
	typCount        // (i32 i64) -> ()
	typExit         // (i32) -> ()
	typWrite        // (i32 i32 i32 i32) -> (i32)
)

var types = [][2][]byte{
	{nil, nil},
	{{typeI32}, {typeI32}},
	{{typeI64}, {typeI32}},
	{{typeI32, typeI32}, {typeI32}},
	{{typeI32, typeI32, typeI32}, nil},
	{{typeI32, typeI64}, nil},
	{{typeI32}, nil},
	{{typeI32, typeI32, typeI32, typeI32}, {typeI32}},
}

func (m *module) bytes() []byte {
	out := []byte("\x00asm\x01\x00\x00\x00")
	var typeSec, importSec, funcSec, exportSec, codeSec [][]byte
	for _, t := range types {
		typeSec = append(typeSec, slices.Concat([]byte{0x60}, counted(t[0]), counted(t[1])))
	}
	for _, i := range m.imports {
		importSec = append(importSec, slices.Concat(counted([]byte(i.module)), counted([]byte(i.name)), []byte{0, byte(i.typ)}))
	}
	for i, f := range m.funcs {
		funcSec = append(funcSec, []byte{byte(f.typ)})
		codeSec = append(codeSec, counted(slices.Concat([]byte{1, 4, typeI32}, f.body, []byte{opEnd})))
		if f.export != "" {
			exportSec = append(exportSec, slices.Concat(counted([]byte(f.export)), []byte{0, byte(i + len(m.imports))}))
		}
	}
	out = section(out, 1, vector(typeSec))
	if len(importSec) > 0 {
		out = section(out, 2, vector(importSec))
	}
	out = section(out, 3, vector(funcSec))
	out = section(out, 5, vector([][]byte{slices.Concat([]byte{0}, uleb(uint64(max(1, m.minPages))))}))
	if !m.noMemory {
		exportSec = append(exportSec, slices.Concat(counted([]byte("memory")), []byte{2, 0}))
	}
	out = section(out, 7, vector(exportSec))
	if m.start > 0 {
		out = section(out, 8, []byte{byte(m.start - 1)})
	}
	out = section(out, 10, vector(codeSec))
	for name, data := range m.custom {
		out = section(out, 0, slices.Concat(counted([]byte(name)), data))
	}
	return out
}

func section(out []byte, id byte, body []byte) []byte {
	return append(append(append(out, id), uleb(uint64(len(body)))...), body...)
}

func vector(items [][]byte) []byte {
	return append(uleb(uint64(len(items))), slices.Concat(items...)...)
}

func counted(b []byte) []byte { return append(uleb(uint64(len(b))), b...) }
