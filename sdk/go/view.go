package muster

import (
	"errors"
	"unsafe"
)

// Layout of a batch. hostabi/abi.md is the authority.
const (
	magic       = 'M' | 'S'<<8 | 'T'<<16 | 'R'<<24
	abiMajor    = 1
	headerBytes = 128

	statusOK        = 0
	statusAbstain   = 1
	statusBadInput  = 2
	statusBadParams = 3
	statusInternal  = 4
)

// head mirrors the header; the names are abi.md's.
type head struct {
	magic               uint32
	major, minor        uint16
	headerBytes, total  uint32
	kind, rows          uint32
	inputs, outputs     uint16
	descs, descBytes    uint32
	flags               uint32
	now                 int64
	seed, cycle         uint64
	params, paramCount  uint32
	scratch, scratchLen uint32
	err, errCap, errLen uint32
	dict, dictCount     uint32
	groups, resources   uint32
}

// desc mirrors a column descriptor.
type desc struct {
	id               uint32
	typ, flags       uint8
	elemSize         uint16
	offset, elements uint32
	validity, dict   uint32
	width, _         uint16
	_                uint32
}

type dictEntry struct{ count, offsets, bytes, size uint32 }

// view is one column in the batch. Its length is in bytes, so that no accessor leaves it
// whatever the descriptor says of its elements.
type view struct {
	batch *batch
	p     unsafe.Pointer
	bytes uint64
}

func (v view) i64s() []int64  { return unsafe.Slice((*int64)(v.p), v.bytes/8) }
func (v view) u32s() []uint32 { return unsafe.Slice((*uint32)(v.p), v.bytes/4) }
func (v view) i32s() []int32  { return unsafe.Slice((*int32)(v.p), v.bytes/4) }
func (v view) u8s() []uint8   { return unsafe.Slice((*uint8)(v.p), v.bytes) }

func (v view) i64() int64 {
	if all := v.i64s(); len(all) > 0 {
		return all[0]
	}
	return 0
}

func (v view) text() string {
	if ids := v.u32s(); len(ids) > 0 {
		return v.batch.text(ids[0])
	}
	return ""
}

// names backs the string columns of one element a resource: there is one such
// column in a batch, and one call at a time.
var names []string

func (v view) texts() []string {
	ids := v.u32s()
	names = Grow(names, len(ids))
	for i, id := range ids {
		names[i] = v.batch.text(id)
	}
	return names
}

// Floats is a key column seen as float64.
func Floats(s []int64) []float64 {
	if len(s) == 0 {
		return nil
	}
	return unsafe.Slice((*float64)(unsafe.Pointer(&s[0])), len(s))
}

// batch is one batch in the arena.
type batch struct {
	mem  []byte
	head *head
}

func (b *batch) at(offset uint32, n uint64) (unsafe.Pointer, bool) {
	if uint64(offset)+n > uint64(len(b.mem)) {
		return nil, false
	}
	return unsafe.Pointer(unsafe.SliceData(b.mem[offset:])), true
}

// dictionary returns the only one that a batch has, nil if it has none.
func (b *batch) dictionary() *dictEntry {
	p, ok := b.at(b.head.dict, 16)
	if !ok || b.head.dictCount == 0 {
		return nil
	}
	return (*dictEntry)(p)
}

func (b *batch) count() uint32 {
	if d := b.dictionary(); d != nil {
		return min(d.count, uint32(len(b.mem)/4)) // each has an offset of 4 bytes
	}
	return 0
}

// text returns one string of the dictionary, as a view.
func (b *batch) text(id uint32) string {
	d := b.dictionary()
	if d == nil || id >= d.count {
		return ""
	}
	p, ok := b.at(d.offsets+4*id, 8)
	if !ok {
		return ""
	}
	o := (*[2]uint32)(p)
	p, ok = b.at(d.bytes+o[0], uint64(o[1]-o[0]))
	if !ok || o[1] < o[0] {
		return ""
	}
	return unsafe.String((*byte)(p), int(o[1]-o[0]))
}

// open checks the header. The host's word is taken for the rest, within the bounds
// of the batch.
func open(mem []byte, kind uint32) (b batch, ok bool) {
	if len(mem) < headerBytes {
		return b, false
	}
	h := (*head)(unsafe.Pointer(&mem[0]))
	if h.magic != magic || h.major != abiMajor || h.kind != kind || h.headerBytes < headerBytes ||
		h.descBytes < uint32(unsafe.Sizeof(desc{})) || uint64(h.total) > uint64(len(mem)) || h.total < h.headerBytes {
		return b, false
	}
	return batch{mem[:h.total], h}, true
}

func (b *batch) call() Call {
	h := b.head
	c := Call{N: int(h.rows), R: int(h.resources), Now: h.now, Cycle: h.cycle, Seed: h.seed, texts: b}
	if p, ok := b.at(h.params, 8*uint64(h.paramCount)); ok && h.paramCount > 0 {
		c.params = unsafe.Slice((*uint64)(p), h.paramCount)
	}
	return c
}

// columns calls bind for each column; false if one lies outside the batch.
func (b *batch) columns(bind func(id uint32, v view)) bool {
	h := b.head
	for i := range uint32(h.inputs) + uint32(h.outputs) {
		p, ok := b.at(h.descs+i*h.descBytes, uint64(unsafe.Sizeof(desc{})))
		if !ok {
			return false
		}
		d := (*desc)(p)
		n := uint64(d.elements) * uint64(d.elemSize)
		p, ok = b.at(d.offset, n)
		if !ok {
			return false
		}
		bind(d.id, view{b, p, n})
	}
	return true
}

// say leaves the text of an error in the batch for the host to show.
func (b *batch) say(text string) {
	p, ok := b.at(b.head.err, uint64(b.head.errCap))
	if !ok {
		return
	}
	room := unsafe.Slice((*byte)(p), b.head.errCap)
	b.head.errLen = uint32(copy(room, text))
}

// answer turns what a policy returned into a status.
func (b *batch) answer(err error) uint32 {
	if err == nil {
		return statusOK
	}
	b.say(err.Error())
	switch {
	case errors.Is(err, ErrAbstain):
		return statusAbstain
	case errors.Is(err, ErrBadInput):
		return statusBadInput
	case errors.Is(err, ErrBadParams):
		return statusBadParams
	default:
		return statusInternal
	}
}

// caught turns a panic of the policy into a status with its text. The stack is
// unwound by Go itself, so the instance stays good.
func (b *batch) caught(r any) uint32 {
	switch v := r.(type) {
	case error:
		b.say("panic: " + v.Error())
	case string:
		b.say("panic: " + v)
	default:
		b.say("panic")
	}
	return statusInternal
}
