package conformance

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/loop"
)

// narration is what happened, a line for each decision, under the time at which
// it was taken. Runs of equal decisions (a001, a002, a003 …) are told as one.
type narration struct {
	text  strings.Builder
	at    spec.Time
	timed bool
	lines []line // not yet written
}

// line is a sentence with names in its holes, and the nodes at its end.
type line struct {
	format string
	names  []string
	nodes  []string
}

func (n *narration) String() string {
	n.flush()
	return n.text.String()
}

// plain adds a text that needs no time.
func (n *narration) plain(format string, args ...any) {
	n.flush()
	n.timed = false
	fmt.Fprintf(&n.text, format, args...)
}

// say tells one thing: a sentence, or a format with names for its holes.
func (n *narration) say(at spec.Time, format string, names ...string) {
	if len(names) == 0 {
		format = escaped(format)
	}
	n.put(at, line{format: format, names: names})
}

func (n *narration) put(at spec.Time, l line) {
	if !n.timed || n.at != at {
		n.flush()
		fmt.Fprintf(&n.text, "at %s\n", clockText(at))
		n.at, n.timed = at, true
	}
	n.lines = append(n.lines, l)
}

// turn tells one turn.
func (n *narration) turn(t loop.Turn) {
	for _, err := range t.Refused {
		n.say(t.Now, "refused: "+strings.ReplaceAll(err.Error(), "\n", "; "))
	}
	for _, s := range t.Stale {
		n.say(t.Now, "overtaken: "+s.Job+", "+s.Reason)
	}
	n.plan(t.Taken)
}

func (n *narration) plan(p *plan.Plan) {
	evictions := slices.Clone(p.Evictions)
	slices.SortStableFunc(evictions, func(a, b plan.Eviction) int { return strings.Compare(a.Job, b.Job) })
	for _, e := range evictions {
		n.put(p.Now, line{format: "evict " + victimText(e) + " for %s (" + string(e.Rule) + ")" + idleText(e) + noticeText(e, p.Now), names: []string{e.Job, e.For}})
	}
	for _, s := range p.Stays {
		n.say(p.Now, "%s stays ("+s.Reason+")", s.Job)
	}
	for _, e := range p.Ends {
		n.say(p.Now, map[bool]string{true: "end %s, its work is saved", false: "end %s, its time is over"}[e.Saved], e.Job)
	}
	tell(n, p.Now, "keep places for %s on", p.Claims, func(c plan.Claim) (string, int32, string, uint64) { return c.Job, c.Unit, c.Node, c.Devices })
	tell(n, p.Now, "start %s on", p.Binds, func(b plan.Bind) (string, int32, string, uint64) { return b.Job, b.Unit, b.Node, b.Devices })
	for _, r := range p.Reserved {
		if r.Until == 0 {
			n.say(p.Now, "%s is kept for %s no longer", r.Node, r.Job)
		} else {
			n.say(p.Now, "%s is kept for %s", r.Node, r.Job)
		}
	}
	for _, j := range p.Pending {
		n.put(p.Now, line{format: "%s waits: " + escaped(j.Why.Sentence()), names: []string{j.Job}})
	}
	for _, e := range p.Events {
		n.say(p.Now, "event "+e.Code+": "+e.Text)
	}
}

func escaped(s string) string { return strings.ReplaceAll(s, "%", "%%") }

func victimText(e plan.Eviction) string {
	switch {
	case e.Whole && len(e.Tasks) == 1:
		return "%s"
	case e.Whole:
		return fmt.Sprintf("all %d tasks of %%s", len(e.Tasks))
	case len(e.Tasks) == 1:
		return fmt.Sprintf("task %d of %%s", e.Tasks[0])
	}
	return fmt.Sprintf("tasks %s of %%s", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(e.Tasks)), ","), "[]"))
}

func idleText(e plan.Eviction) string {
	if e.Idle == 0 {
		return ""
	}
	return ", idle for " + clockText(e.Idle)
}

func noticeText(e plan.Eviction, now spec.Time) string {
	if !e.Notify {
		return ""
	}
	return ", notice of " + clockText(e.Deadline-now)
}

// tell says where the tasks of each unit go; neighbouring units of one job are
// told as one.
func tell[T any](n *narration, at spec.Time, format string, items []T, of func(T) (job string, unit int32, node string, dev uint64)) {
	for i := 0; i < len(items); {
		job, _, _, _ := of(items[i])
		l := line{format: format, names: []string{job}}
		for ; i < len(items); i++ {
			same, _, node, _ := of(items[i])
			if same != job {
				break
			}
			l.nodes = append(l.nodes, node)
		}
		n.put(at, l)
	}
}

// longBlock is from how many lines of one kind on the order among several runs is
// no longer told.
const longBlock = 9

// flush writes the lines of one instant, runs of three and more as one.
func (n *narration) flush() {
	sortLongBlocks(n.lines)
	for i := 0; i < len(n.lines); {
		k := i + 1
		for k < len(n.lines) && follows(n.lines[k-1], n.lines[k]) && fixed(n.lines[i], n.lines[i+1], n.lines[k]) {
			k++
		}
		if k-i < 3 {
			k = i + 1
		}
		n.write(n.lines[i:k])
		i = k
	}
	n.lines = n.lines[:0]
}

// sortLongBlocks brings what two or more queues got in turns into one run each.
func sortLongBlocks(lines []line) {
	for i := 0; i < len(lines); {
		k := i + 1
		for k < len(lines) && lines[k].format == lines[i].format {
			k++
		}
		if k-i >= longBlock {
			slices.SortStableFunc(lines[i:k], func(a, b line) int { return strings.Compare(a.family(), b.family()) })
		}
		i = k
	}
}

// family is the names without their numbers.
func (l line) family() string {
	var b strings.Builder
	for _, name := range l.names {
		prefix, _, _ := numbered(name)
		b.WriteString(prefix + " ")
	}
	return b.String()
}

// follows says whether b is the next of a's run: each name the same or the
// successor, and one of them the successor.
func follows(a, b line) bool {
	if a.format != b.format || len(a.names) != len(b.names) {
		return false
	}
	moved := false
	for i := range a.names {
		switch {
		case successor(a.names[i], b.names[i]):
			moved = true
		case a.names[i] != b.names[i]:
			return false
		}
	}
	return moved
}

// fixed says whether the names that stay the same from first to second are still
// the same in last.
func fixed(first, second, last line) bool {
	for i := range first.names {
		if (first.names[i] == second.names[i]) != (first.names[i] == last.names[i]) {
			return false
		}
	}
	return true
}

func (n *narration) write(run []line) {
	first, last := run[0], run[len(run)-1]
	names := make([]any, len(first.names))
	var nodes []string
	for i := range names {
		names[i] = span(first.names[i], last.names[i])
	}
	for _, l := range run {
		nodes = append(nodes, l.nodes...)
	}
	text := fmt.Sprintf(first.format, names...)
	if len(run) > 1 {
		text = strings.Replace(text, " waits: ", " wait: ", 1)
	}
	if len(nodes) > 0 {
		text += " " + nodesText(nodes)
	}
	fmt.Fprintf(&n.text, "  %s\n", text)
}

func span(a, b string) string {
	if a == b {
		return a
	}
	return a + ".." + b
}

// successor says whether b is a with its number, at the end, one more.
func successor(a, b string) bool {
	x, i, ok1 := numbered(a)
	y, k, ok2 := numbered(b)
	return ok1 && ok2 && x == y && k == i+1
}

func numbered(s string) (prefix string, n int, ok bool) {
	prefix = strings.TrimRight(s, "0123456789")
	n, err := strconv.Atoi(s[len(prefix):])
	return prefix, n, err == nil
}

// nodesText counts the uses of nodes, in order of first use; more than four nodes
// are summed up by name: "n00..n24 ×4".
func nodesText(uses []string) string {
	var names []string
	count := map[string]int{}
	for _, u := range uses {
		if count[u] == 0 {
			names = append(names, u)
		}
		count[u]++
	}
	if len(names) > 4 {
		slices.Sort(names)
	}
	var parts []string
	for i := 0; i < len(names); {
		k := i + 1
		for len(names) > 4 && k < len(names) && successor(names[k-1], names[k]) && count[names[k]] == count[names[i]] {
			k++
		}
		text := span(names[i], names[k-1])
		if c := count[names[i]]; c > 1 {
			text += fmt.Sprintf(" ×%d", c)
		}
		parts = append(parts, text)
		i = k
	}
	return strings.Join(parts, ", ")
}
