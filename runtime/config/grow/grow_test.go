package grow_test

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/config/grow"
)

// configured is root -> users (a parent with a template) -> staff; root -> org -> {ml, web}; root.open, an empty parent.
func configured() spec.Tree {
	return spec.Tree{Root: &spec.Queue{Name: "root", Children: []*spec.Queue{
		{Name: "users", Parent: true, Template: &spec.Queue{Max: spec.GPUs(4), Guaranteed: spec.GPUs(1), MaxApps: 3, JobOrder: "fair"}},
		{Name: "org", Max: spec.GPUs(16), Children: []*spec.Queue{{Name: "ml"}, {Name: "web"}}},
		{Name: "open", Parent: true},
	}}}
}

// find is the queue at a path, nil if there is none.
func find(t spec.Tree, path string) *spec.Queue {
	q := t.Root
	for _, part := range strings.Split(path, ".")[1:] {
		i := slices.IndexFunc(q.Children, func(c *spec.Queue) bool { return c.Name == part })
		if i < 0 {
			return nil
		}
		q = q.Children[i]
	}
	return q
}

func leaf(path, below string) grow.Leaf { return grow.Leaf{Path: path, Below: below} }

func TestALeafTakesTheNearestTemplate(t *testing.T) {
	g := grow.Overlay(configured(), []grow.Leaf{leaf("root.users.a.b", "root.users"), leaf("root.open.c", "root.open")})
	b, a, c := find(g.Tree, "root.users.a.b"), find(g.Tree, "root.users.a"), find(g.Tree, "root.open.c")
	if b == nil || !reflect.DeepEqual(b.Max, spec.GPUs(4)) || !reflect.DeepEqual(b.Guaranteed, spec.GPUs(1)) || b.MaxApps != 3 || b.JobOrder != "fair" {
		t.Errorf("root.users.a.b is %+v", b)
	}
	if a == nil || !a.Parent || a.Max != nil || a.MaxApps != 0 {
		t.Errorf("the parent in between is %+v, without amounts of its own", a)
	}
	if c == nil || !reflect.DeepEqual(*c, spec.Queue{Name: "c"}) {
		t.Errorf("root.open.c is %+v, and no template is above it", c)
	}
}

func TestAQuotaOfItsOwnTakesTheTemplatesPlaceAmountByAmount(t *testing.T) {
	for _, c := range []struct {
		name            string
		quota           grow.Quota
		guaranteed, max spec.Resources
		apps            int64
	}{
		{"none", grow.Quota{}, spec.GPUs(1), spec.GPUs(4), 3},
		{"max", grow.Quota{Max: spec.GPUs(2)}, spec.GPUs(1), spec.GPUs(2), 3},
		{"nothing at all is allowed", grow.Quota{Max: spec.GPUs(0)}, spec.GPUs(1), spec.GPUs(0), 3},
		{"guaranteed", grow.Quota{Guaranteed: spec.GPUs(2)}, spec.GPUs(2), spec.GPUs(4), 3},
		{"applications", grow.Quota{MaxApps: 9}, spec.GPUs(1), spec.GPUs(4), 9},
	} {
		t.Run(c.name, func(t *testing.T) {
			l := leaf("root.users.a", "root.users")
			l.Quota = c.quota
			q := find(grow.Overlay(configured(), []grow.Leaf{l}).Tree, l.Path)
			if !reflect.DeepEqual(q.Guaranteed, c.guaranteed) || !reflect.DeepEqual(q.Max, c.max) || q.MaxApps != c.apps {
				t.Errorf("it is %+v", q)
			}
		})
	}
}

func TestALeafThatHasNoPlaceAnyMoreIsDroppedAndSaysWhy(t *testing.T) {
	for _, c := range []struct {
		name string
		leaf grow.Leaf
		want string
	}{
		{"its parent is gone", leaf("root.gone.a", "root.gone"), "its parent root.gone is not configured any more"},
		{"its parent is a leaf", leaf("root.org.ml.a", "root.org.ml"), "its parent root.org.ml is a leaf now"},
		{"a queue on the way became a leaf", leaf("root.org.ml.a", "root.org"), "root.org.ml is a leaf"},
		{"a parent is configured in its place", leaf("root.open", "root"), "configured as a parent now"},
		{"a queue elsewhere", leaf("root.org.x", "root.users"), "not below root.users"},
	} {
		t.Run(c.name, func(t *testing.T) {
			g := grow.Overlay(configured(), []grow.Leaf{c.leaf})
			if len(g.Leaves) != 0 || len(g.Dropped) != 1 || g.Dropped[0].Path != c.leaf.Path || !strings.Contains(g.Dropped[0].Why, c.want) {
				t.Errorf("got %+v", g.Dropped)
			}
			if !reflect.DeepEqual(g.Tree, configured()) {
				t.Error("the tree has changed")
			}
		})
	}
}

func TestAConfiguredLeafTakesThePlaceOfACreatedOne(t *testing.T) {
	g := grow.Overlay(configured(), []grow.Leaf{leaf("root.org.ml", "root.org")})
	if len(g.Leaves)+len(g.Dropped) != 0 || !reflect.DeepEqual(g.Tree, configured()) {
		t.Errorf("got %+v", g)
	}
}

func TestOfTwoLeavesOnOnePathTheShorterIsAdded(t *testing.T) {
	long, short := leaf("root.open.a.b", "root.open"), leaf("root.open.a", "root.open")
	g := grow.Overlay(configured(), []grow.Leaf{long, short})
	if !reflect.DeepEqual(g.Leaves, []grow.Leaf{short}) || len(g.Dropped) != 1 || !strings.Contains(g.Dropped[0].Why, "root.open.a is a leaf") {
		t.Errorf("got %+v", g)
	}
}

func TestATreeWithoutARootHasQueuesAddedBesideTheDefault(t *testing.T) {
	g := grow.Overlay(spec.Tree{}, []grow.Leaf{leaf("root.a", "root")})
	if find(g.Tree, "root.a") == nil || find(g.Tree, "root.default") == nil {
		t.Errorf("got %+v", g.Tree.Root)
	}
}

// names are few, so that paths meet.
var names = rapid.SampledFrom([]string{"a", "b", "c"})

func drawQueue(t *rapid.T, depth int) *spec.Queue {
	q := &spec.Queue{Parent: rapid.Bool().Draw(t, "parent")}
	if rapid.Bool().Draw(t, "has a template") {
		q.Template = &spec.Queue{Max: spec.GPUs(rapid.Int64Range(1, 9).Draw(t, "max"))}
	}
	if depth == 0 {
		return q
	}
	for _, n := range rapid.SliceOfNDistinct(names, 0, 3, rapid.ID[string]).Draw(t, "children") {
		c := drawQueue(t, depth-1)
		c.Name = n
		q.Children = append(q.Children, c)
	}
	return q
}

func drawTree(t *rapid.T) spec.Tree {
	root := drawQueue(t, 3)
	root.Name, root.Parent = "root", true
	return spec.Tree{Root: root, Placement: "spread"}
}

func drawLeaves(t *rapid.T) []grow.Leaf {
	return rapid.SliceOfN(rapid.Custom(func(t *rapid.T) grow.Leaf {
		parts := rapid.SliceOfN(names, 1, 4).Draw(t, "path")
		up := rapid.IntRange(0, len(parts)-1).Draw(t, "below")
		l := leaf("root."+strings.Join(parts, "."), strings.Join(append([]string{"root"}, parts[:up]...), "."))
		if rapid.Bool().Draw(t, "has a quota") {
			l.Quota.Max = spec.GPUs(rapid.Int64Range(0, 9).Draw(t, "quota"))
		}
		return l
	}), 0, 8).Draw(t, "leaves")
}

// distinct leaves one leaf of each path, as they are kept by path.
func distinct(leaves []grow.Leaf) (out []grow.Leaf) {
	seen := map[string]bool{}
	for _, l := range leaves {
		if !seen[l.Path] {
			out = append(out, l)
		}
		seen[l.Path] = true
	}
	return out
}

func TestNothingGrownIsTheConfiguredTree(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		if g := grow.Overlay(tree, nil); !reflect.DeepEqual(g.Tree, tree) || g.Leaves != nil || g.Dropped != nil {
			t.Fatalf("%+v", g)
		}
	})
}

func TestTheOrderOfCreationIsOfNoAccount(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree, leaves := drawTree(t), distinct(drawLeaves(t))
		other := rapid.Permutation(leaves).Draw(t, "other order")
		if a, b := grow.Overlay(tree, leaves), grow.Overlay(tree, other); !reflect.DeepEqual(a, b) {
			t.Fatalf("%+v\nis not\n%+v", a, b)
		}
	})
}

// TestEachLeafIsAddedReplacedOrDropped: nothing is lost, the configured queues are what
// they were, and what was added is added again.
func TestEachLeafIsAddedReplacedOrDropped(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree, leaves := drawTree(t), distinct(drawLeaves(t))
		before := fmt.Sprintf("%+v", flat(tree.Root, "root"))
		g := grow.Overlay(tree, leaves)
		if fmt.Sprintf("%+v", flat(tree.Root, "root")) != before {
			t.Fatal("the configured tree was changed")
		}
		now := flat(g.Tree.Root, "root")
		for path, q := range flat(tree.Root, "root") {
			if now[path] != q {
				t.Fatalf("%s was %s, is %s", path, q, now[path])
			}
		}
		dropped := map[string]bool{}
		for _, d := range g.Dropped {
			dropped[d.Path] = true
		}
		for _, l := range leaves {
			q := find(g.Tree, l.Path)
			added := slices.ContainsFunc(g.Leaves, func(a grow.Leaf) bool { return a.Path == l.Path })
			switch old := find(tree, l.Path); {
			case added && (dropped[l.Path] || old != nil || q == nil || q.Parent || len(q.Children) > 0):
				t.Fatalf("%+v is said to be added, and is %+v", l, q)
			case !added && !dropped[l.Path] && (old == nil || old.Parent || len(old.Children) > 0):
				t.Fatalf("%+v is neither added nor dropped, and is not configured as a leaf", l)
			}
		}
		if again := grow.Overlay(tree, g.Leaves); !reflect.DeepEqual(again.Tree, g.Tree) || again.Dropped != nil {
			t.Fatalf("%+v\nis not\n%+v", again, g)
		}
		quota.New(amount.NewTable(), g.Tree) // the core takes it
	})
}

// TestAConfiguredQueueOfTheSamePathReplacesTheCreatedOne: its jobs find the same path.
func TestAConfiguredQueueOfTheSamePathReplacesTheCreatedOne(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		tree := drawTree(t)
		g := grow.Overlay(tree, distinct(drawLeaves(t)))
		if len(g.Leaves) == 0 {
			return
		}
		again := grow.Overlay(g.Tree, g.Leaves) // all of them are configured now
		if again.Leaves != nil || again.Dropped != nil || !reflect.DeepEqual(again.Tree, g.Tree) {
			t.Fatalf("%+v", again)
		}
	})
}

// flat lists queues by path, each without its children; that they have some is no
// attribute.
func flat(q *spec.Queue, path string) map[string]string {
	own := *q
	own.Children = nil
	out := map[string]string{path: fmt.Sprintf("%+v %+v", own, own.Template)}
	for _, c := range q.Children {
		for p, text := range flat(c, path+"."+c.Name) {
			out[p] = text
		}
	}
	return out
}
