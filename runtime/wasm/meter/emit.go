package meter

import "github.com/musterhq/muster/hostabi/wasmbin"

// emitter writes the bodies, one after the other.
type emitter struct {
	asm
	f      *body
	number int  // of the function, among those with code
	local  bool // the function has the local for the slice
}

// emit writes all bodies, the helpers last.
func (w *rewriter) emit() []byte {
	c := &w.code
	w.report.Functions = len(c.funcs)
	out := make([]byte, 0, len(w.bin)+len(w.bin)/4)
	out = wasmbin.AppendU(out, uint64(len(c.funcs)+helpers))
	e := &emitter{asm: asm{w: w}}
	for i := range c.funcs {
		e.number = i
		e.body(&c.funcs[i])
		out = append(wasmbin.AppendU(out, uint64(len(e.out))), e.out...)
	}
	return w.helperBodies(out)
}

func (e *emitter) body(f *body) {
	e.f, e.out, e.local = f, e.out[:0], false
	for _, r := range e.w.code.regions[f.regions[0]:f.regions[1]] {
		e.local = e.local || r.kept
	}
	at := f.start
	for _, ed := range e.w.code.edits[f.edits[0]:f.edits[1]] {
		e.out = append(e.out, e.w.bin[at:ed.at]...)
		at = ed.at + int(ed.skip)
		e.apply(ed)
	}
	e.out = append(e.out, e.w.bin[at:f.end]...)
}

func (e *emitter) apply(ed edit) {
	w := e.w
	r := &w.code.regions[ed.region]
	switch ed.kind {
	case editLocals:
		n := uint64(ed.arg)
		if e.local {
			n++
		}
		e.out = wasmbin.AppendU(e.out, n)
	case editEntry:
		if e.local {
			e.op(1, byte(wasmbin.I64))
		}
		if !e.f.folded {
			e.charge(r.price + w.price.CallSurcharge)
		}
		if e.f.guarded {
			e.enterFrame()
		}
	case editReturn:
		if e.f.guarded {
			e.index(opBr, ed.arg+uint32(r.depth-w.code.regions[ed.to].depth))
		} else {
			e.op(opReturn)
		}
	case editFunctionEnd:
		if e.f.guarded {
			e.leaveFrame()
		}
	case editLoop:
		e.loop(w.bin[ed.at:ed.at+int(ed.skip)], &w.code.regions[ed.arg])
	case editLoopEnd:
		if r.kept {
			e.op(opEnd)
		}
	case editBranch:
		e.out = wasmbin.AppendU(e.out, uint64(ed.arg)+uint64(r.depth-w.code.regions[ed.to].depth))
	case editReload:
		e.reload(r)
	case editCall:
		e.index(opCall, w.shift(ed.arg))
		if !w.folded(ed.arg) {
			e.reload(r)
		}
	case editRef:
		e.index(byte(wasmbin.OpRefFunc), w.shift(ed.arg))
	case editHelper:
		e.index(opCall, w.helper(ed.arg))
		e.reload(r)
	}
}

// reload reads the slice again, where it is kept.
func (e *emitter) reload(in *region) {
	if in.kept {
		e.getSlice().index(opLocalSet, e.f.fuel)
	}
}

// loop writes the head of a loop, and charges for one turn of it. If the slice is kept,
// then the next turn does not wait for the memory that this one wrote. And the refill is
// called from a second loop around the first: a call inside of a loop, even one that is
// hardly ever made, costs the engine the registers.
//
//	loop                       the second one, entered again when the slice is spent
//	  if fuel < 0 { refill(); fuel = slice + price }
//	  loop                     the loop as it came
//	    fuel -= price; slice = fuel
//	    if fuel < 0 { br to the second one }
//
// Where the loop has parameters they are on the stack, which no block in between may hide.
func (e *emitter) loop(head []byte, r *region) {
	if !r.kept {
		e.op(head...).charge(r.price)
		return
	}
	fuel := e.f.fuel
	if !e.w.code.regions[r.parent].kept {
		e.getSlice().index(opLocalSet, fuel)
	}
	e.op(head...).index(opLocalGet, fuel).i64(0).op(opI64LtS, opIf, blockVoid)
	e.index(opCall, e.w.helper(helperRefill))
	e.getSlice().i64(r.price).op(opI64Add).index(opLocalSet, fuel).op(opEnd)
	e.op(head...).index(opLocalGet, fuel).i64(r.price).op(opI64Sub).index(opLocalTee, fuel).setSlice()
	if e.index(opLocalGet, fuel).i64(0); r.params {
		e.op(opI64LtS, opBrIf, 1)
		return
	}
	e.op(opI64GeS, opIf, blockVoid, opElse, opBr, 2, opEnd) // engines put this out of the way
}
