// Package route finds the queue of a job: the one that it names, or the one that the
// placement rules of the queue configuration give it, by YuniKorn's rules.
package route

import (
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
)

// Job is what the rules look at.
type Job struct {
	Queue     string // as the job names it: a full path, or one below root; "" if none
	User      string
	Groups    []string
	Namespace string
}

// Router knows one queue tree. It is a value that nobody changes.
type Router struct {
	leaves map[string]string // by path in lower case: the path as configured
	inner  map[string]bool
	rules  []spec.PlacementRule
}

// fallback is the queue of jobs that no rule places, if there is one (YuniKorn's).
const fallback = "root.default"

// New returns the router of a tree.
func New(tree spec.Tree) *Router {
	r := &Router{leaves: map[string]string{}, inner: map[string]bool{}, rules: tree.Rules}
	if len(r.rules) == 0 { // YuniKorn: no rules is one rule
		r.rules = []spec.PlacementRule{{Name: "provided"}}
	}
	if tree.Root != nil {
		r.add(tree.Root, tree.Root.Name)
	}
	return r
}

func (r *Router) add(q *spec.Queue, path string) {
	if len(q.Children) == 0 && !q.Parent {
		r.leaves[strings.ToLower(path)] = path
		return
	}
	r.inner[strings.ToLower(path)] = true
	for _, c := range q.Children {
		r.add(c, path+"."+c.Name)
	}
}

// Queue is the full path of the job's leaf. The error says which queue is missing.
func (r *Router) Queue(j Job) (string, error) {
	missing := ""
	for i := range r.rules {
		path := r.apply(&r.rules[i], &j)
		if path == "" {
			continue
		}
		if leaf, ok := r.leaves[strings.ToLower(path)]; ok {
			return leaf, nil
		}
		if missing == "" {
			missing = path
		}
	}
	if leaf, ok := r.leaves[fallback]; ok && j.Queue == "" {
		return leaf, nil
	}
	switch {
	case missing == "" && j.Queue == "":
		return "", fmt.Errorf("the job names no queue, no placement rule gives it one, and there is no queue %s; set the label muster.dev/queue (or queue)", fallback)
	case missing == "":
		return "", fmt.Errorf("no placement rule takes the queue %q that the job names", j.Queue)
	case r.inner[strings.ToLower(missing)]:
		return "", fmt.Errorf("queue %s has children; jobs go into leaves", missing)
	}
	return "", fmt.Errorf("queue %s is not in the configuration", missing)
}

// apply is the path that a rule gives the job, "" if it gives none.
func (r *Router) apply(rule *spec.PlacementRule, j *Job) string {
	if !passes(&rule.Filter, j) {
		return ""
	}
	name := ""
	switch strings.ToLower(rule.Name) {
	case "provided":
		name = strings.TrimSpace(j.Queue)
		if !qualified(name) && !strings.Contains(name, ".") && rule.Parent != nil {
			name = escape(name)
		}
	case "user":
		name = escape(j.User)
	case "fixed":
		name = strings.TrimSpace(rule.Value)
	case "tag":
		if strings.EqualFold(strings.TrimSpace(rule.Value), "namespace") { // the one tag that every pod has
			name = escape(j.Namespace)
		}
	}
	if name == "" || qualified(name) {
		return name
	}
	parent := "root"
	if rule.Parent != nil {
		if parent = r.apply(rule.Parent, j); parent == "" {
			return ""
		}
	}
	return parent + "." + name
}

func qualified(path string) bool {
	return strings.EqualFold(path, "root") || len(path) > 5 && strings.EqualFold(path[:5], "root.")
}

// escape keeps a name one part of a path (YuniKorn's replacement).
func escape(name string) string { return strings.ReplaceAll(name, ".", "_dot_") }

// passes says whether a rule's filter lets the job through. An empty one does.
func passes(f *spec.RuleFilter, j *Job) bool {
	if len(f.Users) == 0 && len(f.Groups) == 0 {
		return true
	}
	in := matches(f.Users, j.User) || slices.ContainsFunc(j.Groups, func(g string) bool { return matches(f.Groups, g) })
	return in != strings.EqualFold(f.Type, "deny")
}

// matches compares with a list of names; a single entry may be a regular expression.
func matches(list []string, name string) bool {
	if slices.Contains(list, name) {
		return true
	}
	if len(list) != 1 || name == "" {
		return false
	}
	re, err := regexp.Compile(list[0])
	return err == nil && regexp.QuoteMeta(list[0]) != list[0] && re.MatchString(name)
}
