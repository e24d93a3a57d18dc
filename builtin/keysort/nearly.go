package keysort

import (
	"slices"
	"sort"
)

// patience is after how many rows out of place in a row the one before them is looked
// at instead.
const patience = 8

// nearly sorts rows of which at most one in sixteen is out of place, and gives up at
// the first one above that. It keeps a rising line of rows and takes out what breaks it
// (the idea of drop-merge sort: Emil Ernerfeldt, 2016, after Cook and Kim, "Best sorting
// algorithm for nearly sorted lists", CACM 1980), so that 100 changes in 10,000 cost a
// sort of about 100.
func (s *Scratch) nearly(rows []int32) bool {
	if !s.split(len(rows)) {
		return false
	}
	slices.Sort(s.taken) // positions ascending, as radix wants them
	s.room(len(s.taken))
	for i, p := range s.taken {
		s.items[i] = uint64(p)
	}
	s.radix(0, len(s.items), 0)
	s.merge(rows)
	return true
}

// split divides the positions into kept, which is in order, and taken. It is false if
// too many would have to be taken.
func (s *Scratch) split(n int) bool {
	s.kept, s.taken = s.kept[:0], s.taken[:0]
	inARow := 0 // the last so many of taken were taken one after the other
	first, rows := s.keys[0], s.rows
	for p := 0; p < n; p++ {
		last := len(s.kept) - 1
		switch at := uint32(p); {
		case last >= 0 && first[rows[p]] > first[rows[s.kept[last]]]: // as nearly always
			s.kept = append(s.kept, at)
			inARow = 0
		case last < 0 || !s.before(at, s.kept[last], 0):
			s.kept = append(s.kept, at)
			inARow = 0
		case last == 0 || !s.before(at, s.kept[last-1], 0):
			s.taken = append(s.taken, s.kept[last]) // the one before stuck out, not this one
			s.kept[last] = at
			inARow = 0
		case inARow < patience:
			s.taken = append(s.taken, at)
			inARow++
		default:
			p = s.back(inARow)
			inARow = 0
		}
		if len(s.taken) > n/16 {
			return false
		}
	}
	return true
}

// back takes out the kept rows that made it take the last few, and returns the position
// from which to go on. It takes at least one for good, so split comes to an end.
func (s *Scratch) back(few int) int {
	first := s.taken[len(s.taken)-few]
	s.taken = s.taken[:len(s.taken)-few]
	for len(s.kept) > 0 && s.before(first, s.kept[len(s.kept)-1], 0) {
		s.taken = append(s.taken, s.kept[len(s.kept)-1])
		s.kept = s.kept[:len(s.kept)-1]
	}
	return int(first) - 1
}

// merge writes kept and the sorted items into rows. The items are few, so each is
// looked for by bisection.
func (s *Scratch) merge(rows []int32) {
	out, kept := 0, s.kept
	for _, it := range s.items {
		p := uint32(it)
		n := sort.Search(len(kept), func(i int) bool { return s.before(p, kept[i], 0) })
		for _, k := range kept[:n] {
			rows[out] = s.rows[k]
			out++
		}
		kept = kept[n:]
		rows[out] = s.rows[p]
		out++
	}
	for _, k := range kept {
		rows[out] = s.rows[k]
		out++
	}
}
