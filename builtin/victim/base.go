package victim

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/world"
)

// base is what every node offers the job before anybody is evicted for it: what
// is free, and what earlier victims are about to leave.
type base struct {
	over    []int32 // node → its row in free plus 1; 0: as the world says
	free    []amount.Amount
	dev     []int32
	devOff  []int32
	slots   []int32 // shape × node
	total   []int32 // per shape
	scratch []amount.Amount
}

// prepare writes down what does not depend on the victims that are allowed.
func (f *field) prepare(s *Search, a *ask) {
	f.s, f.ask = s, a
	f.setShapes()
	f.setNear()
	f.setShortages()
	f.typed = f.fullTypes()
	f.overlay()
	f.countBase()
}

// overlay adds up what earlier victims are about to leave.
func (f *field) overlay() {
	b, w := &f.base, f.s.w
	b.over = grown(b.over, len(w.Nodes))
	clear(b.over)
	b.free, b.dev, b.devOff = b.free[:0], b.dev[:0], b.devOff[:0]
	for _, t := range f.s.pool.releasing {
		if t.State != world.Releasing || t.Node == world.NoNode {
			continue
		}
		if b.over[t.Node] == 0 {
			b.devOff = append(b.devOff, int32(len(b.dev)))
			b.dev = append(b.dev, w.Dev(t.Node)...)
			for _, d := range f.dims {
				b.free = append(b.free, w.FreeOf(t.Node, d))
			}
			b.over[t.Node] = int32(len(b.devOff))
		}
		row := int(b.over[t.Node] - 1)
		f.credit(b.free[row*len(f.dims):][:len(f.dims)], t)
		giveBack(b.devicesOf(row, len(w.Dev(t.Node))), f.holdOf(t), 1)
	}
}

func (b *base) devicesOf(row, n int) []int32 { return b.dev[b.devOff[row]:][:n] }

// offers is what is free on a node and its devices; the row is valid until the
// next call.
func (f *field) offers(n world.NodeIx) (row []amount.Amount, dev []int32) {
	b, w := &f.base, f.s.w
	dev = w.Dev(n)
	if i := int(b.over[n]); i > 0 {
		return b.free[(i-1)*len(f.dims):][:len(f.dims)], b.devicesOf(i-1, len(dev))
	}
	b.scratch = b.scratch[:0]
	for _, d := range f.dims {
		b.scratch = append(b.scratch, w.FreeOf(n, d))
	}
	return b.scratch, dev
}

func (f *field) countBase() {
	b, nodes := &f.base, len(f.s.w.Nodes)
	b.slots, b.total = grown(b.slots, len(f.shapes)*nodes), grown(b.total, len(f.shapes))
	clear(b.slots)
	clear(b.total)
	for n := range nodes {
		bits := f.runsOn(world.NodeIx(n))
		if bits == 0 {
			continue
		}
		row, dev := f.offers(world.NodeIx(n))
		for i := range f.shapes {
			if bits&(1<<min(i, 63)) != 0 {
				k := f.slots(i, row, dev)
				if k > 0 && f.s.x.Filter != nil && !f.s.x.Filter(f.ask.needs[i].shape, world.NodeIx(n)) {
					k = 0
				}
				b.slots[i*nodes+n] = k
				b.total[i] += k
			}
		}
	}
}

// satisfied says whether nothing need be evicted.
func (f *field) satisfied() bool {
	for i, n := range f.base.total {
		if n < f.ask.needs[i].tasks {
			return false
		}
	}
	return len(f.short) == 0
}
