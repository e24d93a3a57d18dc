package config

import (
	"regexp"
	"strings"
)

// Patterns of names, as YuniKorn has them. Users and groups of an ACL may have
// fewer characters than those of a limit.
var (
	queuePattern    = regexp.MustCompile(`^[a-zA-Z0-9_:#/@-]{1,64}$`)
	limitUser       = regexp.MustCompile(`^[_a-zA-Z][a-zA-Z0-9:#/_.@-]*[$]?$`)
	limitGroup      = regexp.MustCompile(`^[_a-zA-Z][a-zA-Z0-9:_.-]*$`)
	aclUser         = regexp.MustCompile(`^[_a-zA-Z][a-zA-Z0-9_.@-]*[$]?$`)
	aclGroup        = regexp.MustCompile(`^[_a-zA-Z][a-zA-Z0-9_-]*$`)
	rulePattern     = regexp.MustCompile(`^[_a-zA-Z][a-zA-Z0-9_]*$`)
	regexpCharacter = regexp.MustCompile(`[\\^$*+?()\[{}|]`)
)

const (
	rootName  = "root"
	wildcard  = "*"
	queueHint = "1 to 64 letters, digits and - _ # @ / :"
)

// checkStructure finds or inserts the root and names every path. It is false if
// there is no tree to check further.
func (p *rawPartition) checkStructure(r *report) bool {
	if !p.hasQueues {
		at := p.at
		if p.queuesAt != (pos{}) {
			at = p.queuesAt
		}
		r.errorf(at, CodeNoQueues, "write queues: with at least - name: root", "partition %q has no queues", p.name.text)
		return false
	}
	if len(p.queues) == 1 && p.queues[0].lower == rootName {
		p.root = p.queues[0]
	} else {
		p.insertRoot(r)
	}
	p.root.parent = true
	if q := p.root; q.guaranteed.set || q.max.set {
		at := q.guaranteed.at
		if !q.guaranteed.set || q.max.set && before(q.max.at, at) {
			at = q.max.at
		}
		r.errorf(at, CodeRootResources, "the root has what the nodes have; set it on the queues below",
			"the root queue must not have resources")
	}
	p.root.path = rootName
	checkChildren(r, p.root)
	return true
}

func before(a, b pos) bool { return a.line < b.line || a.line == b.line && a.col < b.col }

// insertRoot puts the root above queues that do not start with it.
func (p *rawPartition) insertRoot(r *report) {
	for _, q := range p.queues {
		if q.lower == rootName {
			r.warnf(q.nameAt(), CodeRootNested, "put its siblings below it",
				"root has siblings, so it becomes the queue root.root")
		}
	}
	p.root = &rawQueue{
		at: p.queuesAt, name: text{at: p.queuesAt, text: rootName, set: true}, lower: rootName, children: p.queues,
	}
}

func checkChildren(r *report, q *rawQueue) {
	seen := make(map[string]pos, len(q.children))
	for _, c := range q.children {
		c.up, c.path = q, q.path+"."+c.lower
		switch first, dup := seen[c.lower]; {
		case c.broken || c.name.bad:
		case !queuePattern.MatchString(c.name.text):
			r.errorf(c.nameAt(), CodeQueueName, queueHint, "%q is not a name of a queue (below %s)", c.name.text, q.path)
		case dup:
			r.errorf(c.nameAt(), CodeDuplicateQueue, "names of siblings must differ by more than upper and lower case",
				"queue %s is already defined at line %d", c.path, first.line)
		default:
			seen[c.lower] = c.nameAt()
		}
		checkChildren(r, c)
	}
}

// checkQueue judges what a queue says of itself alone.
func checkQueue(r *report, q *rawQueue) {
	checkACL(r, q.submit, "submitacl")
	checkACL(r, q.admin, "adminacl")
	checkProperties(r, q.properties)
	checkLimits(r, q)
	if q.up != nil {
		checkFairness(r, q.path, q)
	}
	if t := q.template; t != nil {
		checkFairness(r, q.path+" (childtemplate)", t)
		checkProperties(r, t.properties)
		checkOwnResources(r, q.path+" (childtemplate)", t)
	}
}

// checkFairness warns of a policy that nothing asks: fairness shares the whole pool, so that of
// the root decides for all queues. The other policies are inherited from any queue.
func checkFairness(r *report, path string, q *rawQueue) {
	if m := q.muster; m.fairness != "" {
		r.warnf(m.fairnessAt, CodeNotApplied, "fairness is decided at the root: set policies: {fairness: "+m.fairness+"} of the queue root",
			"policies.fairness of %s has no effect: only that of the root counts", path)
	}
}

// checkACL judges YuniKorn's "users groups". Its validator forgives repeated
// blanks, the loader behind it does not.
func checkACL(r *report, t text, what string) {
	trimmed := strings.TrimSpace(t.text)
	if trimmed == "" || trimmed == wildcard {
		return
	}
	parts := strings.Split(t.text, " ")
	if len(parts) > 2 || len(strings.Fields(t.text)) > 2 {
		r.errorf(t.at, CodeACLSpaces, `one space between users and groups: "alice,bob admins,dev"`,
			"%s %q has more than one space", what, t.text)
		return
	}
	for i, list := range parts {
		pattern, kind := aclUser, "user"
		if i == 1 {
			pattern, kind = aclGroup, "group"
		}
		if list == "" || list == wildcard {
			continue
		}
		for name := range strings.SplitSeq(list, ",") {
			if !pattern.MatchString(name) {
				r.warnf(t.at, CodeACLName, "letters, digits and _ - (users also . @ and a final $); * stands alone",
					"%s %q in %s is not a valid name and is ignored", kind, name, what)
			}
		}
	}
}

func checkNodeSort(r *report, p *rawPartition) {
	switch p.sortType.text {
	case "", "fair", "binpacking":
	default:
		r.errorf(p.sortType.at, CodeNodeSort, "write fair or binpacking", "nodesortpolicy has no type %q", p.sortType.text)
	}
	switch p.resolver.text {
	case "":
	case "os", "ldap", "test":
		r.warnf(p.resolver.at, CodeNotApplied, "have user.info written with the groups, as YuniKorn's admission controller does",
			"users have the groups that their pods tell; %s is not asked", p.resolver.text)
	default:
		r.warnf(p.resolver.at, CodeUnknownResolver, "write os or ldap, or leave it out",
			"there is no usergroupresolver %q; YuniKorn uses its default", p.resolver.text)
	}
}
