package demo

import (
	"fmt"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// The smallest terminal in which the picture makes sense.
const (
	minWidth  = 72
	minHeight = 22
	maxWidth  = 110
)

// screen redraws one picture in place, without taking the whole terminal: when
// the story is over, its last picture stays where it is.
type screen struct {
	brush
	size   func() (width, height int)
	lines  int // drawn by the last frame, to go back over
	shown  bool
	log    []told
	width  int
	height int
}

type told struct {
	at   spec.Time
	text string
}

func (v *screen) open(p *player) {
	v.shown = true
	fmt.Fprint(v.w, "\x1b[?25l") // no cursor
	v.draw(p, 0)
}

func (v *screen) close() {
	if v.shown {
		v.shown = false
		fmt.Fprint(v.w, "\x1b[?25h")
	}
}

func (v *screen) say(_ *player, at spec.Time, text string) {
	v.log = append(v.log, told{at, text})
}

func (v *screen) draw(p *player, at spec.Time) {
	if !v.shown {
		return
	}
	w, h := v.size()
	v.width, v.height = min(w, maxWidth)-1, h
	lines := v.picture(p, at)
	if len(lines) > h-1 {
		lines = lines[:h-1]
	}
	var b strings.Builder
	if v.lines > 0 {
		fmt.Fprintf(&b, "\x1b[%dA\r", min(v.lines, h-1))
	}
	for _, l := range lines {
		b.WriteString(l + "\x1b[K\n")
	}
	b.WriteString("\x1b[J")
	v.lines = len(lines)
	fmt.Fprint(v.w, b.String())
}

// picture is every line of a frame; the sentences fill what height there is.
func (v *screen) picture(p *player, at spec.Time) []string {
	lines := []string{"", v.title(p, at), v.clockBar(p, at), ""}
	lines = append(lines, v.queueLines(p)...)
	legend := "█ its own   ▒ borrowed   │ guaranteed   ] max"
	if p.story.measured {
		legend = "█ its own   ▒ borrowed   ▁ idle   │ guaranteed   ] max"
	}
	lines = append(lines, v.paint(dim, v.margin(p)+legend))
	lines = append(lines, v.jobLines(p)...)
	lines = append(lines, "")
	for i, l := range p.policyLines() {
		head := " Wasm  "
		if i > 0 {
			head = "       "
		}
		lines = append(lines, v.paint(cyan, head)+clip(l, v.width-len(head)))
	}
	lines = append(lines, "")
	room := max(4, min(12, v.height-1-len(lines)))
	return append(lines, v.sentences(room)...)
}

// clip cuts a text at so many characters.
func clip(text string, most int) string {
	if r := []rune(text); len(r) > most {
		return string(r[:most])
	}
	return text
}

func (v *screen) title(p *player, at spec.Time) string {
	text := fmt.Sprintf(" %s: %s", p.story.number, p.story.title)
	right := timeLine(at, p.story.trace.End)
	gap := max(1, v.width-len(text)-len(right))
	return v.paint(bold, text) + strings.Repeat(" ", gap) + v.paint(bold, right)
}

func (v *screen) clockBar(p *player, at spec.Time) string {
	cells := v.width - 1
	n := int(at * int64(cells) / p.story.trace.End)
	return " " + v.paint(cyan, strings.Repeat("━", n)) + v.paint(dim, strings.Repeat("─", max(0, cells-n)))
}

// columns right of the bars.
const columns = "  used  guar.   max  jobs waiting"

// margin is as wide as the names left of the bars.
func (v *screen) margin(p *player) string { return strings.Repeat(" ", 1+p.story.nameWidth()) }

func (v *screen) queueLines(p *player) []string {
	s, heads := &p.now, columns
	if p.story.measured {
		heads = "  busy" + columns
	}
	cells := v.width - len(v.margin(p)) - 2 - len(heads)
	var used, busy amount.Amount
	out := []string{v.paint(dim, fmt.Sprintf("%s%-*s%s", v.margin(p), cells+2, "GPUs", heads))}
	for i, q := range s.queues {
		used, busy = used.Add(q.used), busy.Add(q.busy)
		numbers := fmt.Sprintf("%6s%7s%6s%14d", gpus(q.used), gpus(q.guaranteed), gpus(q.max), q.waiting)
		if p.story.measured {
			numbers = fmt.Sprintf("%6s", q.busyText()) + numbers
		}
		name := fmt.Sprintf("%-*s", p.story.nameWidth(), p.story.names[i])
		out = append(out, " "+v.paint(bold, name)+bar(q, s.capacity, cells, v.brush)+numbers)
	}
	really := ""
	if p.story.measured {
		really = fmt.Sprintf(", %s busy", gpus(busy))
	}
	return append(out, fmt.Sprintf("%sin use %s of %s GPUs (%d %%)%s, evicted so far %d jobs", v.margin(p),
		gpus(used), gpus(s.capacity), percentOf(int64(used), int64(s.capacity)), really, s.evicted))
}

// jobLines are the jobs of each queue below each other, where they are few enough.
func (v *screen) jobLines(p *player) []string {
	if !p.story.measured {
		return nil
	}
	columns, longest := make([][]string, len(p.story.names)), 0
	for _, j := range p.now.jobs {
		columns[j.queue] = append(columns[j.queue], fmt.Sprintf("%-13s %s", j.id, j.does()))
		longest = max(longest, len(columns[j.queue]))
	}
	width := (v.width - len(v.margin(p))) / len(columns)
	out := []string{""}
	for i := range longest {
		line := v.margin(p)
		for _, c := range columns {
			text := ""
			if i < len(c) {
				text = clip(c[i], width-2)
			}
			line += fmt.Sprintf("%-*s", width, text)
		}
		out = append(out, strings.TrimRight(line, " "))
	}
	return out
}

// sentences are the last ones told that fit, the newest one bright.
func (v *screen) sentences(room int) []string {
	var out []string
	for i := len(v.log) - 1; i >= 0; i-- {
		t := v.log[i]
		lines := wrap(t.text, v.width-7)
		for k := range lines {
			head := fmt.Sprintf(" %4s  ", clock(t.at))
			if k > 0 {
				head = "       "
			}
			if i < len(v.log)-1 {
				lines[k] = v.paint(dim, head+lines[k])
			} else {
				lines[k] = v.paint(bold, head) + lines[k]
			}
		}
		if len(out)+len(lines) > room {
			break
		}
		out = append(lines, out...)
	}
	for len(out) < room {
		out = append(out, "")
	}
	return out
}
