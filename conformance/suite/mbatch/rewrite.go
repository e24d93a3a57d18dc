package mbatch

import (
	"encoding/binary"
	"slices"

	"github.com/musterhq/muster/hostabi"
)

var le = binary.LittleEndian

// Offsets of the header and of a descriptor, as abi.md fixes them.
const (
	offHeader, offTotal        = 8, 12
	offRows                    = 20
	offInputs, offOutputs      = 24, 26
	offDescs, offStride        = 28, 32
	offParams, offScratch      = 64, 72
	offError, offErrorCap      = 80, 84
	offErrorLen                = 88
	offDict, offDictCount      = 92, 96
	descFlags, descOffset      = 5, 8
	descElements, descValidity = 12, 16
	dictEntry                  = 16
	filler                     = 0xa5 // in what a guest must not read
)

// unknownID is of no column of this version: the last input of kind 0x6f.
const unknownID hostabi.ColumnID = 0x6f7f

// Longer returns the same batch with a longer header and longer descriptors, as a later
// minor version may send it. What is new is filled with bytes that mean nothing.
func Longer(buf []byte) []byte { return rewrite(buf, 64, 64, false, nil) }

// WithUnknown returns the same batch with a column in front that no version knows.
func WithUnknown(buf []byte) []byte { return rewrite(buf, 0, hostabi.DescriptorBytes, true, nil) }

// LeftOut returns the batch without some columns: an older host does not know them.
func LeftOut(buf []byte, ids ...hostabi.ColumnID) []byte {
	return rewrite(buf, 0, hostabi.DescriptorBytes, false, ids)
}

// Absent returns the batch with some input columns marked absent: the host has no
// values for them.
func Absent(buf []byte, ids ...hostabi.ColumnID) []byte {
	out := slices.Clone(buf)
	for _, d := range descriptors(out) {
		id := hostabi.ColumnID(le.Uint32(d))
		if !slices.Contains(ids, id) {
			continue
		}
		d[descFlags] |= byte(hostabi.FlagAbsent)
		le.PutUint32(d[descValidity:], 0)
		clear(elements(out, d))
	}
	return out
}

// descriptors are views of a good batch.
func descriptors(buf []byte) [][]byte {
	n := int(le.Uint16(buf[offInputs:])) + int(le.Uint16(buf[offOutputs:]))
	first, stride := int(le.Uint32(buf[offDescs:])), int(le.Uint32(buf[offStride:]))
	out := make([][]byte, n)
	for i := range out {
		out[i] = buf[first+i*stride:][:stride]
	}
	return out
}

func elements(buf, desc []byte) []byte {
	from := le.Uint32(desc[descOffset:])
	return buf[from:][:le.Uint32(desc[descElements:])*uint32(le.Uint16(desc[6:]))]
}

func aligned(n int) int { return (n + hostabi.Align - 1) &^ (hostabi.Align - 1) }

// rewrite lays a batch out anew: the header longer by some bytes, descriptors at
// another distance, with or without an unknown column, and without some. Everything
// after the descriptors keeps its order and moves as one.
func rewrite(buf []byte, longer, stride int, unknown bool, drop []hostabi.ColumnID) []byte {
	old := descriptors(buf)
	body := aligned(hostabi.HeaderBytes + hostabi.DescriptorBytes*len(old))
	keep := slices.DeleteFunc(slices.Clone(old), func(d []byte) bool {
		return slices.Contains(drop, hostabi.ColumnID(le.Uint32(d)))
	})
	n := len(keep)
	if unknown {
		n++
	}
	first := hostabi.HeaderBytes + longer
	start := aligned(first + n*stride)
	out := slices.Repeat([]byte{filler}, start)
	copy(out, buf[:hostabi.HeaderBytes])
	out = append(out, buf[body:]...)
	moved := uint32(start - body)
	at := first
	if unknown {
		describeUnknown(out[at:], uint32(len(out)), le.Uint32(buf[offRows:]))
		out = append(out, slices.Repeat([]byte{filler}, aligned(8*int(le.Uint32(buf[offRows:]))))...)
		at += stride
	}
	for _, d := range keep {
		copy(out[at:], d[:hostabi.DescriptorBytes])
		move(out[at+descOffset:], moved)
		move(out[at+descValidity:], moved)
		at += stride
	}
	clear(out[at:start])
	if stride > hostabi.DescriptorBytes {
		for i := range n { // the tails of longer descriptors
			tail := out[first+i*stride+hostabi.DescriptorBytes : first+(i+1)*stride]
			copy(tail, slices.Repeat([]byte{filler}, len(tail)))
		}
	}
	header(out, buf, first, stride, moved, n-len(old))
	return out
}

// describeUnknown writes the descriptor of an input of 8-byte elements.
func describeUnknown(d []byte, offset, rows uint32) {
	clear(d[:hostabi.DescriptorBytes])
	le.PutUint32(d, uint32(unknownID))
	d[4] = byte(hostabi.I64)
	le.PutUint16(d[6:], 8)
	le.PutUint32(d[descOffset:], offset)
	le.PutUint32(d[descElements:], rows)
	le.PutUint16(d[24:], 1)
}

func move(field []byte, by uint32) {
	if v := le.Uint32(field); v != 0 {
		le.PutUint32(field, v+by)
	}
}

// header corrects what has moved.
func header(out, old []byte, first, stride int, moved uint32, more int) {
	le.PutUint32(out[offHeader:], uint32(hostabi.HeaderBytes))
	if first > hostabi.HeaderBytes {
		le.PutUint32(out[offHeader:], uint32(first))
	}
	le.PutUint32(out[offTotal:], uint32(len(out)))
	le.PutUint32(out[offDescs:], uint32(first))
	le.PutUint32(out[offStride:], uint32(stride))
	le.PutUint16(out[offInputs:], uint16(int(le.Uint16(old[offInputs:]))+more))
	for _, field := range []int{offParams, offScratch, offError, offDict} {
		move(out[field:], moved)
	}
	table := le.Uint32(out[offDict:])
	for i := range le.Uint32(out[offDictCount:]) {
		move(out[table+dictEntry*i+4:], moved)
		move(out[table+dictEntry*i+8:], moved)
	}
}

// Outputs are the output columns of an answered batch, by id, at the places that the
// batch had for them when it was sent.
func Outputs(sent, answered []byte) map[hostabi.ColumnID][]byte {
	out := map[hostabi.ColumnID][]byte{}
	for _, d := range descriptors(sent) {
		if hostabi.Flag(d[descFlags])&hostabi.FlagOutput != 0 {
			out[hostabi.ColumnID(le.Uint32(d))] = elements(answered, d)
		}
	}
	return out
}

// Touched returns the first byte in which an answered batch differs from what was sent,
// outside of what a policy may write: outputs, scratch space and the error text. -1 if
// there is none.
func Touched(sent, answered []byte) int {
	mine := slices.Clone(answered)
	give := func(from, n uint32) {
		copy(mine[from:from+n], sent[from:from+n])
	}
	for _, d := range descriptors(sent) {
		if hostabi.Flag(d[descFlags])&hostabi.FlagOutput != 0 {
			give(le.Uint32(d[descOffset:]), le.Uint32(d[descElements:])*uint32(le.Uint16(d[6:])))
		}
	}
	give(le.Uint32(sent[offScratch:]), le.Uint32(sent[offScratch+4:]))
	give(le.Uint32(sent[offError:]), le.Uint32(sent[offErrorCap:]))
	give(offErrorLen, 4)
	for i := range sent {
		if sent[i] != mine[i] {
			return i
		}
	}
	return -1
}

// Where names the part of a batch in which a byte lies.
func Where(buf []byte, at int) string {
	if at < hostabi.HeaderBytes {
		return "the header"
	}
	for _, d := range descriptors(buf) {
		from := int(le.Uint32(d[descOffset:]))
		if at >= from && at < from+len(elements(buf, d)) {
			return hostabi.ColumnID(le.Uint32(d)).String()
		}
	}
	return "no column"
}
