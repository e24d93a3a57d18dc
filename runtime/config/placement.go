package config

import (
	"regexp"
	"slices"
	"strings"
)

// The tags that jobs have for tag rules, in lower case.
const (
	TagNamespace   = "namespace"             // the pods' namespace
	TagParentQueue = "namespace.parentqueue" // its annotation yunikorn.apache.org/parentqueue
)

func checkPlacement(r *report, p *rawPartition) {
	for _, rule := range p.rules {
		if checkRule(r, rule) {
			checkRulePath(r, p.root, rule)
		}
	}
}

// checkRule judges a rule and its parents; false if its path makes no sense.
func checkRule(r *report, rule *rawRule) bool {
	ok := true
	if rule.parent != nil {
		ok = checkRule(r, rule.parent)
	}
	at := rule.name.at
	if !rule.name.set {
		at = rule.at
	}
	kind := strings.ToLower(rule.name.text)
	switch {
	case !rulePattern.MatchString(rule.name.text):
		r.errorf(at, CodeRuleName, "write user, fixed, provided or tag", "%q is not a name of a placement rule", rule.name.text)
		ok = false
	case kind == "fixed" || kind == "tag":
		ok = checkRuleValue(r, rule, kind, at) && ok
	case kind != "user" && kind != "provided":
		r.warnf(at, CodeUnknownRule, "write user, fixed, provided or tag",
			"there is no placement rule %q; it never places a job, and YuniKorn drops all rules for it", rule.name.text)
	}
	checkFilter(r, rule.filter)
	return ok
}

func checkRuleValue(r *report, rule *rawRule, kind string, at pos) bool {
	value := strings.TrimSpace(rule.value.text)
	switch {
	case value == "":
		r.errorf(at, CodeRuleValue, "fixed: the path of a queue; tag: the name of a tag", "rule %s needs a value", kind)
		return false
	case kind == "tag":
		if tag := strings.ToLower(value); tag != TagNamespace && tag != TagParentQueue {
			r.warnf(rule.value.at, CodeUnknownTag, "write "+TagNamespace+" or "+TagParentQueue,
				"no job has a tag %q; the rule never places one", value)
		}
		return true
	}
	for part := range strings.SplitSeq(value, ".") {
		if !queuePattern.MatchString(part) {
			r.errorf(rule.value.at, CodeRuleValue, "each part: "+queueHint, "%q in %q is not a name of a queue", part, value)
			return false
		}
	}
	if qualified(value) && rule.parent != nil {
		r.errorf(rule.value.at, CodeRuleQualified, "drop the parent rule, or the root. of the value",
			"a fixed rule with the full path %q can't have a parent rule", value)
		return false
	}
	return true
}

func qualified(path string) bool {
	path = strings.ToLower(path)
	return path == rootName || strings.HasPrefix(path, rootName+".")
}

func checkFilter(r *report, f rawFilter) {
	switch kind := f.kind.text; {
	case kind == "" || kind == "allow" || kind == "deny":
	case strings.EqualFold(kind, "deny"):
		r.warnf(f.kind.at, CodeFilterCase, "write deny", "Muster reads filter type %q as deny; YuniKorn acts on it as allow", kind)
	case strings.EqualFold(kind, "allow"):
		r.warnf(f.kind.at, CodeFilterCase, "write allow", "filter type %q is read as allow", kind)
	default:
		r.errorf(f.kind.at, CodeRuleFilterType, "write allow or deny", "a filter has no type %q", kind)
	}
	checkFilterNames(r, f.users, limitUser, "user")
	checkFilterNames(r, f.groups, limitGroup, "group")
}

// IsPattern says whether the single entry of a filter's list is a regular expression. One
// without any of the characters that no name has is a name: the dot of ada.smith is a dot.
func IsPattern(text string) bool { return regexpCharacter.MatchString(text) }

// checkFilterNames: a single entry may be a regular expression; in a longer list
// all are names, and YuniKorn drops those that are not.
func checkFilterNames(r *report, list []text, pattern *regexp.Regexp, kind string) {
	for _, t := range list {
		if pattern.MatchString(t.text) {
			continue
		}
		if len(list) > 1 {
			r.warnf(t.at, CodeFilterName, "a regular expression must be the only entry",
				"%q is not a name of a %s and is ignored", t.text, kind)
			continue
		}
		if _, err := regexp.Compile(t.text); err != nil || !IsPattern(t.text) {
			r.errorf(t.at, CodeRuleFilterName, "", "%q is neither a name of a %s nor a regular expression", t.text, kind)
		}
	}
}

// checkRulePath compares the part of a rule's path that is known beforehand with
// the configured queues: fixed rules from the outermost parent on, up to the
// first rule whose result depends on the job.
func checkRulePath(r *report, root *rawQueue, rule *rawRule) {
	var chain []*rawRule
	for at := rule; at != nil; at = at.parent {
		chain = append(chain, at)
	}
	slices.Reverse(chain)
	var path []string
	dynamic := false
	for _, c := range chain {
		if dynamic = strings.ToLower(c.name.text) != "fixed"; dynamic {
			break
		}
		path = append(path, strings.Split(strings.ToLower(strings.TrimSpace(c.value.text)), ".")...)
	}
	if len(path) == 0 {
		return
	}
	if path[0] == rootName {
		path = path[1:]
	}
	last := chain[len(chain)-1]
	at := last.value.at
	if !last.value.set {
		at = last.at
	}
	followPath(r, root, path, rulePath{at, rule.create, dynamic})
}

type rulePath struct {
	at      pos
	create  bool
	dynamic bool // goes on below path, with a name that depends on the job
}

func followPath(r *report, q *rawQueue, path []string, rule rulePath) {
	full := strings.Join(append([]string{rootName}, path...), ".")
	for _, part := range path {
		i := slices.IndexFunc(q.children, func(c *rawQueue) bool { return c.lower == part })
		switch {
		case i >= 0:
			q = q.children[i]
			continue
		case !q.isParent():
			r.errorf(rule.at, CodeRuleQueueLeaf, "set parent: true on "+q.path, "%s can't be created: %s is a leaf", full, q.path)
		case !rule.create:
			r.errorf(rule.at, CodeRuleNoQueue, "configure the queue, or set create: true", "queue %s does not exist below %s", full, q.path)
		}
		return
	}
	switch {
	case rule.dynamic && !q.isParent():
		r.errorf(rule.at, CodeRuleQueueLeaf, "set parent: true on "+q.path, "the rule goes on below %s, which is a leaf", q.path)
	case !rule.dynamic && q.isParent():
		r.errorf(rule.at, CodeRuleQueueParent, "name a leaf", "the rule ends at %s, which is a parent and holds no jobs", q.path)
	}
}
