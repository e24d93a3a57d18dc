package suite

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// lawAccepted is the law without which no other can be checked.
const lawAccepted = "load/accepted"

func loadLaws() []Law {
	return []Law{
		{
			ID: lawAccepted, Profile: Core, Severity: Must, Wasm: true,
			Statement: "The host accepts the module: right exports, allowed imports only, metadata that make sense, and an instance that starts.",
			test:      custom(accepted),
		},
		{
			ID: "load/describes-itself", Profile: Core, Severity: Must, Smoke: true,
			Statement: "The policy has a name and a kind, reads columns that exist for its kinds, and its params have defaults within their bounds.",
			test:      custom(describesItself),
		},
		{
			ID: "load/claims-known-laws", Profile: Core, Severity: Should,
			Statement: "Every law that the policy claims is one that this suite knows and can check.",
			test:      custom(claimsKnownLaws),
		},
	}
}

func accepted(c *caseOf) (*breach, gen.Batch) {
	if c.loadErr != nil {
		return broken(c.loadErr.Error()), gen.Batch{}
	}
	return nil, gen.Batch{}
}

func describesItself(c *caseOf) (*breach, gen.Batch) {
	in := c.info
	kinds := []policies.Kind{policies.JobOrder, policies.QueueShares, policies.VictimCosts}
	switch {
	case strings.TrimSpace(in.Name) == "":
		return broken("it has no name"), gen.Batch{}
	case in.Kinds == 0 || in.Kinds&^(kinds[0]|kinds[1]|kinds[2]) != 0:
		return broken("it decides " + in.Kinds.String() + ", which is no set of kinds"), gen.Batch{}
	}
	for _, name := range in.Columns {
		if strings.HasPrefix(name, hostabi.LabelPrefix) && in.Kinds&policies.JobOrder != 0 {
			continue
		}
		col, ok := hostabi.ColumnByName(name)
		if !ok || col.Output || in.Kinds&kinds[col.Kind-1] == 0 {
			return broken(fmt.Sprintf("it reads %q, which is no input of its kinds", name)), gen.Batch{}
		}
	}
	if _, err := policies.Bind(in.Params, nil); err != nil {
		return broken(err.Error()), gen.Batch{}
	}
	return nil, gen.Batch{}
}

func claimsKnownLaws(c *caseOf) (*breach, gen.Batch) {
	for _, claim := range c.info.Laws {
		if !slices.ContainsFunc(Laws(), func(l Law) bool {
			return l.claimedBy([]string{claim}) && (l.kinds == 0 || l.kinds&c.info.Kinds != 0)
		}) {
			return broken(fmt.Sprintf("it claims %q, which is no law for its kinds", claim)), gen.Batch{}
		}
	}
	return nil, gen.Batch{}
}

func purityLaws() []Law {
	return []Law{
		{
			ID: "purity/same-again", Profile: Core, Severity: Must, Smoke: true,
			Statement: "The same batch gives the same answer, bit for bit, when it is sent again.",
			test:      property{cases: 60, hold: sameAgain},
		},
		{
			ID: "purity/after-others", Profile: Core, Severity: Must, Smoke: true,
			Statement: "The same batch gives the same answer after any other batches.",
			test:      property{cases: 12, hold: sameAfterOthers},
		},
		{
			ID: "purity/fresh-instance", Profile: Core, Severity: Must,
			Statement: "A new instance of the policy gives the same answer as one that has worked for a while.",
			test:      property{cases: 6, budget: 40, hold: sameInFreshInstance},
		},
	}
}

func sameAgain(c *caseOf, b gen.Batch) *breach {
	first := c.ask(b)
	for range 2 {
		if d := first.differs(ask(c.ctx, c.main, b, fillers[0])); d != "" {
			return broken("asked again: " + d)
		}
	}
	return nil
}

func sameAfterOthers(c *caseOf, b gen.Batch) *breach {
	first := c.ask(b)
	for i := range 25 {
		c.ask(gen.Of(someKind(c.rnd, c.info.Kinds), c.rnd, mixedRows[i%len(mixedRows)], c.info))
	}
	if d := first.differs(c.ask(b)); d != "" {
		return broken("after 25 other batches: " + d)
	}
	return nil
}

func someKind(r *rand.Rand, kinds policies.Kind) policies.Kind {
	for {
		if k := policies.Kind(1 << r.IntN(3)); kinds&k != 0 {
			return k
		}
	}
}

func sameInFreshInstance(c *caseOf, b gen.Batch) *breach {
	p, done, err := c.freshPolicy()
	if err != nil || p == nil {
		return nil // no way to make one; a module that no longer loads fails elsewhere
	}
	defer done()
	for i := range mixedRows {
		c.ask(gen.Of(b.Kind(), c.rnd, mixedRows[i], c.info))
	}
	if d := c.ask(b).differs(ask(c.ctx, p, b, fillers[0])); d != "" {
		return broken("in a new instance: " + d)
	}
	return nil
}

// freshPolicy is a new instance of the subject; nil if there is no way to make one.
func (c *caseOf) freshPolicy() (policies.Policy, func(), error) {
	if c.opened.fresh == nil {
		return nil, nil, nil
	}
	p, err := c.opened.fresh(c.ctx)
	if err != nil {
		return nil, nil, err
	}
	return p, func() { _ = p.Close() }, nil
}
