package gen

import "github.com/musterhq/muster/hostabi"

// derived columns are set by Repair, so there is nothing to shrink in them.
var derived = map[hostabi.ColumnID]bool{
	hostabi.JobJob: true, hostabi.JobWait: true, hostabi.JobElastic: true, hostabi.QueueParent: true, hostabi.QueueDepth: true,
	hostabi.QueueLeaf: true,
}

// Shrink looks for a smaller batch that still fails: fewer rows, then plainer values.
// It asks at most budget times, always in the same order, so that the same failure
// shrinks to the same batch. sane says that every batch asked about must be one that
// the host could send.
func Shrink(b Batch, sane bool, budget int, fails func(Batch) bool) Batch {
	s := shrinker{best: b, sane: sane, budget: budget, fails: fails}
	for before := -1; before != s.better && s.budget > 0; {
		before = s.better
		s.dropRows()
		s.flatten()
	}
	return s.best
}

type shrinker struct {
	best   Batch
	sane   bool
	budget int
	better int // how often something smaller was found
	fails  func(Batch) bool
}

func (s *shrinker) try(b Batch) bool {
	if s.budget <= 0 || s.sane && !b.Repair() {
		return false
	}
	s.budget--
	if !s.fails(b) {
		return false
	}
	s.best = b
	s.better++
	return true
}

// dropRows takes out halves, quarters and so on, down to single rows, from the end.
func (s *shrinker) dropRows() {
	for size := max(1, s.best.N()/2); ; size /= 2 {
		for end := s.best.N(); end > 0; end -= size {
			end = min(end, s.best.N())
			smaller := s.best.Without(func(row int) bool { return row < end && row >= end-size })
			if smaller.N() < s.best.N() {
				s.try(smaller)
			}
		}
		if size <= 1 {
			return
		}
	}
}

// flatten makes whole columns plain, and then single cells.
func (s *shrinker) flatten() {
	for k, c := range s.best.Columns() {
		if derived[c.ID] || plain(c) {
			continue
		}
		if s.try(s.with(k, func(c Column) {
			for i := range c.Len() {
				c.Set(i, c.Plain)
			}
		})) {
			continue
		}
		for i := range c.Len() {
			if s.best.Columns()[k].Get(i) != c.Plain {
				s.try(s.with(k, func(c Column) { c.Set(i, c.Plain) }))
			}
		}
	}
}

func plain(c Column) bool {
	for i := range c.Len() {
		if c.Get(i) != c.Plain {
			return false
		}
	}
	return true
}

func (s *shrinker) with(column int, change func(Column)) Batch {
	b := s.best.Clone()
	change(b.Columns()[column])
	return b
}
