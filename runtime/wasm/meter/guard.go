package meter

import "github.com/musterhq/muster/hostabi/wasmbin"

// The surcharge of a call bounds the call stack by the budget, and the budget grows with
// the rows of a batch: with 10,000 rows it allows millions of frames, and an engine that
// moves so large a stack can't be interrupted. So a function that may call itself, by
// whatever way, also takes room from a number that does not depend on the batch, and
// gives it back when it returns. Other functions can be on the stack once only, and
// need no such thing; few functions of C, Rust and AssemblyScript do.
//
//	stack -= slots; if stack < 0 { trap }
//	block                the body, in which a return becomes a branch out of the block
//	end
//	stack += slots

// frameSlots is the price of a frame besides its locals.
const frameSlots = 8

// slots is the room that a function takes on the call stack.
func (w *rewriter) slots(f *body) int64 { return frameSlots + int64(f.fuel) }

// blockOf is the type of a block with these results: a value type, blockEmpty, or, not
// negative, the index into manyResults.
func (w *rewriter) blockOf(results []byte) int {
	switch len(results) {
	case 0:
		return blockEmpty
	case 1:
		return int(int8(results[0]<<1) >> 1) // a value type is a negative number of 7 bits
	}
	w.manyResults = append(w.manyResults, results)
	return len(w.manyResults) - 1
}

// enterFrame takes the room, and opens the block around the body.
func (e *emitter) enterFrame() {
	stack := e.w.globals + 2
	e.index(opGlobalGet, stack).i32(e.w.slots(e.f)).op(opI32Sub).index(opGlobalSet, stack)
	e.index(opGlobalGet, stack).i32(0).op(opI32LtS, opIf, blockVoid, opUnreachable, opEnd)
	block := e.w.blocks[e.w.typeOf[e.number]]
	if block >= 0 {
		block += int(e.w.types) + len(newTypes)
	}
	e.out = wasmbin.AppendS(append(e.out, byte(wasmbin.OpBlock)), int64(block))
}

// leaveFrame closes the block, and gives the room back.
func (e *emitter) leaveFrame() {
	stack := e.w.globals + 2
	e.op(opEnd).index(opGlobalGet, stack).i32(e.w.slots(e.f)).op(opI32Add).index(opGlobalSet, stack)
}

// guard finds the functions that may call themselves: those in a circle of calls. A call
// through a table may be one of every function that can be in a table.
func (w *rewriter) guard() {
	g := &circles{w: w, calls: make([][]uint32, len(w.code.funcs)+1)}
	table := uint32(len(w.code.funcs)) // stands for every call through a table
	for i := range w.code.funcs {
		f := &w.code.funcs[i]
		for _, e := range w.code.edits[f.edits[0]:f.edits[1]] {
			if e.kind == editCall && e.arg >= w.imported {
				g.calls[i] = append(g.calls[i], e.arg-w.imported)
			}
		}
		if f.indirect {
			g.calls[i] = append(g.calls[i], table)
		}
		if w.taken[w.imported+uint32(i)] {
			g.calls[table] = append(g.calls[table], uint32(i))
		}
	}
	g.find()
}

// circles finds strongly connected functions (Tarjan 1972), without recursion of its
// own: call chains of a module are as long as its author likes.
type circles struct {
	w     *rewriter
	calls [][]uint32

	order, low []uint32 // by function; order 0 is not visited
	onStack    []bool
	stack      []uint32
	count      uint32
}

type visit struct {
	f    uint32
	next int
}

func (g *circles) find() {
	n := len(g.calls)
	g.order, g.low, g.onStack = make([]uint32, n), make([]uint32, n), make([]bool, n)
	for f := range g.calls {
		if g.order[f] == 0 {
			g.from(uint32(f))
		}
	}
}

func (g *circles) from(f uint32) {
	path := []visit{{f: f}}
	g.open(f)
	for len(path) > 0 {
		v := &path[len(path)-1]
		if v.next < len(g.calls[v.f]) {
			to := g.calls[v.f][v.next]
			v.next++
			switch {
			case g.order[to] == 0:
				g.open(to)
				path = append(path, visit{f: to})
			case g.onStack[to]:
				g.low[v.f] = min(g.low[v.f], g.order[to])
			}
			continue
		}
		done := v.f
		path = path[:len(path)-1]
		if len(path) > 0 {
			up := path[len(path)-1].f
			g.low[up] = min(g.low[up], g.low[done])
		}
		if g.low[done] == g.order[done] {
			g.close(done)
		}
	}
}

func (g *circles) open(f uint32) {
	g.count++
	g.order[f], g.low[f], g.onStack[f] = g.count, g.count, true
	g.stack = append(g.stack, f)
}

// close takes one group off the stack, down to its first function.
func (g *circles) close(first uint32) {
	at := len(g.stack) - 1
	for g.stack[at] != first {
		at--
	}
	group := g.stack[at:]
	for _, f := range group {
		g.onStack[f] = false
		if int(f) < len(g.w.code.funcs) && (len(group) > 1 || g.callsItself(f)) {
			g.w.code.funcs[f].guarded = true
			g.w.report.Guarded++
		}
	}
	g.stack = g.stack[:at]
}

func (g *circles) callsItself(f uint32) bool {
	for _, to := range g.calls[f] {
		if to == f {
			return true
		}
	}
	return false
}
