package config

import (
	"regexp"
	"slices"
	"strings"
)

// ACL is whom a submitacl or an adminacl lets in.
type ACL struct {
	Everyone      bool
	Users, Groups []string
}

// ParseACL reads YuniKorn's "users groups": lists of names with commas between them. A list
// that is * lets everyone in; "" lets nobody in. As in YuniKorn, what is no name is left
// out; Parse warns of it.
func ParseACL(text string) ACL {
	users, groups, _ := strings.Cut(text, " ")
	return ACL{
		Everyone: strings.TrimSpace(text) == wildcard || users == wildcard || groups == wildcard,
		Users:    aclNames(users, aclUser), Groups: aclNames(groups, aclGroup),
	}
}

func aclNames(list string, pattern *regexp.Regexp) (out []string) {
	for name := range strings.SplitSeq(list, ",") {
		if pattern.MatchString(name) {
			out = append(out, name)
		}
	}
	return out
}

// Allows says whether the ACL names the user or one of the groups.
func (a *ACL) Allows(user string, groups []string) bool {
	return a.Everyone || slices.Contains(a.Users, user) ||
		slices.ContainsFunc(groups, func(g string) bool { return slices.Contains(a.Groups, g) })
}

// hasACL says whether the queue says who may submit to it. Where no queue of a file does
// every queue is everybody's; where some does, one without an ACL on its path is nobody's,
// as all of them are in YuniKorn.
func hasACL(q *rawQueue) bool {
	return strings.TrimSpace(q.submit.text) != "" || strings.TrimSpace(q.admin.text) != ""
}

// guarded says whether the queue, or any below it, has an ACL.
func guarded(q *rawQueue) bool { return hasACL(q) || slices.ContainsFunc(q.children, guarded) }

// checkReach warns of queues to which no ACL lets anybody, the uppermost of them; false is
// that nobody gets to the queue or to any below it.
func checkReach(r *report, q *rawQueue) (reached bool) {
	if hasACL(q) {
		return true
	}
	var closed []*rawQueue
	for _, c := range q.children {
		if !checkReach(r, c) {
			closed = append(closed, c)
		}
	}
	if len(closed) == len(q.children) && q.up != nil {
		return false
	}
	for _, c := range closed {
		r.warnf(c.nameAt(), CodeNobodyMay, "write a submitacl there or above; '*' is everybody",
			"nobody may submit to queue %s: it has no submitacl or adminacl, nor has a queue above, and others have one", c.path)
	}
	return true
}
