package wasmbin

import (
	"fmt"
	"unicode/utf8"
)

// Reader walks over a binary. After the first error it reads only zeros. It trusts no
// length, so it may be given anything. The zero value is at the end of nothing.
type Reader struct {
	b   []byte // up to where it may read; an index is an offset in the binary
	at  int
	err *Error
}

// NewReader returns a Reader of b[from:to], whose offsets count from b's beginning.
func NewReader(b []byte, from, to int) *Reader { return &Reader{b: b[:to], at: from} }

// Offset is where the next byte is read.
func (r *Reader) Offset() int { return r.at }

// More says whether there is anything left to read, and no error so far.
func (r *Reader) More() bool { return r.err == nil && r.at < len(r.b) }

// Err returns the first error, an *Error, or nil.
func (r *Reader) Err() error {
	if r.err == nil {
		return nil
	}
	return r.err
}

// Fail makes an error at an offset, unless there is one already.
func (r *Reader) Fail(offset int, format string, args ...any) { r.fail(offset, format, args...) }

// Join takes over the error of another Reader of the same binary, if it has one.
func (r *Reader) Join(part *Reader) {
	if r.err == nil {
		r.err = part.err
	}
}

// Ok says whether there was no error so far.
func (r *Reader) Ok() bool { return r.err == nil }

func (r *Reader) fail(offset int, format string, args ...any) {
	if r.err == nil {
		r.err = &Error{offset, fmt.Sprintf(format, args...), false}
	}
}

func (r *Reader) cut(format string, args ...any) {
	if r.err == nil {
		r.err = &Error{r.at, fmt.Sprintf(format, args...) + ": the binary is cut off", true}
	}
}

// Byte reads one byte.
func (r *Reader) Byte() byte {
	if r.err != nil || r.at >= len(r.b) {
		r.cut("a byte wanted, none left")
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

// Uint reads an unsigned LEB128 number of at most 64 bits.
func (r *Reader) Uint(bits int) uint64 {
	start := r.at
	var v uint64
	for shift := 0; shift < bits; shift += 7 {
		c := r.Byte()
		v |= uint64(c&0x7f) << shift
		if c < 0x80 {
			if shift+7 > bits && c>>(bits-shift) != 0 {
				break
			}
			return v
		}
	}
	r.fail(start, "a number is longer than %d bits", bits)
	return 0
}

// U32 reads an unsigned LEB128 number of at most 32 bits.
func (r *Reader) U32() uint32 { return uint32(r.Uint(32)) }

// Count reads the length of a vector whose elements take at least one byte each.
func (r *Reader) Count() int {
	start := r.at
	n := r.U32()
	if int64(n) > int64(len(r.b)-r.at) {
		r.fail(start, "%d elements cannot fit into the %d bytes left", n, len(r.b)-r.at)
		return 0
	}
	return int(n)
}

// Bytes reads n bytes. What it returns is a view of the binary.
func (r *Reader) Bytes(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b)-r.at {
		r.cut("%d bytes wanted, %d left", n, len(r.b)-r.at)
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

// Name reads a text, which must be UTF-8.
func (r *Reader) Name() string {
	start := r.at
	s := r.Bytes(r.Count())
	if !utf8.Valid(s) {
		r.fail(start, "a name is not UTF-8")
	}
	return string(s)
}

// read reads one section through a Reader of its own, so that nothing reads over its
// end.
func (r *Reader) read(m *Module) {
	at := r.section()
	if r.err != nil {
		return
	}
	s := NewReader(r.b, at.Body, at.End)
	s.body(m, at.ID, at.Start)
	r.err = s.err
}

func (r *Reader) body(m *Module, id SectionID, start int) {
	switch id {
	case SecCustom:
		name := r.Name()
		m.Customs = append(m.Customs, Custom{name, r.Bytes(len(r.b) - r.at), start})
	case SecType:
		for n := r.Count(); n > 0 && r.err == nil; n-- {
			r.funcType(m)
		}
	case SecImport:
		for n := r.Count(); n > 0 && r.err == nil; n-- {
			r.importEntry(m)
		}
	case SecFunction:
		for n := r.Count(); n > 0 && r.err == nil; n-- {
			m.funcs = append(m.funcs, r.U32())
		}
	case SecMemory:
		for n := r.Count(); n > 0 && r.err == nil; n-- {
			m.Memories = append(m.Memories, r.Limits())
		}
	case SecExport:
		for n := r.Count(); n > 0 && r.err == nil; n-- {
			at := r.at
			m.Exports = append(m.Exports, Export{Name: r.Name(), Kind: ExternKind(r.Byte()), Index: r.U32(), Offset: at})
		}
	case SecStart:
		m.Start = start
		r.U32()
	default:
		r.at = len(r.b)
	}
	if r.err == nil && r.at != len(r.b) {
		r.fail(r.at, "section %d has %d bytes too many", id, len(r.b)-r.at)
	}
}

func (r *Reader) funcType(m *Module) {
	start := r.at
	if form := r.Byte(); r.err == nil && form != 0x60 {
		r.fail(start, "type form %#x, only functions (0x60) are known", form)
	}
	var t FuncType
	for n := r.Count(); n > 0 && r.err == nil; n-- {
		t.Params = append(t.Params, ValType(r.Byte()))
	}
	for n := r.Count(); n > 0 && r.err == nil; n-- {
		t.Results = append(t.Results, ValType(r.Byte()))
	}
	m.Types = append(m.Types, t)
}

func (r *Reader) importEntry(m *Module) {
	i := Import{Offset: r.at}
	i.Module, i.Name, i.Kind = r.Name(), r.Name(), ExternKind(r.Byte())
	switch i.Kind {
	case Func:
		t := r.U32()
		if r.err == nil && int64(t) >= int64(len(m.Types)) {
			r.fail(i.Offset, "import %s.%s has type %d, which does not exist", i.Module, i.Name, t)
			return
		}
		if r.err == nil {
			i.Type = m.Types[t]
		}
		m.funcs = append(m.funcs, t)
	case Table:
		r.Byte()
		r.Limits()
	case Memory:
		r.Limits()
	case Global:
		r.Byte()
		r.Byte()
	case Tag:
		r.Byte()
		r.U32()
	default:
		r.fail(r.at, "import %s.%s is of unknown kind %d", i.Module, i.Name, byte(i.Kind))
	}
	m.Imports = append(m.Imports, i)
}

// Limits reads the limits of a memory or a table: bit 0 a maximum, bit 2 64-bit.
func (r *Reader) Limits() Limits {
	flags := r.Byte()
	bits := 32
	if flags&4 != 0 {
		bits = 64
	}
	l := Limits{Min: r.Uint(bits), HasMax: flags&1 != 0}
	if l.HasMax {
		l.Max = r.Uint(bits)
	}
	return l
}
