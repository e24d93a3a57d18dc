package meter

import "github.com/musterhq/muster/hostabi/wasmbin"

// The types that are appended.
const (
	typeSafepoint = iota // () -> i32
	typeRefill           // () -> ()
	typeLength           // i32 -> i32
)

var newTypes = [...][]byte{
	typeSafepoint: {0x60, 0, 1, byte(wasmbin.I32)},
	typeRefill:    {0x60, 0, 0},
	typeLength:    {0x60, 1, byte(wasmbin.I32), 1, byte(wasmbin.I32)},
}

// The functions that are appended, behind all others.
const (
	helperRefill = iota // called when the slice is spent
	helperBytes         // charges for a number of bytes
	helperTable         // charges for a number of elements of a table
	helperGrow          // grows the memory, and charges for the pages
	helpers
)

var helperTypes = [helpers]uint32{typeRefill, typeLength, typeLength, typeLength}

// helper is the index of a helper in the module that is written.
func (w *rewriter) helper(h uint32) uint32 { return w.functions + 1 + h }

// instructions that only the helpers use.
const (
	opI32Eq       = 0x46
	opI32LtS      = 0x48
	opI32Add      = 0x6a
	opI32Sub      = 0x6b
	opI64LtS      = 0x53
	opI64GeS      = 0x59
	opI64Add      = 0x7c
	opI64Sub      = 0x7d
	opI64ShrU     = 0x88
	opI64Shl      = 0x86
	opI64ExtendU  = 0xad
	blockVoid     = 0x40
	elementBytes  = 8 // that a reference takes in a table
	pageShift     = 16
	opUnreachable = byte(wasmbin.OpUnreachable)
	opIf          = byte(wasmbin.OpIf)
	opEnd         = byte(wasmbin.OpEnd)
	opElse        = byte(wasmbin.OpElse)
	opBr          = byte(wasmbin.OpBr)
	opBrIf        = byte(wasmbin.OpBrIf)
	opReturn      = byte(wasmbin.OpReturn)
	opCall        = byte(wasmbin.OpCall)
	opLocalGet    = byte(wasmbin.OpLocalGet)
	opLocalSet    = byte(wasmbin.OpLocalSet)
	opLocalTee    = byte(wasmbin.OpLocalTee)
	opGlobalGet   = byte(wasmbin.OpGlobalGet)
	opGlobalSet   = byte(wasmbin.OpGlobalSet)
	opI32Const    = byte(wasmbin.OpI32Const)
	opI64Const    = byte(wasmbin.OpI64Const)
	opMemoryGrow  = byte(wasmbin.OpMemoryGrow)
)

// asm writes code of the meter.
type asm struct {
	w   *rewriter
	out []byte
}

func (a *asm) op(ops ...byte) *asm { a.out = append(a.out, ops...); return a }

func (a *asm) index(op byte, i uint32) *asm {
	a.out = wasmbin.AppendU(append(a.out, op), uint64(i))
	return a
}

func (a *asm) i64(v int64) *asm {
	a.out = wasmbin.AppendS(append(a.out, opI64Const), v)
	return a
}

func (a *asm) i32(v int64) *asm {
	a.out = wasmbin.AppendS(append(a.out, opI32Const), v)
	return a
}

func (a *asm) getSlice() *asm { return a.index(opGlobalGet, a.w.globals) }
func (a *asm) setSlice() *asm { return a.index(opGlobalSet, a.w.globals) }
func (a *asm) getRest() *asm  { return a.index(opGlobalGet, a.w.globals+1) }
func (a *asm) setRest() *asm  { return a.index(opGlobalSet, a.w.globals+1) }

// refillIfSpent calls the refill when the slice is below zero.
func (a *asm) refillIfSpent() *asm {
	return a.getSlice().i64(0).op(opI64LtS, opIf, blockVoid).
		index(opCall, a.w.helper(helperRefill)).op(opEnd)
}

// charge takes a constant price, and stops where it is more than what is left.
func (a *asm) charge(price int64) *asm {
	return a.getSlice().i64(price).op(opI64Sub).setSlice().refillIfSpent()
}

// chargeTop takes the i64 on the stack.
func (a *asm) chargeTop(local uint32) *asm {
	return a.index(opLocalSet, local).getSlice().index(opLocalGet, local).op(opI64Sub).setSlice().refillIfSpent()
}

// helperBodies appends the code of the helpers.
func (w *rewriter) helperBodies(out []byte) []byte {
	for h := range uint32(helpers) {
		a := &asm{w: w}
		switch h {
		case helperRefill:
			a.refill()
		case helperBytes:
			a.op(1, 1, byte(wasmbin.I64)).index(opLocalGet, 0).op(opI64ExtendU)
			a.i64(log2(w.price.BulkBytes)).op(opI64ShrU).chargeTop(1).index(opLocalGet, 0)
		case helperTable:
			a.op(1, 1, byte(wasmbin.I64)).index(opLocalGet, 0).op(opI64ExtendU)
			a.i64(log2(elementBytes)).op(opI64Shl).i64(log2(w.price.BulkBytes)).op(opI64ShrU).chargeTop(1).index(opLocalGet, 0)
		case helperGrow:
			if w.memories == 0 {
				a.op(0).index(opLocalGet, 0) // nothing calls it
				break
			}
			a.grow()
		}
		a.op(opEnd)
		out = append(wasmbin.AppendU(out, uint64(len(a.out))), a.out...)
	}
	return out
}

// refill moves units from the rest into the slice, which is below zero: enough for a
// full slice, or all that is left. Local 0 is that number.
//
//	rest < 0-slice: slice += rest; rest = 0; trap
//	move = min(rest, Slice-slice); slice += move; rest -= move
//	safepoint() != 0: trap
func (a *asm) refill() {
	w := a.w
	a.op(1, 1, byte(wasmbin.I64))
	a.i64(w.price.Slice).getSlice().op(opI64Sub).index(opLocalSet, 0)
	a.getRest().index(opLocalGet, 0).op(opI64LtS, opIf, blockVoid)
	a.getRest().index(opLocalSet, 0).op(opEnd)
	a.getSlice().index(opLocalGet, 0).op(opI64Add).setSlice()
	a.getRest().index(opLocalGet, 0).op(opI64Sub).setRest()
	a.getSlice().i64(0).op(opI64LtS, opIf, blockVoid, opUnreachable, opEnd)
	a.index(opCall, w.imported).op(opIf, blockVoid, opUnreachable, opEnd)
}

// grow grows the memory by local 0 pages, and charges for them if there is room.
// Local 1 is what memory.grow returned, local 2 the price.
func (a *asm) grow() {
	a.op(2, 1, byte(wasmbin.I32), 1, byte(wasmbin.I64))
	a.index(opLocalGet, 0).op(opMemoryGrow, 0).index(opLocalTee, 1)
	a.op(opI32Const).op(wasmbin.AppendS(nil, -1)...).op(opI32Eq, opIf, blockVoid)
	a.index(opLocalGet, 1).op(opReturn, opEnd)
	a.index(opLocalGet, 0).op(opI64ExtendU).i64(pageShift).op(opI64Shl)
	a.i64(log2(a.w.price.BulkBytes)).op(opI64ShrU).chargeTop(2).index(opLocalGet, 1)
}

// log2 of a power of two.
func log2(v int64) int64 {
	n := int64(0)
	for ; v > 1; v >>= 1 {
		n++
	}
	return n
}
