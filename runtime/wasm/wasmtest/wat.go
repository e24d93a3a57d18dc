package wasmtest

import (
	"embed"
	"io/fs"
)

// The worst guests are WebAssembly text, so that they can be read and shown; beside each
// stands what tools/wat.sh made of it. Each says at its top what it does.
//
//go:embed wat/*.wat wat/*.wasm
var wat embed.FS

// guestOf is the module of wat/NAME.wat.
func guestOf(name string) []byte {
	bin, err := fs.ReadFile(wat, "wat/"+name+".wasm")
	if err != nil {
		panic(err) // the file is embedded
	}
	return bin
}

// Bad is one of the ten guests that a host has to survive.
type Bad struct {
	Name   string // of its files, and what it is
	Text   string // its source
	Module []byte
}

// TheTen returns them, in the order of what they attack: time, memory, the stack, the
// answer, the host.
func TheTen() []Bad {
	names := []string{
		"loop", "call-bomb", "bulk-bomb", "log-flood", "memory-bomb", "recursion",
		"nan", "liar", "out-of-bounds", "panic",
	}
	out := make([]Bad, len(names))
	for i, name := range names {
		text, err := fs.ReadFile(wat, "wat/"+name+".wat")
		if err != nil {
			panic(err) // the file is embedded
		}
		out[i] = Bad{name, string(text), guestOf(name)}
	}
	return out
}

// Loop never returns.
func Loop() []byte { return guestOf("loop") }

// CallBomb makes 10^12 calls without a loop and without recursion.
func CallBomb() []byte { return guestOf("call-bomb") }

// BulkBomb fills 1 MiB of memory again and again.
func BulkBomb() []byte { return guestOf("bulk-bomb") }

// LogFlood logs lines of 4 KiB without end.
func LogFlood() []byte { return guestOf("log-flood") }

// MemoryBomb takes all the memory that it can get, and then traps.
func MemoryBomb() []byte { return guestOf("memory-bomb") }

// Recursion calls itself without end.
func Recursion() []byte { return guestOf("recursion") }

// NaN answers a float key that is not a number; as fairness and as victim costs,
// which have no floats, a negative number.
func NaN() []byte { return guestOf("nan") }

// Liar says that all went well, and has overwritten the whole batch, its inputs included,
// with ones: every answer is out of range.
func Liar() []byte { return guestOf("liar") }

// TrapOutOfBounds writes outside of its memory.
func TrapOutOfBounds() []byte { return guestOf("out-of-bounds") }

// Panic writes what Go writes when it panics, and traps. "boom: it broke" is in it.
func Panic() []byte { return guestOf("panic") }

// Slow is honest, and computes for about 0.2 s in each call, for which it needs 10^9
// units of fuel; then it answers as Good. Its export muster_test_spin(n i64) -> i64 does
// n of the 10^8 turns.
func Slow() []byte { return guestOf("slow") }
