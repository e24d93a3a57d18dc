package meter

import (
	"github.com/musterhq/muster/hostabi/wasmbin"
)

// maxLocals is how many locals a function may have; engines have such a bound as well.
const maxLocals = 50_000

// maxLeaf is the highest price of a leaf that its callers pay in advance. A caller pays
// for a call that it may skip, so it is small.
const maxLeaf = 64

// code is what the scan of all bodies leaves behind.
type code struct {
	funcs   []body
	edits   []edit
	regions []int64 // price of each piece of code that is charged as a whole
}

// body is one function. Its region is the code outside of all loops.
type body struct {
	start, end int // in the binary: the local declarations, and behind the last end
	edits      [2]int
	region     int
	leaf       bool // no loop, no call, nothing charged by length
}

// edit is a change at an offset of the binary.
type edit struct {
	at, skip int // skip bytes are left out
	kind     editKind
	arg      uint32
}

type editKind byte

const (
	editCharge editKind = iota // arg: region
	editCall                   // arg: function as it came
	editRef                    // arg: function as it came
	editHelper                 // arg: helper
)

// bodies scans and then writes the code section.
func (w *rewriter) bodies(r *wasmbin.Reader) []byte {
	at := r.Offset()
	n := r.Count()
	if r.Ok() && n != w.defined {
		r.Fail(at, "%d functions have code, %d are declared", n, w.defined)
	}
	w.code.funcs = make([]body, 0, n)
	for ; n > 0 && r.Ok(); n-- {
		w.scan(r)
	}
	if !r.Ok() {
		return nil
	}
	w.fold()
	return w.emit()
}

// scanner walks over one body.
type scanner struct {
	w      *rewriter
	r      *wasmbin.Reader
	f      body
	region int   // that the next instruction belongs to
	open   []int // the region outside of each open block; the function is one
}

func (w *rewriter) scan(r *wasmbin.Reader) {
	size := r.Count()
	from := r.Offset()
	r.Bytes(size)
	if !r.Ok() {
		return
	}
	s := &scanner{w: w, r: wasmbin.NewReader(w.bin, from, from+size)}
	s.f = body{start: from, end: from + size, edits: [2]int{len(w.code.edits)}, leaf: true}
	s.f.region = s.enter()
	locals := s.locals()
	w.code.regions[s.f.region] += w.price.CallSurcharge + locals/4
	s.edit(s.r.Offset(), 0, editCharge, uint32(s.f.region))
	s.open = append(s.open[:0], s.f.region)
	for len(s.open) > 0 && s.r.Ok() {
		s.instr()
	}
	if s.r.More() {
		s.r.Fail(s.r.Offset(), "code behind the end of a function")
	}
	if err, ok := s.r.Err().(*wasmbin.Error); ok {
		r.Fail(err.Offset, "%s", err.Problem)
	}
	s.f.edits[1] = len(w.code.edits)
	w.code.funcs = append(w.code.funcs, s.f)
}

// locals reads the declarations, and returns how many there are.
func (s *scanner) locals() int64 {
	total := int64(0)
	for n := s.r.Count(); n > 0 && s.r.Ok(); n-- {
		at := s.r.Offset()
		total += int64(s.r.U32())
		s.r.Byte()
		if total > maxLocals {
			s.r.Fail(at, "a function has more than %d locals", maxLocals)
		}
	}
	return total
}

// enter opens a region.
func (s *scanner) enter() int {
	s.w.code.regions = append(s.w.code.regions, 0)
	s.region = len(s.w.code.regions) - 1
	return s.region
}

func (s *scanner) edit(at, skip int, kind editKind, arg uint32) {
	s.w.code.edits = append(s.w.code.edits, edit{at, skip, kind, arg})
}

func (s *scanner) instr() {
	i := s.r.Instr()
	price := int64(1)
	switch i.Op {
	case wasmbin.OpBlock, wasmbin.OpIf:
		s.open = append(s.open, s.region)
		s.blockType(i)
		if i.Op == wasmbin.OpBlock {
			price = 0
		}
	case wasmbin.OpLoop:
		s.blockType(i)
		s.open = append(s.open, s.region)
		s.edit(i.End, 0, editCharge, uint32(s.enter()))
		s.w.report.Loops++
		s.f.leaf = false
	case wasmbin.OpEnd:
		price = 0
		s.region = s.open[len(s.open)-1]
		s.open = s.open[:len(s.open)-1]
	case wasmbin.OpElse:
		price = 0
	case wasmbin.OpGlobalGet, wasmbin.OpGlobalSet:
		check(s.r, i.Start, "global", i.Index, s.w.globals)
	case wasmbin.OpRefFunc:
		check(s.r, i.Start, "function", i.Index, s.w.functions)
		s.w.take(i.Index)
		s.edit(i.Start, i.End-i.Start, editRef, i.Index)
	case wasmbin.OpCall, wasmbin.OpCallIndirect:
		price = s.call(i)
	default:
		if h, ok := lengthHelper(i.Op); ok {
			s.bulk(i, h)
		}
	}
	s.w.code.regions[s.region] += price
}

// blockType checks the type of a block. Negative ones are value types.
func (s *scanner) blockType(i wasmbin.Instr) {
	if i.Block >= 0 {
		check(s.r, i.Start, "type", uint32(i.Block), s.w.types)
	}
}

// call notes a call. One of a host function, and one through a table, which may be one,
// costs the surcharge here; a function of the guest pays its own.
func (s *scanner) call(i wasmbin.Instr) int64 {
	s.f.leaf = false
	if i.Op == wasmbin.OpCallIndirect {
		check(s.r, i.Start, "type", i.Index, s.w.types)
		return 1 + s.w.price.CallSurcharge
	}
	check(s.r, i.Start, "function", i.Index, s.w.functions)
	s.edit(i.Start, i.End-i.Start, editCall, i.Index)
	if i.Index < s.w.imported {
		return 1 + s.w.price.CallSurcharge
	}
	return 1
}

// lengthHelper is the helper that charges for an instruction whose length is on top
// of the stack.
func lengthHelper(op wasmbin.Op) (uint32, bool) {
	switch op {
	case wasmbin.OpMemoryInit, wasmbin.OpMemoryCopy, wasmbin.OpMemoryFill:
		return helperBytes, true
	case wasmbin.OpTableInit, wasmbin.OpTableCopy, wasmbin.OpTableFill, wasmbin.OpTableGrow:
		return helperTable, true
	case wasmbin.OpMemoryGrow:
		return helperGrow, true
	default:
		return 0, false
	}
}

func (s *scanner) bulk(i wasmbin.Instr, helper uint32) {
	skip := 0
	if helper == helperGrow {
		skip = i.End - i.Start // the helper grows
	}
	s.edit(i.Start, skip, editHelper, helper)
	s.w.report.Bulk++
	s.f.leaf = false
}

// fold takes the charge out of small leaves that are only called directly, and adds it
// to their callers: they have paid before the call, and nothing goes unpaid.
func (w *rewriter) fold() {
}

// emit writes all bodies, the helpers last.
func (w *rewriter) emit() []byte {
	c := &w.code
	w.report.Functions = len(c.funcs)
	out := make([]byte, 0, len(w.bin)+len(w.bin)/4)
	out = wasmbin.AppendU(out, uint64(len(c.funcs)+helpers))
	a := &asm{w: w}
	for _, f := range c.funcs {
		a.out = a.out[:0]
		at := f.start
		for _, e := range c.edits[f.edits[0]:f.edits[1]] {
			a.out = append(a.out, w.bin[at:e.at]...)
			at = e.at + e.skip
			a.apply(e)
		}
		a.out = append(a.out, w.bin[at:f.end]...)
		out = append(wasmbin.AppendU(out, uint64(len(a.out))), a.out...)
	}
	return w.helperBodies(out)
}

func (a *asm) apply(e edit) {
	switch e.kind {
	case editCharge:
		a.charge(a.w.code.regions[e.arg])
	case editCall:
		a.index(opCall, a.w.shift(e.arg))
	case editRef:
		a.index(byte(wasmbin.OpRefFunc), a.w.shift(e.arg))
	case editHelper:
		a.index(opCall, a.w.helper(e.arg))
	}
}
