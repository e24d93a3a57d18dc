package world

import "math/bits"

// MayHold says whether a task of the shape could hold exactly these devices of a node
// with enough of them: as many whole ones as it asks for, or one of which it has a part.
func (w *World) MayHold(s ShapeID, dev uint64) bool {
	return bits.OnesCount64(dev) == w.Shapes[s].devices()
}

// devices is how many devices a task of the shape sits on.
func (s *Shape) devices() int {
	if s.Milli > 0 {
		return 1
	}
	return int(s.Whole)
}

// AnyDevices picks devices of a node for a task that runs there, whoever started it:
// the first with room for it, and where they are too few, the first of the others.
func (w *World) AnyDevices(s ShapeID, n NodeIx) (mask uint64) {
	dev, each, want := w.Dev(n), w.perDevice(s), w.Shapes[s].devices()
	for _, full := range [...]bool{false, true} {
		for i, free := range dev {
			if bits.OnesCount64(mask) < want && (free < each) == full {
				mask |= 1 << i
			}
		}
	}
	return mask
}
