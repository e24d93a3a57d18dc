package suite

import (
	"github.com/musterhq/muster/policies"
)

func badOrders() []bad {
	claim := func(law string, key func(b *policies.JobBatch, row int) int64) bad {
		l := Law{ID: law}
		return bad{law: law, subject: byRow("liar", []string{l.Claim()}, key)}
	}
	return []bad{
		{law: "order/numbers-mean-nothing", subject: byRow("numerologist", nil, func(b *policies.JobBatch, row int) int64 {
			return int64(b.Job[row])
		})},
		{law: "order/monotone-priority", subject: byRow("contrarian", nil, func(b *policies.JobBatch, row int) int64 {
			return b.Priority[row]
		})},
		claim("order/row-independent", func(b *policies.JobBatch, _ int) int64 { return int64(b.Cycle) }),
		claim("order/permutation", func(_ *policies.JobBatch, row int) int64 { return int64(row) }),
		claim("order/equal-rows", func(_ *policies.JobBatch, row int) int64 { return int64(row) }),
		claim("order/time-shift", func(b *policies.JobBatch, row int) int64 { return b.Submit[row] / hour % 24 }),
		claim("order/monotone-wait", func(b *policies.JobBatch, row int) int64 { return -b.Submit[row] }),
		claim("order/monotone-deficit", func(b *policies.JobBatch, row int) int64 { return -b.UserShare[row] }),
		claim("order/no-starvation", func(b *policies.JobBatch, row int) int64 { return -b.Priority[row] }),
	}
}

// guaranteeOnly gives every queue what it can use of its guarantee and nothing more.
// It keeps every law of fairness that is not claimed.
func guaranteeOnly(b *policies.QueueBatch) error {
	for cell := range b.N * b.R {
		b.Entitled[cell] = max(0, min(b.Guaranteed[cell], b.Demand[cell], b.Max[cell]))
	}
	for i := range b.N {
		b.Rank[i] = 1
	}
	return nil
}

// extra adds to what guaranteeOnly gives each leaf. It is told what nobody has of the
// resource, and what the queue could still use.
func extra(more func(b *policies.QueueBatch, cell int, left, room int64) int64) func(b *policies.QueueBatch) error {
	return func(b *policies.QueueBatch) error {
		_ = guaranteeOnly(b) // always nil
		for r := range b.R {
			left := b.Capacity[r]
			for i := 1; i < b.N; i++ {
				if b.Leaf[i] == 1 {
					left -= b.Entitled[i*b.R+r]
				}
			}
			for i := 1; i < b.N; i++ {
				if cell := i*b.R + r; b.Leaf[i] == 1 && left > 0 {
					b.Entitled[cell] += max(0, more(b, cell, left, min(b.Demand[cell], b.Max[cell])-b.Entitled[cell]))
				}
			}
		}
		return nil
	}
}

func badShares() []bad {
	claim := func(law string, divide func(b *policies.QueueBatch) error) bad {
		l := Law{ID: law}
		return bad{law: law, subject: dividing("liar", []string{l.Claim()}, divide)}
	}
	return []bad{
		{law: "fairness/never-above-max", subject: dividing("generous", nil, extra(func(b *policies.QueueBatch, cell int, left, room int64) int64 {
			if b.Max[cell] == policies.NoMax || room > 0 {
				return 0
			}
			return min(unit, left/int64(b.N), b.Demand[cell]-b.Max[cell])
		}))},
		{law: "fairness/guarantee-first", subject: dividing("stingy", nil, func(b *policies.QueueBatch) error {
			_ = guaranteeOnly(b) // always nil
			clear(b.Entitled)
			return nil
		})},
		{law: "fairness/weight-monotone", subject: dividing("upside down", nil, extra(func(b *policies.QueueBatch, cell int, left, room int64) int64 {
			return min(room, left/int64(b.N)/max(1, 1+b.Weight[cell/b.R]))
		}))},
		{law: "fairness/equal-queues", subject: dividing("first come", nil, extra(func(b *policies.QueueBatch, cell int, left, room int64) int64 {
			if cell/b.R > 1 {
				return 0
			}
			return min(room, left)
		}))},
		{law: "fairness/scale-invariant", subject: dividing("small-minded", nil, extra(func(b *policies.QueueBatch, _ int, left, room int64) int64 {
			return min(room, left/int64(b.N), 50*unit)
		}))},
		{
			law: "fairness/zero-demand", also: []string{"fairness/never-above-demand"},
			subject: dividing("absent-minded", nil, extra(func(b *policies.QueueBatch, cell int, left, _ int64) int64 {
				if b.Demand[cell] > 0 {
					return 0
				}
				return min(left/int64(b.N), b.Max[cell])
			})),
		},
		{law: "fairness/never-above-demand", subject: dividing("forward-looking", nil, extra(func(b *policies.QueueBatch, cell int, left, room int64) int64 {
			if b.Demand[cell] == 0 || b.Max[cell] != policies.NoMax || b.R > 1 {
				return 0
			}
			return left / int64(b.N)
		}))},
		{law: "fairness/within-capacity", subject: dividing("boundless", nil, func(b *policies.QueueBatch) error {
			_ = guaranteeOnly(b) // always nil
			for cell := range b.Entitled {
				b.Entitled[cell] = max(0, min(b.Demand[cell], b.Max[cell]))
			}
			return nil
		})},
		{law: "fairness/rank-owed", subject: dividing("everybody first", nil, func(b *policies.QueueBatch) error {
			_ = guaranteeOnly(b) // always nil
			clear(b.Rank)
			return nil
		})},
		claim("fairness/nothing-wasted", guaranteeOnly),
		claim("fairness/sharing-incentive", guaranteeOnly),
		claim("fairness/demand-monotone", extra(func(b *policies.QueueBatch, _ int, left, room int64) int64 {
			if room > 5*unit {
				return 0
			}
			return min(room, left/int64(b.N))
		})),
		claim("fairness/idle-queue", extra(func(b *policies.QueueBatch, _ int, left, room int64) int64 {
			return min(room, left/int64(b.N))
		})),
	}
}
