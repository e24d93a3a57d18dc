package config

import (
	"errors"
	"math"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/goccy/go-yaml/ast"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// The keys of each mapping: YuniKorn's (the lower-cased field names of its Go
// types, unknown ones refused), then Muster's.
var (
	fileKeys      = []string{"partitions", "checksum"}
	partitionKeys = []string{
		"name", "queues", "placementrules", "limits", "preemption", "nodesortpolicy", "usergroupresolver",
		"placement", "usageHalfLife", "useMaxAge",
	}
	musterQueueKeys = []string{"weight", "policies", "strictFIFO", "reserveAfter", "minRuntime", "preemption"}
	templateKeys    = slices.Concat([]string{"maxapplications", "properties", "resources"}, musterQueueKeys)
	queueKeys       = slices.Concat(
		[]string{"name", "parent", "queues", "adminacl", "submitacl", "childtemplate", "limits"}, templateKeys)
	limitKeys     = []string{"limit", "users", "groups", "maxresources", "maxapplications"}
	ruleKeys      = []string{"name", "create", "value", "filter", "parent"}
	filterKeys    = []string{"type", "users", "groups"}
	resourceKeys  = []string{"guaranteed", "max"}
	policyKeys    = []string{"jobOrder", "fairness", "victims"}
	preemptKeys   = []string{"policy", "delay", "idleAfter", "idleGrace"}
	partitionPre  = []string{"enabled", "quotapreemptionenabled"}
	nodeSortKeys  = []string{"type", "resourceweights"}
	resolverKeys  = []string{"type"}
	placements    = []string{"fragmentation", "binpack", "spread"}
	preemptValues = []string{string(spec.PreemptionDefault), string(spec.PreemptionFence), string(spec.PreemptionDisabled)}
)

// policyName is what a policy may be called: built in, or loaded by that name.
var policyName = regexp.MustCompile(`^[a-zA-Z0-9][a-zA-Z0-9_./@:-]{0,127}$`)

func decodeFile(r *reader, n ast.Node) *rawFile {
	f := &rawFile{}
	r.object(n, "the file", fileKeys, "a configuration starts with partitions:", func(key text, v ast.Node) {
		if key.text == "checksum" {
			r.text(v, "checksum")
			return
		}
		list, _ := r.items(v, "partitions", "write - name: default below it")
		for _, p := range list {
			f.partitions = append(f.partitions, r.partition(p))
		}
	})
	return f
}

func (r *reader) partition(n ast.Node) *rawPartition {
	p := &rawPartition{at: nodePos(n), preemption: PartitionPreemption{Enabled: true}}
	r.object(n, "a partition", partitionKeys, "", func(key text, v ast.Node) {
		switch key.text {
		case "name":
			p.name = r.text(v, "name")
		case "queues":
			p.queuesAt = key.at
			p.queues, p.hasQueues = r.queueList(v, 1)
		case "placementrules":
			p.rules = r.ruleList(v)
		case "limits":
			p.limits, p.limitsAt = r.limitList(v), key.at
		case "placement":
			p.placement = r.word(v, "placement", placements)
		case "usageHalfLife":
			p.halfLife = r.span(v, "usageHalfLife")
		case "useMaxAge":
			p.useMaxAge = r.span(v, "useMaxAge")
		case "preemption":
			r.partitionPreemption(v, p)
		case "nodesortpolicy":
			r.nodeSort(v, p)
		case "usergroupresolver":
			r.object(v, "usergroupresolver", resolverKeys, "write usergroupresolver: {type: os}", func(_ text, v ast.Node) {
				p.resolver = r.text(v, "type")
			})
		}
	})
	return p
}

func (r *reader) partitionPreemption(n ast.Node, p *rawPartition) {
	r.object(n, "preemption of a partition", partitionPre, "write preemption: {enabled: true}", func(key text, v ast.Node) {
		if key.text == "enabled" {
			p.preemption.Enabled = r.boolean(v, "enabled", true)
			return
		}
		p.preemption.Quota = r.boolean(v, "quotapreemptionenabled", false)
		if p.preemption.Quota {
			r.report.warnf(key.at, CodeNotApplied, "", "preemption after a lowered max is not in this version of Muster")
		}
	})
}

func (r *reader) nodeSort(n ast.Node, p *rawPartition) {
	r.object(n, "nodesortpolicy", nodeSortKeys, "write nodesortpolicy: {type: fair}", func(key text, v ast.Node) {
		if key.text == "type" {
			p.sortType = r.text(v, "type")
			return
		}
		list, _ := r.pairs(v, "resourceweights", "write {vcore: 1, memory: 1}")
		if len(list) > 0 {
			p.weights = map[string]float64{}
			r.report.warnf(key.at, CodeNotApplied, "Muster's placement weighs by the request and the node's free shape",
				"resourceweights have no effect in Muster")
		}
		for _, e := range list {
			p.weights[e.key.text] = r.weight(e)
		}
	})
}

func (r *reader) weight(e pair) float64 {
	t := r.text(e.value, "a resource weight")
	w, err := strconv.ParseFloat(t.text, 64)
	switch {
	case err != nil || math.IsNaN(w) || math.IsInf(w, 0):
		r.report.errorf(t.at, CodeNodeWeight, "", "the weight of %s must be a number, not %q", e.key.text, t.text)
	case w < 0:
		r.report.errorf(t.at, CodeNodeWeight, "use 0 to ignore a resource", "the weight of %s is negative", e.key.text)
	}
	return w
}

// word reads one of a few words; an absent or wrong one is "".
func (r *reader) word(n ast.Node, what string, words []string) string {
	t := r.text(n, what)
	if !t.set || slices.Contains(words, t.text) {
		return t.text
	}
	r.report.errorf(t.at, CodeBadValue, "write "+strings.Join(words, ", "), "%s has no value %q", what, t.text)
	return ""
}

// queueList reads the queues of one level; set is false if the key is absent or null.
func (r *reader) queueList(n ast.Node, level int) (queues []*rawQueue, set bool) {
	list, set := r.items(n, "queues", "write - name: NAME below it")
	for _, e := range list {
		if level > MaxDepth {
			r.report.errorf(nodePos(e), CodeTooDeep, "flatten the tree", "queues are nested deeper than %d levels", MaxDepth)
			return queues, set
		}
		if r.queues++; r.queues > MaxQueues {
			if r.queues == MaxQueues+1 {
				r.report.errorf(nodePos(e), CodeTooManyQueues, "use placement rules that create queues", "more than %d queues", MaxQueues)
			}
			return queues, set
		}
		queues = append(queues, r.queue(e, level))
	}
	return queues, set
}

func (r *reader) queue(n ast.Node, level int) *rawQueue {
	q := &rawQueue{at: nodePos(n)}
	ok := r.object(n, "a queue", queueKeys, "", func(key text, v ast.Node) {
		switch key.text {
		case "name":
			q.name = r.text(v, "name")
			q.lower = strings.ToLower(q.name.text)
		case "parent":
			q.parent = r.boolean(v, "parent", false)
		case "queues":
			q.children, _ = r.queueList(v, level+1)
		case "adminacl":
			q.admin = r.text(v, key.text)
		case "submitacl":
			q.submit = r.text(v, key.text)
		case "limits":
			q.limits = r.limitList(v)
		case "childtemplate":
			q.template = r.template(v)
		default:
			r.queueField(q, key, v)
		}
	})
	q.broken = !ok
	if _, alias := n.(*ast.AliasNode); !ok && !alias && isNull(r.bare(n)) {
		r.report.errorf(q.at, CodeWrongType, "write - name: NAME", "a queue must be a mapping, not empty")
	}
	return q
}

func (r *reader) template(n ast.Node) *rawQueue {
	t := &rawQueue{at: nodePos(n)}
	if !r.object(n, "childtemplate", templateKeys, "", func(key text, v ast.Node) { r.queueField(t, key, v) }) {
		return nil
	}
	// YuniKorn drops properties without a value from a template.
	t.properties = slices.DeleteFunc(t.properties, func(p property) bool { return p.value.text == "" })
	return t
}

// queueField reads the keys that a queue and a template share.
func (r *reader) queueField(q *rawQueue, key text, v ast.Node) {
	switch key.text {
	case "maxapplications":
		q.maxApps = r.integer(v, key.text)
	case "resources":
		r.object(v, "resources", resourceKeys, "", func(key text, v ast.Node) {
			if key.text == "max" {
				q.max, _ = r.resources(v, "max")
				return
			}
			q.guaranteed, _ = r.resources(v, "guaranteed")
		})
	case "properties":
		list, _ := r.pairs(v, "properties", "write {name: value}")
		for _, p := range list {
			q.properties = append(q.properties, property{p.key, r.text(p.value, "property "+p.key.text)})
		}
	default:
		r.musterField(&q.muster, key, v)
	}
}

func (r *reader) musterField(m *musterKeys, key text, v ast.Node) {
	switch key.text {
	case "weight":
		m.weight = r.integer(v, "weight").value
	case "strictFIFO":
		m.strictFIFO = r.boolean(v, "strictFIFO", false)
	case "reserveAfter":
		m.reserveAfter = r.duration(v, "reserveAfter", true)
	case "minRuntime":
		m.minRuntime = r.duration(v, "minRuntime", false)
	case "policies":
		r.object(v, "policies", policyKeys, "", func(key text, v ast.Node) {
			to := map[string]*string{"jobOrder": &m.jobOrder, "fairness": &m.fairness, "victims": &m.victims}
			*to[key.text] = r.policy(v, key.text)
			if key.text == "fairness" {
				m.fairnessAt = key.at
			}
		})
	case "preemption":
		r.object(v, "preemption of a queue", preemptKeys, "write preemption: {policy: fence, delay: 30s}", func(key text, v ast.Node) {
			r.preemptionField(m, key, v)
		})
	}
}

func (r *reader) preemptionField(m *musterKeys, key text, v ast.Node) {
	switch key.text {
	case "policy":
		m.preemption = r.word(v, "preemption policy", preemptValues)
	case "delay":
		m.delay = r.duration(v, "preemption delay", false)
	case "idleAfter":
		m.idleAfter = r.duration(v, "idleAfter", true)
	case "idleGrace":
		m.idleGrace = r.duration(v, "idleGrace", false)
	}
}

func (r *reader) policy(n ast.Node, what string) string {
	t := r.text(n, what)
	if !t.set || policyName.MatchString(t.text) {
		return t.text
	}
	r.report.errorf(t.at, CodeBadValue, "letters, digits and _ . / @ : -, at most 128", "%q is not a name of a policy", t.text)
	return ""
}

// resources reads a map of quantities; bad is true if one could not be read.
func (r *reader) resources(n ast.Node, what string) (out rawResources, bad bool) {
	list, ok := r.pairs(n, what, "write {vcore: 8, memory: 64Gi}")
	out = rawResources{at: nodePos(n), set: ok}
	for _, p := range list {
		name := amount.Canonical(p.key.text)
		if p.key.text == amount.CPUName {
			r.report.warnf(p.key.at, CodeCPU, "write vcore, which both understand",
				"Muster reads cpu as vcore; YuniKorn would take it for a resource that no node has")
		}
		t := r.text(p.value, "a quantity")
		a, err := amount.Parse(name, t.text)
		if _, twice := out.get(name); twice {
			r.report.errorf(p.key.at, CodeDuplicateResource, "keep one of vcore and cpu", "%s gives %s twice", what, written(name))
			continue
		}
		if err != nil {
			r.quantity(t, what, p.key.text, err)
			bad = true
			continue
		}
		out.entries = append(out.entries, rawAmount{t.at, name, a})
	}
	slices.SortFunc(out.entries, func(a, b rawAmount) int { return strings.Compare(a.name, b.name) })
	return out, bad
}

func (r *reader) quantity(t text, what, name string, err error) {
	hint := ""
	var q *amount.QuantityError
	if errors.As(err, &q) {
		hint = q.Hint
	}
	r.report.errorf(t.at, CodeQuantity, hint, "%s of %s: %v", what, name, err)
}

func (r *reader) limitList(n ast.Node) []*rawLimit {
	list, _ := r.items(n, "limits", "write - limit: TEXT below it")
	out := make([]*rawLimit, 0, len(list))
	for _, e := range list {
		l := &rawLimit{at: nodePos(e)}
		r.object(e, "a limit", limitKeys, "", func(key text, v ast.Node) {
			switch key.text {
			case "limit":
				l.name = r.text(v, "limit").text
			case "users":
				l.users = r.texts(v, "users")
			case "groups":
				l.groups = r.texts(v, "groups")
			case "maxresources":
				l.max, l.bad = r.resources(v, "maxresources")
			case "maxapplications":
				l.maxApps = r.integer(v, "maxapplications")
			}
		})
		out = append(out, l)
	}
	return out
}

func (r *reader) ruleList(n ast.Node) []*rawRule {
	list, _ := r.items(n, "placementrules", "write - name: provided below it")
	out := make([]*rawRule, 0, len(list))
	for _, e := range list {
		out = append(out, r.rule(e))
	}
	return out
}

func (r *reader) rule(n ast.Node) *rawRule {
	rule := &rawRule{at: nodePos(n)}
	r.object(n, "a placement rule", ruleKeys, "", func(key text, v ast.Node) {
		switch key.text {
		case "name":
			rule.name = r.text(v, "name")
		case "create":
			rule.create = r.boolean(v, "create", false)
		case "value":
			rule.value = r.text(v, "value")
		case "filter":
			rule.filter = r.filter(v)
		case "parent":
			if !isNull(r.bare(v)) {
				rule.parent = r.rule(v)
			}
		}
	})
	return rule
}

func (r *reader) filter(n ast.Node) (f rawFilter) {
	r.object(n, "a filter", filterKeys, "write filter: {type: allow, users: [a]}", func(key text, v ast.Node) {
		switch key.text {
		case "type":
			f.kind = r.text(v, "type")
		case "users":
			f.users = r.texts(v, "users")
		case "groups":
			f.groups = r.texts(v, "groups")
		}
	})
	return f
}
