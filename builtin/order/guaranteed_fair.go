package order

import (
	"context"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/policies"
)

// guaranteedFair gives every queue first what it was guaranteed and then its part
// of what the others leave: see guaranteeFirst. The rest is filled in by weight, up to
// what each can use. The weight is the configured one, else the guarantee in whole units
// (GPUs and cores, GiB, or counts, rounded up), else 1.
//
// Rounding is described at fill. GPUs, in total and by type, are shared in whole
// GPUs; every other resource in its base unit.
//
// Rank is 0 for a queue that is owed its guarantee, else 1.
type guaranteedFair struct {
	about
	guaranteeFirst
}

func (g *guaranteedFair) Entitle(_ context.Context, b *policies.QueueBatch) error {
	return g.entitle(b, g)
}

func (g *guaranteedFair) divide(b *policies.QueueBatch, r int, total amount.Amount, claims []claim) {
	g.weigh(b, r, claims)
	fill(total, shareUnit(b.Resources[r]), claims)
}
