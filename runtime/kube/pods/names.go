package pods

import "slices"

// names is a set of node names: those listed, or with Not all others.
type names struct {
	Not  bool     `json:"not,omitempty"`
	List []string `json:"list,omitempty"` // sorted, none twice
}

func theseNames(list ...string) names { return names{List: sorted(list)} }

func everyName() names { return names{Not: true} }

func (n names) has(name string) bool {
	_, listed := slices.BinarySearch(n.List, name)
	return listed != n.Not
}

func (n names) every() bool { return n.Not && len(n.List) == 0 }

func (n names) none() bool { return !n.Not && len(n.List) == 0 }

func (n names) not() names { return names{!n.Not, n.List} }

func (n names) equal(m names) bool { return n.Not == m.Not && slices.Equal(n.List, m.List) }

func (n names) or(m names) names {
	switch {
	case !n.Not && !m.Not:
		return theseNames(slices.Concat(n.List, m.List)...)
	case n.Not: // all but those that m has not either
		return names{true, keep(n.List, m.not().has)}
	default:
		return m.or(n)
	}
}

func (n names) and(m names) names { return n.not().or(m.not()).not() }

// keep returns the elements that are wanted, in order; nil if there is none.
func keep(list []string, wanted func(string) bool) []string {
	var out []string
	for _, s := range list {
		if wanted(s) {
			out = append(out, s)
		}
	}
	return out
}

// sorted returns a sorted copy without repetitions, nil if it is empty.
func sorted(list []string) []string {
	if len(list) == 0 {
		return nil
	}
	out := slices.Clone(list)
	slices.Sort(out)
	return slices.Compact(out)
}
