package config

import (
	"maps"
	"regexp"
	"slices"
	"strconv"
)

// checkLimits judges the limits of one queue.
func checkLimits(r *report, q *rawQueue) {
	users := subjects{kind: "user", pattern: limitUser, seen: map[string]pos{}}
	groups := subjects{kind: "group", pattern: limitGroup, seen: map[string]pos{}}
	for _, l := range q.limits {
		if len(l.users) == 0 && len(l.groups) == 0 {
			r.errorf(l.at, CodeLimitNoSubject, `name users or groups: users: ["*"]`, "limit %q of queue %s has neither users nor groups", l.name, q.path)
		}
		for _, u := range l.users {
			users.add(r, u)
		}
		for _, g := range l.groups {
			groups.add(r, g)
		}
		checkLimitAmounts(r, q, l)
	}
	if at, has := groups.seen[wildcard]; has && len(groups.seen) == 1 {
		r.errorf(at, CodeLimitWildcardOnly, "group * is all other groups together; name a group before it, or use the queue's max",
			"queue %s has a limit for group * but for no named group", q.path)
	}
}

// subjects are the users, or groups, that the limits of one queue have named.
type subjects struct {
	kind    string
	pattern *regexp.Regexp
	seen    map[string]pos
}

func (s *subjects) add(r *report, t text) {
	if t.text != wildcard && !s.pattern.MatchString(t.text) {
		r.errorf(t.at, CodeLimitName, "letters, digits and : _ . - (users also # / @ and a final $), or *",
			"%q is not a name of a %s", t.text, s.kind)
		return
	}
	if first, dup := s.seen[t.text]; dup {
		r.errorf(t.at, CodeLimitDuplicate, "one limit per name and queue", "%s %s already has a limit at line %d", s.kind, t.text, first.line)
		return
	}
	if star, has := s.seen[wildcard]; has {
		r.errorf(t.at, CodeLimitWildcardLast, "move the limit of * to the end", "%s %s stands after the * of line %d", s.kind, t.text, star.line)
	}
	s.seen[t.text] = t.at
}

func checkLimitAmounts(r *report, q *rawQueue, l *rawLimit) {
	switch {
	case l.bad || l.maxApps.bad:
	case len(l.max.entries) > 0 && l.max.zero():
		r.errorf(l.max.at, CodeLimitZero, "give at least one amount above 0", "limit %q of queue %s has only zero amounts", l.name, q.path)
	case len(l.max.entries) == 0 && l.maxApps.value == 0:
		r.errorf(l.at, CodeLimitEmpty, "give maxresources or maxapplications", "limit %q of queue %s limits nothing", l.name, q.path)
	}
	if q.maxApps.value != 0 && l.maxApps.value > q.maxApps.value {
		r.errorf(l.maxApps.at, CodeLimitAboveQueue, "a user can't have more than the queue",
			"maxapplications %d of limit %q is above the %d of queue %s", l.maxApps.value, l.name, q.maxApps.value, q.path)
	}
	for _, e := range l.max.entries {
		if top, ok := q.max.get(e.name); ok && e.amount > top.amount && q.up != nil {
			r.errorf(e.at, CodeLimitAboveQueue, "a user can't have more than the queue",
				"%s of limit %q is above the max %s of queue %s", show(e), l.name, show(top), q.path)
		}
	}
}

// bound is what the ancestors leave to one user or group.
type bound struct {
	max  []rawAmount // smallest of each resource on the path, sorted by name
	apps int64       // 0 = unlimited
	// skipped is set if a queue in between has limits, but none for this subject:
	// YuniKorn then forgets the ancestor in its check, though not when it counts.
	skipped bool
}

type subject struct{ kind, name string } // kind is user or group

type bounds map[subject]bound

// find falls back to the wildcard, which holds for everyone without a limit.
func (b bounds) find(kind, name string) (bound, bool) {
	v, ok := b[subject{kind, name}]
	if !ok {
		v, ok = b[subject{kind, wildcard}]
	}
	return v, ok
}

// checkLimitTree compares the limits of each subject with those above it.
func checkLimitTree(r *report, root *rawQueue) { checkLimitsBelow(r, root, bounds{}) }

func checkLimitsBelow(r *report, q *rawQueue, above bounds) {
	inside := above
	if len(q.limits) > 0 {
		inside = bounds{}
		if len(q.children) > 0 {
			maps.Copy(inside, above)
		}
		for k, b := range inside { // every entry alike: the order has no effect
			b.skipped = true
			inside[k] = b
		}
	}
	for _, l := range q.limits {
		for _, u := range l.users {
			inside[subject{"user", u.text}] = above.compare(r, q, l, "user", u)
		}
		for _, g := range l.groups {
			inside[subject{"group", g.text}] = above.compare(r, q, l, "group", g)
		}
	}
	for _, c := range q.children {
		checkLimitsBelow(r, c, inside)
	}
}

// compare reports where a limit is above that of an ancestor, and returns what
// holds below this queue.
func (b bounds) compare(r *report, q *rawQueue, l *rawLimit, kind string, who text) bound {
	top, ok := b.find(kind, who.text)
	if !ok {
		return bound{max: l.max.entries, apps: l.maxApps.value}
	}
	tell := func(at pos, code, message string, args ...any) {
		if top.skipped {
			r.warnf(at, CodeLimitUnchecked, "the smaller one holds", message, args...)
			return
		}
		r.errorf(at, code, "lower it, or raise the limit above", message, args...)
	}
	for _, e := range l.max.entries {
		if i := slices.IndexFunc(top.max, func(t rawAmount) bool { return t.name == e.name }); i >= 0 && e.amount > top.max[i].amount {
			tell(e.at, CodeLimitAboveAncestor, "%s %s may have %s in queue %s, but only %s in a queue above",
				kind, who.text, show(e), q.path, show(top.max[i]))
		}
	}
	apps := l.maxApps.value
	if top.apps != 0 && (apps > top.apps || apps == 0) && !l.maxApps.bad {
		at := l.maxApps.at
		if at == (pos{}) {
			at = l.at
		}
		tell(at, CodeLimitAppsAboveAncestor, "%s %s may have %s applications in queue %s, but only %d in a queue above",
			kind, who.text, countOf(apps), q.path, top.apps)
	}
	return bound{max: smallest(top.max, l.max.entries), apps: smallestCount(top.apps, apps)}
}

func countOf(apps int64) string {
	if apps == 0 {
		return "unlimited"
	}
	return strconv.FormatInt(apps, 10)
}

func smallestCount(a, b int64) int64 {
	if a == 0 || b == 0 {
		return max(a, b)
	}
	return min(a, b)
}

func smallest(a, b []rawAmount) []rawAmount {
	out := slices.Clone(a)
	for _, e := range b {
		i := slices.IndexFunc(out, func(o rawAmount) bool { return o.name == e.name })
		switch {
		case i < 0:
			out = append(out, e)
		case e.amount < out[i].amount:
			out[i] = e
		}
	}
	return out
}

// mergeLimits makes the limits of the partition those of the root; both may be
// given only if they are the same.
func (p *rawPartition) mergeLimits(r *report) {
	switch {
	case len(p.limits) == 0:
	case len(p.root.limits) == 0:
		p.root.limits = p.limits
	case !slices.EqualFunc(p.limits, p.root.limits, sameLimit):
		r.errorf(p.limitsAt, CodeLimitsDiffer, "keep one of them", "the limits of partition %q and of its root queue differ", p.name.text)
	}
}

func sameLimit(a, b *rawLimit) bool {
	sameText := func(a, b text) bool { return a.text == b.text }
	sameAmount := func(a, b rawAmount) bool { return a.name == b.name && a.amount == b.amount }
	return a.name == b.name && a.maxApps.value == b.maxApps.value &&
		slices.EqualFunc(a.users, b.users, sameText) && slices.EqualFunc(a.groups, b.groups, sameText) &&
		slices.EqualFunc(a.max.entries, b.max.entries, sameAmount)
}
