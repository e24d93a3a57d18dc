package wasm_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

func TestLoadRefuses(t *testing.T) {
	for _, c := range []struct {
		name  string
		bin   []byte
		code  wasm.LoadCode
		where string
	}{
		{"nothing at all", nil, wasm.Truncated, "byte 0"},
		{"a text", wasmtest.NotWasm(), wasm.NotWasm, "byte 0"},
		{"a component", []byte("\x00asm\x0d\x00\x01\x00"), wasm.NotWasm, "byte 4"},
		{"a module that is cut off", wasmtest.Truncated(), wasm.Truncated, "byte "},
		{"code that does not type-check", wasmtest.BadCode(), wasm.Invalid, "module"},
		{"a module without the marker", wasmtest.MissingMarker(), wasm.MissingExport, "export muster_abi_v1"},
		{"a module of a later ABI", wasmtest.OtherVersion(), wasm.WrongVersion, "export muster_abi_v2"},
		{"a module without muster_reserve", wasmtest.MissingReserve(), wasm.MissingExport, "export muster_reserve"},
		{"a module without memory", wasmtest.MissingMemory(), wasm.MissingExport, "export memory"},
		{"a wrong signature", wasmtest.WrongSignature(), wasm.WrongSignature, "export muster_job_order"},
		{"a module that decides nothing", wasmtest.NoKind(), wasm.NoKind, "exports"},
		{"an import that opens files", wasmtest.ForbiddenImport(), wasm.ForbiddenImport, "import wasi_snapshot_preview1.path_open"},
		{"a known import with a wrong signature", wasmtest.WrongImport(), wasm.WrongSignature, "import muster_v1.log"},
		{"a start function", wasmtest.StartFunction(), wasm.StartFunction, "byte "},
		{"2 GiB of memory to begin with", wasmtest.TooMuchMemory(), wasm.TooMuchMemory, "memory"},
		{"an _initialize that traps", wasmtest.TrapInInit(), wasm.InitFailed, "export _initialize"},
		{"an _initialize that never ends", wasmtest.LoopInInit(), wasm.InitFailed, "export _initialize"},
		{"metadata that are not JSON", wasmtest.GoodWithMetadata("{"), wasm.BadMetadata, "section muster.policy: byte"},
		{"metadata that need a later ABI", wasmtest.GoodWithMetadata(`{"abi":{"major":1,"minMinor":7}}`), wasm.BadMetadata, "section muster.policy: abi"},
		{"a required column that is not known", wasmtest.GoodWithMetadata(`{"columns":{"required":["job.mood"]}}`), wasm.BadMetadata, "columns.required[0]"},
	} {
		t.Run(c.name, func(t *testing.T) {
			m, err := wasm.Load(t.Context(), c.bin, wasm.Options{Name: "p", Timeout: short})
			if m != nil {
				t.Error("a module came back")
			}
			var le *wasm.LoadError
			if !errors.As(err, &le) {
				t.Fatalf("got %v, want a *LoadError", err)
			}
			if le.Code != c.code || !strings.Contains(le.Where, c.where) {
				t.Errorf("refused as %s at %q, want %s at %q", le.Code, le.Where, c.code, c.where)
			}
			if le.Problem == "" || le.Hint == "" || strings.Contains(le.Error(), "\n") {
				t.Errorf("not one sentence with problem and hint: %q", le.Error())
			}
		})
	}
}

func TestEveryPrefixOfAModuleIsRefused(t *testing.T) {
	bin := wasmtest.Good()
	for n := range bin {
		m, err := wasm.Load(t.Context(), bin[:n], wasm.Options{})
		var le *wasm.LoadError
		if m != nil || !errors.As(err, &le) {
			t.Fatalf("the first %d of %d bytes: module %v, error %v", n, len(bin), m, err)
		}
	}
}
