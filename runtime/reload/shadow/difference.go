package shadow

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/policies"
)

// Top is how many of the first rows are compared as a set.
const Top = 10

// scratch is memory for comparing, kept with the record.
type scratch struct {
	mine, theirs []int32 // rows in the order of the active policy, of the candidate
	place        []int32 // of each row, with the candidate
	merge        []int32
}

// difference is how two answers to one batch differ.
type difference struct {
	rows      int
	moved     int     // rows whose place differs
	first     bool    // the first row is another one
	tau       float64 // Kendall's, 1 for the same order, -1 for the reverse
	overlap   float64 // part of the first Top rows that both have
	entitled  int     // queues that would be entitled to something else
	ranked    int     // queues with another rank
	vetoed    int     // units vetoed by the candidate only
	unvetoed  int     // units vetoed by the active policy only
	different bool
}

// difference compares the two answers of a record; err is the candidate's failure.
func (r *record) difference(err error) difference {
	if err != nil || r.failed {
		return difference{}
	}
	var d difference
	switch r.kind {
	case policies.JobOrder:
		d = r.scratch.orders(r.jobs.N, r.active.byKeys(), r.other.byKeys())
	case policies.QueueShares:
		d = r.shares()
	default:
		d = r.scratch.orders(r.victims.N, r.active.byCost(), r.other.byCost())
		for i, v := range r.active.veto {
			switch {
			case v == 0 && r.other.veto[i] != 0:
				d.vetoed++
			case v != 0 && r.other.veto[i] == 0:
				d.unvetoed++
			}
		}
		d.different = d.different || d.vetoed+d.unvetoed > 0
	}
	return d
}

// byKeys compares rows as the host sorts jobs; equal ones stay in (submit, id).
func (a *answer) byKeys() func(x, y int32) int {
	keys := a.keys[:min(max(a.nkeys, 0), policies.MaxKeys)]
	return func(x, y int32) int {
		for _, k := range keys {
			if d := cmp.Compare(k[x], k[y]); d != 0 {
				return d
			}
		}
		return 0
	}
}

// byCost puts the cheapest unit first and vetoed ones last.
func (a *answer) byCost() func(x, y int32) int {
	return func(x, y int32) int {
		return cmp.Or(cmp.Compare(min(a.veto[x], 1), min(a.veto[y], 1)), cmp.Compare(a.cost[x], a.cost[y]))
	}
}

// orders sorts n rows both ways and compares the places.
func (s *scratch) orders(n int, mine, theirs func(x, y int32) int) difference {
	s.mine, s.theirs = sorted(s.mine, n, mine), sorted(s.theirs, n, theirs)
	s.place = slices.Grow(s.place[:0], n)[:n]
	for at, row := range s.theirs {
		s.place[row] = int32(at)
	}
	d := difference{rows: n, tau: 1, overlap: 1}
	if n == 0 {
		return d
	}
	shared := 0
	top := min(n, Top)
	for at, row := range s.mine {
		if s.theirs[at] != row {
			d.moved++
		}
		if at < top && int(s.place[row]) < top {
			shared++
		}
	}
	d.first, d.different = s.mine[0] != s.theirs[0], d.moved > 0
	d.overlap = float64(shared) / float64(top)
	if n > 1 {
		pairs := float64(n) * float64(n-1) / 2
		d.tau = 1 - 2*float64(s.inversions())/pairs
	}
	return d
}

func sorted(rows []int32, n int, by func(x, y int32) int) []int32 {
	rows = slices.Grow(rows[:0], n)[:n]
	for i := range rows {
		rows[i] = int32(i)
	}
	slices.SortStableFunc(rows, by)
	return rows
}

// inversions counts the pairs of rows that the two orders put the other way round, by
// merge sort. It leaves theirs overwritten.
func (s *scratch) inversions() int64 {
	seq := s.theirs
	for at, row := range s.mine {
		seq[at] = s.place[row]
	}
	s.merge = slices.Grow(s.merge[:0], len(seq))[:len(seq)]
	var n int64
	for width := 1; width < len(seq); width *= 2 {
		for from := 0; from < len(seq); from += 2 * width {
			mid, to := min(from+width, len(seq)), min(from+2*width, len(seq))
			n += merge(s.merge[from:to], seq[from:mid], seq[mid:to])
		}
		copy(seq, s.merge)
	}
	return n
}

// merge merges two sorted runs and counts the pairs that it turns round.
func merge(to, a, b []int32) (turned int64) {
	for k := range to {
		if len(b) == 0 || len(a) > 0 && a[0] <= b[0] {
			to[k], a = a[0], a[1:]
			continue
		}
		to[k], b = b[0], b[1:]
		turned += int64(len(a))
	}
	return turned
}

// shares compares entitlements and ranks, queue by queue.
func (r *record) shares() difference {
	q := &r.queues
	d := difference{rows: q.N, tau: 1, overlap: 1}
	for i := range q.N {
		row := i * q.R
		if !slices.Equal(r.active.entitled[row:row+q.R], r.other.entitled[row:row+q.R]) {
			d.entitled++
		}
		if r.active.rank[i] != r.other.rank[i] {
			d.ranked++
		}
	}
	d.different = d.entitled+d.ranked > 0
	return d
}
