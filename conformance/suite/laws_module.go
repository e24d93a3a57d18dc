package suite

import (
	"fmt"
	"maps"
	"math"
	"slices"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/conformance/suite/mbatch"
	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// moduleLaws are those that only a module can break.
func moduleLaws() []Law {
	return []Law{
		{
			ID: "purity/interpreter", Profile: Core, Severity: Must, Wasm: true,
			Statement: "An interpreter gives the same answers as machine code.",
			test:      property{cases: 4, rows: []int{1, 5, 13, 24}, budget: 40, hold: sameInterpreted},
		},
		{
			ID: "purity/other-address", Profile: Core, Severity: Must, Wasm: true, Smoke: true,
			Statement: "A batch that lies elsewhere in the module's memory gives the same answer.",
			test:      property{cases: 8, budget: 100, hold: sameElsewhere},
		},
		{
			ID: "totality/absent-optional", Profile: Core, Severity: Must, Wasm: true, Smoke: true,
			Statement: "A column that the metadata call optional may be left out, or be without values: the batch is answered.",
			test:      property{cases: 8, hold: withoutOptional},
		},
		{
			ID: "totality/unknown-columns", Profile: Core, Severity: Must, Wasm: true, Smoke: true,
			Statement: "A column that the module does not know, anywhere in the batch, changes nothing.",
			test:      property{cases: 8, hold: rewritten(mbatch.WithUnknown, "with an unknown column")},
		},
		{
			ID: "totality/longer-strides", Profile: Core, Severity: Must, Wasm: true, Smoke: true,
			Statement: "A longer header and longer descriptors, as later versions may send, change nothing.",
			test:      property{cases: 8, hold: rewritten(mbatch.Longer, "with longer strides")},
		},
		{
			ID: "bounds/fuel-linear", Profile: Core, Severity: Must, Wasm: true,
			Statement: "The fuel of a call grows with its rows no faster than N log N.",
			test:      custom(fuelLinear),
		},
		{
			ID: "bounds/fuel-claim", Profile: Core, Severity: Must, Wasm: true,
			Statement: "A call takes no more fuel than the metadata claim, where they claim any.",
			test:      property{cases: 12, rows: []int{0, 1, 10, 100, 1000, 4000}, hold: fuelClaim},
		},
		{
			ID: "bounds/memory", Profile: Core, Severity: Must, Wasm: true,
			Statement: "After a while of work, 5,000 further calls take no more memory.",
			test:      custom(memoryStays),
		},
	}
}

func sameInterpreted(c *caseOf, b gen.Batch) *breach {
	p := c.interpreter(c.ctx)
	if p == nil {
		return nil
	}
	if d := c.ask(b).differs(ask(c.ctx, p, b, fillers[0])); d != "" {
		return broken("in an interpreter: " + d)
	}
	return nil
}

func sameElsewhere(c *caseOf, b gen.Batch) *breach {
	c.module.Restart() // with a small arena, which costs little to move
	first := c.ask(b)
	if err := c.module.MoveArena(c.ctx); err != nil {
		return nil // the module does not lend another place; sizes are another law's
	}
	if d := first.differs(c.ask(b)); d != "" {
		return broken("at another address: " + d)
	}
	return nil
}

func withoutOptional(c *caseOf, b gen.Batch) *breach {
	md := c.module.Metadata()
	var ids []hostabi.ColumnID
	for _, name := range md.Columns.Optional {
		if col, ok := hostabi.ColumnByName(name); ok && col.Kind.Export() == exportOf(b.Kind()) {
			ids = append(ids, col.ID)
		}
	}
	sent := c.encode(b)
	if sent == nil || len(ids) == 0 {
		return nil
	}
	forms := map[string][]byte{"without its optional columns": mbatch.LeftOut(sent, ids...)}
	for _, id := range ids {
		forms["without values in "+id.String()] = mbatch.Absent(sent, id)
	}
	for _, how := range slices.Sorted(maps.Keys(forms)) {
		if _, err := c.module.CallRaw(c.ctx, forms[how]); err != nil && policies.CodeOf(err) != policies.CodeAbstain {
			return &breach{what: how + ": " + err.Error(), bytes: forms[how]}
		}
	}
	return nil
}

func exportOf(k policies.Kind) string { return "muster_" + k.String() }

// rewritten holds that another form of the same batch gets the same outputs.
func rewritten(form func([]byte) []byte, how string) func(c *caseOf, b gen.Batch) *breach {
	return func(c *caseOf, b gen.Batch) *breach {
		sent := c.encode(b)
		if sent == nil {
			return nil
		}
		other := form(sent)
		x, xerr := c.module.CallRaw(c.ctx, sent)
		y, yerr := c.module.CallRaw(c.ctx, other)
		switch {
		case xerr != nil:
			return nil
		case yerr != nil:
			return &breach{what: how + ": " + yerr.Error(), bytes: other}
		}
		was, is := mbatch.Outputs(sent, x.Batch), mbatch.Outputs(other, y.Batch)
		for _, id := range slices.Sorted(maps.Keys(was)) {
			if !slices.Equal(was[id], is[id]) {
				return &breach{what: how + ", " + id.String() + " differs", bytes: other}
			}
		}
		return nil
	}
}

// untouchedRaw is bounds/inputs-untouched for the bytes of a batch.
func untouchedRaw(c *caseOf, b gen.Batch) *breach {
	sent := c.encode(b)
	if sent == nil {
		return nil
	}
	a, err := c.module.CallRaw(c.ctx, sent)
	if err != nil || len(a.Batch) < len(sent) {
		return nil
	}
	if at := mbatch.Touched(sent, a.Batch); at >= 0 {
		return broken(fmt.Sprintf("byte %d, in %s, has changed", at, mbatch.Where(sent, at)))
	}
	return nil
}

// Fuel is measured at these sizes, and at most this many rows of queues.
var (
	fuelRows  = []int{256, 512, 1024, 2048, 4096, 8192, 16384}
	fuelQueue = 2048
)

// steepest is the growth that fuel-linear allows: of the fuel beyond that of an empty
// batch, from one size to its eightfold. N log N makes 8·14/11, some 10.2.
const steepest = 12.5

// fuelOf is the fuel of one call with so many rows.
func (c *caseOf) fuelOf(k policies.Kind, n int) (int64, gen.Batch, bool) {
	b := gen.Of(k, gen.Rand(c.opt.Seed, "fuel", n), n, c.info)
	if a := c.ask(b); a.err != nil {
		return 0, b, false
	}
	return c.module.Stats().LastFuel, b, true
}

func fuelLinear(c *caseOf) (*breach, gen.Batch) {
	for _, k := range allKinds {
		if c.info.Kinds&k == 0 {
			continue
		}
		base, _, ok := c.fuelOf(k, 0)
		top := fuelRows[len(fuelRows)-1]
		if k == policies.QueueShares {
			top = fuelQueue
		}
		low, _, ok1 := c.fuelOf(k, top/8)
		high, b, ok2 := c.fuelOf(k, top)
		if !ok || !ok1 || !ok2 {
			continue // not answered: a law of totality says so
		}
		if growth := float64(high-base) / math.Max(1, float64(low-base)); growth > steepest {
			return broken(fmt.Sprintf("%s: %d rows take %d units, and %d rows %d: %.1f times as much", k, top/8, low, top, high, growth)),
				smallerThan(b, top/8)
		}
	}
	return nil, gen.Batch{}
}

// smallerThan is the first rows of a batch: enough to look at.
func smallerThan(b gen.Batch, n int) gen.Batch {
	return b.Without(func(row int) bool { return row >= n })
}

func fuelClaim(c *caseOf, b gen.Batch) *breach {
	md := c.module.Metadata()
	if md.Fuel == (hostabi.Fuel{}) || b.Queues != nil && b.N() > fuelQueue {
		return nil
	}
	if a := c.ask(b); a.err != nil {
		return nil
	}
	rows := int64(b.N()) * int64(max(1, b.R()))
	if used, claim := c.module.Stats().LastFuel, md.Fuel.Base+md.Fuel.PerRow*rows; used > claim {
		return broken(fmt.Sprintf("%d rows take %d units, the metadata claim at most %d", b.N(), used, claim))
	}
	return nil
}

func memoryStays(c *caseOf) (*breach, gen.Batch) {
	for _, k := range allKinds {
		if c.info.Kinds&k == 0 {
			continue
		}
		batches := make([]gen.Batch, 8)
		for i := range batches {
			batches[i] = gen.Of(k, gen.Rand(c.opt.Seed, "memory", i), 32*(i+1), c.info)
		}
		pages := uint32(0)
		for i := range 5500 {
			if a := c.ask(batches[i%len(batches)]); a.err != nil {
				return nil, gen.Batch{}
			}
			switch now := c.module.Stats().Pages; {
			case i < 500:
				pages = now
			case now > pages:
				return broken(fmt.Sprintf("%d pages after 500 calls, %d after %d", pages, now, i+1)), batches[i%len(batches)]
			}
		}
	}
	return nil, gen.Batch{}
}
