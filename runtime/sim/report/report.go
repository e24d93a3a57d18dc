// Package report draws runs for people: one HTML file that opens offline, and
// the stacked area of the queues as a PNG. It is the only door to gonum/plot.
package report

import (
	"bytes"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io"
	"math"
	"strings"

	"gonum.org/v1/plot/vg"

	"github.com/musterhq/muster/runtime/sim/score"
)

// Run is one run of a trace under one policy set.
type Run struct {
	Name   string
	Card   *score.Card
	Series *score.Series
	// Notes are said under the run: what a trace's reader dropped or assumed, the
	// command that made it.
	Notes []string
}

// ErrNoRuns is returned when there is nothing to draw.
var ErrNoRuns = errors.New("a report needs at least one run with a scorecard and a series")

//go:embed report.html.tmpl
var files embed.FS

var page = template.Must(template.ParseFS(files, "*.tmpl"))

// Sizes of the plots in the report.
const (
	wide   = 13 * vg.Centimeter * 2
	narrow = 13 * vg.Centimeter
	tall   = 9 * vg.Centimeter
)

// HTML writes a self-contained page: scorecards side by side, the queues over
// time of each run, utilisation and waits of all, and a table of the queues.
// Nothing in it refers to another file or host.
func HTML(w io.Writer, title string, runs []Run) error {
	if err := check(runs); err != nil {
		return err
	}
	p := pageData{Title: title, Runs: runs}
	var cards []*score.Card
	for _, r := range runs {
		cards = append(cards, r.Card)
	}
	group := ""
	for _, l := range score.Lines(cards) {
		if l.Group == group {
			l.Group = ""
		} else {
			group = l.Group
		}
		p.Lines = append(p.Lines, l)
	}
	ceiling, hours := extents(runs)
	for _, r := range runs {
		svg, err := svgOf(wide, tall, stacked(r.Series, ceiling, hours))
		if err != nil {
			return err
		}
		p.Queues = append(p.Queues, svg)
	}
	var err error
	if p.Use, err = svgOf(narrow, tall, utilisation(runs, hours)); err != nil {
		return err
	}
	if p.Waits, err = svgOf(narrow, tall, waits(runs)); err != nil {
		return err
	}
	return page.ExecuteTemplate(w, "report.html.tmpl", p)
}

type pageData struct {
	Title      string
	Runs       []Run
	Lines      []score.Line    // Group is set in the first line of one
	Queues     []template.HTML // one for each run
	Use, Waits template.HTML
}

func check(runs []Run) error {
	if len(runs) == 0 {
		return ErrNoRuns
	}
	for _, r := range runs {
		if r.Card == nil || r.Series == nil {
			return fmt.Errorf("run %q: %w", r.Name, ErrNoRuns)
		}
	}
	return nil
}

// extents are the common axes of all runs: GPUs and seconds.
func extents(runs []Run) (gpus, seconds float64) {
	for _, r := range runs {
		s := r.Series
		seconds = max(seconds, s.StepS*float64(len(s.Capacity)))
		for _, c := range s.Capacity {
			gpus = max(gpus, c)
		}
	}
	return max(gpus, 1), max(seconds, 1)
}

// svgOf draws into an <svg> element without prolog and namespaces, which HTML
// does not need: so no address of any host is in the page.
func svgOf(w, h vg.Length, f *figure) (template.HTML, error) {
	var b bytes.Buffer
	if err := f.writeSVG(&b, w, h); err != nil {
		return "", fmt.Errorf("draw %q: %w", f.title, err)
	}
	s := b.String()
	start := strings.Index(s, "<svg")
	end := strings.Index(s[start:], ">")
	if start < 0 || end < 0 {
		return "", fmt.Errorf("draw %q: no SVG came out", f.title)
	}
	head := fmt.Sprintf(`<svg viewBox="0 0 %g %g" role="img" aria-label="%s">`,
		math.Round(float64(w)*100)/100, math.Round(float64(h)*100)/100, template.HTMLEscapeString(f.title))
	return template.HTML(head + s[start+end+1:]), nil // drawn here; the canvas escapes text
}
