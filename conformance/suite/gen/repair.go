package gen

import (
	"slices"

	"github.com/musterhq/muster/policies"
)

// Repair makes derived columns agree with what they are derived from, and says whether
// the batch is then one that the host could send: jobs sorted by submit time, parents
// before children. What it derives: waiting time, elasticity, a user's share; depth,
// leaves, the sums of demand and use of inner queues, and room for all guarantees.
func (b Batch) Repair() bool {
	switch {
	case b.Jobs != nil:
		return repairJobs(b.Jobs)
	case b.Queues != nil:
		return repairQueues(b.Queues)
	}
	return true
}

func repairJobs(b *policies.JobBatch) bool {
	share := map[uint32]int64{}
	for i := range b.N {
		b.Wait[i] = b.Now - b.Submit[i]
		b.Size[i] = max(b.Size[i], 1)
		b.Min[i] = min(max(b.Min[i], 0), b.Size[i])
		b.Elastic[i] = bit(b.Min[i] < b.Size[i])
		if s, ok := share[b.User[i]]; ok {
			b.UserShare[i] = s
		}
		share[b.User[i]] = b.UserShare[i]
		if b.Wait[i] < 0 {
			return false
		}
	}
	return slices.IsSorted(b.Submit)
}

func repairQueues(b *policies.QueueBatch) bool {
	if !shape(b) {
		return false
	}
	owed := make([]int64, b.R) // the host scales guarantees down until they fit
	for i := b.N - 1; i >= 0; i-- {
		for c := i * b.R; c < (i+1)*b.R; c++ {
			if b.Leaf[i] == 1 {
				owed[c-i*b.R] += max(0, b.Guaranteed[c])
				b.Used[c] = min(b.Used[c], b.Demand[c])
			}
			if b.Guaranteed[c] > b.Max[c] {
				return false
			}
			if i > 0 {
				parent := int(b.Parent[i])*b.R + c - i*b.R
				b.Demand[parent] += b.Demand[c]
				b.Used[parent] += b.Used[c]
			}
		}
	}
	for r := range b.R {
		b.Capacity[r] = max(b.Capacity[r], owed[r])
	}
	return true
}

// shape derives depth and leaves, and empties the sums of inner queues. It says whether
// the tree is one.
func shape(b *policies.QueueBatch) bool {
	if b.N == 0 || b.Parent[0] != -1 {
		return b.N == 0
	}
	b.Depth, b.Leaf = make([]int64, b.N), make([]uint8, b.N)
	for i := b.N - 1; i > 0; i-- {
		if b.Parent[i] < 0 || int(b.Parent[i]) >= i {
			return false
		}
	}
	for i := 1; i < b.N; i++ {
		b.Depth[i] = b.Depth[b.Parent[i]] + 1
		b.Leaf[i] = 1
		b.Leaf[b.Parent[i]] = 0
	}
	for i := range b.N {
		if b.Leaf[i] == 0 {
			clear(b.Demand[i*b.R : (i+1)*b.R])
			clear(b.Used[i*b.R : (i+1)*b.R])
		}
	}
	return true
}

// Without returns the batch without some rows. Queues lose what is below a queue as
// well, and never their root.
func (b Batch) Without(drop func(row int) bool) Batch {
	gone := make([]bool, b.N())
	var rows []int
	number := make([]int32, b.N())
	for i := range gone {
		gone[i] = drop(i)
		if q := b.Queues; q != nil {
			gone[i] = i > 0 && (gone[i] || gone[q.Parent[i]])
		}
		if !gone[i] {
			number[i] = int32(len(rows))
			rows = append(rows, i)
		}
	}
	out := b.Select(rows)
	if q := out.Queues; q != nil {
		for i := 1; i < q.N; i++ {
			q.Parent[i] = number[q.Parent[i]]
		}
	}
	return out
}
