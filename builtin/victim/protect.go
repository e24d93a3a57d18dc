package victim

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// Candidate is a unit of one queue as rules see it.
type Candidate struct {
	Job             *world.Job
	Tasks           []*world.Task // in order of their index
	GPUMilli        int64
	Lost            int64 // GPU-milliseconds
	Running         spec.Duration
	Surplus, Leader bool
	Use, Idle       int64 // policies.Unset where not known
}

// Protector says of each unit of a leaf why it must not be evicted, "" if it may.
type Protector func(leaf quota.Q, units []Candidate) []string

// protectAll asks about all units of each leaf at once. What is protected is no row of
// a batch and in no set; it is still counted where somebody asks why nobody was evicted.
func (s *Search) protectAll() {
	p := &s.pool
	if s.Protect == nil || len(p.units) == 0 {
		return
	}
	p.rows = p.rows[:0]
	for i := range p.units {
		p.rows = append(p.rows, int32(i))
	}
	slices.SortStableFunc(p.rows, func(a, b int32) int { return cmp.Compare(p.units[a].leaf, p.units[b].leaf) })
	for i := 0; i < len(p.rows); {
		leaf := p.units[p.rows[i]].leaf
		k := i
		p.asked = p.asked[:0]
		for ; k < len(p.rows) && p.units[p.rows[k]].leaf == leaf; k++ {
			u := &p.units[p.rows[k]]
			p.asked = append(p.asked, Candidate{
				u.job, u.tasks, u.gpu, u.lost, u.running, !u.whole, u.leader, u.use, u.idle,
			})
		}
		for n, why := range s.Protect(leaf, p.asked) {
			p.units[p.rows[i+n]].stay = why
		}
		i = k
	}
}

// kept counts the units that would be legal for a job and are protected.
type kept struct {
	units int
	why   string // of the first
}

func (k *kept) add(u *unit) {
	if k.units++; k.units == 1 {
		k.why = u.stay
	}
}

// told adds to a reason why nobody was evicted that some are protected.
func (k kept) told(why string) string {
	switch k.units {
	case 0:
		return why
	case 1:
		return fmt.Sprintf("%s; 1 is protected: %s", why, k.why)
	default:
		return fmt.Sprintf("%s; %d are protected: %s", why, k.units, k.why)
	}
}
