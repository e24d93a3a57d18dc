package suite

import "github.com/musterhq/muster/conformance/suite/gen"

const lawTwin = "twin/same-bits"

func twinLaws() []Law {
	return []Law{{
		ID: lawTwin, Profile: Strict, Severity: Must,
		Statement: "A policy that is called like a built-in gives the same keys, entitlements, ranks, costs and vetoes as that, bit for bit.",
		test:      property{cases: 150, hold: likeTwin},
	}}
}

func likeTwin(c *caseOf, b gen.Batch) *breach {
	x, y := c.ask(b), ask(c.ctx, c.subject.twin(c.info), b, fillers[0])
	if x.refused() && y.refused() {
		return nil
	}
	if d := y.differs(x); d != "" {
		return broken("the twin answers first: " + d)
	}
	return nil
}
