package wasm_test

import (
	"encoding/binary"
	"slices"
	"testing"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/guests"
)

// annotated is a policy of the library with metadata of the test's own.
func annotated(t testing.TB, name, metadata string, opt wasm.Options) *wasm.Module {
	t.Helper()
	bin, err := guests.Build(name)
	if err != nil {
		t.Fatal(err)
	}
	opt.Name = name
	return load(t, withSection(bin, metadata), opt)
}

// withSection puts a custom section muster.policy in front of all others: the first one
// counts.
func withSection(bin []byte, metadata string) []byte {
	body := binary.AppendUvarint(nil, uint64(len(hostabi.SectionName)))
	body = append(append(body, hostabi.SectionName...), metadata...)
	out := append(slices.Clone(bin[:8]), 0)
	out = append(binary.AppendUvarint(out, uint64(len(body))), body...)
	return append(out, bin[8:]...)
}
