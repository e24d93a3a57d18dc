package hostabi

// NoText is the element of a dict32 column that points at no text: a job without the
// label, a user without a name.
const NoText uint32 = 1<<32 - 1

// unknown is the element of a nullable column that is not known. None of them has
// negative values otherwise.
const unknown int64 = -1

func bitmapBytes(elements uint64) uint64 { return (elements + 7) / 8 }

// hasUnknown says whether the column can say of an element that it is not known.
func (c *Column) hasUnknown() bool { return c.Nullable || c.Type == Dict32 }

// Validity returns the validity bitmap of a nullable column, for Part.Valid: nil if
// every element is known, else in the memory of dst where that is large enough.
func Validity(dst []byte, column []int64) []byte {
	var all int64
	for _, v := range column {
		all |= v
	}
	if all >= 0 {
		return nil
	}
	n := int(bitmapBytes(uint64(len(column))))
	if cap(dst) < n {
		dst = make([]byte, n)
	}
	dst = dst[:n]
	clear(dst)
	for i, v := range column {
		if v != unknown {
			dst[i>>3] |= 1 << (i & 7)
		}
	}
	return dst
}
