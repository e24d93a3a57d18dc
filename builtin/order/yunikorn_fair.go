package order

import (
	"context"
	"slices"

	"github.com/musterhq/muster/policies"
)

// yunikornFair orders queues as Apache YuniKorn 1.9 does (its resources.go,
// getFairShare, and sorters.go): siblings by priority, highest first, then by
//
//	share = max over resources of used / d
//
// where d is the queue's own guarantee if that resource has one, else its "fair
// max": the pool, overridden by each max on the path down, the lowest one that is
// set winning. Entitled is d, so that used/Entitled is YuniKorn's share. A
// resource that neither the pool nor a max nor a guarantee knows does not count:
// its Entitled is NoMax.
//
// Rank is 1 for the siblings of the highest priority, 2 for the next, and so on.
// It is never 0: YuniKorn has no tier for queues below their guarantee.
//
// Different from YuniKorn, on purpose: its sorter pairs queues with each other's
// fair max while it swaps them, which makes the order of queues without
// guarantees depend on the order of a Go map (seen in sorters.go:53 and 77); and
// a used resource whose d is an explicit 0 counts as a share of 1 there, here as
// more than any. The property application.sort.priority: disabled is not visible
// in a batch; priorities always count.
type yunikornFair struct {
	about
	tree       childIndex
	fairMax    []int64 // matrix, NoMax if unknown
	priorities []int64
}

func (y *yunikornFair) Entitle(_ context.Context, b *policies.QueueBatch) error {
	if b.N == 0 {
		return nil
	}
	if err := y.tree.build(b); err != nil {
		return err
	}
	y.fairMax = resized(y.fairMax, b.N*b.R)
	for row := range b.N {
		for r := range b.R {
			cell := row*b.R + r
			y.fairMax[cell] = y.fairMaxOf(b, row, r)
			b.Entitled[cell] = y.fairMax[cell]
			if b.Guaranteed[cell] >= 0 {
				b.Entitled[cell] = b.Guaranteed[cell]
			}
		}
	}
	b.Rank[0] = 1
	for row := range int32(b.N) {
		y.rankByPriority(b, y.tree.children(row))
	}
	return nil
}

func (y *yunikornFair) fairMaxOf(b *policies.QueueBatch, row, r int) int64 {
	switch {
	case b.Max[row*b.R+r] != policies.NoMax:
		return max(0, b.Max[row*b.R+r])
	case row > 0:
		return y.fairMax[int(b.Parent[row])*b.R+r]
	case b.Capacity[r] > 0:
		return b.Capacity[r]
	default:
		return policies.NoMax
	}
}

// rankByPriority gives siblings the dense rank of their priorities, from 1.
func (y *yunikornFair) rankByPriority(b *policies.QueueBatch, siblings []int32) {
	y.priorities = y.priorities[:0]
	for _, s := range siblings {
		y.priorities = append(y.priorities, b.Priority[s])
	}
	slices.Sort(y.priorities)
	y.priorities = slices.Compact(y.priorities)
	for _, s := range siblings {
		i, _ := slices.BinarySearch(y.priorities, b.Priority[s])
		b.Rank[s] = int64(len(y.priorities) - i)
	}
}
