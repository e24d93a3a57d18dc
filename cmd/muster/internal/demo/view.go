package demo

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// view is how a story is shown.
type view interface {
	open(p *player)
	// say tells a sentence about a moment, draw shows the state at one.
	say(p *player, at spec.Time, text string)
	draw(p *player, at spec.Time)
	close()
	out() io.Writer
	paint(c color, text string) string
}

type color string

const (
	bold   color = "1"
	dim    color = "2"
	red    color = "31"
	green  color = "32"
	yellow color = "33"
	cyan   color = "36"
)

// brush paints, or does not.
type brush struct {
	w     io.Writer
	color bool
}

func (b brush) out() io.Writer { return b.w }

func (b brush) paint(c color, text string) string {
	if !b.color || text == "" {
		return text
	}
	return "\x1b[" + string(c) + "m" + text + "\x1b[0m"
}

func newView(o Options) view {
	b := brush{o.Out, o.Color}
	if o.Size == nil {
		return &plain{b}
	}
	if w, h := o.Size(); w < minWidth || h < minHeight {
		return &plain{b}
	}
	return &screen{brush: b, size: o.Size}
}

// plain prints each sentence, with the state below it. Nothing is redrawn.
type plain struct{ brush }

func (v *plain) open(p *player) {
	fmt.Fprintln(v.w, v.paint(bold, p.story.number+": "+p.story.title))
}

func (v *plain) say(p *player, at spec.Time, text string) {
	lines := wrap(text, 92)
	fmt.Fprintf(v.w, "%s  %s\n", clock(at), lines[0])
	for _, l := range lines[1:] {
		fmt.Fprintf(v.w, "      %s\n", l)
	}
	var state []string
	for i, q := range p.now.queues {
		state = append(state, fmt.Sprintf("%s %s of %s", p.story.names[i], gpus(q.used), gpus(q.guaranteed)))
	}
	fmt.Fprintf(v.w, "      used of guaranteed: %s; %d evicted so far\n", strings.Join(state, ", "), p.now.evicted)
	if p.story.measured {
		fmt.Fprintf(v.w, "      %s\n", p.jobsLine())
	}
}

func (v *plain) draw(*player, spec.Time) {}
func (v *plain) close()                  {}

// wrap breaks a text at spaces into lines of at most so many characters.
func wrap(text string, width int) []string {
	var lines []string
	line := ""
	for _, word := range strings.Fields(text) {
		switch {
		case line == "":
			line = word
		case utf8.RuneCountInString(line)+1+utf8.RuneCountInString(word) > width:
			lines = append(lines, line)
			line = word
		default:
			line += " " + word
		}
	}
	return append(lines, line)
}

// bar draws one queue's GPUs against the whole pool: what it holds of its own,
// what it borrowed, how much of both does nothing, where its guarantee and its max are.
// It is so many cells wide and two marks.
func bar(q queueState, capacity amount.Amount, cells int, b brush) string {
	cell := func(a amount.Amount) int {
		if capacity <= 0 {
			return 0
		}
		return int((min(a, capacity)*amount.Amount(cells) + capacity/2) / capacity)
	}
	used, own, limit := cell(q.used), cell(q.guaranteed), cell(q.max)
	if q.used > 0 && used == 0 {
		used = 1
	}
	works := max(0, used-cell(q.idle))
	var out strings.Builder
	run := func(from, to int, mark string, c color) {
		if to > from {
			out.WriteString(b.paint(c, strings.Repeat(mark, to-from)))
		}
	}
	run(0, min(works, own), "█", green)
	run(min(works, own), min(used, own), "▁", red)
	run(min(used, own), own, "·", dim)
	out.WriteString(b.paint(bold, "│"))
	run(own, max(works, own), "▒", yellow)
	run(max(works, own), max(used, own), "▁", red)
	run(max(used, own), limit, "·", dim)
	out.WriteString(b.paint(dim, "]"))
	run(limit, cells, " ", dim)
	return out.String()
}
