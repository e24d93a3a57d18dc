package plan

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
)

// JSON is the plan's canonical bytes: equal plans have equal bytes.
func (p *Plan) JSON() []byte {
	b, err := json.Marshal(p)
	if err != nil { // only unsupported types fail, and a Plan has none
		panic(err)
	}
	return b
}

// Text writes the plan a line per decision, as stories and people read it.
func (p *Plan) Text(w io.Writer) {
	for _, e := range p.Evictions {
		fmt.Fprintf(w, "evict %s of %s for %s (%s%s%s)\n", tasksText(e), e.Job, e.For, e.Rule, idleText(e), noticeText(e, p.Now))
	}
	for _, e := range p.Ends {
		fmt.Fprintf(w, "end %s (%s)\n", e.Job, map[bool]string{true: "checkpoint saved", false: "deadline"}[e.Saved])
	}
	for _, e := range p.Stays {
		fmt.Fprintf(w, "stay %s (%s)\n", e.Job, e.Reason)
	}
	for _, u := range units(p.Claims, func(c Claim) string { return c.Job }) {
		fmt.Fprintf(w, "claim %s\n", unitText(u, func(c Claim) (string, uint64) { return c.Node, c.Devices }))
	}
	for _, u := range units(p.Binds, func(b Bind) string { return b.Job }) {
		fmt.Fprintf(w, "start %s\n", unitText(u, func(b Bind) (string, uint64) { return b.Node, b.Devices }))
	}
	for _, r := range p.Reserved {
		if r.Until == 0 {
			fmt.Fprintf(w, "unreserve %s\n", r.Node)
			continue
		}
		fmt.Fprintf(w, "reserve %s for %s\n", r.Node, r.Job)
	}
	for _, j := range p.Pending {
		fmt.Fprintf(w, "wait %s: %s\n", j.Job, j.Why.Sentence())
	}
	for _, e := range p.Events {
		fmt.Fprintf(w, "event %s: %s\n", e.Code, e.Text)
	}
}

func tasksText(e Eviction) string {
	if e.Whole {
		return fmt.Sprintf("all %d tasks", len(e.Tasks))
	}
	return fmt.Sprintf("task %s", strings.Trim(strings.Join(strings.Fields(fmt.Sprint(e.Tasks)), ","), "[]"))
}

func idleText(e Eviction) string {
	if e.Idle == 0 {
		return ""
	}
	return fmt.Sprintf(", idle for %gs", float64(e.Idle)/1e9)
}

func noticeText(e Eviction, now int64) string {
	if !e.Notify {
		return ""
	}
	return fmt.Sprintf(", notice %gs", float64(e.Deadline-now)/1e9)
}

type named[T any] struct {
	job   string
	items []T
}

// units groups neighbours of one job.
func units[T any](items []T, job func(T) string) []named[T] {
	var out []named[T]
	for _, it := range items {
		if n := len(out); n > 0 && out[n-1].job == job(it) {
			out[n-1].items = append(out[n-1].items, it)
			continue
		}
		out = append(out, named[T]{job(it), []T{it}})
	}
	return out
}

// unitText is "job 3 tasks on a×2 b" with the nodes in order of use.
func unitText[T any](u named[T], at func(T) (string, uint64)) string {
	var nodes []string
	count := map[string]int{}
	for _, it := range u.items {
		n, _ := at(it)
		if count[n] == 0 {
			nodes = append(nodes, n)
		}
		count[n]++
	}
	for i, n := range nodes {
		if count[n] > 1 {
			nodes[i] = fmt.Sprintf("%s×%d", n, count[n])
		}
	}
	return fmt.Sprintf("%s on %s", u.job, strings.Join(nodes, " "))
}

// Sentence says the reason to a person: which level, which resource, how much.
func (y *Why) Sentence() string {
	var b strings.Builder
	b.WriteString(string(y.Code))
	format := func(a amount.Amount) string { return amount.Format(y.Resource, a) }
	switch y.Code {
	case MaxApps:
		fmt.Fprintf(&b, ": %s runs %d of %d jobs", y.subject(), y.Used, y.Max)
	case QueueMax, UserLimit, GroupLimit, OutsideGuarantee, TypedMax, GangExceedsMax:
		fmt.Fprintf(&b, ": %s uses %s of %s %s, needs %s more", y.subject(), format(y.Used), format(y.Max), y.Resource, format(y.Need))
	case NoRoom, GangNoRoom, GangExceedsPool:
		fmt.Fprintf(&b, ": %s", y.fit())
	}
	if y.Text != "" {
		fmt.Fprintf(&b, ": %s", y.Text)
	}
	if y.Preemption != "" {
		fmt.Fprintf(&b, "; preemption: %s", y.Preemption)
	}
	return b.String()
}

func (y *Why) subject() string {
	if y.Who != "" {
		return y.Who + " in " + y.Queue
	}
	return y.Queue
}

func (y *Why) fit() string {
	var b strings.Builder
	if y.Of > 1 {
		fmt.Fprintf(&b, "%d of %d tasks fit, ", y.Placed, y.Of)
	}
	fmt.Fprintf(&b, "%d nodes looked at", y.Nodes)
	for _, e := range y.Excluded {
		fmt.Fprintf(&b, ", %d %s", e.Nodes, e.By)
	}
	if y.Best != "" {
		fmt.Fprintf(&b, " (closest: %s lacks %s)", y.Best, y.Lacks)
	}
	return b.String()
}

// First is the plan's first line, "" if it decides nothing.
func (p *Plan) First() string {
	var b strings.Builder
	p.Text(&b)
	line, _, _ := strings.Cut(b.String(), "\n")
	return line
}
