package meter_test

import (
	"pgregory.net/rapid"

	"github.com/musterhq/muster/hostabi/wasmbin"
)

// A generator of valid modules: an imported function, three of their own in a table, a
// memory, globals. Every expression leaves one i32, every statement nothing, and every
// loop counts a local down, so that most of them end.

const (
	genLocals = 6 // i32: parameters 0 and 1, the rest free; 4 and 5 count loops
	genFuncs  = 3
	wasmI32   = byte(wasmbin.I32)
	wasmI64   = byte(wasmbin.I64)
)

type gen struct {
	t     *rapid.T
	out   []byte
	self  int // the function that is written
	depth int // of loops
	left  int // statements that may still be written
	open  int // labels that a statement may branch to
}

func (g *gen) op(b ...byte)         { g.out = append(g.out, b...) }
func (g *gen) n(limit int) int      { return rapid.IntRange(0, limit-1).Draw(g.t, "n") }
func (g *gen) i32(v int64)          { g.out = wasmbin.AppendS(append(g.out, 0x41), v) }
func (g *gen) local(op byte, i int) { g.op(op, byte(i)) }

// expr leaves an i32.
func (g *gen) expr(depth int) {
	if depth <= 0 {
		if g.n(2) == 0 {
			g.i32(int64(rapid.Int32().Draw(g.t, "const")))
		} else {
			g.local(0x20, g.n(genLocals))
		}
		return
	}
	switch g.n(12) {
	case 0, 1:
		g.expr(depth - 1)
		g.expr(depth - 1)
		g.op([]byte{0x6a, 0x6b, 0x6c, 0x71, 0x72, 0x73, 0x74, 0x76, 0x46, 0x48}[g.n(10)])
	case 2:
		g.expr(depth - 1)
		g.op([]byte{0x45, 0x67, 0x68, 0x69, 0xc0, 0xc1}[g.n(6)])
	case 3:
		g.op(0x23, 0) // the module's own global
	case 4: // division, which may trap
		g.expr(depth - 1)
		g.expr(depth - 1)
		g.op([]byte{0x6d, 0x6e, 0x6f, 0x70}[g.n(4)])
	case 5:
		g.address(depth - 1)
		g.op(0x28, 2, 0)
	case 6:
		g.call(depth)
	case 7: // if with a result
		g.expr(depth - 1)
		g.op(0x04, wasmI32)
		g.expr(depth - 1)
		g.op(0x05)
		g.expr(depth - 1)
		g.op(0x0b)
	case 8: // a block whose type is an index: i32 -> i32
		g.expr(depth - 1)
		g.op(0x02, 1, 0x67, 0x0b)
	case 9:
		g.expr(depth - 1)
		g.expr(depth - 1)
		g.expr(depth - 1)
		g.op(0x1c, 1, wasmI32) // select t
	case 11:
		g.loopWithParams(depth)
	case 10: // vectors, floats and saturation
		g.expr(depth - 1)
		g.op(0xfd, 17, 0xfd, 27, byte(g.n(4)), 0xb7, 0xfc, 2)
	}
}

// loopWithParams leaves an i32: a loop whose type is i32 -> i32.
func (g *gen) loopWithParams(depth int) {
	if g.depth == 2 {
		g.i32(0)
		return
	}
	counter := 4 + g.depth
	g.i32(int64(1 + g.n(3)))
	g.local(0x21, counter)
	g.expr(depth - 1)
	g.depth++
	g.op(0x03, 1)
	g.expr(depth - 2)
	g.op(0x6a)
	g.countDown(counter)
	g.op(0x0b)
	g.depth--
}

// countDown repeats the loop while its counter is above zero.
func (g *gen) countDown(counter int) {
	g.local(0x20, counter)
	g.i32(-1)
	g.op(0x6a)
	g.local(0x22, counter)
	g.i32(0)
	g.op(0x4a, 0x0d, 0)
}

// inside writes statements with more labels around them.
func (g *gen) inside(labels, depth int) {
	g.open += labels
	g.statement(depth - 1)
	g.open -= labels
}

// address leaves an address that is mostly inside the memory.
func (g *gen) address(depth int) {
	g.expr(depth)
	g.i32([]int64{0xfff, 0xfffc, 0x1ffff}[g.n(3)])
	g.op(0x71)
}

// call calls a function that comes later, so that it ends, or the host.
func (g *gen) call(depth int) {
	to := g.self + 1 + g.n(3)
	switch {
	case g.n(4) == 0:
		g.expr(depth - 1)
		g.op(0x10, 0) // the host
	case to >= genFuncs:
		g.op(0x3f, 0) // memory.size
	case g.n(3) == 0: // through the table, by a function that may be null
		g.expr(depth - 1)
		g.expr(depth - 1)
		g.i32(int64(to))
		g.op(0x11, 2, 0)
	default:
		g.expr(depth - 1)
		g.expr(depth - 1)
		g.op(0x10, byte(1+to))
	}
}

// statement leaves nothing.
func (g *gen) statement(depth int) {
	if g.left--; g.left < 0 {
		g.op(0x01)
		return
	}
	switch g.n(10) {
	case 0, 1:
		g.expr(depth)
		g.local(0x21, g.n(4))
	case 2:
		g.address(depth)
		g.expr(depth)
		g.op(0x36, 2, 0)
	case 3:
		g.expr(depth)
		g.op(0x24, 0)
	case 4:
		g.loop(depth)
	case 5:
		g.op(0x02, 0x40)
		g.inside(1, depth)
		g.expr(1)
		g.op(0x0d, byte(g.n(g.open+1))) // out of this block, or of more
		g.inside(1, depth)
		g.op(0x0b)
	case 6:
		g.bulk(depth)
	case 7:
		g.op(0x02, 0x40, 0x02, 0x40)
		g.expr(1)
		g.op(0x0e, 2, 0, byte(g.n(g.open+2)), 1) // br_table
		g.op(0x0b)
		g.inside(1, depth)
		g.op(0x0b)
	case 8:
		g.expr(1)
		g.op(0x04, 0x40)
		g.inside(1, depth)
		g.op(0x0b)
	case 9: // code that is never reached
		g.op(0x02, 0x40, 0x0c, 0, 0x10, 0, 0x1a, 0x03, 0x40, 0x0c, 0, 0x0b, 0x0b)
	}
}

// loop runs up to 3 times, and may leave earlier.
func (g *gen) loop(depth int) {
	if g.depth == 2 {
		g.op(0x01)
		return
	}
	counter := 4 + g.depth
	g.depth++
	g.i32(int64(1 + g.n(3)))
	g.local(0x21, counter)
	g.op(0x02, 0x40, 0x03, 0x40)
	for range 1 + g.n(2) {
		g.inside(2, depth)
	}
	g.countDown(counter)
	g.op(0x0b, 0x0b)
	g.depth--
}

func (g *gen) bulk(depth int) {
	switch g.n(5) {
	case 0:
		g.address(depth - 1)
		g.expr(0)
		g.i32(int64(g.n(9000)))
		g.op(0xfc, 11, 0)
	case 1:
		g.address(depth - 1)
		g.address(depth - 1)
		g.i32(int64(g.n(9000)))
		g.op(0xfc, 10, 0, 0)
	case 2:
		g.i32(int64(g.n(3)))
		g.op(0x40, 0, 0x1a) // memory.grow
	case 3:
		g.address(depth - 1)
		g.i32(int64(g.n(3)))
		g.i32(int64(g.n(4)))
		g.op(0xfc, 8, 0, 0) // memory.init
	case 4: // the table: a function by reference
		g.i32(int64(g.n(8)))
		g.op(0xd2, byte(1+g.n(genFuncs)))
		g.i32(1)
		g.op(0xfc, 17, 0)
	}
}

// body is one function, with its length.
func (g *gen) body(self int) []byte {
	g.self, g.depth, g.left, g.open = self, 0, 14, 1
	g.out = []byte{1, genLocals - 2, wasmI32, 0x02, 0x40} // a branch too far leaves this
	for range 1 + g.n(4) {
		g.statement(3)
	}
	g.op(0x0b)
	g.expr(2)
	g.op(0x0b)
	return append(wasmbin.AppendU(nil, uint64(len(g.out))), g.out...)
}

// module draws a module that exports "run" (i32 i32) -> i32, a memory and a global.
func module(t *rapid.T) []byte {
	g := &gen{t: t}
	out := wasmbin.AppendHead(nil)
	out = wasmbin.AppendSection(out, wasmbin.SecType, []byte{
		3, 0x60, 0, 0, 0x60, 1, wasmI32, 1, wasmI32, 0x60, 2, wasmI32, wasmI32, 1, wasmI32,
	})
	out = wasmbin.AppendSection(out, wasmbin.SecImport, []byte{1, 1, 'h', 1, 'f', 0, 1})
	out = wasmbin.AppendSection(out, wasmbin.SecFunction, []byte{genFuncs, 2, 2, 2})
	out = wasmbin.AppendSection(out, wasmbin.SecTable, []byte{1, 0x70, 0, 6})
	out = wasmbin.AppendSection(out, wasmbin.SecMemory, []byte{1, 1, 1, 8})
	out = wasmbin.AppendSection(out, wasmbin.SecGlobal, []byte{1, wasmI32, 1, 0x41, 7, 0x0b})
	out = wasmbin.AppendSection(out, wasmbin.SecExport, []byte{
		3, 3, 'r', 'u', 'n', 0, 1, 6, 'm', 'e', 'm', 'o', 'r', 'y', 2, 0, 1, 'g', 3, 0,
	})
	out = wasmbin.AppendSection(out, wasmbin.SecElement, []byte{1, 0, 0x41, 0, 0x0b, genFuncs, 1, 2, 3})
	out = wasmbin.AppendSection(out, wasmbin.SecDataCount, []byte{1})
	code := []byte{genFuncs}
	for i := range genFuncs {
		code = append(code, g.body(i)...)
	}
	out = wasmbin.AppendSection(out, wasmbin.SecCode, code)
	return wasmbin.AppendSection(out, wasmbin.SecData, []byte{1, 1, 3, 'a', 'b', 'c'})
}
