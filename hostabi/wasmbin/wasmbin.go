// Package wasmbin reads the outside of a WebAssembly binary: sections, imports,
// exports with their signatures, memories, custom sections. It runs no code and
// trusts no length, so it may be given anything.
//
// The binary format is section 5.5 of the WebAssembly core specification.
package wasmbin

import "fmt"

// Module is what a binary says of itself.
type Module struct {
	Types    []FuncType
	Imports  []Import
	Exports  []Export
	Memories []Limits
	Customs  []Custom
	// Start is the byte offset of the start section, 0 if there is none.
	Start int

	funcs []uint32 // type index of each function, imported ones first
}

// FuncType is a signature.
type FuncType struct{ Params, Results []ValType }

// ValType is the type of a value.
type ValType byte

// The value types that the ABI uses.
const (
	I32 ValType = 0x7f
	I64 ValType = 0x7e
	F32 ValType = 0x7d
	F64 ValType = 0x7c
)

func (v ValType) String() string {
	switch v {
	case I32:
		return "i32"
	case I64:
		return "i64"
	case F32:
		return "f32"
	case F64:
		return "f64"
	default:
		return fmt.Sprintf("%#x", byte(v))
	}
}

func (f FuncType) String() string {
	return fmt.Sprintf("(%s) -> (%s)", list(f.Params), list(f.Results))
}

func list(vs []ValType) string {
	s := ""
	for i, v := range vs {
		if i > 0 {
			s += " "
		}
		s += v.String()
	}
	return s
}

// ExternKind says what is imported or exported.
type ExternKind byte

// The kinds.
const (
	Func ExternKind = iota
	Table
	Memory
	Global
	Tag
)

func (k ExternKind) String() string {
	if int(k) < 5 {
		return [...]string{"function", "table", "memory", "global", "tag"}[k]
	}
	return fmt.Sprintf("kind(%d)", byte(k))
}

// Import is one import. Type is the signature of a function.
type Import struct {
	Module, Name string
	Kind         ExternKind
	Type         FuncType
	Offset       int
}

// Export is one export. Type is the signature of a function.
type Export struct {
	Name   string
	Kind   ExternKind
	Index  uint32
	Type   FuncType
	Offset int
}

// Limits of a memory, in pages of 64 KiB. HasMax says whether Max is declared.
type Limits struct {
	Min, Max uint64
	HasMax   bool
}

// Custom is a custom section.
type Custom struct {
	Name   string
	Data   []byte // a view of the binary
	Offset int
}

// Error says at which byte a binary stops being one.
type Error struct {
	Offset    int
	Problem   string
	Truncated bool // the bytes end too early
}

func (e *Error) Error() string { return fmt.Sprintf("byte %d: %s", e.Offset, e.Problem) }

// Export finds an export by name.
func (m *Module) Export(name string) (Export, bool) {
	for _, e := range m.Exports {
		if e.Name == name {
			return e, true
		}
	}
	return Export{}, false
}

// Custom returns the data of the first custom section of a name.
func (m *Module) Custom(name string) ([]byte, bool) {
	for _, c := range m.Customs {
		if c.Name == name {
			return c.Data, true
		}
	}
	return nil, false
}

// Read reads a binary. Sections that it does not need are skipped by their length;
// code is left to the engine.
func Read(bin []byte) (*Module, error) {
	if err := checkHead(bin); err != nil {
		return nil, err
	}
	m := &Module{}
	r := NewReader(bin, len(head), len(bin))
	for r.err == nil && r.at < len(bin) {
		r.read(m)
	}
	if r.err != nil {
		return nil, r.err
	}
	if err := m.resolve(); err != nil {
		return nil, err
	}
	return m, nil
}

// resolve gives exported functions their signatures.
func (m *Module) resolve() error {
	for i := range m.Exports {
		e := &m.Exports[i]
		if e.Kind != Func {
			continue
		}
		if int64(e.Index) >= int64(len(m.funcs)) || int64(m.funcs[e.Index]) >= int64(len(m.Types)) {
			return &Error{e.Offset, fmt.Sprintf("export %q names function %d, which does not exist", e.Name, e.Index), false}
		}
		e.Type = m.Types[m.funcs[e.Index]]
	}
	return nil
}
