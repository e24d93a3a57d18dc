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
	lines = append(lines, v.paint(dim, fmt.Sprintf("%7s█ its own   ▒ borrowed   │ guaranteed   ] max", "")), "")
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

func (v *screen) queueLines(p *player) []string {
	s := &p.now
	cells := v.width - 7 - 2 - len(columns)
	var used amount.Amount
	head := fmt.Sprintf("%-7s%-*s%s", "", cells+2, "GPUs", columns)
	out := []string{v.paint(dim, head)}
	for i, q := range s.queues {
		used = used.Add(q.used)
		numbers := fmt.Sprintf("%6s%7s%6s%14d", gpus(q.used), gpus(q.guaranteed), gpus(q.max), q.waiting)
		out = append(out, " "+v.paint(bold, fmt.Sprintf("%-6s", p.story.names[i]))+bar(q, s.capacity, cells, v.brush)+numbers)
	}
	return append(out, fmt.Sprintf("%7sin use %s of %s GPUs (%d %%), evicted so far %d jobs", "",
		gpus(used), gpus(s.capacity), percentOf(int64(used), int64(s.capacity)), s.evicted))
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
