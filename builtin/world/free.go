package world

import "math/bits"

// The index of free GPUs: per class, and per number of wholly free devices, the
// set of nodes as a bitmap. It is kept with every change of a device, so that
// looking for k free GPUs visits the nodes that have them and no others; in a full
// cluster those are few.

// bitmap is a set of nodes.
type bitmap []uint64

func (b *bitmap) set(n NodeIx) {
	for int(n)/64 >= len(*b) {
		*b = append(*b, 0)
	}
	(*b)[n/64] |= 1 << (n % 64)
}

func (b bitmap) clear(n NodeIx) { b[n/64] &^= 1 << (n % 64) }

// enter puts a node into the index of a class.
func (w *World) enter(n NodeIx, id ClassID) {
	c := &w.Classes[id]
	full := int(w.full[n])
	for full >= len(c.free) {
		c.free = append(c.free, nil)
	}
	c.free[full].set(n)
	w.Nodes[n].indexed = true
}

// leave takes a node out of the index of a class.
func (w *World) leave(n NodeIx, id ClassID) {
	w.Classes[id].free[w.full[n]].clear(n)
	w.Nodes[n].indexed = false
}

// setFull changes the number of wholly free devices of a node in the index.
func (w *World) setFull(n NodeIx, full int32) {
	if w.full[n] == full {
		return
	}
	if !w.Nodes[n].indexed { // it is just changing its class, or gone
		w.full[n] = full
		return
	}
	id := w.Nodes[n].Class
	w.leave(n, id)
	w.full[n] = full
	w.enter(n, id)
}

// EachFree calls f for the nodes of a class that have at least that many wholly
// free devices, in no particular order.
func (w *World) EachFree(c ClassID, atLeast int32, f func(NodeIx)) {
	free := w.Classes[c].free
	for full := int(atLeast); full < len(free); full++ {
		for i, word := range free[full] {
			for ; word != 0; word &= word - 1 {
				f(NodeIx(i*64 + bits.TrailingZeros64(word)))
			}
		}
	}
}
