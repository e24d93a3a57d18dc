package suite

import (
	"context"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/policies"
)

// costs is a victim policy made of one function.
type costs struct {
	policies.Unimplemented
	info policies.Info
	cost func(b *policies.VictimBatch, row int) int64
}

func (c *costs) Info() policies.Info { return c.info }

func (c *costs) CostVictims(_ context.Context, b *policies.VictimBatch) error {
	for i := range b.N {
		b.Cost[i], b.Veto[i] = max(0, c.cost(b, i)), 0
	}
	return nil
}

func pricing(name string, laws []string, cost func(b *policies.VictimBatch, row int) int64) Subject {
	return Subject{New: func() policies.Policy {
		return &costs{info: policies.Info{Name: name, Kinds: policies.VictimCosts, Digest: "builtin", Laws: laws}, cost: cost}
	}}
}

func badVictims() []bad {
	return []bad{
		{law: "victims/permutation", subject: pricing("numerologist", nil, func(b *policies.VictimBatch, row int) int64 {
			return int64(b.Queue[row])
		})},
		{law: "victims/gang-consistent", subject: pricing("against the second", nil, func(b *policies.VictimBatch, row int) int64 {
			for i := range min(row, 200-min(b.N, 200)) {
				if b.Running[i] == b.Running[row] && gen.Same(gen.Batch{Victims: b}.Select([]int{i}), gen.Batch{Victims: b}.Select([]int{row})) {
					return 1
				}
			}
			return 0
		})},
		{law: "victims/protected-never-cheaper", subject: pricing("regicide", nil, func(b *policies.VictimBatch, row int) int64 {
			return 1 - int64(b.Leader[row])
		})},
		{law: "victims/monotone-priority", subject: pricing("contrarian", nil, func(b *policies.VictimBatch, row int) int64 {
			return 1000 - b.Priority[row]
		})},
		{law: "victims/more-lost-never-cheaper", subject: pricing("wasteful", nil, func(b *policies.VictimBatch, row int) int64 {
			return 1<<50 - b.Lost[row]
		})},
		{law: "victims/unknown-is-busy", subject: pricing("hasty", nil, func(b *policies.VictimBatch, row int) int64 {
			if b.Use[row] == policies.Unset {
				return 0
			}
			return 1
		})},
		{law: "victims/irrelevant-candidates", subject: pricing("moody", nil, func(b *policies.VictimBatch, row int) int64 {
			if b.N%2 == 0 {
				return b.Lost[row]
			}
			return b.Lost[row] / 1_000_000
		})},
		{law: "victims/idle-never-dearer", subject: pricing("liar", []string{"idle-never-dearer"}, func(b *policies.VictimBatch, row int) int64 {
			return b.Idle[row]
		})},
	}
}
