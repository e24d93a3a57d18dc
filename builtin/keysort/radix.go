package keysort

import "math/bits"

// A pass sorts by a digit of at most maxDigit bits, whose counters fill a quarter of a
// first-level cache. extraBits is how many bits more than n itself needs are looked at:
// of n random keys, about one in 2^(extraBits+1) then shares its prefix with another.
const (
	maxDigit  = 11
	maxPasses = 3
	extraBits = 5
	maxPrefix = 32
)

// radix sorts items[lo:hi], which are in order of position, by the columns from col on.
// They may come with any prefix. Each level looks at a prefix of what the keys differ
// in, so 64 bits are done after at most four levels, and the columns after that.
func (s *Scratch) radix(lo, hi, col int) {
	items := s.items[lo:hi]
	low, high := s.bounds(items, col)
	for low == high {
		if col++; col == len(s.keys) {
			return
		}
		low, high = s.bounds(items, col)
	}
	width := bits.Len64(high - low)
	prefix := min(width, bits.Len(uint(len(items)))+extraBits, maxPrefix)
	s.byPrefix(lo, hi, col, low, width-prefix, prefix)
	if width == prefix {
		col++ // an equal prefix is an equal key
	}
	if col < len(s.keys) {
		s.finish(lo, hi, col)
	}
}

// ordered maps a key to an unsigned number of the same order.
func ordered(k int64) uint64 { return uint64(k) ^ 1<<63 }

func (s *Scratch) bounds(items []uint64, col int) (low, high uint64) {
	key, rows := s.keys[col], s.rows
	first := key[rows[uint32(items[0])]]
	lo, hi := first, first
	for _, it := range items {
		k := key[rows[uint32(it)]]
		lo, hi = min(lo, k), max(hi, k)
	}
	return ordered(lo), ordered(hi)
}

// byPrefix sorts items[lo:hi] by (key-low)>>shift, a number of that many bits.
func (s *Scratch) byPrefix(lo, hi, col int, low uint64, shift, prefix int) {
	passes := (prefix + maxDigit - 1) / maxDigit
	digit := (prefix + passes - 1) / passes
	mask := uint64(1)<<digit - 1
	for p := range passes {
		clear(s.counts[p][:mask+1])
	}
	from, to := s.items[lo:hi], s.spare[lo:hi]
	key, rows := s.keys[col], s.rows
	for i, it := range from {
		x := (ordered(key[rows[uint32(it)]]) - low) >> shift
		from[i] = x<<32 | it&(1<<32-1)
		for p := range passes {
			s.counts[p][x>>(p*digit)&mask]++
		}
	}
	for p := range passes {
		at, down := s.counts[p][:mask+1], 32+p*digit
		if at[from[0]>>down&mask] == uint32(len(from)) {
			continue // all the same
		}
		sum := uint32(0)
		for d, n := range at {
			at[d], sum = sum, sum+n
		}
		for _, it := range from {
			d := it >> down & mask
			to[at[d]] = it
			at[d]++
		}
		from, to = to, from
	}
	if &from[0] != &s.items[lo] {
		copy(to, from)
	}
}

// finish sorts each group of equal prefixes by the columns from col on.
func (s *Scratch) finish(lo, hi, col int) {
	for start := lo; start < hi; {
		end := start + 1
		for end < hi && s.items[end]>>32 == s.items[start]>>32 {
			end++
		}
		switch n := end - start; {
		case n > few:
			s.radix(start, end, col)
		case n > 1:
			s.insert(s.items[start:end], col)
		}
		start = end
	}
}

// insert sorts a few items.
func (s *Scratch) insert(items []uint64, col int) {
	for i := 1; i < len(items); i++ {
		it, j := items[i], i
		for j > 0 && s.before(uint32(it), uint32(items[j-1]), col) {
			items[j] = items[j-1]
			j--
		}
		items[j] = it
	}
}
