package meter

import (
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/hostabi/wasmbin"
)

// rewriter holds what is known of a module while it is written anew, section by section
// in the order of the binary.
type rewriter struct {
	spaces
	bin    []byte
	price  Config
	report Report

	newGlobals uint32 // globals, once the global section is read
	limits     wasmbin.Limits
	taken      []bool // functions that are called from elsewhere than a call

	code code
}

// take notes that a function can be called otherwise than by a call instruction.
func (w *rewriter) take(f uint32) {
	if f < w.functions {
		w.taken[f] = true
	}
}

// since is what was read from an offset on, nothing after an error.
func (w *rewriter) since(r *wasmbin.Reader, from int) []byte {
	if !r.Ok() {
		return nil
	}
	return w.bin[from:r.Offset()]
}

// step writes one section that every instrumented module has, or that is changed.
type step struct {
	id     wasmbin.SectionID
	always bool // even if the module that came has none
	write  func(*rewriter, *wasmbin.Reader) []byte
}

var steps = []step{
	{wasmbin.SecType, true, (*rewriter).typeEntries},
	{wasmbin.SecImport, true, (*rewriter).imports},
	{wasmbin.SecFunction, true, (*rewriter).functionTypes},
	{wasmbin.SecTable, false, (*rewriter).tables},
	{wasmbin.SecMemory, false, (*rewriter).memory},
	{wasmbin.SecGlobal, true, (*rewriter).globalEntries},
	{wasmbin.SecExport, true, (*rewriter).exports},
	{wasmbin.SecStart, false, (*rewriter).start},
	{wasmbin.SecElement, false, (*rewriter).elements},
	{wasmbin.SecDataCount, false, nil},
	{wasmbin.SecCode, true, (*rewriter).bodies},
	{wasmbin.SecData, false, (*rewriter).copyData},
}

// module writes all sections. Custom ones stay where they are, between the same two.
func (w *rewriter) module(secs []wasmbin.Section) ([]byte, error) {
	out := slices.Grow(wasmbin.AppendHead(nil), len(w.bin)+len(w.bin)/4+4096)
	var err error
	next := 0
	for _, s := range secs {
		if s.ID == wasmbin.SecCustom {
			out = w.custom(out, s)
			continue
		}
		if s.ID == wasmbin.SecTag {
			return nil, &wasmbin.Error{Offset: s.Start, Problem: "a section of tags, exceptions are not known"}
		}
		for ; steps[next].id.Before(s.ID); next++ {
			if out, err = w.missing(out, steps[next]); err != nil {
				return nil, err
			}
		}
		if out, err = w.section(out, steps[next], s); err != nil {
			return nil, err
		}
		next++
	}
	for ; next < len(steps); next++ {
		if out, err = w.missing(out, steps[next]); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// section writes one section that is there.
func (w *rewriter) section(out []byte, st step, s wasmbin.Section) ([]byte, error) {
	if st.write == nil {
		return append(out, w.bin[s.Start:s.End]...), nil
	}
	r := wasmbin.NewReader(w.bin, s.Body, s.End)
	body := st.write(w, r)
	if r.More() {
		r.Fail(r.Offset(), "section %d has %d bytes too many", s.ID, s.End-r.Offset())
	}
	if r.Err() != nil {
		return nil, r.Err()
	}
	return wasmbin.AppendSection(out, s.ID, body), nil
}

// missing writes a section that only the meter needs.
func (w *rewriter) missing(out []byte, st step) ([]byte, error) {
	if !st.always {
		return out, nil
	}
	came := w.bin
	defer func() { w.bin = came }()
	w.bin = []byte{0} // no elements
	r := wasmbin.NewReader(w.bin, 0, 1)
	body := st.write(w, r)
	if r.Err() != nil {
		return nil, &wasmbin.Error{Offset: len(came), Problem: fmt.Sprintf("section %d is missing: %v", st.id, r.Err())}
	}
	return wasmbin.AppendSection(out, st.id, body), nil
}

// typeEntries copies the type section, and appends the types of the helpers.
func (w *rewriter) typeEntries(r *wasmbin.Reader) []byte {
	n := r.Count()
	body := r.Offset()
	for range n {
		if !r.Ok() {
			return nil
		}
		at := r.Offset()
		if form := r.Byte(); r.Ok() && form != 0x60 {
			r.Fail(at, "type form %#x, only functions (0x60) are known", form)
		}
		params := r.Count()
		r.Bytes(params)
		results := r.Bytes(r.Count())
		w.params = append(w.params, uint32(params))
		w.blocks = append(w.blocks, w.blockOf(results))
	}
	w.types = uint32(n)
	out := wasmbin.AppendU(nil, uint64(n)+uint64(len(newTypes)+len(w.manyResults)))
	out = append(out, w.since(r, body)...)
	for _, t := range newTypes {
		out = append(out, t...)
	}
	for _, results := range w.manyResults {
		out = append(wasmbin.AppendU(append(out, 0x60, 0), uint64(len(results))), results...)
	}
	return out
}

// copyData copies the data section, once it is checked.
func (w *rewriter) copyData(r *wasmbin.Reader) []byte {
	from := r.Offset()
	w.data(r)
	return w.since(r, from)
}

// custom copies a custom section. Names are renumbered; what describes offsets in the
// code that is no more is left out.
func (w *rewriter) custom(out []byte, s wasmbin.Section) []byte {
	r := wasmbin.NewReader(w.bin, s.Body, s.End)
	switch name := r.Name(); {
	case !r.Ok():
		return append(out, w.bin[s.Start:s.End]...)
	case name == "name":
		return w.names(out, r)
	case strings.HasPrefix(name, ".debug_"), name == "sourceMappingURL", strings.HasPrefix(name, "reloc."):
		return out
	default:
		return append(out, w.bin[s.Start:s.End]...)
	}
}
