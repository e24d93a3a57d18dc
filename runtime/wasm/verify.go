package wasm

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/hostabi/wasmbin"
	"github.com/musterhq/muster/policies"
)

var (
	sigNone  = wasmbin.FuncType{}
	sigI32   = wasmbin.FuncType{Params: []wasmbin.ValType{wasmbin.I32}, Results: []wasmbin.ValType{wasmbin.I32}}
	kindBits = map[hostabi.Kind]policies.Kind{
		hostabi.KindJobOrder:    policies.JobOrder,
		hostabi.KindQueueShares: policies.QueueShares,
		hostabi.KindVictimCosts: policies.VictimCosts,
	}
)

// inspection is what a module says of itself, checked without running any of it.
type inspection struct {
	module *wasmbin.Module
	meta   hostabi.Metadata
	kinds  policies.Kind
	init   bool // exports _initialize
}

// inspect checks a binary against the ABI. The error is a *LoadError.
func inspect(name string, bin []byte, pages uint32) (*inspection, error) {
	v := verifier{name: name}
	m, err := wasmbin.Read(bin)
	if err != nil {
		return nil, v.unreadable(err)
	}
	v.module = m
	if m.Start != 0 {
		return nil, v.refuse(StartFunction, fmt.Sprintf("byte %d", m.Start), "the module has a start function",
			"export _initialize instead, it runs once per instance")
	}
	in := &inspection{module: m}
	for _, check := range []func(*inspection) error{v.imports, v.exports, v.kinds, v.metadata} {
		if err := check(in); err != nil {
			return nil, err
		}
	}
	return in, v.memory(pages)
}

type verifier struct {
	name   string
	module *wasmbin.Module
}

func (v *verifier) refuse(code LoadCode, where, problem, hint string) error {
	return &LoadError{v.name, code, where, problem, hint, nil}
}

func (v *verifier) unreadable(err error) error {
	var we *wasmbin.Error
	if !errors.As(err, &we) {
		return v.refuse(Invalid, "module", err.Error(), "")
	}
	where := fmt.Sprintf("byte %d", we.Offset)
	switch {
	case we.Truncated:
		return v.refuse(Truncated, where, we.Problem, "build or copy the file again")
	case we.Offset < 8:
		return v.refuse(NotWasm, where, we.Problem, "build it with GOOS=wasip1 GOARCH=wasm go build -buildmode=c-shared, or for a core Wasm target")
	default:
		return v.refuse(Invalid, where, we.Problem, "build or copy the file again")
	}
}

func (v *verifier) imports(*inspection) error {
	for _, i := range v.module.Imports {
		want, ok := allowedImports[i.Module+"."+i.Name]
		where := "import " + i.Module + "." + i.Name
		if !ok || i.Kind != wasmbin.Func {
			return v.refuse(ForbiddenImport, where, fmt.Sprintf("a policy may not import this %s", i.Kind),
				"a policy gets everything in its batch; allowed are muster_v1.log, muster_v1.counter_add and the WASI functions of Go's runtime")
		}
		if !sameSig(i.Type, want) {
			return v.refuse(WrongSignature, where, fmt.Sprintf("signature %s, want %s", i.Type, want), "declare the import as in hostabi/abi.md")
		}
	}
	return nil
}

func (v *verifier) exports(in *inspection) error {
	if _, ok := v.module.Export(hostabi.ExportMarker); !ok {
		for _, e := range v.module.Exports {
			if rest, ok := strings.CutPrefix(e.Name, "muster_abi_v"); ok {
				return v.refuse(WrongVersion, "export "+e.Name, "the module speaks ABI "+rest+", this host speaks 1", "build it with the SDK of ABI 1")
			}
		}
	}
	for _, want := range []struct {
		name string
		sig  wasmbin.FuncType
	}{{hostabi.ExportMarker, sigNone}, {hostabi.ExportReserve, sigI32}} {
		if err := v.function(want.name, want.sig, true); err != nil {
			return err
		}
	}
	_, in.init = v.module.Export(hostabi.ExportInit)
	if err := v.function(hostabi.ExportInit, sigNone, false); err != nil {
		return err
	}
	if e, ok := v.module.Export(hostabi.ExportMemory); !ok || e.Kind != wasmbin.Memory {
		return v.refuse(MissingExport, "export memory", "the module does not export its memory", "export it under the name \"memory\"")
	}
	return nil
}

// function checks the signature of an exported function.
func (v *verifier) function(name string, sig wasmbin.FuncType, required bool) error {
	e, ok := v.module.Export(name)
	switch {
	case !ok && required:
		return v.refuse(MissingExport, "export "+name, "the module does not export it", "it is no Muster policy, or was built without the SDK: see hostabi/abi.md")
	case !ok:
		return nil
	case e.Kind != wasmbin.Func:
		return v.refuse(WrongSignature, "export "+name, "it is a "+e.Kind.String()+", want a function "+sig.String(), "see hostabi/abi.md")
	case !sameSig(e.Type, sig):
		return v.refuse(WrongSignature, "export "+name, fmt.Sprintf("signature %s, want %s", e.Type, sig), "see hostabi/abi.md")
	}
	return nil
}

func (v *verifier) kinds(in *inspection) error {
	for _, k := range hostabi.Kinds() {
		if err := v.function(k.Export(), sigI32, false); err != nil {
			return err
		}
		if _, ok := v.module.Export(k.Export()); ok {
			in.kinds |= kindBits[k]
		}
	}
	if in.kinds == 0 {
		return v.refuse(NoKind, "exports", "the module decides nothing", "export muster_job_order, muster_queue_shares or muster_victim_costs")
	}
	return nil
}

func (v *verifier) metadata(in *inspection) error {
	md, _, err := hostabi.ReadMetadata(v.module)
	var me *hostabi.MetadataError
	if errors.As(err, &me) {
		return v.refuse(BadMetadata, "section "+hostabi.SectionName+": "+me.Where, me.Problem, me.Hint)
	}
	in.meta = md
	return err
}

func (v *verifier) memory(pages uint32) error {
	for _, m := range v.module.Memories {
		if m.Min > uint64(pages) {
			return v.refuse(TooMuchMemory, "memory", fmt.Sprintf("starts with %d pages of 64 KiB, the limit is %d", m.Min, pages),
				"use less static memory, or raise the policy's memory limit")
		}
	}
	return nil
}

func sameSig(a, b wasmbin.FuncType) bool {
	return slices.Equal(a.Params, b.Params) && slices.Equal(a.Results, b.Results)
}
