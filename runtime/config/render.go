package config

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// Render writes a tree as a queues.yaml with one partition, "default", that
// Parse reads back into the same tree. Job orders, and what preemption
// is told, are written as Muster's keys, and Properties as they are; so a
// property that Parse would turn into a field must have that field set, as it
// has in every tree that Parse returns.
func Render(t *spec.Tree) []byte {
	w := &writer{}
	w.line(0, "partitions:")
	w.line(1, "- name: default")
	w.text(2, "placement", t.Placement)
	w.duration(2, "usageHalfLife", t.UsageHalfLife)
	w.duration(2, "useMaxAge", t.UseMaxAge)
	if len(t.Rules) > 0 {
		w.line(2, "placementrules:")
		for i := range t.Rules {
			w.item(3, func(n int) { w.rule(n, &t.Rules[i]) })
		}
	}
	w.line(2, "queues:")
	if t.Root != nil {
		w.item(3, func(n int) { w.queue(n, t.Root) })
	}
	return w.Bytes()
}

// writer writes block YAML, two spaces a level.
type writer struct {
	bytes.Buffer
	dash bool // the next line starts an item of a list
}

func (w *writer) line(level int, format string, args ...any) {
	indent := strings.Repeat("  ", level)
	if w.dash {
		indent, w.dash = strings.Repeat("  ", level-1)+"- ", false
	}
	w.WriteString(indent)
	fmt.Fprintf(w, format, args...)
	w.WriteByte('\n')
}

// item writes a mapping as an item of a list; body gets the level of its keys.
func (w *writer) item(level int, body func(level int)) {
	w.dash = true
	body(level + 1)
	w.dash = false
}

func (w *writer) text(level int, key, value string) {
	if value != "" {
		w.line(level, "%s: %s", key, scalar(value))
	}
}

func (w *writer) number(level int, key string, v int64) {
	if v != 0 {
		w.line(level, "%s: %d", key, v)
	}
}

func (w *writer) flag(level int, key string, v bool) {
	if v {
		w.line(level, "%s: true", key)
	}
}

func (w *writer) duration(level int, key string, d spec.Duration) {
	switch {
	case d == -1:
		w.line(level, "%s: never", key)
	case d != 0:
		w.line(level, "%s: %s", key, time.Duration(d))
	}
}

func (w *writer) list(level int, key string, values []string) {
	if len(values) == 0 {
		return
	}
	parts := make([]string, len(values))
	for i, v := range values {
		parts[i] = scalar(v)
	}
	w.line(level, "%s: [%s]", key, strings.Join(parts, ", "))
}

func (w *writer) queue(n int, q *spec.Queue) {
	w.line(n, "name: %s", scalar(q.Name)) // always written: it starts the item
	w.flag(n, "parent", q.Parent && len(q.Children) == 0)
	w.text(n, "submitacl", q.SubmitACL)
	w.text(n, "adminacl", q.AdminACL)
	w.shared(n, q)
	if len(q.Limits) > 0 {
		w.line(n, "limits:")
		for i := range q.Limits {
			w.item(n+1, func(n int) { w.limit(n, &q.Limits[i]) })
		}
	}
	if q.Template != nil {
		w.template(n, q.Template)
	}
	if len(q.Children) > 0 {
		w.line(n, "queues:")
		for _, c := range q.Children {
			w.item(n+1, func(n int) { w.queue(n, c) })
		}
	}
}

func (w *writer) template(n int, t *spec.Queue) {
	before := w.Len()
	w.line(n, "childtemplate:")
	mark := w.Len()
	w.shared(n+1, t)
	if w.Len() == mark {
		w.Truncate(before)
		w.line(n, "childtemplate: {}")
	}
}

func (w *writer) shared(n int, q *spec.Queue) {
	w.number(n, "maxapplications", q.MaxApps)
	if len(q.Guaranteed) > 0 || len(q.Max) > 0 {
		w.line(n, "resources:")
		w.resources(n+1, "guaranteed", q.Guaranteed)
		w.resources(n+1, "max", q.Max)
	}
	w.number(n, "weight", q.Weight)
	if q.JobOrder != "" || q.Fairness != "" || q.Victims != "" {
		w.line(n, "policies:")
		w.text(n+1, "jobOrder", q.JobOrder)
		w.text(n+1, "fairness", q.Fairness)
		w.text(n+1, "victims", q.Victims)
	}
	w.flag(n, "strictFIFO", q.StrictFIFO)
	w.duration(n, "reserveAfter", q.ReserveAfter)
	w.duration(n, "minRuntime", q.MinRuntime)
	if q.Preemption != "" || q.PreemptionDelay != 0 || q.IdleAfter != 0 || q.IdleGrace != 0 {
		w.line(n, "preemption:")
		w.text(n+1, "policy", string(q.Preemption))
		w.duration(n+1, "delay", q.PreemptionDelay)
		w.duration(n+1, "idleAfter", q.IdleAfter)
		w.duration(n+1, "idleGrace", q.IdleGrace)
	}
	if len(q.Properties) > 0 {
		w.line(n, "properties:")
		for _, k := range slices.Sorted(maps.Keys(q.Properties)) {
			w.line(n+1, "%s: %s", scalar(k), scalar(q.Properties[k]))
		}
	}
}

// resources writes cpu as vcore, the name that YuniKorn knows too.
func (w *writer) resources(n int, key string, list spec.Resources) {
	if len(list) == 0 {
		return
	}
	w.line(n, "%s:", key)
	for _, e := range list {
		w.line(n+1, "%s: %s", scalar(written(e.Name)), amount.Format(e.Name, e.Amount))
	}
}

func (w *writer) limit(n int, l *spec.Limit) {
	w.line(n, "limit: %s", scalar(l.Name))
	w.list(n, "users", l.Users)
	w.list(n, "groups", l.Groups)
	w.resources(n, "maxresources", l.Max)
	w.number(n, "maxapplications", l.MaxApps)
}

func (w *writer) rule(n int, rule *spec.PlacementRule) {
	w.line(n, "name: %s", scalar(rule.Name))
	w.text(n, "value", rule.Value)
	w.flag(n, "create", rule.Create)
	if f := rule.Filter; f.Type != "" || len(f.Users) > 0 || len(f.Groups) > 0 {
		w.line(n, "filter:")
		w.text(n+1, "type", f.Type)
		w.list(n+1, "users", f.Users)
		w.list(n+1, "groups", f.Groups)
	}
	if rule.Parent != nil {
		w.line(n, "parent:")
		w.rule(n+1, rule.Parent)
	}
}

var (
	plainScalar = regexp.MustCompile(`^[a-zA-Z_][a-zA-Z0-9_./-]*(:[a-zA-Z0-9_./-]+)*$`)
	// reserved words are not texts for every reader of YAML.
	reserved = regexp.MustCompile(`(?i)^(true|false|yes|no|on|off|y|n|null)$`)
)

// scalar quotes a text unless every YAML reader takes it for a text anyway.
func scalar(s string) string {
	if plainScalar.MatchString(s) && !reserved.MatchString(s) {
		return s
	}
	return strconv.Quote(s)
}
