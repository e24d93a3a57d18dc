package suite

import (
	"fmt"

	"github.com/musterhq/muster/conformance/suite/gen"
)

func totalityLaws() []Law {
	return []Law{
		{
			ID: "totality/every-row", Profile: Core, Severity: Must, Smoke: true,
			Statement: "Every believable batch is answered, and in it every row, whatever the output columns held before.",
			test:      property{cases: 40, hold: everyRow},
		},
		{
			ID: "totality/sizes", Profile: Core, Severity: Must, Smoke: true,
			Statement: "Batches of 0 rows, 1 row, around every power of two and of 100,000 rows are answered without a fault.",
			test:      custom(sizes),
		},
		{
			ID: "totality/extremes", Profile: Core, Severity: Must, Smoke: true,
			Statement: "Amounts and times at the ends of their range are answered or refused in good order (abstain, bad-input), without a fault.",
			test:      property{cases: 120, loose: true, make: extreme, hold: noFault},
		},
		{
			ID: "totality/unknown-values", Profile: Core, Severity: Must, Smoke: true,
			Statement: "A batch in which nothing is known that can be unknown is answered.",
			test:      property{cases: 12, make: unknown, hold: everyRow},
		},
	}
}

func everyRow(c *caseOf, b gen.Batch) *breach {
	first := c.ask(b)
	if first.err != nil {
		return broken("not answered: " + first.err.Error())
	}
	if d := first.differs(ask(c.ctx, c.main, b, fillers[1])); d != "" {
		return broken("what the outputs held before shows: " + d)
	}
	return nil
}

// sizesOf are the rows of totality/sizes.
func sizesOf(smoke bool) []int {
	sizes := []int{0, 1}
	top := 1 << 12
	if smoke {
		top = 1 << 10
	}
	for n := 2; n <= top; n *= 2 {
		sizes = append(sizes, n-1, n, n+1)
	}
	if !smoke {
		sizes = append(sizes, 100_000)
	}
	return sizes
}

// queueRows bounds trees of queues: no cluster has more.
const queueRows = 4096

func sizes(c *caseOf) (*breach, gen.Batch) {
	for _, k := range allKinds {
		if c.info.Kinds&k == 0 {
			continue
		}
		for i, n := range sizesOf(c.opt.smoke) {
			b := gen.Of(k, gen.Rand(c.opt.Seed, c.law.ID, i), n, c.info)
			if b.Queues != nil && n > queueRows {
				break
			}
			if a := c.ask(b); a.err != nil {
				return broken(fmt.Sprintf("%d rows: %v", b.N(), a.err)), c.leastSize(b)
			}
		}
	}
	return nil, gen.Batch{}
}

// leastSize looks for a smaller batch that is not answered either.
func (c *caseOf) leastSize(b gen.Batch) gen.Batch {
	return gen.Shrink(b, true, 60, func(b gen.Batch) bool { return c.ask(b).err != nil })
}

func extreme(c *caseOf, b gen.Batch) gen.Batch {
	b = b.Clone()
	gen.Extreme(c.rnd, b)
	return b
}

func unknown(_ *caseOf, b gen.Batch) gen.Batch {
	b = b.Clone()
	gen.Unknown(b)
	return b
}

func noFault(c *caseOf, b gen.Batch) *breach {
	if a := c.ask(b); a.err != nil && !a.refused() {
		return broken(a.err.Error())
	}
	return nil
}
