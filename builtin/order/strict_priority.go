package order

import (
	"context"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// strictPriority gives every queue first what it was guaranteed (see guaranteeFirst),
// and all the rest to the sibling with the highest priority, then to the next, as far as
// each can use it; siblings of equal priority share by weight as in guaranteed-fair. A
// queue's priority is that of its most important pending job.
//
// Rank is 0 for a queue that is owed its guarantee; else 1 for the siblings of the
// highest priority, 2 for the next, and so on.
type strictPriority struct {
	about
	guaranteeFirst
	levels []int64
}

func (s *strictPriority) Entitle(_ context.Context, b *policies.QueueBatch) error {
	if err := s.entitle(b, s); err != nil {
		return err
	}
	for row := range int32(b.N) {
		s.rankTiers(b, s.tree.children(row))
	}
	return nil
}

func (s *strictPriority) divide(b *policies.QueueBatch, r int, total amount.Amount, claims []claim) {
	s.weigh(b, r, claims)
	byTiers(b, total, claims, func(total amount.Amount, tier []claim) {
		fill(total, shareUnit(b.Resources[r]), tier)
	})
}

// rankTiers ranks siblings that are not owed a guarantee by their priority.
func (s *strictPriority) rankTiers(b *policies.QueueBatch, siblings []int32) {
	s.levels = distinct(s.levels, len(siblings), func(i int) int64 { return b.Priority[siblings[i]] })
	for _, q := range siblings {
		if b.Rank[q] > 0 {
			b.Rank[q] = int64(len(s.levels) - class(s.levels, b.Priority[q]))
		}
	}
}
