package route_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/config/grow"
	"github.com/musterhq/muster/runtime/kube/route"
)

func leaf(name string) *spec.Queue { return &spec.Queue{Name: name} }

func tree(rules ...spec.PlacementRule) spec.Tree {
	return spec.Tree{Rules: rules, Root: &spec.Queue{Name: "root", Children: []*spec.Queue{
		{Name: "org", Children: []*spec.Queue{leaf("Team"), leaf("sue"), leaf("a_dot_b")}},
		leaf("default"),
		{Name: "empty", Parent: true},
	}}}
}

func TestAJobFindsItsQueueByYuniKornsRules(t *testing.T) {
	provided := spec.PlacementRule{Name: "provided"}
	org := &spec.PlacementRule{Name: "fixed", Value: "root.org"}
	byParent := &spec.PlacementRule{Name: "tag", Value: "namespace.parentqueue"}
	for _, c := range []struct {
		name  string
		rules []spec.PlacementRule
		job   route.Job
		want  string // a path, or a part of the error
	}{
		{"a full path", nil, route.Job{Queue: "root.org.Team"}, "root.org.Team"},
		{"a path below root", nil, route.Job{Queue: "org.team"}, "root.org.Team"},
		{"a name with a dot", []spec.PlacementRule{{Name: "provided", Parent: org}}, route.Job{Queue: "a.b"}, "root.org.a_dot_b"},
		{"no name: root.default", nil, route.Job{}, "root.default"},
		{"an unknown name does not fall back", nil, route.Job{Queue: "nowhere"}, "queue root.nowhere is not in the configuration"},
		{"a parent", nil, route.Job{Queue: "root.org"}, "jobs go into leaves"},
		{"a parent without children", nil, route.Job{Queue: "empty"}, "jobs go into leaves"},
		{"by namespace", []spec.PlacementRule{{Name: "tag", Value: "namespace", Parent: org}}, route.Job{Namespace: "team"}, "root.org.Team"},
		{"a dot in a user's name", []spec.PlacementRule{{Name: "user", Parent: org}}, route.Job{User: "a.b"}, "root.org.a_dot_b"},
		{"the first rule that finds one", []spec.PlacementRule{provided, {Name: "user", Parent: org}}, route.Job{User: "sue"}, "root.org.sue"},
		{"a rule whose queue is missing is passed over", []spec.PlacementRule{provided, {Name: "user", Parent: org}}, route.Job{User: "sue", Queue: "x"}, "root.org.sue"},
		{"denied by filter", []spec.PlacementRule{{Name: "fixed", Value: "root.org.team", Filter: spec.RuleFilter{Type: "deny", Users: []string{"sue"}}}}, route.Job{User: "sue"}, "root.default"},
		{"allowed by a group's pattern", []spec.PlacementRule{{Name: "fixed", Value: "root.org.team", Filter: spec.RuleFilter{Groups: []string{"ml-.*"}}}}, route.Job{User: "sue", Groups: []string{"ml-x"}}, "root.org.Team"},
		{"a name with a dot in a filter is that name", []spec.PlacementRule{{Name: "fixed", Value: "root.org.team", Filter: spec.RuleFilter{Users: []string{"ada.smith"}}}}, route.Job{User: "ada.smith"}, "root.org.Team"},
		{"a name with a dot in a filter is no pattern for others", []spec.PlacementRule{{Name: "fixed", Value: "root.org.team", Filter: spec.RuleFilter{Users: []string{"ada.smith"}}}}, route.Job{User: "ada-smithers"}, "root.default"},
		{"a group with a dot in a filter is no pattern for others", []spec.PlacementRule{{Name: "fixed", Value: "root.org.team", Filter: spec.RuleFilter{Groups: []string{"ml.eu"}}}}, route.Job{User: "eve", Groups: []string{"ml-eu-guests"}}, "root.default"},
		{"below the queue that the namespace names", []spec.PlacementRule{{Name: "tag", Value: "namespace", Parent: byParent}}, route.Job{Namespace: "team", ParentQueue: "root.org"}, "root.org.Team"},
		{"below the queue that the namespace names without the root", []spec.PlacementRule{{Name: "tag", Value: "namespace", Parent: byParent}}, route.Job{Namespace: "team", ParentQueue: "org"}, "root.org.Team"},
		{"a namespace that names no parent queue is told how", []spec.PlacementRule{{Name: "tag", Value: "namespace", Parent: byParent}}, route.Job{Namespace: "team", Queue: "x"}, "annotation yunikorn.apache.org/parentqueue, and namespace team has none"},
		{"a tag in capitals", []spec.PlacementRule{{Name: "tag", Value: "Namespace.ParentQueue"}}, route.Job{ParentQueue: "root.org.team"}, "root.org.Team"},
		{"no rule takes the name", []spec.PlacementRule{{Name: "user"}}, route.Job{Queue: "org.team"}, `no placement rule takes the queue "org.team"`},
		{"provided below a parent rule", []spec.PlacementRule{{Name: "provided", Parent: org}}, route.Job{Queue: "team"}, "root.org.Team"},
		{"a parent rule whose queue is missing", []spec.PlacementRule{{Name: "provided", Create: true, Parent: &spec.PlacementRule{Name: "user"}}}, route.Job{Queue: "team", User: "sue"}, "queue root.sue is not in the configuration"},
		{"a rule that nobody knows", []spec.PlacementRule{{Name: "moon"}}, route.Job{}, "root.default"},
	} {
		t.Run(c.name, func(t *testing.T) {
			place, err := route.New(tree(c.rules...)).Place(c.job)
			got := place.Path
			if err != nil {
				got = err.Error()
			}
			if got != c.want && (err == nil || !strings.Contains(got, c.want)) || place.Below != "" {
				t.Errorf("got %q below %q, want %q", got, place.Below, c.want)
			}
		})
	}
}

func TestARuleThatCreatesGivesAQueueThatIsNotThereYet(t *testing.T) {
	namespace := spec.PlacementRule{Name: "tag", Value: "namespace", Create: true}
	below := func(value string, rule spec.PlacementRule) spec.PlacementRule {
		rule.Parent = &spec.PlacementRule{Name: "fixed", Value: value, Create: true}
		return rule
	}
	user := spec.PlacementRule{Name: "user", Create: true}
	provided := spec.PlacementRule{Name: "provided", Create: true}
	for _, c := range []struct {
		name    string
		rules   []spec.PlacementRule
		created []string
		job     route.Job
		want    route.Place
		refused string // a part of the error
	}{
		{name: "YuniKorn's default", rules: []spec.PlacementRule{namespace}, job: route.Job{Namespace: "ml"}, want: route.Place{Path: "root.ml", Below: "root"}},
		{name: "below a parent", rules: []spec.PlacementRule{below("root.empty", user)}, job: route.Job{User: "ada"}, want: route.Place{Path: "root.empty.ada", Below: "root.empty"}},
		{name: "a whole path", rules: []spec.PlacementRule{below("people.all", user)}, job: route.Job{User: "ada"}, want: route.Place{Path: "root.people.all.ada", Below: "root"}},
		{name: "the path that the job names", rules: []spec.PlacementRule{provided}, job: route.Job{Queue: "root.empty.x.y"}, want: route.Place{Path: "root.empty.x.y", Below: "root.empty"}},
		{name: "the name that the job names, in one piece", rules: []spec.PlacementRule{provided}, job: route.Job{Queue: "x.y"}, want: route.Place{Path: "root.x_dot_y", Below: "root"}},
		{name: "names are in lower case, as YuniKorn's are", rules: []spec.PlacementRule{below("root.empty", user)}, job: route.Job{User: "Ada"}, want: route.Place{Path: "root.empty.ada", Below: "root.empty"}},
		{name: "a service account", rules: []spec.PlacementRule{user}, job: route.Job{User: "system:serviceaccount:ml:train"}, want: route.Place{Path: "root.system:serviceaccount:ml:train", Below: "root"}},
		{name: "a user who is called root", rules: []spec.PlacementRule{user}, job: route.Job{User: "root"}, want: route.Place{Path: "root.root", Below: "root"}},
		{name: "a namespace that is called root", rules: []spec.PlacementRule{namespace}, job: route.Job{Namespace: "root"}, want: route.Place{Path: "root.root", Below: "root"}},
		{name: "a dot in the parent queue of a namespace", rules: []spec.PlacementRule{{Name: "tag", Value: "namespace", Create: true, Parent: &spec.PlacementRule{Name: "tag", Value: "namespace.parentqueue", Create: true}}}, job: route.Job{Namespace: "ml", ParentQueue: "a.b"}, want: route.Place{Path: "root.a_dot_b.ml", Below: "root"}},
		{name: "a user that nothing tells of", rules: []spec.PlacementRule{user}, want: route.Place{Path: "root.nobody", Below: "root"}},
		{name: "one that is there already", rules: []spec.PlacementRule{namespace}, created: []string{"root.ml"}, job: route.Job{Namespace: "ml"}, want: route.Place{Path: "root.ml"}},
		{name: "beside one that is there already", rules: []spec.PlacementRule{below("people", user)}, created: []string{"root.people.bob"}, job: route.Job{User: "ada"}, want: route.Place{Path: "root.people.ada", Below: "root"}},
		{name: "one that is configured", rules: []spec.PlacementRule{namespace}, job: route.Job{Namespace: "default"}, want: route.Place{Path: "root.default"}},
		{name: "the next rule, where a leaf is in the way", rules: []spec.PlacementRule{below("root.org.team", user), namespace}, job: route.Job{User: "ada", Namespace: "ml"}, want: route.Place{Path: "root.ml", Below: "root"}},
		{name: "the next rule, where a created leaf is in the way", rules: []spec.PlacementRule{below("ml", user), namespace}, created: []string{"root.ml"}, job: route.Job{User: "ada", Namespace: "ml"}, want: route.Place{Path: "root.ml"}},
		{name: "the next rule, where a parent is at the path", rules: []spec.PlacementRule{namespace, user}, job: route.Job{Namespace: "org", User: "ada"}, want: route.Place{Path: "root.ada", Below: "root"}},
		{name: "none by a rule that does not create", rules: []spec.PlacementRule{{Name: "tag", Value: "namespace"}, user}, job: route.Job{Namespace: "ml", User: "ada"}, want: route.Place{Path: "root.ada", Below: "root"}},
		{name: "none on the way to others", rules: []spec.PlacementRule{namespace}, created: []string{"root.ml.x"}, job: route.Job{Queue: "q", Namespace: "ml"}, refused: "jobs go into leaves"},
		{name: "none below a leaf", rules: []spec.PlacementRule{provided}, job: route.Job{Queue: "root.default.x"}, refused: "root.default is a leaf"},
		{name: "none of a name that no queue has", rules: []spec.PlacementRule{provided}, job: route.Job{Queue: "root.a b"}, refused: `"a b" is no name of a queue`},
		{name: "none of an empty name", rules: []spec.PlacementRule{provided}, job: route.Job{Queue: "root.a..b"}, refused: `"" is no name of a queue`},
		{name: "none of a name that is too long", rules: []spec.PlacementRule{user}, job: route.Job{User: strings.Repeat("a", 65), Queue: "q"}, refused: "is no name of a queue"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, err := route.New(tree(c.rules...), c.created...).Place(c.job)
			switch {
			case c.refused != "" && (err == nil || !strings.Contains(err.Error(), c.refused)):
				t.Errorf("got %+v, %v, want an error with %q", got, err, c.refused)
			case c.refused == "" && (err != nil || got != c.want):
				t.Errorf("got %+v, %v, want %+v", got, err, c.want)
			}
		})
	}
}

// guarded is a tree in which root.org is ada's and the group ml's, root.open everybody's,
// root.closed its administrator's.
func guarded(rules ...spec.PlacementRule) spec.Tree {
	return spec.Tree{Rules: rules, Root: &spec.Queue{Name: "root", Children: []*spec.Queue{
		{Name: "org", SubmitACL: "ada ml", Children: []*spec.Queue{leaf("a"), {Name: "dyn", Parent: true}}},
		{Name: "open", SubmitACL: "*"},
		{Name: "closed", AdminACL: "root"},
		{Name: "lost"},
		{Name: "others", SubmitACL: "nobody"},
	}}}
}

func TestOnlyThoseWhomAnACLNamesGetTheQueue(t *testing.T) {
	provided := spec.PlacementRule{Name: "provided", Create: true}
	for _, c := range []struct {
		name  string
		rules []spec.PlacementRule
		job   route.Job
		want  string // a path, or a part of the denial
	}{
		{"a user", nil, route.Job{Queue: "root.org.a", User: "ada"}, "root.org.a"},
		{"a group", nil, route.Job{Queue: "root.org.a", User: "bob", Groups: []string{"x", "ml"}}, "root.org.a"},
		{"an administrator", nil, route.Job{Queue: "root.closed", User: "root"}, "root.closed"},
		{"everybody", nil, route.Job{Queue: "root.open", User: "bob"}, "root.open"},
		{"everybody is also somebody unknown", nil, route.Job{Queue: "root.open"}, "root.open"},
		{"a stranger", nil, route.Job{Queue: "root.org.a", User: "bob", Groups: []string{"x", "y"}}, `user "bob" (groups x, y) may not submit to queue root.org.a`},
		{"no administrator", nil, route.Job{Queue: "root.closed", User: "ada"}, `may not submit to queue root.closed`},
		{"where nothing is said nobody is let in", nil, route.Job{Queue: "root.lost", User: "ada"}, `may not submit to queue root.lost`},
		{"somebody unknown", nil, route.Job{Queue: "root.org.a"}, "does not tell its user is nobody's"},
		{"nobody by name", nil, route.Job{Queue: "root.others"}, "root.others"},
		{"who may create", []spec.PlacementRule{provided}, route.Job{Queue: "root.org.dyn.x", User: "ada"}, "root.org.dyn.x"},
		{"who may not create", []spec.PlacementRule{provided}, route.Job{Queue: "root.org.dyn.x", User: "bob"}, "to queue root.org.dyn, below which root.org.dyn.x would be created"},
		{"the next rule", []spec.PlacementRule{provided, {Name: "fixed", Value: "root.open"}}, route.Job{Queue: "root.org.a", User: "bob"}, "root.open"},
		{"a denial is told before what is missing", []spec.PlacementRule{{Name: "user"}, provided}, route.Job{Queue: "root.org.a", User: "bob"}, "may not submit to queue root.org.a"},
	} {
		t.Run(c.name, func(t *testing.T) {
			place, err := route.New(guarded(c.rules...)).Place(c.job)
			if err == nil {
				if place.Path != c.want {
					t.Errorf("got %+v, want %q", place, c.want)
				}
				return
			}
			var no *route.Refusal
			if !errors.As(err, &no) || no.Code != route.Denied || !strings.Contains(no.Text, c.want) {
				t.Errorf("got %+v, want %q", err, c.want)
			}
		})
	}
}

func TestTheDefaultQueueIsForThoseWhomItsACLNames(t *testing.T) {
	tree := spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "default", SubmitACL: "ada"}}}}
	if place, err := route.New(tree).Place(route.Job{User: "ada"}); err != nil || place.Path != "root.default" {
		t.Errorf("ada goes to %+v, %v", place, err)
	}
	var no *route.Refusal
	if _, err := route.New(tree).Place(route.Job{User: "bob"}); !errors.As(err, &no) || no.Code != route.Denied {
		t.Errorf("bob gets %v", err)
	}
}

func TestWithoutADefaultQueueTheErrorSaysWhatToSet(t *testing.T) {
	_, err := route.New(spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "a"}}}}).Place(route.Job{})
	if err == nil || !strings.Contains(err.Error(), "muster.dev/queue") {
		t.Errorf("got %v", err)
	}
}

// TestWhatARuleCreatesIsFoundThere: once the queue that a job was given is in the tree, the
// job is given it again, whatever else has been created since that is not in its way.
func TestWhatARuleCreatesIsFoundThere(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		part := rapid.SampledFrom([]string{"a", "b", "org", "team", "empty", "default"})
		path := rapid.Custom(func(t *rapid.T) string {
			return "root." + strings.Join(rapid.SliceOfN(part, 1, 4).Draw(t, "parts"), ".")
		})
		config := tree(spec.PlacementRule{Name: "provided", Create: true})
		g := grow.Grown{}
		for _, queue := range rapid.SliceOfN(path, 1, 8).Draw(t, "jobs") {
			paths := created(g)
			place, err := route.New(config, paths...).Place(route.Job{Queue: queue})
			if err != nil {
				continue
			}
			if place.Below == "" {
				if !slices.Contains(paths, place.Path) && !strings.HasPrefix(strings.ToLower(place.Path), "root.org.") && place.Path != "root.default" {
					t.Fatalf("%+v is said to be there", place)
				}
				continue
			}
			g = grow.Overlay(config, append(g.Leaves, grow.Leaf{Path: place.Path, Below: place.Below}))
			if len(g.Dropped) > 0 {
				t.Fatalf("the router gives %+v, and the tree has no place for it: %+v", place, g.Dropped)
			}
			again, err := route.New(config, created(g)...).Place(route.Job{Queue: queue})
			if err != nil || again != (route.Place{Path: place.Path}) {
				t.Fatalf("it was %+v, and is %+v, %v", place, again, err)
			}
		}
	})
}

func created(g grow.Grown) (paths []string) {
	for _, l := range g.Leaves {
		paths = append(paths, l.Path)
	}
	return paths
}
