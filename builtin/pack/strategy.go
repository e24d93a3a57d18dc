// Package pack chooses the node, and the devices on it, for a task.
//
// A view is the answer for one shape: a tree over all nodes in their fixed order
// with each node's score, the best one at the top. Placing a task changes one
// node, so the next choice costs the score of that node and one path up the tree,
// whatever the number of nodes. A view that was not used for a while catches up
// on the nodes that changed since, each once.
package pack

import (
	"fmt"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/world"
)

// Strategy is a rule for choosing among nodes with room.
type Strategy uint8

// The strategies.
const (
	// Fragmentation takes the node where the expected fragmentation grows least
	// (FGD, Weng et al., USENIX ATC 2023), among equals the first in order of names,
	// so that equal nodes fill one after the other. On nodes without GPUs, where
	// nothing can fragment, it is BinPack.
	Fragmentation Strategy = iota
	// BinPack takes the node that would be left with the least cpu and GPUs.
	BinPack
	// Spread takes the node that would be left with the most.
	Spread
)

var strategyNames = [...]string{"fragmentation", "binpack", "spread"}

func (s Strategy) String() string { return strategyNames[s] }

// ParseStrategy reads the name of a strategy; "" is Fragmentation.
func ParseStrategy(name string) (Strategy, error) {
	if name == "" {
		return Fragmentation, nil
	}
	for i, n := range strategyNames {
		if n == name {
			return Strategy(i), nil
		}
	}
	return 0, fmt.Errorf("unknown placement strategy %q (fragmentation, binpack or spread)", name)
}

// noRoom is the score of a node that can't take the shape. Other scores are not
// negative; higher is better.
const noRoom int32 = -1

const (
	fitScale = 1 << 16 // a resource left wholly free
	// gpuless is added for tasks without GPUs on nodes without GPUs: they keep off
	// GPU nodes while they can.
	gpuless = 1 << 20
)

// room says whether the shape fits what is free on a node now, and on which
// kinds of devices it depends: whole ones by count, a part by the best device.
func (x *Index) room(s *world.Shape, n world.NodeIx) bool {
	row := x.w.Free(n)
	for _, e := range s.Request {
		if row[e.Dim] < e.Amount {
			return false
		}
	}
	if s.Whole > x.w.FullDevices(n) {
		return false
	}
	return s.Milli == 0 || x.device(s, n) >= 0
}

// left is the part of cpu and GPUs, in parts of fitScale each, that a node would
// have left with the task on it, measured against the largest node of the pool.
func (x *Index) left(s *world.Shape, n world.NodeIx) int32 {
	row := x.w.Free(n)
	var sum int64
	if x.largest[0] > 0 {
		sum += int64(row[amount.CPU]-s.CPU) * fitScale / int64(x.largest[0])
	}
	if x.largest[1] > 0 {
		sum += int64(row[amount.GPU]-s.GPU) * fitScale / int64(x.largest[1])
	}
	return int32(max(0, sum))
}

// score is the worth of a node for a shape, noRoom if it can't take it.
func (x *Index) score(v *view, n world.NodeIx) int32 {
	s := &x.w.Shapes[v.shape]
	nd := &x.w.Nodes[n]
	if !nd.Present || nd.Cordoned || nd.ReservedFor != nil || !x.allowed(v, n) || !x.room(s, n) {
		return noRoom
	}
	return x.worth(v, s, n)
}

func (x *Index) allowed(v *view, n world.NodeIx) bool {
	if !x.w.RunsOn(v.shape, n) {
		return false
	}
	nd := &x.w.Nodes[n]
	return !nd.HasType || v.banned&TypeBit(nd.Typed) == 0
}

func (x *Index) worth(v *view, s *world.Shape, n world.NodeIx) int32 {
	if x.w.Nodes[n].Devices == 0 {
		score := x.fit(v, s, n)
		if s.Whole == 0 && s.Milli == 0 {
			score += gpuless
		}
		return score
	}
	if v.strategy == Fragmentation {
		return x.fragScore(v, s, n)
	}
	return x.fit(v, s, n)
}

func (x *Index) fit(v *view, s *world.Shape, n world.NodeIx) int32 {
	if v.strategy == Spread {
		return x.left(s, n)
	}
	return 2*fitScale - x.left(s, n)
}

// TypeBit is the bit of a typed GPU dimension in a set of banned types. Types
// beyond the 64th share the last bit.
func TypeBit(d amount.Dim) uint64 { return 1 << min(uint(d), 63) }

// device is the device that a fractional shape takes on a node: by fragmentation
// the one that leaves least fragments, by bin-packing the fullest that has room,
// by spreading the emptiest; the first among equals. -1 if none has room.
func (x *Index) device(s *world.Shape, n world.NodeIx) int {
	best, bestFree := -1, int32(0)
	for i, free := range x.w.Dev(n) {
		if free < s.Milli {
			continue
		}
		if best < 0 || (x.strategy == Spread) == (free > bestFree) && free != bestFree {
			best, bestFree = i, free
		}
	}
	return best
}

// Devices is the mask of devices that a task of the shape takes on a node that
// has room for it.
func (x *Index) Devices(id world.ShapeID, n world.NodeIx) uint64 {
	s := &x.w.Shapes[id]
	switch {
	case s.Milli > 0 && x.strategy == Fragmentation:
		_, dev := x.fragGain(s, n)
		return 1 << dev
	case s.Milli > 0:
		return 1 << x.device(s, n)
	}
	var mask uint64
	left := s.Whole
	for i, free := range x.w.Dev(n) {
		if left == 0 {
			break
		}
		if free == 1000 {
			mask |= 1 << i
			left--
		}
	}
	return mask
}
