package order

import (
	"cmp"
	"context"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// slurmMultifactor orders jobs by a weighted sum of factors from 0 to 1, the largest
// first, as Slurm's priority/multifactor plugin does (its documentation, "Multifactor
// Priority Plugin"):
//
//	age        min(wait, max_age) / max_age
//	job size   the share of the pool that the job asks for; 1 less that with favor_small
//	fair share (users - users with a smaller share) / users: the user's place among the
//	           users of the batch by what they hold now, by "Fair Tree" with equal shares
//	priority   (p - lowest) / (highest - lowest) over the batch, 0 if all are equal
//
// in float64, each operation rounded by itself, summed in this order. Slurm's QOS and
// partition factors stand here as the one priority; past use of users is not in a
// batch, so fair share counts what they hold.
type slurmMultifactor struct {
	about
	age, size, fairshare, priority float64 // weights
	maxAge                         int64
	favorSmall                     bool

	users []userShare
	place []float64 // fair-share factor by user number
}

type userShare struct {
	user  uint32
	share int64
}

func newSlurmMultifactor(a about) policies.Policy {
	return &slurmMultifactor{
		about: a,
		age:   param[float64](&a, "weight_age"), size: param[float64](&a, "weight_job_size"),
		fairshare: param[float64](&a, "weight_fairshare"), priority: param[float64](&a, "weight_priority"),
		maxAge: param[int64](&a, "max_age"), favorSmall: param[bool](&a, "favor_small"),
	}
}

func (s *slurmMultifactor) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	b.NKeys = 1
	if b.N == 0 {
		return nil
	}
	if err := s.fairTree(b); err != nil {
		return err
	}
	lowest := float64(slices.Min(b.Priority[:b.N]))
	span := float64(slices.Max(b.Priority[:b.N])) - lowest
	for i := range b.N {
		size := float64(min(max(b.Dominant[i], 0), int64(amount.One))) / float64(amount.One)
		if s.favorSmall {
			size = 1 - size
		}
		priority := 0.0
		if span > 0 {
			priority = (float64(b.Priority[i]) - lowest) / span
		}
		sum := float64(s.age * (float64(min(max(b.Wait[i], 0), s.maxAge)) / float64(s.maxAge)))
		sum += float64(s.size * size)
		sum += float64(s.fairshare * s.place[b.User[i]])
		sum += float64(s.priority * priority)
		b.Keys[0][i] = orderFloat(-sum)
	}
	return nil
}

// fairTree ranks the users of the batch; equal shares have equal places.
func (s *slurmMultifactor) fairTree(b *policies.JobBatch) error {
	n := uint32(0)
	for _, u := range b.User[:b.N] {
		if u >= maxUsers {
			return badInput("slurm-multifactor", policies.JobOrder, "user number %d is not dense", u)
		}
		n = max(n, u+1)
	}
	s.place = resized(s.place, int(n))
	clear(s.place)
	s.users = s.users[:0]
	for i, u := range b.User[:b.N] {
		if s.place[u] == 0 {
			s.place[u] = 1
			s.users = append(s.users, userShare{u, b.UserShare[i]})
		}
	}
	slices.SortFunc(s.users, func(x, y userShare) int { return cmp.Or(cmp.Compare(x.share, y.share), cmp.Compare(x.user, y.user)) })
	smaller := 0
	for i, u := range s.users {
		if i > 0 && u.share > s.users[i-1].share {
			smaller = i
		}
		s.place[u.user] = float64(len(s.users)-smaller) / float64(len(s.users))
	}
	return nil
}
