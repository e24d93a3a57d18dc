package bpf

import (
	"debug/elf"
	"fmt"
)

// prologue is how many bytes of a function are looked at.
const prologue = 48

// probePlace says how far behind a function's entry its probe goes, given its first bytes.
// A probe replaces an instruction by a trap. A few instructions the kernel carries out
// itself; any other it has the CPU execute elsewhere, which is a second trap and ten times
// dearer (uprobe_init_insn and push_setup_xol_ops in arch/x86/kernel/uprobes.c). So it
// goes to the first cheap one that every call comes by, else to the entry.
//
// fastNop: the kernel (6.18) turns a nop of five bytes into a call, without any trap.
func probePlace(machine elf.Machine, code []byte, fastNop bool) (at int, place string) {
	if machine != elf.EM_X86_64 {
		return 0, "entry"
	}
	for at < len(code) {
		if name := emulated(code[at:], fastNop); name != "" {
			return at, placeName(at, name)
		}
		n := plainLength(code[at:])
		if n == 0 {
			break
		}
		at += n
	}
	return 0, placeName(0, "single-stepped")
}

func placeName(at int, what string) string {
	if at == 0 {
		return fmt.Sprintf("entry (%s)", what)
	}
	return fmt.Sprintf("entry+%d (%s)", at, what)
}

// emulated names the first instruction if the kernel carries it out itself.
func emulated(code []byte, fastNop bool) string {
	is := func(bytes ...byte) bool {
		return len(code) >= len(bytes) && string(code[:len(bytes)]) == string(bytes)
	}
	switch {
	case code[0]&0xf8 == 0x50, code[0] == 0x41 && len(code) > 1 && code[1]&0xf8 == 0x50:
		return "push"
	case is(0x90), is(0x66, 0x90), fastNop && is(0x0f, 0x1f, 0x44, 0x00, 0x00):
		return "nop"
	case is(0xe9) && len(code) >= 5, is(0xeb) && len(code) >= 2:
		return "jmp"
	case is(0xe8) && len(code) >= 5:
		return "call"
	}
	return ""
}

// plainLength is the length of the first instruction if it is one that prologues have and
// that goes on with the next; 0 if it is not known to (a branch, ret, a trap).
func plainLength(code []byte) int {
	i, wide, short := 0, false, false
	for ; i < len(code) && isPrefix(code[i]); i++ {
		short = short || code[i] == 0x66
	}
	if i < len(code) && code[i]&0xf0 == 0x40 {
		wide = code[i]&8 != 0
		i++
	}
	if i >= len(code) {
		return 0
	}
	op := code[i]
	i++
	if op == 0x0f {
		if i >= len(code) || !plainTwoByte(code[i]) {
			return 0
		}
		return withOperand(code, i+1, 0)
	}
	immediate, operand, known := oneByte(op, wide)
	if !known || short && immediate == 4 {
		return 0
	}
	if !operand {
		return within(code, i+immediate)
	}
	return withOperand(code, i, immediate)
}

// isPrefix: operand size, rep (as in endbr64), and the segment of thread-local storage.
func isPrefix(b byte) bool { return b == 0x66 || b == 0xf2 || b == 0xf3 || b == 0x64 }

// oneByte says of an opcode how long its immediate is and whether a ModRM byte follows.
func oneByte(op byte, wide bool) (immediate int, operand, known bool) {
	switch {
	case op < 0x40 && op&7 < 4, op == 0x63, op >= 0x84 && op <= 0x8b, op == 0x8d:
		return 0, true, true // add … cmp, movsxd, test, xchg, mov, lea
	case op < 0x40 && op&7 == 4, op >= 0xb0 && op <= 0xb7, op == 0x6a, op == 0xa8:
		return 1, false, true
	case op < 0x40 && op&7 == 5, op == 0x68, op == 0xa9:
		return 4, false, true
	case op >= 0xb8 && op <= 0xbf:
		if wide {
			return 8, false, true
		}
		return 4, false, true
	case op == 0x80, op == 0x83, op == 0x6b, op == 0xc0, op == 0xc1, op == 0xc6:
		return 1, true, true
	case op == 0x81, op == 0x69, op == 0xc7:
		return 4, true, true
	case op&0xf8 == 0x58: // pop
		return 0, false, true
	}
	return 0, false, false
}

// plainTwoByte: after 0f, what has a ModRM byte and no immediate: moves of vectors, nop and
// endbr64, cmov, movzx, movsx, xor and the like.
func plainTwoByte(op byte) bool {
	switch {
	case op >= 0x10 && op <= 0x17, op == 0x1e, op == 0x1f, op == 0x28, op == 0x29, op >= 0x40 && op <= 0x4f,
		op == 0x57, op == 0x6e, op == 0x6f, op == 0x7e, op == 0x7f, op == 0xb6, op == 0xb7, op == 0xbe, op == 0xbf,
		op == 0xd6, op == 0xef:
		return true
	}
	return false
}

// withOperand is the length of an instruction whose ModRM byte is at i.
func withOperand(code []byte, i, immediate int) int {
	if i >= len(code) {
		return 0
	}
	mod, rm := code[i]>>6, code[i]&7
	i++
	if mod != 3 && rm == 4 {
		if i >= len(code) {
			return 0
		}
		rm = code[i] & 7 // the base in the SIB byte
		i++
	}
	switch {
	case mod == 1:
		i++
	case mod == 2, mod == 0 && rm == 5: // a base of 5 means none: a 32-bit displacement
		i += 4
	}
	return within(code, i+immediate)
}

func within(code []byte, n int) int {
	if n > len(code) {
		return 0
	}
	return n
}
