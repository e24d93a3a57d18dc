package queue

import (
	"bytes"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"

	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
)

// place is what a line of a document says: a field of an object.
type place struct {
	object string // name of the Queue object, "" if there is none
	field  string // spec.max.cpu
}

// document is a queues.yaml made of Queue objects, one value a line, which is judged as
// every other one; places turns lines into objects and fields.
type document struct {
	bytes.Buffer
	places []place // of each line
	object string  // that is being written
	dash   bool    // the next line starts an item of a list
}

// of is the place of a line, from 1.
func (d *document) of(line int) place {
	if line < 1 || line > len(d.places) {
		return place{}
	}
	return d.places[line-1]
}

// write makes the document of a tree of objects.
func write(root *node) *document {
	d := &document{}
	d.line(0, "", "partitions:")
	d.line(1, "", "- name: default")
	if root.object != nil {
		d.object = root.object.Name
		d.pool(root.object.Spec.Pool)
	}
	d.line(2, "", "queues:")
	d.item(3, func(n int) { d.queue(n, root) })
	return d
}

func (d *document) line(level int, field, format string, args ...any) {
	indent := strings.Repeat("  ", level)
	if d.dash {
		indent, d.dash = strings.Repeat("  ", level-1)+"- ", false
	}
	d.WriteString(indent)
	fmt.Fprintf(d, format, args...)
	d.WriteByte('\n')
	d.places = append(d.places, place{d.object, field})
}

// item writes a mapping as an item of a list; body gets the level of its keys.
func (d *document) item(level int, body func(level int)) {
	d.dash = true
	body(level + 1)
	d.dash = false
}

// text, number and truth write one key each, unless it is empty.
func (d *document) text(n int, field, key, value string) {
	if value != "" {
		d.line(n, field, "%s: %s", key, strconv.Quote(value))
	}
}

func (d *document) number(n int, field, key string, v int64) {
	if v != 0 {
		d.line(n, field, "%s: %d", key, v)
	}
}

func (d *document) truth(n int, field, key string, v bool) {
	if v {
		d.line(n, field, "%s: true", key)
	}
}

func (d *document) list(n int, field, key string, values []string) {
	if len(values) == 0 {
		return
	}
	d.line(n, field, "%s:", key)
	for i, v := range values {
		d.line(n+1, fmt.Sprintf("%s[%d]", field, i), "- %s", strconv.Quote(v))
	}
}

func (d *document) queue(n int, q *node) {
	if q.object == nil { // the root, which nobody has written
		d.object = ""
		d.line(n, "", "name: root")
		d.line(n, "", "parent: true")
		d.children(n, q)
		return
	}
	d.object = q.object.Name
	s := &q.object.Spec
	field := "metadata.name"
	if s.Name != "" {
		field = "spec.name"
	}
	d.line(n, field, "name: %s", strconv.Quote(q.name))
	d.truth(n, "spec.dynamicChildren", "parent", s.DynamicChildren)
	d.text(n, "spec.submitACL", "submitacl", s.SubmitACL)
	d.text(n, "spec.adminACL", "adminacl", s.AdminACL)
	d.settings(n, "spec", &s.QueueSettings)
	d.limits(n, s.Limits)
	if s.Template != nil {
		d.line(n, "spec.template", "childtemplate:")
		d.settings(n+1, "spec.template", s.Template)
	}
	d.children(n, q)
}

func (d *document) children(n int, q *node) {
	if len(q.children) == 0 {
		return
	}
	d.line(n, "", "queues:")
	for _, c := range q.children {
		d.item(n+1, func(n int) { d.queue(n, c) })
	}
}

func (d *document) settings(n int, at string, s *api.QueueSettings) {
	d.number(n, at+".maxApplications", "maxapplications", s.MaxApplications)
	if len(s.Guaranteed)+len(s.Max) > 0 {
		d.line(n, at, "resources:")
		d.resources(n+1, at+".guaranteed", "guaranteed", s.Guaranteed)
		d.resources(n+1, at+".max", "max", s.Max)
	}
	d.number(n, at+".weight", "weight", s.Weight)
	if p := s.Policies; p != nil && *p != (api.QueuePolicies{}) {
		d.line(n, at+".policies", "policies:")
		d.text(n+1, at+".policies.jobOrder", "jobOrder", string(p.JobOrder))
		d.text(n+1, at+".policies.fairness", "fairness", string(p.Fairness))
		d.text(n+1, at+".policies.victims", "victims", string(p.Victims))
	}
	d.truth(n, at+".strictFIFO", "strictFIFO", s.StrictFIFO)
	d.text(n, at+".reserveAfter", "reserveAfter", s.ReserveAfter)
	d.text(n, at+".minRuntime", "minRuntime", string(s.MinRuntime))
	if p := s.Preemption; p != nil && *p != (api.Preemption{}) {
		d.line(n, at+".preemption", "preemption:")
		d.text(n+1, at+".preemption.policy", "policy", p.Policy)
		d.text(n+1, at+".preemption.delay", "delay", string(p.Delay))
		d.text(n+1, at+".preemption.idleAfter", "idleAfter", p.IdleAfter)
		d.text(n+1, at+".preemption.idleGrace", "idleGrace", string(p.IdleGrace))
	}
	if len(s.Properties) > 0 {
		d.line(n, at+".properties", "properties:")
		for _, k := range slices.Sorted(maps.Keys(s.Properties)) {
			d.line(n+1, at+".properties["+k+"]", "%s: %s", strconv.Quote(k), strconv.Quote(s.Properties[k]))
		}
	}
}

func (d *document) resources(n int, field, key string, r api.Resources) {
	if len(r) == 0 {
		return
	}
	d.line(n, field, "%s:", key)
	for _, name := range slices.Sorted(maps.Keys(r)) {
		to := name
		if name == "cpu" { // YuniKorn's name, or the reading would warn of it
			to = "vcore"
		}
		d.line(n+1, field+"["+name+"]", "%s: %s", strconv.Quote(to), strconv.Quote(r[name].String()))
	}
}

func (d *document) limits(n int, list []api.Limit) {
	if len(list) == 0 {
		return
	}
	d.line(n, "spec.limits", "limits:")
	for i, l := range list {
		at := fmt.Sprintf("spec.limits[%d]", i)
		d.item(n+1, func(n int) {
			d.line(n, at+".name", "limit: %s", strconv.Quote(l.Name))
			d.list(n, at+".users", "users", l.Users)
			d.list(n, at+".groups", "groups", l.Groups)
			d.resources(n, at+".max", "maxresources", l.Max)
			d.number(n, at+".maxApplications", "maxapplications", l.MaxApplications)
		})
	}
}

// pool writes what a partition has, not a queue.
func (d *document) pool(p *api.Pool) {
	if p == nil {
		return
	}
	d.text(2, "spec.pool.placement", "placement", p.Placement)
	d.text(2, "spec.pool.usageHalfLife", "usageHalfLife", string(p.UsageHalfLife))
	d.text(2, "spec.pool.useMaxAge", "useMaxAge", string(p.UseMaxAge))
	if len(p.PlacementRules) == 0 {
		return
	}
	d.line(2, "spec.pool.placementRules", "placementrules:")
	for i, r := range p.PlacementRules {
		at := fmt.Sprintf("spec.pool.placementRules[%d]", i)
		d.item(3, func(n int) {
			d.rule(n, at, api.OuterRule{Name: r.Name, Value: r.Value, Create: r.Create, Filter: r.Filter}, 0, r.Parents)
		})
	}
}

// rule writes a rule, and inside it those that find the queue above.
func (d *document) rule(n int, at string, r api.OuterRule, next int, parents []api.OuterRule) {
	own := at
	if next > 0 {
		own = fmt.Sprintf("%s.parents[%d]", at, next-1)
	}
	d.line(n, own+".name", "name: %s", strconv.Quote(r.Name))
	d.text(n, own+".value", "value", r.Value)
	d.truth(n, own+".create", "create", r.Create)
	if f := r.Filter; f != nil {
		d.line(n, own+".filter", "filter:")
		d.text(n+1, own+".filter.type", "type", f.Type)
		d.list(n+1, own+".filter.users", "users", f.Users)
		d.list(n+1, own+".filter.groups", "groups", f.Groups)
	}
	if next < len(parents) {
		d.line(n, fmt.Sprintf("%s.parents[%d]", at, next), "parent:")
		d.rule(n+1, at, parents[next], next+1, parents)
	}
}

var (
	atLine = regexp.MustCompile(`\b(at|of) line (\d+)`)
	// keys of queues.yaml by those of the objects.
	keys = strings.NewReplacer("maxapplications", "maxApplications", "maxresources", "max", "adminacl", "adminACL",
		"submitacl", "submitACL", "childtemplate", "template", "placementrules", "placementRules", "vcore", "cpu")
)

// translate puts a message about the document into the words of the objects.
func (d *document) translate(object, message string) string {
	message = atLine.ReplaceAllStringFunc(message, func(s string) string {
		m := atLine.FindStringSubmatch(s)
		line, err := strconv.Atoi(m[2])
		if err != nil {
			return s
		}
		p := d.of(line)
		if p.object == object || p.object == "" {
			return m[1] + " " + p.field
		}
		return fmt.Sprintf("%s %s of Queue %s", m[1], p.field, p.object)
	})
	return keys.Replace(message)
}
