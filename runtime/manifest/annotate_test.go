package manifest_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/hostabi/wasmbin"
	"github.com/musterhq/muster/runtime/manifest"
)

// module is a binary with one function of signature (i32) -> i32 under each name, and
// custom sections around it.
func module(exports ...string) []byte {
	section := func(id byte, body []byte) []byte {
		return append(binary.AppendUvarint([]byte{id}, uint64(len(body))), body...)
	}
	text := func(b []byte, s string) []byte { return append(binary.AppendUvarint(b, uint64(len(s))), s...) }
	list := []byte{byte(len(exports))}
	for _, e := range exports {
		list = append(text(list, e), 0, 0)
	}
	return bytes.Join([][]byte{
		[]byte("\x00asm\x01\x00\x00\x00"),
		section(0, text(nil, "first")),
		section(1, []byte{1, 0x60, 1, 0x7f, 1, 0x7f}),
		section(3, []byte{1, 0}),
		section(7, list),
		section(10, []byte{1, 4, 0, 0x41, 0, 0x0b}),
		section(0, append(text(nil, "last"), 1, 2, 3)),
	}, nil)
}

func read(t *testing.T, bin []byte) hostabi.Metadata {
	t.Helper()
	m, err := wasmbin.Read(bin)
	if err != nil {
		t.Fatal(err)
	}
	md, ok, err := hostabi.ReadMetadata(m)
	if err != nil || !ok {
		t.Fatal(ok, err)
	}
	return md
}

func TestAnnotatingWritesWhatTheManifestSays(t *testing.T) {
	md, problems := manifest.Parse("p", []byte(aging))
	if problems != nil {
		t.Fatal(problems)
	}
	bin := module("muster_abi_v1", "muster_job_order")
	out, err := manifest.Annotate(bin, md)
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(md, read(t, out)); d != "" {
		t.Error(d)
	}
	if !bytes.HasPrefix(out, bin) {
		t.Error("other bytes of the module changed")
	}
	again, err := manifest.Annotate(out, md)
	if err != nil || !bytes.Equal(again, out) {
		t.Errorf("annotating twice gives other bytes: %v", err)
	}
}

func TestWhatTheMetadataLeaveOutIsTakenFromTheModule(t *testing.T) {
	md := hostabi.Metadata{Name: "a", Params: []hostabi.Param{{Name: "x", Type: "bool", Default: true}}}
	out, err := manifest.Annotate(module("muster_abi_v1", "muster_victim_costs", "muster_job_order"), md)
	if err != nil {
		t.Fatal(err)
	}
	got := read(t, out)
	if d := cmp.Diff([]string{"job_order", "victim_costs"}, got.Kinds); d != "" || got.ABI != (hostabi.ABIVersion{Major: 1, MinMinor: 1}) {
		t.Errorf("%s %+v", d, got.ABI)
	}
}

func TestMetadataThatDoNotFitTheModuleAreRefused(t *testing.T) {
	order, victims := module("muster_abi_v1", "muster_job_order"), module("muster_abi_v1", "muster_victim_costs")
	shares := module("muster_abi_v1", "muster_queue_shares")
	for _, c := range []struct {
		bin  []byte
		md   hostabi.Metadata
		want string
	}{
		{module("main"), hostabi.Metadata{}, "exports"},
		{order, hostabi.Metadata{Kinds: []string{"job_order", "victim_costs"}}, "kinds[1]"},
		{module("muster_abi_v1", "muster_job_order", "muster_victim_costs"), hostabi.Metadata{Kinds: []string{"job_order"}}, "kinds"},
		{order, hostabi.Metadata{Columns: hostabi.ColumnNames{Required: []string{"job.wait", "victim.lost"}}}, "columns.required[1]"},
		{victims, hostabi.Metadata{Columns: hostabi.ColumnNames{Optional: []string{"job.label:x"}}}, "columns.optional[0]"},
		{victims, hostabi.Metadata{Keys: []hostabi.Key{{}}}, "keys"},
		{shares, hostabi.Metadata{Reasons: []string{""}}, "reasons"},
		{shares, hostabi.Metadata{Laws: []string{"row-independent"}}, "laws[0]"},
	} {
		_, err := manifest.Annotate(c.bin, c.md)
		var ms manifest.Mismatches
		if !errors.As(err, &ms) || len(ms) != 1 || ms[0].Where != c.want || ms[0].Hint == "" || ms[0].Code == "" {
			t.Errorf("%s: got %v", c.want, err)
		}
	}
}

func TestBytesThatAreNoModuleAndMetadataThatNoHostTakesAreRefused(t *testing.T) {
	if _, err := manifest.Annotate([]byte("#!/bin/sh\n"), hostabi.Metadata{}); err == nil || !strings.Contains(err.Error(), "reading the module") {
		t.Error(err)
	}
	_, err := manifest.Annotate(module("muster_abi_v1", "muster_job_order"), hostabi.Metadata{Name: "a b"})
	var me *hostabi.MetadataError
	if !errors.As(err, &me) || me.Where != "name" {
		t.Error(err)
	}
}
