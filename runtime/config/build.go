package config

import (
	"cmp"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
)

// buildPartition turns a partition that was checked into spec values. Of one
// with errors it makes what it can: Parse does not hand it out.
func buildPartition(p *rawPartition) Partition {
	out := Partition{
		Name: p.name.text, Preemption: p.preemption,
		NodeSort:          NodeSort{p.sortType.text, p.weights},
		UserGroupResolver: p.resolver.text,
	}
	out.Tree.Placement = cmp.Or(p.placement, placementOf[p.sortType.text])
	out.Tree.UsageHalfLife, out.Tree.UseMaxAge = p.halfLife, p.useMaxAge
	for _, rule := range p.rules {
		out.Tree.Rules = append(out.Tree.Rules, *buildRule(rule))
	}
	if p.root != nil {
		out.Guarded = guarded(p.root)
		out.Tree.Root = buildQueue(p.root, sorting{})
		if !p.preemption.Enabled {
			out.Tree.Root.Preemption = spec.PreemptionDisabled
		}
	}
	return out
}

// placementOf is the placement that comes nearest to a node sorting policy of
// YuniKorn. One that is not written is Muster's own default.
var placementOf = map[string]string{"fair": "spread", "binpacking": "binpack"}

func buildQueue(q *rawQueue, above sorting) *spec.Queue {
	out, inherited := buildShared(q, above)
	out.Name, out.Parent = q.lower, q.isParent()
	out.SubmitACL, out.AdminACL = q.submit.text, q.admin.text
	for _, l := range q.limits {
		out.Limits = append(out.Limits, buildLimit(l))
	}
	if q.template != nil {
		out.Template, _ = buildShared(q.template, inherited)
	}
	for _, c := range q.children {
		out.Children = append(out.Children, buildQueue(c, inherited))
	}
	return out
}

// buildShared sets what a queue and a template have in common. Muster's keys win
// over YuniKorn's properties.
func buildShared(q *rawQueue, above sorting) (*spec.Queue, sorting) {
	inherited, order := above.apply(q.properties)
	m := q.muster
	out := &spec.Queue{
		Guaranteed: buildResources(q.guaranteed), Max: buildResources(q.max),
		MaxApps: q.maxApps.value, Weight: m.weight,
		JobOrder: cmp.Or(m.jobOrder, order), Fairness: m.fairness, Victims: m.victims,
		StrictFIFO: m.strictFIFO, ReserveAfter: m.reserveAfter, MinRuntime: m.minRuntime,
		Preemption:      spec.PreemptionPolicy(cmp.Or(m.preemption, valueOf(q.properties, propPreemption))),
		PreemptionDelay: cmp.Or(m.delay, durationOf(q.properties, propDelay)),
		IdleAfter:       cmp.Or(m.idleAfter, durationOf(q.properties, propIdleAfter)),
		IdleGrace:       cmp.Or(m.idleGrace, durationOf(q.properties, propIdleGrace)),
	}
	if len(q.properties) > 0 {
		out.Properties = make(map[string]string, len(q.properties))
	}
	for _, p := range q.properties {
		out.Properties[p.key.text] = p.value.text
	}
	return out, inherited
}

func buildResources(r rawResources) spec.Resources {
	var out spec.Resources
	for _, e := range r.entries {
		out = out.Set(e.name, e.amount)
	}
	return out
}

func buildLimit(l *rawLimit) spec.Limit {
	return spec.Limit{
		Name: l.name, Users: plain(l.users), Groups: plain(l.groups),
		Max: buildResources(l.max), MaxApps: l.maxApps.value,
	}
}

func plain(list []text) []string {
	var out []string
	for _, t := range list {
		out = append(out, t.text)
	}
	return out
}

func buildRule(rule *rawRule) *spec.PlacementRule {
	out := &spec.PlacementRule{
		Name: strings.ToLower(rule.name.text), Value: strings.TrimSpace(rule.value.text), Create: rule.create,
		Filter: spec.RuleFilter{
			Type: strings.ToLower(rule.filter.kind.text), Users: plain(rule.filter.users), Groups: plain(rule.filter.groups),
		},
	}
	if rule.parent != nil {
		out.Parent = buildRule(rule.parent)
	}
	return out
}
