// Package meter rewrites a WebAssembly module so that it counts what it does and stops
// when its budget is spent: hostabi/abi.md, "Limits: deterministic fuel". It is pure Go
// over bytes, and knows no engine.
//
// # What is counted
//
// One unit for each instruction but block, else and end. A function pays at its entry
// for all of its instructions outside of loops, the surcharge of a call and a unit for
// four locals; a loop pays at its head, in each turn, for all of its instructions outside
// of the loops in it. Branches forward only make that too much, never too little. On top:
//
//   - the surcharge once more for a call of the host, and for one through a table, which
//     may lead to the host;
//   - memory.fill, .copy and .init, and table.fill, .copy, .init and .grow: the bytes that
//     they move divided by BulkBytes, paid before;
//   - memory.grow: the bytes that it got divided by BulkBytes, paid behind it.
//
// Jumps of Go's guests that lead ahead are no turns of a loop: see jumps.go.
//
// A leaf (no loop, no call, no bulk instruction) of at most 64 units that is only called
// directly pays nothing itself: each call of it costs its price, without surcharge.
//
// So the count depends on the module alone, and is the same in every engine and on every
// machine; a guest out of fuel stops at the same instruction everywhere. How deep
// functions may call themselves is bounded apart from fuel, and also by the module alone:
// see guard.go. wazero's interpreter allows 2,000 frames and no more, and how much memory
// there is is the engine's affair too.
//
// # How it stops
//
// Units are taken from a slice. When that is below zero, an appended function moves units
// from the rest, and calls the safepoint of the host: that leaves native code, so that Go
// can stop the goroutine for its garbage collector, and it can cancel the guest. If the
// rest does not suffice, the slice stays below zero and the guest traps. Nothing is done
// before it is paid, but for memory.grow.
//
// # What a hostile module can't do
//
// An index in the module must exist in it as it came, since behind the last global,
// function, type and local stand those of the meter. Names that begin with muster_meter
// are refused. Tables, which no page limit bounds, hold at most MaxTable elements. Blocks
// need no recursion here, lengths are checked against the bytes that are left, and time
// and memory are linear in the size of the module.
//
// # Why the code is as it is
//
// Measured with wazero 1.12 on one core of an EPYC, as the time of a call over 10,000
// rows, metered by plain; best of 600 calls each, in turns. The guests are the four
// aged-sjf of policies/examples and policies/library, which are C, Rust, AssemblyScript
// and Go, and deadline-first, a larger one of Go:
//
//	                                                      C     Rust  AS    Go    deadline-first
//	slice in a global, refill called in the loop          0.93  0.94  1.50  1.54  1.17
//	slice in a local, refill called in the loop           1.08  1.06  1.15  1.35  1.54
//	slice in a local, refill called in a loop around it   0.80  0.94  1.00  1.24  2.33
//	the last for loops of at most 512 units, else the first   0.80  0.89  1.10  1.13  1.17
//	(no check at all, which stops nothing)                0.90  0.94  1.10  1.06  1.41
//
// A call inside of a loop, even one that is hardly ever made, makes wazero keep all that
// lives across it on the stack; and a global that each turn reads, lowers and writes back
// makes each turn wait for the memory that the last one wrote. In a loop of much code,
// as Go makes one of each function, nothing stays in a register anyway, and each further
// local costs. Ratios below 1 are luck of layout, as are differences of less than 0.1.
package meter
