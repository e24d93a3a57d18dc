package suite

import (
	"github.com/musterhq/muster/conformance/suite/gen"
)

func boundsLaws() []Law {
	return []Law{
		{
			ID: "bounds/inputs-untouched", Profile: Core, Severity: Must, Smoke: true,
			Statement: "A call writes its outputs and leaves everything else of the batch as it was.",
			test:      property{cases: 20, hold: untouched},
		},
	}
}

func untouched(c *caseOf, b gen.Batch) *breach {
	if c.module != nil {
		return untouchedRaw(c, b)
	}
	lent := b.Clone()
	c.ask(lent)
	if !gen.Same(b, lent) {
		return broken("an input column has changed: " + firstChange(b, lent))
	}
	return nil
}

func firstChange(a, b gen.Batch) string {
	x, y := a.Columns(), b.Columns()
	for i := range x {
		for k := range min(x[i].Len(), y[i].Len()) {
			if x[i].Get(k) != y[i].Get(k) {
				return x[i].ID.String()
			}
		}
	}
	return "texts or labels"
}
