package meter

import (
	"github.com/musterhq/muster/hostabi/wasmbin"
)

// maxLocals is how many locals a function may have; engines have such a bound as well.
const maxLocals = 50_000

// maxLeaf is the highest price of a leaf that its callers pay in advance. A caller pays
// for a call that it may skip, so it is small.
const maxLeaf = 64

// maxKept is the highest price of a turn of a loop in which the slice is kept in a local.
// Engines hold nothing in registers in a loop of much code, and one local more is then
// another load and store; a loop of Go is its whole function.
const maxKept = 512

// code is what the scan of all bodies leaves behind.
type code struct {
	funcs   []body
	edits   []edit
	regions []region
}

// region is a piece of code that is charged as a whole, at its beginning: a function
// without its loops, or a loop without the loops in it.
type region struct {
	price  int64
	parent int32 // the region around a loop, -1 for a function
	// kept says that the slice is in the local: in loops of little code that have only
	// such loops in them.
	kept   bool
	params bool  // the loop may have parameters
	depth  int32 // how many kept loops it is in, itself included
}

// body is one function. Its region is the code outside of all loops.
type body struct {
	start, end int // in the binary: the local declarations, and behind the last end
	edits      [2]int
	regions    [2]int // the first is the function
	fuel       uint32 // index of the local that the meter may add
	leaf       bool   // no loop, no call, nothing charged by length
	folded     bool   // its callers pay for it
	indirect   bool   // it calls through a table
	guarded    bool   // it takes room on the call stack
}

// edit is a change at an offset of the binary.
type edit struct {
	at     int
	skip   int32 // bytes that are left out
	region int32 // around it
	arg    uint32
	to     int32 // the region that a branch leads to
	kind   editKind
}

type editKind byte

const (
	editLocals      editKind = iota // the number of local declarations; arg: that number
	editEntry                       // behind the local declarations
	editLoop                        // a loop instruction; arg: the region of the loop
	editLoopEnd                     // before the end of a loop
	editBranch                      // the label of a branch out of a loop; arg: the label
	editReload                      // behind something that changes the slice
	editCall                        // arg: function as it came
	editRef                         // arg: function as it came
	editHelper                      // arg: helper
	editReturn                      // arg: label of the function
	editFunctionEnd                 // before the last end
)

// bodies scans and then writes the code section.
func (w *rewriter) bodies(r *wasmbin.Reader) []byte {
	at := r.Offset()
	n := r.Count()
	if r.Ok() && n != len(w.typeOf) {
		r.Fail(at, "%d functions have code, %d are declared", n, len(w.typeOf))
	}
	w.code.funcs = make([]body, 0, n)
	for ; n > 0 && r.Ok(); n-- {
		w.scan(r)
	}
	if !r.Ok() {
		return nil
	}
	w.fold()
	w.guard()
	w.code.keep()
	return w.emit()
}

// scanner walks over one body.
type scanner struct {
	w      *rewriter
	r      *wasmbin.Reader
	f      body
	region int // that the next instruction belongs to; index into code.regions
	open   []frame
	jumps  jumps
}

// frame is an open block; the function is one. A loop has two regions: the one that it
// stands in, and its own, to which a branch to it leads.
type frame struct {
	outside, label int
	jump           *jumpTable // of a loop that begins with one
}

// scan reads one body, and notes what is to be changed in it.
func (w *rewriter) scan(r *wasmbin.Reader) {
	size := r.Count()
	from := r.Offset()
	r.Bytes(size)
	if !r.Ok() {
		return
	}
	s := &scanner{w: w, r: wasmbin.NewReader(w.bin, from, from+size)}
	s.f = body{start: from, end: from + size, leaf: true}
	s.f.edits[0], s.f.regions[0] = len(w.code.edits), len(w.code.regions)
	s.region = -1
	s.enter()
	s.locals()
	s.edit(s.r.Offset(), 0, editEntry, 0)
	s.open = append(s.open, frame{outside: s.region, label: s.region})
	for len(s.open) > 0 && s.r.Ok() {
		s.instr()
	}
	if s.r.More() {
		s.r.Fail(s.r.Offset(), "code behind the end of a function")
	}
	r.Join(s.r)
	s.f.edits[1], s.f.regions[1] = len(w.code.edits), len(w.code.regions)
	w.code.funcs = append(w.code.funcs, s.f)
}

// locals reads the declarations. Four locals cost one unit, for their room on the stack.
func (s *scanner) locals() {
	at := s.r.Offset()
	n := s.r.Count()
	s.edit(at, s.r.Offset()-at, editLocals, uint32(n))
	total := uint32(0)
	for ; n > 0 && s.r.Ok(); n-- {
		at := s.r.Offset()
		k := s.r.U32()
		s.r.Byte()
		if k >= maxLocals || total+k >= maxLocals {
			s.r.Fail(at, "a function has %d locals or more", maxLocals)
		}
		total += k
	}
	s.f.fuel = total + s.w.params[s.w.typeOf[len(s.w.code.funcs)]]
	s.w.code.regions[s.region].price += int64(total / 4)
}

// enter opens a region inside the present one.
func (s *scanner) enter() {
	s.w.code.regions = append(s.w.code.regions, region{parent: int32(s.region)})
	s.region = len(s.w.code.regions) - 1
}

func (s *scanner) edit(at, skip int, kind editKind, arg uint32) {
	s.w.code.edits = append(s.w.code.edits, edit{at: at, skip: int32(skip), region: int32(s.region), arg: arg, kind: kind})
}

func (s *scanner) instr() {
	i := s.r.Instr()
	s.jumps.see(s, i)
	price := int64(1)
	switch i.Op {
	case wasmbin.OpBlock, wasmbin.OpIf:
		s.open = append(s.open, frame{outside: s.region, label: s.region})
		s.blockType(i)
		if i.Op == wasmbin.OpBlock {
			price = 0
		}
	case wasmbin.OpLoop:
		s.blockType(i)
		outside := s.region
		s.edit(i.Start, i.End-i.Start, editLoop, uint32(len(s.w.code.regions)))
		s.enter()
		s.w.code.regions[s.region].params = i.Block >= 0
		s.open = append(s.open, frame{outside: outside, label: s.region})
		s.w.report.Loops++
		s.f.leaf = false
	case wasmbin.OpEnd:
		price = 0
		s.close(i)
	case wasmbin.OpBr, wasmbin.OpBrIf:
		s.branch(i.Start+1, i.End, i.Index)
	case wasmbin.OpBrTable:
		s.branches(i)
	case wasmbin.OpElse:
		price = 0
	case wasmbin.OpReturn:
		s.edit(i.Start, i.End-i.Start, editReturn, uint32(len(s.open)-1))
		s.w.code.edits[len(s.w.code.edits)-1].to = int32(s.f.regions[0])
	case wasmbin.OpGlobalGet, wasmbin.OpGlobalSet:
		check(s.r, i.Start, "global", i.Index, s.w.globals)
	case wasmbin.OpLocalGet, wasmbin.OpLocalSet, wasmbin.OpLocalTee:
		check(s.r, i.Start, "local", i.Index, s.f.fuel)
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
	s.w.code.regions[s.region].price += price
}

// close leaves a block.
func (s *scanner) close(i wasmbin.Instr) {
	f := s.open[len(s.open)-1]
	if len(s.open) == 1 {
		s.edit(i.Start, 0, editFunctionEnd, 0)
	}
	if f.outside != f.label {
		s.edit(i.Start, 0, editLoopEnd, 0)
	}
	s.region = f.outside
	s.open = s.open[:len(s.open)-1]
}

// branch notes a label that leads out of a loop, and thus over the label that the meter
// may put around it.
func (s *scanner) branch(at, end int, label uint32) {
	check(s.r, at, "label", label, uint32(len(s.open)))
	if !s.r.Ok() {
		return
	}
	if short, ok := s.jumps.shorter(s, label); ok {
		s.w.report.Shortened++
		s.edit(at, end-at, editBranch, short)
		s.w.code.edits[len(s.w.code.edits)-1].to = int32(s.open[len(s.open)-1-int(short)].label)
		return
	}
	if to := s.open[len(s.open)-1-int(label)].label; to != s.region {
		s.edit(at, end-at, editBranch, label)
		s.w.code.edits[len(s.w.code.edits)-1].to = int32(to)
	}
}

// branches notes the labels of a br_table.
func (s *scanner) branches(i wasmbin.Instr) {
	r := wasmbin.NewReader(s.w.bin, i.Start+1, i.End)
	for n := r.Count(); n >= 0 && s.r.Ok(); n-- {
		at := r.Offset()
		label := r.U32()
		s.branch(at, r.Offset(), label)
	}
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
		s.f.indirect = true
		check(s.r, i.Start, "type", i.Index, s.w.types)
		s.edit(i.End, 0, editReload, 0)
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
		check(s.r, i.Start, "memory", 0, s.w.memories)
		skip = i.End - i.Start // the helper grows
	}
	s.edit(i.Start, skip, editHelper, helper)
	s.w.report.Bulk++
	s.f.leaf = false
}

// fold takes the charge out of small leaves that are only called directly, and adds it
// to their callers: they have paid before the call, so nothing goes unpaid.
func (w *rewriter) fold() {
	c := &w.code
	for i := range c.funcs {
		f := &c.funcs[i]
		f.folded = f.leaf && c.regions[f.regions[0]].price <= maxLeaf && !w.taken[w.imported+uint32(i)]
		if f.folded {
			w.report.Folded++
		}
	}
	for _, e := range c.edits {
		if e.kind == editCall && w.folded(e.arg) {
			c.regions[e.region].price += c.regions[c.funcs[e.arg-w.imported].regions[0]].price
		}
	}
}

// keep finds the loops in which the slice is kept. Loops stand behind what is around them.
func (c *code) keep() {
	for i := range c.regions {
		r := &c.regions[i]
		r.kept = r.parent >= 0 && r.price <= maxKept
	}
	for i := len(c.regions) - 1; i >= 0; i-- {
		if r := &c.regions[i]; r.parent >= 0 && !r.kept {
			c.regions[r.parent].kept = false
		}
	}
	for i := range c.regions {
		r := &c.regions[i]
		if r.parent >= 0 {
			r.depth = c.regions[r.parent].depth
		}
		if r.kept {
			r.depth++
		}
	}
}

// folded says whether a function is paid by its callers.
func (w *rewriter) folded(f uint32) bool {
	return f >= w.imported && w.code.funcs[f-w.imported].folded
}
