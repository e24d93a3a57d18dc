package suite

import (
	"context"
	"math"
	"time"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/conformance/suite/report"
	"github.com/musterhq/muster/policies"
)

// measure fills the figures of the report. They judge nothing.
func (r *run) measure(ctx context.Context, doc *Report) {
	m := &doc.Measured
	m.Time = &report.Time{CompileMs: r.opened.compiled.Seconds() * 1e3}
	m.Bytes = len(r.opened.bin)
	if r.main == nil {
		return
	}
	c := &caseOf{run: r, ctx: ctx, law: &Law{ID: "measure"}, rnd: gen.Rand(r.opt.Seed, "measure", 0)}
	for _, k := range allKinds {
		if r.info.Kinds&k == 0 {
			continue
		}
		if r.module != nil {
			m.Fuel = append(m.Fuel, c.fuelLine(k))
		}
		if m.Time.NanosecondsARow == nil {
			m.Time.NanosecondsARow = map[string]float64{}
		}
		m.Time.NanosecondsARow[k.String()] = c.perRow(k)
	}
	if r.module != nil {
		m.PeakPages = r.module.Stats().Pages
		m.Time.InstantiateUs = c.instantiate()
	}
}

// fuelLine fits a line through the fuel of different sizes.
func (c *caseOf) fuelLine(k policies.Kind) report.Fuel {
	base, _, _ := c.fuelOf(k, 0)
	f := report.Fuel{Kind: k.String(), Base: base}
	var xs, ys []float64
	for _, n := range fuelRows {
		if k == policies.QueueShares && n > fuelQueue {
			break
		}
		if used, b, ok := c.fuelOf(k, n); ok {
			xs, ys = append(xs, float64(b.N())), append(ys, float64(used-base))
		}
	}
	slope, fit := throughOrigin(xs, ys)
	f.PerRow, f.Fit = math.Round(slope*100)/100, math.Round(fit*1e4)/1e4
	return f
}

// throughOrigin is the slope of the line through the origin that is nearest to the
// points, and R², the part of the spread that it explains.
func throughOrigin(xs, ys []float64) (slope, fit float64) {
	var xx, xy, mean float64
	for i := range xs {
		xx += xs[i] * xs[i]
		xy += xs[i] * ys[i]
		mean += ys[i] / float64(len(ys))
	}
	if xx == 0 {
		return 0, 1
	}
	slope = xy / xx
	var off, spread float64
	for i := range xs {
		off += (ys[i] - slope*xs[i]) * (ys[i] - slope*xs[i])
		spread += (ys[i] - mean) * (ys[i] - mean)
	}
	if spread == 0 {
		return slope, 1
	}
	return slope, 1 - off/spread
}

// perRow is the least time of a call of many rows, in ns a row.
func (c *caseOf) perRow(k policies.Kind) float64 {
	n := 10_000
	if k == policies.QueueShares {
		n = 1000
	}
	b := gen.Of(k, gen.Rand(c.opt.Seed, "measure", n), n, c.info)
	best := time.Duration(math.MaxInt64)
	for range 7 {
		began := time.Now()
		if a := c.ask(b); a.err != nil {
			return 0
		}
		best = min(best, time.Since(began))
	}
	return math.Round(float64(best.Nanoseconds())/float64(n)*10) / 10
}

func (c *caseOf) instantiate() float64 {
	best := time.Duration(math.MaxInt64)
	for range 3 {
		began := time.Now()
		_, done, err := c.freshPolicy()
		if err != nil || done == nil {
			return 0
		}
		best = min(best, time.Since(began))
		done()
	}
	return math.Round(float64(best.Microseconds()))
}
