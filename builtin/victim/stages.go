package victim

import (
	"cmp"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/gang"
	"github.com/musterhq/muster/builtin/world"
)

// byStages finds a set for a gang of several shapes among many units: victims for
// the largest tasks, which are then placed as a what-if, victims for the next, and
// so on. The union is proved, and pared down, as a whole. It returns nil if a
// stage finds none.
func (s *Search) byStages(a *ask, level int) []int32 {
	w := s.w
	mark := w.Mark()
	for _, t := range s.pool.releasing {
		if t.State == world.Releasing && t.Node != world.NoNode {
			w.Vacate(t)
		}
	}
	var numbers []int32
	ok := true
	for _, n := range s.largestFirst(a) {
		var more []int32
		if more, ok = s.stage(a, n, level); !ok {
			break
		}
		numbers = append(numbers, more...)
	}
	w.Rollback(mark)
	s.f.prepare(s, a)
	s.legal(a) // the list of the caller, as it was
	if !ok {
		return nil
	}
	slices.Sort(numbers)
	s.f.build(numbers, level)
	return s.together(numbers)
}

// largestFirst is the order in which gang.Place looks at shapes.
func (s *Search) largestFirst(a *ask) []need {
	asks := func(n need, d amount.Dim) amount.Amount {
		v, _ := s.w.Shapes[n.shape].Request.Get(d)
		return v
	}
	needs := slices.Clone(a.needs)
	slices.SortStableFunc(needs, func(x, y need) int {
		return cmp.Or(cmp.Compare(asks(y, amount.GPU), asks(x, amount.GPU)), cmp.Compare(asks(y, amount.CPU), asks(x, amount.CPU)))
	})
	return needs
}

// stage releases victims for the tasks of one shape and places these.
func (s *Search) stage(a *ask, n need, level int) ([]int32, bool) {
	one := *a
	one.needs = []need{n}
	one.missing = gang.Missing(s.w, a.job, s.missing)
	legal, _ := s.legal(&one)
	s.f.prepare(s, &one)
	var numbers []int32
	if !s.f.satisfied() {
		numbers, _ = s.solve(&one, s.atLevel(&one, legal, level), level)
		for _, u := range numbers {
			s.vacate(a, &s.pool.units[u])
		}
	}
	for gi := range a.job.Groups {
		g := &a.job.Groups[gi]
		for g.Shape == n.shape && g.Placed+g.Finished < g.Min {
			if t, _ := gang.One(s.x, s.w, a.job, gi, world.Claimed, s.now); t == nil {
				return nil, false
			}
		}
	}
	return numbers, true
}

// together returns the units of the field if they may all go at once.
func (s *Search) together(numbers []int32) []int32 {
	s.lo.start(&s.f)
	for u := range s.f.units {
		if !s.lo.mayAdd(int32(u)) {
			return nil
		}
		s.lo.add(int32(u))
	}
	return numbers
}
