package hostabi

import (
	"encoding/binary"
	"unsafe"
)

// The wire is little endian. On a little-endian host the bytes of a column are the
// bytes of its slice, so a column is sent and read back by one copy.
var littleEndian = binary.NativeEndian.Uint16([]byte{1, 0}) == 1

// number is an element as Go holds it.
type number interface {
	~int64 | ~float64 | ~uint32 | ~int32 | ~uint64
}

// Bytes returns the wire form of a column. On a little-endian host it is a view of
// the column, elsewhere a copy. An empty column gives an empty, non-nil view, so
// that nil keeps its meaning of "no values".
func Bytes[T number](s []T) []byte {
	if s == nil {
		return nil
	}
	if len(s) == 0 {
		return []byte{}
	}
	size := int(unsafe.Sizeof(s[0]))
	view := unsafe.Slice((*byte)(unsafe.Pointer(&s[0])), len(s)*size)
	if littleEndian {
		return view
	}
	out := make([]byte, len(view))
	copy(out, view)
	swap(out, size)
	return out
}

// Element is the wire form of a column of one element.
func Element[T number](v *T) []byte { return Bytes(unsafe.Slice(v, 1)) }

// Read fills a column from its wire form, as far as both go.
func Read[T number](dst []T, src []byte) {
	if len(dst) == 0 {
		return
	}
	size := int(unsafe.Sizeof(dst[0]))
	view := unsafe.Slice((*byte)(unsafe.Pointer(&dst[0])), len(dst)*size)
	n := copy(view, src)
	if !littleEndian {
		swap(view[:n], size)
	}
}

func swap(b []byte, size int) {
	for i := 0; i+size <= len(b); i += size {
		for l, r := i, i+size-1; l < r; l, r = l+1, r-1 {
			b[l], b[r] = b[r], b[l]
		}
	}
}
