package wasmbin

import (
	"fmt"
	"unicode/utf8"
)

// Section ids that are read.
const (
	secCustom = 0
	secType   = 1
	secImport = 2
	secFunc   = 3
	secMemory = 5
	secExport = 7
	secStart  = 8
	secLast   = 13
)

// reader walks over a binary. After the first error it reads only zeros.
type reader struct {
	b   []byte
	at  int
	err *Error
}

func (r *reader) fail(offset int, format string, args ...any) {
	if r.err == nil {
		r.err = &Error{offset, fmt.Sprintf(format, args...), false}
	}
}

func (r *reader) cut(format string, args ...any) {
	if r.err == nil {
		r.err = &Error{r.at, fmt.Sprintf(format, args...) + ": the binary is cut off", true}
	}
}

func (r *reader) byte() byte {
	if r.err != nil || r.at >= len(r.b) {
		r.cut("a byte wanted, none left")
		return 0
	}
	r.at++
	return r.b[r.at-1]
}

// uint reads an unsigned LEB128 number of at most 64 bits.
func (r *reader) uint(bits int) uint64 {
	start := r.at
	var v uint64
	for shift := 0; shift < bits; shift += 7 {
		c := r.byte()
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

func (r *reader) u32() uint32 { return uint32(r.uint(32)) }

// count reads the length of a vector whose elements take at least one byte each.
func (r *reader) count() int {
	start := r.at
	n := r.u32()
	if int64(n) > int64(len(r.b)-r.at) {
		r.fail(start, "%d elements cannot fit into the %d bytes left", n, len(r.b)-r.at)
		return 0
	}
	return int(n)
}

func (r *reader) bytes(n int) []byte {
	if r.err != nil || n < 0 || n > len(r.b)-r.at {
		r.cut("%d bytes wanted, %d left", n, len(r.b)-r.at)
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at]
}

func (r *reader) name() string {
	start := r.at
	s := r.bytes(r.count())
	if !utf8.Valid(s) {
		r.fail(start, "a name is not UTF-8")
	}
	return string(s)
}

// section reads one section through a reader of its own, so that nothing reads over
// its end.
func (r *reader) section(m *Module) {
	start := r.at
	id := r.byte()
	size := r.u32()
	if r.err == nil && id > secLast {
		r.fail(start, "unknown section %d", id)
	}
	if int64(size) > int64(len(r.b)-r.at) {
		r.cut("section %d has %d bytes, %d are left", id, size, len(r.b)-r.at)
	}
	if r.err != nil {
		return
	}
	s := &reader{b: r.b[:r.at+int(size)], at: r.at}
	s.body(m, id, start)
	r.at += int(size)
	r.err = s.err
}

func (r *reader) body(m *Module, id byte, start int) {
	switch id {
	case secCustom:
		name := r.name()
		m.Customs = append(m.Customs, Custom{name, r.bytes(len(r.b) - r.at), start})
	case secType:
		for n := r.count(); n > 0 && r.err == nil; n-- {
			r.funcType(m)
		}
	case secImport:
		for n := r.count(); n > 0 && r.err == nil; n-- {
			r.importEntry(m)
		}
	case secFunc:
		for n := r.count(); n > 0 && r.err == nil; n-- {
			m.funcs = append(m.funcs, r.u32())
		}
	case secMemory:
		for n := r.count(); n > 0 && r.err == nil; n-- {
			m.Memories = append(m.Memories, r.limits())
		}
	case secExport:
		for n := r.count(); n > 0 && r.err == nil; n-- {
			at := r.at
			m.Exports = append(m.Exports, Export{Name: r.name(), Kind: ExternKind(r.byte()), Index: r.u32(), Offset: at})
		}
	case secStart:
		m.Start = start
		r.u32()
	default:
		r.at = len(r.b)
	}
	if r.err == nil && r.at != len(r.b) {
		r.fail(r.at, "section %d has %d bytes too many", id, len(r.b)-r.at)
	}
}

func (r *reader) funcType(m *Module) {
	start := r.at
	if form := r.byte(); r.err == nil && form != 0x60 {
		r.fail(start, "type form %#x, only functions (0x60) are known", form)
	}
	var t FuncType
	for n := r.count(); n > 0 && r.err == nil; n-- {
		t.Params = append(t.Params, ValType(r.byte()))
	}
	for n := r.count(); n > 0 && r.err == nil; n-- {
		t.Results = append(t.Results, ValType(r.byte()))
	}
	m.Types = append(m.Types, t)
}

func (r *reader) importEntry(m *Module) {
	i := Import{Offset: r.at}
	i.Module, i.Name, i.Kind = r.name(), r.name(), ExternKind(r.byte())
	switch i.Kind {
	case Func:
		t := r.u32()
		if r.err == nil && int64(t) >= int64(len(m.Types)) {
			r.fail(i.Offset, "import %s.%s has type %d, which does not exist", i.Module, i.Name, t)
			return
		}
		if r.err == nil {
			i.Type = m.Types[t]
		}
		m.funcs = append(m.funcs, t)
	case Table:
		r.byte()
		r.limits()
	case Memory:
		r.limits()
	case Global:
		r.byte()
		r.byte()
	case Tag:
		r.byte()
		r.u32()
	default:
		r.fail(r.at, "import %s.%s is of unknown kind %d", i.Module, i.Name, byte(i.Kind))
	}
	m.Imports = append(m.Imports, i)
}

// limits reads the limits of a memory or a table: bit 0 a maximum, bit 2 64-bit.
func (r *reader) limits() Limits {
	flags := r.byte()
	bits := 32
	if flags&4 != 0 {
		bits = 64
	}
	l := Limits{Min: r.uint(bits), HasMax: flags&1 != 0}
	if l.HasMax {
		l.Max = r.uint(bits)
	}
	return l
}
