package route

import (
	"regexp"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/config"
)

// filter limits a rule to users and groups.
type filter struct {
	any, deny     bool
	users, groups names
}

// names is a list of names; a single entry may be a regular expression.
type names struct {
	list    []string
	pattern *regexp.Regexp
}

func filterOf(f *spec.RuleFilter) filter {
	return filter{
		any: len(f.Users) == 0 && len(f.Groups) == 0, deny: strings.EqualFold(f.Type, "deny"),
		users: namesOf(f.Users), groups: namesOf(f.Groups),
	}
}

func namesOf(list []string) names {
	out := names{list: list}
	if len(list) == 1 && config.IsPattern(list[0]) {
		if re, err := regexp.Compile(list[0]); err == nil {
			out.pattern = re
		}
	}
	return out
}

// passes says whether the filter lets the job through. An empty one does.
func (f *filter) passes(j *Job) bool {
	if f.any {
		return true
	}
	return (f.users.has(j.User) || slices.ContainsFunc(j.Groups, f.groups.has)) != f.deny
}

func (n *names) has(name string) bool {
	return slices.Contains(n.list, name) || n.pattern != nil && name != "" && n.pattern.MatchString(name)
}
