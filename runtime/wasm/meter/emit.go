package meter

import "github.com/musterhq/muster/hostabi/wasmbin"

// emitter writes the bodies, one after the other.
type emitter struct {
	asm
	f     *body
	quiet bool // some loop of this function keeps the slice in a local
}

// emit writes all bodies, the helpers last.
func (w *rewriter) emit() []byte {
	c := &w.code
	w.report.Functions = len(c.funcs)
	out := make([]byte, 0, len(w.bin)+len(w.bin)/4)
	out = wasmbin.AppendU(out, uint64(len(c.funcs)+helpers))
	e := &emitter{asm: asm{w: w}}
	for i := range c.funcs {
		e.body(&c.funcs[i])
		out = append(wasmbin.AppendU(out, uint64(len(e.out))), e.out...)
	}
	return w.helperBodies(out)
}

func (e *emitter) body(f *body) {
	w := e.w
	e.f, e.out, e.quiet = f, e.out[:0], false
	for _, r := range w.code.regions[f.regions[0]+1 : f.regions[1]] {
		e.quiet = e.quiet || !r.noisy
	}
	at := f.start
	for _, ed := range w.code.edits[f.edits[0]:f.edits[1]] {
		e.out = append(e.out, w.bin[at:ed.at]...)
		at = ed.at + int(ed.skip)
		e.apply(ed)
	}
	e.out = append(e.out, w.bin[at:f.end]...)
}

func (e *emitter) apply(ed edit) {
	w := e.w
	r := &w.code.regions[ed.region]
	switch ed.kind {
	case editLocals:
		n := uint64(ed.arg)
		if e.quiet {
			n++
		}
		e.out = wasmbin.AppendU(e.out, n)
	case editEntry:
		e.entry(r)
	case editPreload:
		if r.noisy && !w.code.regions[ed.arg].noisy {
			e.getSlice().index(opLocalSet, e.f.fuel)
		}
	case editLoop:
		if r.noisy {
			e.charge(r.price)
		} else {
			e.chargeKnown(r.price)
		}
	case editCall:
		e.index(opCall, w.shift(ed.arg))
	case editRef:
		e.index(byte(wasmbin.OpRefFunc), w.shift(ed.arg))
	case editHelper:
		e.index(opCall, w.helper(ed.arg))
	}
}

// entry declares the local of the meter, and charges for the function.
func (e *emitter) entry(r *region) {
	if e.quiet {
		e.op(1, byte(wasmbin.I64))
	}
	price := r.price + e.w.price.CallSurcharge
	switch {
	case e.f.folded:
	case r.noisy || !e.quiet:
		e.charge(price)
	default:
		e.getSlice().index(opLocalSet, e.f.fuel)
		e.chargeKnown(price)
	}
}

// chargeKnown is charge where the local holds the slice, and goes on to: so the next
// turn of a loop does not wait for the memory that this one wrote.
func (e *emitter) chargeKnown(price int64) {
	fuel := e.f.fuel
	e.index(opLocalGet, fuel).i64(price).op(opI64Sub).index(opLocalTee, fuel).setSlice()
	e.index(opLocalGet, fuel).i64(0).op(opI64LtS, opIf, blockVoid)
	e.index(opCall, e.w.helper(helperRefill)).getSlice().index(opLocalSet, fuel).op(opEnd)
}
