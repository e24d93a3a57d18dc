package route_test

import (
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/route"
)

func tree(rules ...spec.PlacementRule) spec.Tree {
	leaf := func(name string) *spec.Queue { return &spec.Queue{Name: name} }
	return spec.Tree{Rules: rules, Root: &spec.Queue{Name: "root", Children: []*spec.Queue{
		{Name: "org", Children: []*spec.Queue{leaf("Team"), leaf("sue"), leaf("a_dot_b")}},
		leaf("default"),
		{Name: "empty", Parent: true},
	}}}
}

func TestAJobFindsItsQueueByYuniKornsRules(t *testing.T) {
	provided := spec.PlacementRule{Name: "provided"}
	org := &spec.PlacementRule{Name: "fixed", Value: "root.org"}
	for _, c := range []struct {
		name  string
		rules []spec.PlacementRule
		job   route.Job
		want  string // a path, or a part of the error
	}{
		{"a full path", nil, route.Job{Queue: "root.org.Team"}, "root.org.Team"},
		{"a path below root", nil, route.Job{Queue: "org.team"}, "root.org.Team"},
		{"no name: root.default", nil, route.Job{}, "root.default"},
		{"an unknown name does not fall back", nil, route.Job{Queue: "nowhere"}, "queue root.nowhere is not in the configuration"},
		{"a parent", nil, route.Job{Queue: "root.org"}, "jobs go into leaves"},
		{"a parent without children", nil, route.Job{Queue: "empty"}, "jobs go into leaves"},
		{"by namespace", []spec.PlacementRule{{Name: "tag", Value: "namespace", Parent: org}}, route.Job{Namespace: "team"}, "root.org.Team"},
		{"a dot in a name", []spec.PlacementRule{{Name: "user", Parent: org}}, route.Job{User: "a.b"}, "root.org.a_dot_b"},
		{"the first rule that finds one", []spec.PlacementRule{provided, {Name: "user", Parent: org}}, route.Job{User: "sue"}, "root.org.sue"},
		{"a rule whose queue is missing is passed over", []spec.PlacementRule{provided, {Name: "user", Parent: org}}, route.Job{User: "sue", Queue: "x"}, "root.org.sue"},
		{"denied by filter", []spec.PlacementRule{{Name: "fixed", Value: "root.org.team", Filter: spec.RuleFilter{Type: "deny", Users: []string{"sue"}}}}, route.Job{User: "sue"}, "root.default"},
		{"allowed by a group's pattern", []spec.PlacementRule{{Name: "fixed", Value: "root.org.team", Filter: spec.RuleFilter{Groups: []string{"ml-.*"}}}}, route.Job{User: "sue", Groups: []string{"ml-x"}}, "root.org.Team"},
		{"no rule takes the name", []spec.PlacementRule{{Name: "user"}}, route.Job{Queue: "org.team"}, `no placement rule takes the queue "org.team"`},
		{"provided below a parent rule", []spec.PlacementRule{{Name: "provided", Parent: org}}, route.Job{Queue: "team"}, "root.org.Team"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := route.New(tree(c.rules...)).Queue(c.job)
			if err != nil {
				got = err.Error()
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) {
				t.Errorf("got %q, want %q", got, c.want)
			}
		})
	}
}

func TestWithoutADefaultQueueTheErrorSaysWhatToSet(t *testing.T) {
	_, err := route.New(spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "a"}}}}).Queue(route.Job{})
	if err == nil || !strings.Contains(err.Error(), "muster.dev/queue") {
		t.Errorf("got %v", err)
	}
}
