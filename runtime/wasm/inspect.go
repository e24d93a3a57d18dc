package wasm

import (
	"crypto/sha256"
	"encoding/hex"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/hostabi/wasmbin"
	"github.com/musterhq/muster/policies"
)

// Inspection is what a module is and says, found without running any of it.
type Inspection struct {
	Name     string // from the metadata, or the one given
	Digest   string // sha256:… over the file
	Size     int    // bytes of the file
	ABIMajor int    // from the name of the marker
	Kinds    policies.Kind
	// Metadata is empty where the module has none, which HasMetadata says.
	Metadata    hostabi.Metadata
	HasMetadata bool
	Imports     []Symbol
	Exports     []Symbol
	// Pages of 64 KiB that its memory begins with; MaxPages is what it declares as the
	// most, 0 for none.
	Pages, MaxPages uint64
	Init            bool // exports _initialize
}

// Symbol is an import, named module.name, or an export.
type Symbol struct {
	Name string
	Kind string // function, table, memory, global
	Type string // signature of a function
}

// Inspect reads a module without running it. The error is the *LoadError with which
// Load would refuse it; memory and params depend on Options, and are not looked at.
func Inspect(name string, bin []byte) (Inspection, error) {
	out := Inspection{Name: name, Digest: digest(bin), Size: len(bin), ABIMajor: hostabi.Major}
	in, err := inspect(name, bin, anyPages)
	if err != nil {
		return out, err
	}
	out.Kinds, out.Metadata, out.Init = in.kinds, in.meta, in.init
	_, out.HasMetadata = in.module.Custom(hostabi.SectionName)
	if in.meta.Name != "" {
		out.Name = in.meta.Name
	}
	for _, i := range in.module.Imports {
		out.Imports = append(out.Imports, symbol(i.Module+"."+i.Name, i.Kind, i.Type))
	}
	for _, e := range in.module.Exports {
		out.Exports = append(out.Exports, symbol(e.Name, e.Kind, e.Type))
	}
	for _, m := range in.module.Memories {
		out.Pages, out.MaxPages = m.Min, m.Max
	}
	return out, nil
}

// anyPages is the most memory that Wasm knows.
const anyPages = 1 << 16

func symbol(name string, k wasmbin.ExternKind, t wasmbin.FuncType) Symbol {
	s := Symbol{Name: name, Kind: k.String()}
	if k == wasmbin.Func {
		s.Type = t.String()
	}
	return s
}

func digest(bin []byte) string {
	sum := sha256.Sum256(bin)
	return "sha256:" + hex.EncodeToString(sum[:])
}
