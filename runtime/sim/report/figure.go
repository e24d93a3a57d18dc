package report

import (
	"bufio"
	"fmt"
	"image/color"
	"io"
	"math"
	"strconv"

	"golang.org/x/image/font"
	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/text"
	"gonum.org/v1/plot/vg"
	"gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgimg"
	"gonum.org/v1/plot/vg/vgsvg"
)

// figure is a plot with its legend beside it, where it can cover nothing.
type figure struct {
	title  string
	plot   *plot.Plot
	legend []entry
}

// entry is a line of the legend: a filled box, or a line if it has a style.
type entry struct {
	name string
	fill color.Color
	line *draw.LineStyle
}

var (
	ink  = color.NRGBA{0x33, 0x33, 0x33, 0xff}
	mute = color.NRGBA{0x66, 0x66, 0x66, 0xff}
	grid = color.NRGBA{0xdd, 0xdd, 0xdd, 0xff}
)

const textSize = 10

func newFigure(title, xlabel, ylabel string) *figure {
	p := plot.New()
	p.Title.Text = title
	p.Title.TextStyle = style(textSize+2, font.WeightBold, ink)
	p.Title.Padding = 8
	p.X.Label.Text, p.Y.Label.Text = xlabel, ylabel
	for _, a := range []*plot.Axis{&p.X, &p.Y} {
		a.Label.TextStyle = rotatedLike(a.Label.TextStyle, style(textSize, font.WeightNormal, mute))
		a.Tick.Label = rotatedLike(a.Tick.Label, style(textSize-1, font.WeightNormal, mute))
		a.Tick.Color, a.Color = grid, mute
		a.LineStyle.Width, a.Tick.LineStyle.Width = 0.5, 0.5
		a.Padding = 0
	}
	g := plotter.NewGrid()
	g.Horizontal.Color, g.Vertical.Color = grid, color.Transparent
	g.Horizontal.Width = 0.5
	p.Add(g)
	return &figure{title: title, plot: p}
}

func style(size vg.Length, weight font.Weight, c color.Color) text.Style {
	s := plot.New().Title.TextStyle
	s.Font.Typeface, s.Font.Variant, s.Font.Size, s.Font.Weight = "Liberation", "Sans", size, weight
	s.Color = c
	return s
}

// rotatedLike keeps what an axis needs of its own style: alignment and turn.
func rotatedLike(axis, s text.Style) text.Style {
	s.XAlign, s.YAlign, s.Rotation, s.Handler = axis.XAlign, axis.YAlign, axis.Rotation, axis.Handler
	return s
}

// line adds a curve and its entry in the legend.
func (f *figure) line(name string, l *plotter.Line) {
	f.plot.Add(l)
	f.legend = append(f.legend, entry{name: clip(name), line: &l.LineStyle})
}

// Measures of the legend, in points.
const (
	thumb = 14
	// legendSlack is room for a browser's font that is wider than the measured one.
	legendSlack = 1.15
	lineStep    = 15
	gap         = 6
	titleRow    = 30 // the legend begins below the title
)

// draw gives the legend the column it needs at the right, and the plot the rest.
func (f *figure) draw(c draw.Canvas) {
	c = draw.Crop(c, gap, -gap, gap, -gap)
	sty := style(textSize-1, font.WeightNormal, ink)
	sty.XAlign, sty.YAlign = text.XLeft, text.YCenter
	var column vg.Length
	for _, e := range f.legend {
		column = max(column, sty.Width(e.name)*legendSlack+thumb+3*gap)
	}
	f.plot.Draw(draw.Crop(c, 0, -column, 0, 0))
	x, y := c.Max.X-column+2*gap, c.Max.Y-titleRow
	for _, e := range f.legend {
		if e.line != nil {
			c.StrokeLine2(*e.line, x, y-2, x+thumb, y-2)
		} else {
			c.FillPolygon(e.fill, []vg.Point{{X: x, Y: y - 6}, {X: x + thumb, Y: y - 6}, {X: x + thumb, Y: y + 3}, {X: x, Y: y + 3}})
		}
		c.FillText(sty, vg.Point{X: x + thumb + gap, Y: y}, e.name)
		y -= lineStep
	}
}

func (f *figure) writeSVG(w io.Writer, width, height vg.Length) error {
	c := vgsvg.NewWith(vgsvg.UseWH(width, height))
	f.draw(draw.New(c))
	_, err := c.WriteTo(w)
	return err
}

func (f *figure) writePNG(w io.Writer, width, height vg.Length) error {
	c := vgimg.PngCanvas{Canvas: vgimg.NewWith(vgimg.UseWH(width, height), vgimg.UseDPI(160), vgimg.UseBackgroundColor(color.White))}
	f.draw(draw.New(c))
	b := bufio.NewWriter(w)
	if _, err := c.WriteTo(b); err != nil {
		return fmt.Errorf("write the PNG: %w", err)
	}
	return b.Flush()
}

// timeAxis is the unit in which a span of seconds is labelled.
func timeAxis(seconds float64) (unit string, per float64) {
	switch {
	case seconds <= 600:
		return "seconds", 1
	case seconds <= 2*3600:
		return "minutes", 60
	case seconds <= 7*86400:
		return "hours", 3600
	default:
		return "days", 86400
	}
}

// ticks are at most n round steps from 0: 1, 2, 5 times a power of ten, and 6
// and 12 for hours.
type ticks struct {
	n     int
	hours bool
}

// Ticks has plot.Ticker's signature.
func (t ticks) Ticks(low, high float64) []plot.Tick {
	if !(high > low) || math.IsInf(high-low, 0) {
		return nil
	}
	step := t.step(high - low)
	var out []plot.Tick
	for v := math.Ceil(low/step) * step; v <= high+step/1e6; v += step {
		out = append(out, plot.Tick{Value: v, Label: strconv.FormatFloat(math.Round(v*1e6)/1e6, 'g', 8, 64)})
	}
	return out
}

func (t ticks) step(span float64) float64 {
	steps := []float64{1, 2, 5}
	if t.hours && span > 10 && span <= 200 {
		steps = []float64{1, 2, 3, 6, 12, 24, 48}
		for _, s := range steps {
			if span/s <= float64(t.n) {
				return s
			}
		}
	}
	for scale := math.Pow(10, math.Floor(math.Log10(span))-2); ; scale *= 10 {
		for _, s := range steps {
			if span/(s*scale) <= float64(t.n) {
				return s * scale
			}
		}
	}
}
