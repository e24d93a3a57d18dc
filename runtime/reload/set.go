package reload

import (
	"maps"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/policies"
)

// Into is a Swap for a loop: what is loaded goes on top of a set that stays the same
// otherwise (placement, filter, policies and rules given from elsewhere). swap is
// loop.Loop.Swap.
func Into(swap func(cycle.Set) (retired <-chan struct{}), base cycle.Set) func(Set) <-chan struct{} {
	return func(s Set) <-chan struct{} {
		next := base
		next.Named = map[string]policies.Policy{}
		maps.Copy(next.Named, base.Named)
		maps.Copy(next.Named, s.Named)
		if s.Admission != nil {
			next.Admission = s.Admission
		}
		if s.Protection != nil {
			next.Protection = s.Protection
		}
		return swap(next)
	}
}
