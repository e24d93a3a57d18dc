//go:build linux && amd64

package bpf

import (
	"debug/elf"
	"os/exec"
	"strconv"
	"strings"
	"testing"
)

// TestPlacesAreInstructionsOfTheirName compares with a disassembler, on the functions of
// the C library: a trap in the middle of an instruction would crash whoever runs it.
func TestPlacesAreInstructionsOfTheirName(t *testing.T) {
	const libc = "/lib/x86_64-linux-gnu/libc.so.6"
	f, err := elf.Open(libc)
	if err != nil {
		missing(t, "no C library to look at: %v", err)
	}
	defer func() { _ = f.Close() }()
	out, err := exec.Command("objdump", "-d", "--no-show-raw-insn", libc).Output()
	if err != nil {
		missing(t, "no objdump: %v", err)
	}
	instructions := map[uint64]string{}
	for line := range strings.Lines(string(out)) {
		address, instruction, _ := strings.Cut(strings.TrimSpace(line), ":")
		if at, err := strconv.ParseUint(address, 16, 64); err == nil {
			instructions[at], _, _ = strings.Cut(strings.TrimSpace(instruction), " ")
		}
	}
	symbols, err := f.DynamicSymbols()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for _, s := range symbols {
		if s.Section == elf.SHN_UNDEF || elf.ST_TYPE(s.Info) != elf.STT_FUNC {
			continue
		}
		_, code, ok := entry(f, s)
		at, place := probePlace(f.Machine, code, true)
		if !ok || strings.Contains(place, "single-stepped") {
			continue
		}
		seen++
		_, want, _ := strings.Cut(strings.TrimSuffix(place, ")"), "(")
		got := instructions[s.Value+uint64(at)]
		if got = strings.ReplaceAll(got, "xchg", "nop"); !strings.HasPrefix(got, want) {
			t.Errorf("%s: %s is %q: % x", s.Name, place, got, code)
		}
	}
	if seen < 100 {
		t.Errorf("only %d functions have a cheap place", seen)
	}
}
