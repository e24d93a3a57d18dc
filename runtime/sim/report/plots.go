package report

import (
	"fmt"
	"image/color"
	"io"
	"math"
	"slices"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"

	"github.com/musterhq/muster/runtime/sim/score"
)

// okabeIto is the palette of Okabe and Ito (2008), told apart by all kinds of
// colour vision; ordered so that neighbours differ in lightness too.
var okabeIto = []color.NRGBA{
	{0x00, 0x72, 0xb2, 0xff},
	{0xe6, 0x9f, 0x00, 0xff},
	{0x00, 0x9e, 0x73, 0xff},
	{0xcc, 0x79, 0xa7, 0xff},
	{0x56, 0xb4, 0xe9, 0xff},
	{0xd5, 0x5e, 0x00, 0xff},
	{0xf0, 0xe4, 0x42, 0xff},
	{0x99, 0x99, 0x99, 0xff},
}

// hue is the colour of the i-th queue or run: the palette, then its tints, then
// its shades.
func hue(i int) color.NRGBA {
	c := okabeIto[i%len(okabeIto)]
	switch i / len(okabeIto) % 3 {
	case 1:
		return blend(c, 255)
	case 2:
		return blend(c, 0)
	}
	return c
}

func blend(c color.NRGBA, with int) color.NRGBA {
	mix := func(v uint8) uint8 { return uint8((int(v) + with) / 2) }
	return color.NRGBA{mix(c.R), mix(c.G), mix(c.B), 0xff}
}

// maxAreas is how many queues get an area of their own; the rest is summed.
const maxAreas = 15

// plotPoints is how many points of a series are drawn.
const plotPoints = 500

// PNG writes the stacked area of a run, sized in centimetres, at 160 dpi.
func PNG(w io.Writer, title string, s *score.Series, widthCM, heightCM float64) error {
	if s == nil || widthCM < 5 || heightCM < 4 {
		return fmt.Errorf("the picture needs a series, and at least 5 by 4 cm: %w", ErrNoRuns)
	}
	ceiling, span := extents([]Run{{Series: s}})
	f := stacked(s, ceiling, span)
	f.plot.Title.Text, f.title = title, title
	return f.writePNG(w, vg.Length(widthCM)*vg.Centimeter, vg.Length(heightCM)*vg.Centimeter)
}

// stacked draws what each queue uses, one on top of the other, and with dashed
// lines where the areas end when every queue has exactly its guarantee.
func stacked(s *score.Series, ceiling, span float64) *figure {
	unit, per := timeAxis(span)
	f := newFigure("GPUs used by queue", unit, "GPUs")
	s = thin(grouped(s), plotPoints)
	at := edges(s, per)
	base := make([]float64, len(s.Capacity))
	floor := slices.Clone(base)
	var lines []plot.Plotter
	for i, q := range s.Queues {
		top := sum(base, q.Used)
		if area := polygon(at, base, top, hue(i)); area != nil {
			f.plot.Add(area)
		}
		f.legend = append(f.legend, entry{name: q.Name, fill: hue(i)})
		base = top
		if floor = sum(floor, q.Guaranteed); slices.Max(append([]float64{0}, q.Guaranteed...)) > 0 {
			lines = append(lines, outlined(at, floor)...)
		}
	}
	// The legend reads as the areas lie: the last on top.
	slices.Reverse(f.legend)
	f.plot.Add(lines...)
	if len(lines) > 0 {
		f.legend = append(f.legend, entry{name: "guaranteed", line: &dashed})
	}
	limits(f, span/per, ceiling*1.03, unit == "hours")
	return f
}

var dashed = draw.LineStyle{Color: ink, Width: 1, Dashes: []vg.Length{4, 3}}

// outlined is a dashed line that shows on every colour: dark on a light band.
func outlined(at, level []float64) []plot.Plotter {
	under, over := steps(at, level), steps(at, level)
	if under == nil {
		return nil
	}
	under.Color, under.Width = color.NRGBA{0xff, 0xff, 0xff, 0xb0}, 2
	over.LineStyle = dashed
	return []plot.Plotter{under, over}
}

// utilisation is used / capacity over time, a line for each run, and a dashed one for
// what really computed where that was measured.
func utilisation(runs []Run, span float64) *figure {
	unit, per := timeAxis(span)
	f := newFigure("GPUs in use", unit, "% of capacity")
	for i, r := range runs {
		s := thin(r.Series, plotPoints)
		if l := steps(edges(s, per), percentOf(s, func(q score.QueueSeries) []float64 { return q.Used })); l != nil {
			l.Color, l.Width = hue(i), 1.2
			f.line(r.Name, l)
		}
		if r.Card == nil || r.Card.Use == nil {
			continue
		}
		if l := steps(edges(s, per), percentOf(s, func(q score.QueueSeries) []float64 { return q.Busy })); l != nil {
			l.Color, l.Width, l.Dashes = hue(i), 1.2, dashed.Dashes
			f.line("busy: "+r.Name, l)
		}
	}
	limits(f, span/per, 103, unit == "hours")
	return f
}

// percentOf adds up a series of all queues, as a part of the capacity.
func percentOf(s *score.Series, of func(score.QueueSeries) []float64) []float64 {
	all := make([]float64, len(s.Capacity))
	for _, q := range s.Queues {
		all = sum(all, of(q))
	}
	for k := range all {
		if s.Capacity[k] > 0 {
			all[k] *= 100 / s.Capacity[k]
		}
	}
	return all
}

// waits is the part of the jobs that waited at most so long, a line for each
// run. The time axis is logarithmic from a second on; shorter waits are at 1.
func waits(runs []Run) *figure {
	f := newFigure("Waits", "waited at most", "% of started jobs")
	longest := 10.0
	for i, r := range runs {
		q := r.Series.WaitQuantilesS
		if len(q) < 2 {
			continue
		}
		xy := make(plotter.XYs, 0, len(q))
		for p, v := range q {
			xy = append(xy, plotter.XY{X: max(v, 1), Y: 100 * float64(p) / float64(len(q)-1)})
			longest = max(longest, v)
		}
		l, err := plotter.NewLine(xy)
		if err != nil {
			continue // not a number: nothing to draw
		}
		l.Color, l.Width, l.StepStyle = hue(i), 1.2, plotter.PreStep
		f.line(r.Name, l)
	}
	f.plot.X.Scale, f.plot.X.Tick.Marker = plot.LogScale{}, waitTicks(longest)
	f.plot.X.Min, f.plot.X.Max = 1, longest*1.05
	f.plot.Y.Min, f.plot.Y.Max, f.plot.Y.Tick.Marker = 0, 103, ticks{n: 6}
	return f
}

// waitTicks are at spans that people know, thinned where they would touch.
func waitTicks(longest float64) plot.ConstantTicks {
	known := []plot.Tick{
		{Value: 1, Label: "1 s"},
		{Value: 10, Label: "10 s"},
		{Value: 60, Label: "1 min"},
		{Value: 600, Label: "10 min"},
		{Value: 3600, Label: "1 h"},
		{Value: 6 * 3600, Label: "6 h"},
		{Value: 86400, Label: "1 d"},
		{Value: 7 * 86400, Label: "1 w"},
		{Value: 30 * 86400, Label: "30 d"},
	}
	var out plot.ConstantTicks
	last := math.Inf(-1)
	for _, t := range known {
		if x := math.Log(t.Value) / math.Log(longest*1.05); t.Value <= longest*1.05 && x-last > 0.1 {
			out = append(out, t)
			last = x
		}
	}
	return out
}

func limits(f *figure, x, y float64, hours bool) {
	f.plot.X.Min, f.plot.X.Max, f.plot.X.Tick.Marker = 0, x, ticks{9, hours}
	f.plot.Y.Min, f.plot.Y.Max, f.plot.Y.Tick.Marker = 0, y, ticks{n: 6}
}

// edges are the borders of the points, in units of `per` seconds from the start:
// one more than there are points.
func edges(s *score.Series, per float64) []float64 {
	out := make([]float64, len(s.Capacity)+1)
	for k := range out {
		out[k] = float64(k) * s.StepS / per
	}
	return out
}

// polygon is the band between two stairs, nil where it has no height.
func polygon(at, bottom, top []float64, c color.Color) *plotter.Polygon {
	if len(top) == 0 || slices.Equal(bottom, top) {
		return nil
	}
	xy := stairs(at, top)
	down := stairs(at, bottom)
	slices.Reverse(down)
	p, err := plotter.NewPolygon(append(xy, down...))
	if err != nil {
		return nil
	}
	p.Color, p.LineStyle.Width = c, 0
	return p
}

func steps(at, level []float64) *plotter.Line {
	if len(level) == 0 {
		return nil
	}
	l, err := plotter.NewLine(stairs(at, level))
	if err != nil {
		return nil
	}
	return l
}

// stairs are the corners of a piecewise-constant curve; points on one level are
// joined.
func stairs(at, level []float64) plotter.XYs {
	xy := make(plotter.XYs, 0, 2*len(level))
	for k, v := range level {
		if k > 0 && v == level[k-1] {
			xy[len(xy)-1].X = at[k+1]
			continue
		}
		xy = append(xy, plotter.XY{X: at[k], Y: v}, plotter.XY{X: at[k+1], Y: v})
	}
	return xy
}

// thin averages neighbouring points until there are at most n.
func thin(s *score.Series, n int) *score.Series {
	k := (len(s.Capacity) + n - 1) / n
	if k <= 1 {
		return s
	}
	out := *s
	out.StepS *= float64(k)
	out.Capacity = averaged(s.Capacity, k)
	out.Queues = slices.Clone(s.Queues)
	for i, q := range out.Queues {
		out.Queues[i].Used, out.Queues[i].Guaranteed = averaged(q.Used, k), averaged(q.Guaranteed, k)
		out.Queues[i].Busy = averaged(q.Busy, k)
	}
	return &out
}

func averaged(v []float64, k int) []float64 {
	out := make([]float64, 0, len(v)/k+1)
	for part := range slices.Chunk(v, k) {
		out = append(out, score.Mean(part))
	}
	return out
}

// grouped shortens names to what differs, and sums the queues beyond maxAreas.
func grouped(s *score.Series) *score.Series {
	out := *s
	out.Queues = slices.Clone(s.Queues)
	names := make([]string, len(s.Queues))
	for i, q := range s.Queues {
		names[i] = q.Name
	}
	for i, n := range shorter(names) {
		out.Queues[i].Name = n
	}
	if len(out.Queues) <= maxAreas {
		return &out
	}
	rest := out.Queues[maxAreas-1]
	for _, q := range out.Queues[maxAreas:] {
		rest.Used, rest.Guaranteed = sum(rest.Used, q.Used), sum(rest.Guaranteed, q.Guaranteed)
	}
	rest.Name = fmt.Sprintf("%d others", len(out.Queues)-maxAreas+1)
	out.Queues = append(out.Queues[:maxAreas-1], rest)
	return &out
}

// shorter cuts the path that all names begin with, and what is too long.
func shorter(names []string) []string {
	out := slices.Clone(names)
	for {
		head, _, found := cutFirst(out)
		if !found {
			break
		}
		for i := range out {
			out[i] = out[i][len(head)+1:]
		}
	}
	for i, n := range out {
		out[i] = clip(n)
	}
	return out
}

// clip keeps a name short enough for a legend.
func clip(name string) string {
	if r := []rune(name); len(r) > 22 {
		return string(r[:21]) + "…"
	}
	return name
}

// cutFirst is the first part of the paths, if all have the same and more.
func cutFirst(names []string) (head, rest string, found bool) {
	for i, n := range names {
		k := slices.Index([]byte(n), '.')
		if k < 0 || i > 0 && n[:k] != head {
			return "", "", false
		}
		head, rest = n[:k], n[k+1:]
	}
	return head, rest, len(names) > 0
}

func sum(a, b []float64) []float64 {
	out := slices.Clone(a)
	for k := range min(len(a), len(b)) {
		out[k] += b[k]
	}
	return out
}
