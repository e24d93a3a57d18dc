// Package keysort puts the rows of a job order into the order of their keys: stable,
// by several key columns, without allocation, and quick where the order of the last
// cycle is still nearly right.
//
// Rows that are in order already cost one pass. Rows of which few are out of place
// have these taken out, sorted and merged in again (see nearly.go). Everything else is
// sorted by radix on the top bits of a key, as many as tell n rows apart with little
// left over; what is left over is finished by insertion or, in large groups, by the
// same again on the bits and columns that follow (see radix.go).
package keysort

// few is up to how many rows insertion beats radix.
const few = 24

// Scratch is the memory of Sort, kept between calls so that a call allocates nothing.
// The zero value is ready. It must not be used by two calls at once.
type Scratch struct {
	keys [][]int64
	rows []int32 // the rows as they came; a position is an index into it
	// items are sorted: a prefix of the key in the upper half, the position in the
	// lower; spare is where a radix pass writes.
	items, spare []uint64
	// kept and taken are positions: those in order, and those out of place.
	kept, taken []uint32
	counts      [maxPasses][1 << maxDigit]uint32
}

// Sort sorts rows by keys[0][row], then keys[1][row] and so on, ascending. Rows with
// equal keys stay in the order in which they came. Each row is an index into every
// column. O(n), and one pass if they are in order.
func Sort(rows []int32, keys [][]int64, s *Scratch) {
	if len(keys) == 0 || inOrder(rows, keys) {
		return
	}
	s.keys = keys
	s.rows = append(s.rows[:0], rows...)
	switch {
	case len(rows) <= few:
		s.number(len(rows))
		s.insert(s.items, 0)
		s.deliver(rows)
	case s.nearly(rows):
	default:
		s.number(len(rows))
		s.radix(0, len(rows), 0)
		s.deliver(rows)
	}
	s.keys = nil // the columns are the caller's
}

// inOrder says whether there is nothing to do.
func inOrder(rows []int32, keys [][]int64) bool {
	first := keys[0]
	for i := 1; i < len(rows); i++ {
		a, b := first[rows[i-1]], first[rows[i]]
		if a > b || a == b && len(keys) > 1 && compare(keys[1:], rows[i-1], rows[i]) > 0 {
			return false
		}
	}
	return true
}

// compare compares two rows by all columns.
func compare(keys [][]int64, x, y int32) int {
	for _, k := range keys {
		if k[x] != k[y] {
			if k[x] < k[y] {
				return -1
			}
			return 1
		}
	}
	return 0
}

// before says whether the row at position p comes before the one at q, by the columns
// from col on, then by position: a total order.
func (s *Scratch) before(p, q uint32, col int) bool {
	if c := compare(s.keys[col:], s.rows[p], s.rows[q]); c != 0 {
		return c < 0
	}
	return p < q
}

// number makes an item of each position.
func (s *Scratch) number(n int) {
	s.room(n)
	for p := range s.items {
		s.items[p] = uint64(p)
	}
}

func (s *Scratch) room(n int) {
	if cap(s.items) < n {
		s.items, s.spare = make([]uint64, n, n+n/4), make([]uint64, n, n+n/4)
	}
	s.items, s.spare = s.items[:n], s.spare[:n]
}

// deliver writes the sorted rows out.
func (s *Scratch) deliver(rows []int32) {
	for i, it := range s.items {
		rows[i] = s.rows[uint32(it)]
	}
}
