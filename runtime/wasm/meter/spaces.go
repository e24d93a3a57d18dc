package meter

import (
	"strings"

	"github.com/musterhq/muster/hostabi/wasmbin"
)

// spaces are the index spaces of the module as it came. Nothing in it may name an index
// beyond them: that index is one of the meter's in the module that is written.
type spaces struct {
	types     uint32
	imported  uint32 // functions; the safepoint becomes the next one
	functions uint32 // imported ones included
	globals   uint32 // imported ones included
	memories  uint32 // imported ones included

	params []uint32 // of each type
	blocks []int    // of each type, the block that has its results: see blockOf
	// manyResults are the results of types that have several.
	manyResults [][]byte
	typeOf      []uint32 // of each function with code
}

// shift is the index of a function in the module that is written.
func (s *spaces) shift(f uint32) uint32 {
	if f >= s.imported {
		return f + 1
	}
	return f
}

// check makes an error of an index that does not exist.
func check(r *wasmbin.Reader, at int, what string, index, n uint32) {
	if r.Ok() && index >= n {
		r.Fail(at, "%s %d does not exist, there are %d", what, index, n)
	}
}

// imports copies the import section, and appends the safepoint.
func (w *rewriter) imports(r *wasmbin.Reader) []byte {
	n := r.Count()
	body := r.Offset()
	for range n {
		if !r.Ok() {
			return nil
		}
		w.importEntry(r)
	}
	w.imported = w.functions
	out := wasmbin.AppendU(nil, uint64(n)+1)
	out = append(out, w.since(r, body)...)
	out = wasmbin.AppendName(wasmbin.AppendName(out, ImportModule), ImportSafepoint)
	return wasmbin.AppendU(append(out, byte(wasmbin.Func)), uint64(w.types+typeSafepoint))
}

func (w *rewriter) importEntry(r *wasmbin.Reader) {
	at := r.Offset()
	module, name := r.Name(), r.Name()
	if strings.HasPrefix(module, prefix) {
		r.Fail(at, "import %s.%s: the names of the meter are the host's", module, name)
	}
	switch kind := wasmbin.ExternKind(r.Byte()); kind {
	case wasmbin.Func:
		check(r, at, "type", r.U32(), w.types)
		w.functions++
	case wasmbin.Table:
		r.Byte()
		w.tableLimits(r)
	case wasmbin.Memory:
		r.Limits()
		w.memories++
	case wasmbin.Global:
		r.Byte()
		r.Byte()
		w.globals++
	default:
		r.Fail(at, "import %s.%s is a %s, which is not known", module, name, kind)
	}
}

// functionTypes copies the function section, and appends the types of the helpers.
func (w *rewriter) functionTypes(r *wasmbin.Reader) []byte {
	n := r.Count()
	body := r.Offset()
	for range n {
		at := r.Offset()
		t := r.U32()
		check(r, at, "type", t, w.types)
		if !r.Ok() {
			return nil
		}
		w.typeOf = append(w.typeOf, t)
	}
	w.functions += uint32(n)
	w.taken = make([]bool, w.functions)
	out := wasmbin.AppendU(nil, uint64(n+helpers))
	out = append(out, w.since(r, body)...)
	for _, t := range helperTypes {
		out = wasmbin.AppendU(out, uint64(w.types)+uint64(t))
	}
	return out
}

// memory copies the memory section.
func (w *rewriter) memory(r *wasmbin.Reader) []byte {
	from := r.Offset()
	n := r.Count()
	for range n {
		r.Limits()
	}
	w.memories += uint32(n)
	return w.since(r, from)
}

// tables copies the table section with limits that hold.
func (w *rewriter) tables(r *wasmbin.Reader) []byte {
	n := r.Count()
	out := wasmbin.AppendU(nil, uint64(n))
	for range n {
		at := r.Offset()
		element := r.Byte()
		if r.Ok() && element != 0x70 && element != 0x6f {
			r.Fail(at, "a table of %#x, only references to functions and to the outside are known", element)
		}
		l := w.tableLimits(r)
		out = append(out, element, 1)
		out = wasmbin.AppendU(wasmbin.AppendU(out, l.Min), l.Max)
	}
	return out
}

// tableLimits reads the limits of a table, and bounds them.
func (w *rewriter) tableLimits(r *wasmbin.Reader) wasmbin.Limits {
	at := r.Offset()
	if flags := r.Byte(); flags > 1 {
		r.Fail(at, "limits of kind %#x of a table, which is not known", flags)
		return wasmbin.Limits{}
	} else if flags == 1 {
		w.limits = wasmbin.Limits{Min: uint64(r.U32()), Max: uint64(r.U32()), HasMax: true}
	} else {
		w.limits = wasmbin.Limits{Min: uint64(r.U32()), Max: MaxTable}
	}
	l := w.limits
	if l.Min > MaxTable {
		r.Fail(at, "a table of %d elements, at most %d are allowed", l.Min, MaxTable)
	}
	if l.HasMax && l.Max < l.Min {
		return l // invalid, and it stays so
	}
	l.Max = min(l.Max, MaxTable)
	return l
}

// globalEntries copies the global section, and appends the three of the meter.
func (w *rewriter) globalEntries(r *wasmbin.Reader) []byte {
	n := r.Count()
	out := wasmbin.AppendU(nil, uint64(n)+3)
	w.newGlobals = w.globals + uint32(n)
	for range n {
		body := r.Offset()
		r.Byte()
		r.Byte()
		out = append(out, w.since(r, body)...)
		out = w.constant(r, out)
	}
	w.globals = w.newGlobals
	for range 2 {
		out = append(out, byte(wasmbin.I64), 1, byte(wasmbin.OpI64Const), 0, byte(wasmbin.OpEnd))
	}
	out = append(out, byte(wasmbin.I32), 1, byte(wasmbin.OpI32Const))
	return append(wasmbin.AppendS(out, w.price.StackSlots), byte(wasmbin.OpEnd))
}

// exports copies the export section, and appends the three of the meter.
func (w *rewriter) exports(r *wasmbin.Reader) []byte {
	n := r.Count()
	out := wasmbin.AppendU(nil, uint64(n)+3)
	for range n {
		if !r.Ok() {
			return nil
		}
		at := r.Offset()
		name, kind, index := r.Name(), wasmbin.ExternKind(r.Byte()), r.U32()
		if strings.HasPrefix(name, prefix) {
			r.Fail(at, "export %s: the names of the meter are the host's", name)
		}
		switch kind {
		case wasmbin.Func:
			check(r, at, "function", index, w.functions)
			w.take(index)
			index = w.shift(index)
		case wasmbin.Global:
			check(r, at, "global", index, w.globals)
		case wasmbin.Table, wasmbin.Memory:
		default:
			r.Fail(at, "export %s is a %s, which is not known", name, kind)
		}
		out = wasmbin.AppendU(append(wasmbin.AppendName(out, name), byte(kind)), uint64(index))
	}
	for i, name := range []string{ExportSlice, ExportRest, ExportStack} {
		out = append(wasmbin.AppendName(out, name), byte(wasmbin.Global))
		out = wasmbin.AppendU(out, uint64(w.globals)+uint64(i))
	}
	return out
}

// start renumbers the start function.
func (w *rewriter) start(r *wasmbin.Reader) []byte {
	at := r.Offset()
	f := r.U32()
	check(r, at, "function", f, w.functions)
	w.take(f)
	return wasmbin.AppendU(nil, uint64(w.shift(f)))
}

// elements copies the element section with its functions renumbered.
func (w *rewriter) elements(r *wasmbin.Reader) []byte {
	n := r.Count()
	out := wasmbin.AppendU(nil, uint64(n))
	for range n {
		if !r.Ok() {
			return nil
		}
		out = w.elementSegment(r, out)
	}
	return out
}

// elementSegment copies one segment. Bit 0 of its flags says that it is not active, bit
// 1 that it is declarative or names its table, bit 2 that it has expressions.
func (w *rewriter) elementSegment(r *wasmbin.Reader, out []byte) []byte {
	at := r.Offset()
	flags := r.U32()
	if flags > 7 {
		r.Fail(at, "an element segment of kind %d, which is not known", flags)
		return out
	}
	out = wasmbin.AppendU(out, uint64(flags))
	if flags&3 == 2 {
		out = wasmbin.AppendU(out, uint64(r.U32()))
	}
	if flags&1 == 0 {
		out = w.constant(r, out)
	}
	if flags&3 != 0 {
		out = append(out, r.Byte())
	}
	n := r.Count()
	out = wasmbin.AppendU(out, uint64(n))
	for ; n > 0 && r.Ok(); n-- {
		if flags&4 != 0 {
			out = w.constant(r, out)
			continue
		}
		at := r.Offset()
		f := r.U32()
		check(r, at, "function", f, w.functions)
		w.take(f)
		out = wasmbin.AppendU(out, uint64(w.shift(f)))
	}
	return out
}

// data checks the data section, which is copied as it is.
func (w *rewriter) data(r *wasmbin.Reader) {
	for n := r.Count(); n > 0 && r.Ok(); n-- {
		at := r.Offset()
		flags := r.U32()
		if flags > 2 {
			r.Fail(at, "a data segment of kind %d, which is not known", flags)
		}
		if flags == 2 {
			r.U32()
		}
		if flags != 1 {
			w.constant(r, nil)
		}
		r.Bytes(r.Count())
	}
}

// constant copies a constant expression with its functions renumbered.
func (w *rewriter) constant(r *wasmbin.Reader, out []byte) []byte {
	for r.More() {
		i := r.Instr()
		switch i.Op {
		case wasmbin.OpRefFunc:
			check(r, i.Start, "function", i.Index, w.functions)
			w.take(i.Index)
			out = wasmbin.AppendU(append(out, byte(i.Op)), uint64(w.shift(i.Index)))
			continue
		case wasmbin.OpGlobalGet:
			check(r, i.Start, "global", i.Index, w.globals)
		}
		out = append(out, w.bin[i.Start:i.End]...)
		if i.Op == wasmbin.OpEnd {
			return out
		}
	}
	r.Fail(r.Offset(), "an expression without an end")
	return out
}
