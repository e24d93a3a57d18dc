package meter

import "github.com/musterhq/muster/hostabi/wasmbin"

// The compiler of standard Go makes each function one loop around a jump table, and
// jumps by setting a number and going back to the head of the loop:
//
//	loop
//	  block … block
//	    local.get P  br_table …    the jump table
//	  end                          place 0
//	  …  i32.const 5  local.set P  br to the loop
//	  end                          place 1
//
// Each jump, also one forward, would be a turn of the loop, and would pay for the whole
// function. A jump whose number is a constant, and whose place lies ahead, is the same
// as a branch to that place. So it becomes one: what it goes through has been paid for
// by the turn that it is in. Go's guests need a tenth of the fuel then, and run faster
// than without a meter. Jumps back still are turns.

// jumpTable is the table at the head of a loop.
type jumpTable struct {
	local uint32
	// places are the frames that the table leads to, as indexes into scanner.open; the
	// last one is for all other numbers. Frames are compared by serial: an index is used
	// again when a block has ended.
	places []place
}

type place struct {
	index  int
	serial int
}

// jumps follows the code, to know the table of a loop and the number set before a
// branch.
type jumps struct {
	state  headState
	loop   int    // index into scanner.open of the loop whose head is read
	local  uint32 // that was read in a head
	number int64  // of the last i32.const
	set    uint32 // local that it was put into
	ready  int    // 1 after i32.const, 2 after local.set behind it

	serial  int   // of the block opened last
	serials []int // of the open blocks
}

type headState byte

const (
	noHead headState = iota
	inHead           // behind a loop and blocks
	gotP             // and behind local.get
)

// see is told of every instruction before it is carried out.
func (j *jumps) see(s *scanner, i wasmbin.Instr) {
	j.follow(s, i)
	switch {
	case i.Op == wasmbin.OpI32Const:
		j.number = wasmbin.NewReader(s.w.bin, i.Start+1, i.End).Int(32)
		j.ready = 1
	case i.Op == wasmbin.OpLocalSet && j.ready == 1:
		j.set, j.ready = i.Index, 2
	case i.Op == wasmbin.OpBr && j.ready == 2:
	default:
		j.ready = 0
	}
}

// follow keeps the serials of the open blocks, and looks for the head of a loop.
func (j *jumps) follow(s *scanner, i wasmbin.Instr) {
	if j.serials == nil {
		j.serials = append(j.serials, 0) // the function
	}
	switch i.Op {
	case wasmbin.OpLoop, wasmbin.OpBlock, wasmbin.OpIf:
		j.serial++
		j.serials = append(j.serials, j.serial)
	case wasmbin.OpEnd:
		j.serials = j.serials[:len(j.serials)-1]
	}
	plain := i.Block == blockEmpty
	switch {
	case i.Op == wasmbin.OpLoop && plain:
		j.state, j.loop = inHead, len(s.open)
	case j.state == inHead && i.Op == wasmbin.OpBlock && plain:
	case j.state == inHead && i.Op == wasmbin.OpLocalGet:
		j.state, j.local = gotP, i.Index
	case j.state == gotP && i.Op == wasmbin.OpBrTable:
		s.open[j.loop].jump = j.table(s, i)
		j.state = noHead
	default:
		j.state = noHead
	}
}

// blockEmpty is the type of a block without values.
const blockEmpty = -64

func (j *jumps) table(s *scanner, i wasmbin.Instr) *jumpTable {
	t := &jumpTable{local: j.local}
	r := wasmbin.NewReader(s.w.bin, i.Start+1, i.End)
	for n := r.Count(); n >= 0 && r.Ok(); n-- {
		label := r.U32()
		if int64(label) >= int64(len(s.open)) {
			return nil // an error, which the scan reports
		}
		at := len(s.open) - 1 - int(label)
		t.places = append(t.places, place{at, j.serials[at]})
	}
	if len(t.places) == 0 {
		return nil
	}
	return t
}

// shorter is the label for a branch that goes by way of a jump table to a place ahead.
func (j *jumps) shorter(s *scanner, label uint32) (uint32, bool) {
	if j.ready != 2 {
		return 0, false
	}
	at := len(s.open) - 1 - int(label)
	t := s.open[at].jump
	if t == nil || t.local != j.set {
		return 0, false
	}
	n := len(t.places) - 1
	if j.number >= 0 && j.number < int64(n) {
		n = int(j.number)
	}
	to := t.places[n]
	if to.index <= at || to.index >= len(s.open) || j.serials[to.index] != to.serial {
		return 0, false // the loop itself, outside of it, or behind us
	}
	return uint32(len(s.open) - 1 - to.index), true
}
