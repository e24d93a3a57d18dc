package meter

import "github.com/musterhq/muster/hostabi/wasmbin"

// The parts of the name section whose keys are functions.
const (
	namesOfFunctions = 1
	namesOfLocals    = 2
	namesOfLabels    = 3
)

// names appends the name section with its functions renumbered, or nothing if it can't
// be read: it is there for people only.
func (w *rewriter) names(out []byte, r *wasmbin.Reader) []byte {
	section := wasmbin.AppendName(nil, "name")
	for r.More() {
		id := r.Byte()
		size := r.Count()
		from := r.Offset()
		content := r.Bytes(size)
		if id == namesOfFunctions || id == namesOfLocals || id == namesOfLabels {
			part := wasmbin.NewReader(w.bin, from, from+len(content))
			content = w.renumber(part, id)
			if part.More() || !part.Ok() {
				return out
			}
		}
		section = wasmbin.AppendU(append(section, id), uint64(len(content)))
		section = append(section, content...)
	}
	if !r.Ok() {
		return out
	}
	return wasmbin.AppendSection(out, wasmbin.SecCustom, section)
}

// renumber copies a part whose keys are functions.
func (w *rewriter) renumber(r *wasmbin.Reader, id byte) []byte {
	n := r.Count()
	out := wasmbin.AppendU(nil, uint64(n))
	for ; n > 0 && r.Ok(); n-- {
		out = wasmbin.AppendU(out, uint64(w.shift(r.U32())))
		from := r.Offset()
		if id == namesOfFunctions {
			r.Name()
		} else {
			for k := r.Count(); k > 0 && r.Ok(); k-- {
				r.U32()
				r.Name()
			}
		}
		out = append(out, w.since(r, from)...)
	}
	return out
}
