package queue

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/config"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
)

// Reasons of the condition Accepted.
const (
	Applied       = "Applied"
	Invalid       = "Invalid"       // the spec has errors, alone or with those around it
	ParentMissing = "ParentMissing" // there is no such Queue, or it was not accepted
	Cycle         = "Cycle"         // it is above itself
	DuplicateName = "DuplicateName" // an older Queue has the same path
	Waiting       = "Waiting"       // another Queue must be corrected first
	InUse         = "InUse"         // jobs are in the way
)

const rootName = "root"

// versions are Queue objects by their names.
type versions map[string]*api.Queue

// finding is what is to be said of one object's spec.
type finding struct {
	reason string
	lines  []string // of Applied, warnings
}

// verdict is the tree that can be made of objects, and what is to be said of each.
type verdict struct {
	tree     *spec.Tree // nil if none can be
	used     versions   // what the tree was made of
	paths    map[string]string
	findings map[string]finding
}

// node is an object at its place.
type node struct {
	object   *api.Queue // nil for a root that nobody has written
	name     string
	path     string
	up       *node
	children []*node
}

func (n *node) walk(visit func(*node)) {
	visit(n)
	for _, c := range n.children {
		c.walk(visit)
	}
}

// judge makes a tree of the objects as they are now, as far as they are valid. One that
// isn't is taken as it was in the tree that holds, and if it was not there, it is left
// out with all below it: one team's mistake keeps nobody else from changing a queue, and
// no restart from having queues.
func judge(now, held versions) verdict {
	j := &judgement{now: now, held: held, chosen: maps.Clone(now), found: map[string]finding{}}
	for {
		root, nodes := j.plant()
		doc := write(root)
		f, problems := config.Parse("queues", doc.Bytes())
		if f != nil {
			return j.accept(f, doc, nodes, problems)
		}
		if !j.goBack(doc, nodes, problems) {
			return verdict{findings: j.found}
		}
	}
}

// judgement is one judge.
type judgement struct {
	now, held versions
	chosen    versions // what the tree is made of at present
	found     map[string]finding
}

// say keeps the first thing that is found about an object.
func (j *judgement) say(object, reason string, lines ...string) {
	if _, said := j.found[object]; !said {
		j.found[object] = finding{reason, lines}
	}
}

// nameOf is the last part of the path of a queue.
func nameOf(q *api.Queue) string { return strings.ToLower(cmp.Or(q.Spec.Name, q.Name)) }

func parentOf(q *api.Queue) string { return cmp.Or(q.Spec.Parent, rootName) }

// plant puts the chosen objects into a tree, and says why some have no place.
func (j *judgement) plant() (root *node, nodes map[string]*node) {
	root = &node{object: j.chosen[rootName], name: rootName, path: rootName}
	nodes = map[string]*node{rootName: root}
	below := map[string][]*api.Queue{}
	for _, name := range slices.Sorted(maps.Keys(j.chosen)) {
		if q := j.chosen[name]; name != rootName {
			below[parentOf(q)] = append(below[parentOf(q)], q)
		}
	}
	j.grow(root, rootName, below, nodes)
	for _, name := range slices.Sorted(maps.Keys(j.chosen)) {
		if nodes[name] == nil {
			j.unplaced(j.chosen[name])
		}
	}
	return root, nodes
}

// grow adds the objects below a node. Of two with one name, the older one has it.
func (j *judgement) grow(to *node, object string, below map[string][]*api.Queue, nodes map[string]*node) {
	list := below[object]
	slices.SortStableFunc(list, func(a, b *api.Queue) int {
		return a.CreationTimestamp.Compare(b.CreationTimestamp.Time)
	})
	first := map[string]string{}
	for _, q := range list {
		name := nameOf(q)
		if other, taken := first[name]; taken {
			j.say(q.Name, DuplicateName, fmt.Sprintf("the queue %s.%s is the Queue %s already; give it another spec.name", to.path, name, other))
			continue
		}
		first[name] = q.Name
		n := &node{object: q, name: name, path: to.path + "." + name, up: to}
		nodes[q.Name] = n
		to.children = append(to.children, n)
		j.grow(n, q.Name, below, nodes)
	}
	slices.SortFunc(to.children, func(a, b *node) int { return strings.Compare(a.name, b.name) })
}

// unplaced says why an object has no place: it hangs on nothing, or in a circle.
func (j *judgement) unplaced(q *api.Queue) {
	seen := []string{q.Name}
	for at := q; ; {
		parent := parentOf(at)
		up, ok := j.chosen[parent]
		switch {
		case !ok && j.now[parent] != nil:
			j.say(q.Name, ParentMissing, fmt.Sprintf("its parent %s is not accepted; see the conditions of Queue %s", parent, parent))
			return
		case !ok:
			j.say(q.Name, ParentMissing, fmt.Sprintf("there is no Queue %s, which %s has as its parent; it takes its place when that comes", parent, at.Name))
			return
		case slices.Contains(seen, parent) && parent != q.Name:
			j.say(q.Name, ParentMissing, fmt.Sprintf("its parent is not accepted: %s", strings.Join(append(seen, parent), " below ")))
			return
		case parent == q.Name:
			j.say(q.Name, Cycle, fmt.Sprintf("%s: a queue can't be above itself; delete one of them and create it anew below another parent", strings.Join(append(seen, parent), " below ")))
			return
		case j.found[parent].reason == DuplicateName:
			j.say(q.Name, ParentMissing, fmt.Sprintf("its parent %s is not accepted; see the conditions of Queue %s", parent, parent))
			return
		}
		seen, at = append(seen, parent), up
	}
}

// goBack takes back what made the tree invalid: the objects with errors, or if those
// have not changed, the changed ones above and below them. It is false if there is
// nothing to take back.
func (j *judgement) goBack(doc *document, nodes map[string]*node, problems config.Problems) bool {
	said := linesByObject(doc, problems, config.Error)
	back := false
	for _, name := range slices.Sorted(maps.Keys(said)) {
		if j.changed(name) {
			j.say(name, Invalid, said[name]...)
			j.revert(name)
			back = true
		}
	}
	if back {
		return true
	}
	for _, name := range slices.Sorted(maps.Keys(said)) {
		for _, other := range relatives(nodes[name]) {
			if j.changed(other) {
				j.say(other, Invalid, append([]string{"with this, Queue " + name + " is wrong:"}, said[name]...)...)
				j.revert(other)
				back = true
			}
		}
	}
	return back
}

// changed says whether the tree has another version of an object than the one that holds.
func (j *judgement) changed(name string) bool {
	q := j.chosen[name]
	return q != nil && !same(q, j.held[name])
}

func same(a, b *api.Queue) bool {
	return a != nil && b != nil && a.UID == b.UID && api.SameSpec(&a.Spec, &b.Spec)
}

func (j *judgement) revert(name string) {
	if before, ok := j.held[name]; ok {
		j.chosen[name] = before
		return
	}
	delete(j.chosen, name)
}

// relatives are the objects above and below one.
func relatives(n *node) (out []string) {
	if n == nil {
		return nil
	}
	for up := n.up; up != nil; up = up.up {
		if up.object != nil {
			out = append(out, up.object.Name)
		}
	}
	n.walk(func(c *node) {
		if c != n {
			out = append(out, c.object.Name)
		}
	})
	return out
}

// accept says of every object how it stands to the tree.
func (j *judgement) accept(f *config.File, doc *document, nodes map[string]*node, warnings config.Problems) verdict {
	v := verdict{tree: &f.Partitions[0].Tree, used: versions{}, paths: map[string]string{}, findings: j.found}
	for name, n := range nodes {
		if n.object != nil {
			v.used[name], v.paths[name] = n.object, n.path
		}
	}
	said := linesByObject(doc, warnings, config.Warning)
	for _, name := range slices.Sorted(maps.Keys(j.now)) {
		if same(v.used[name], j.now[name]) {
			v.findings[name] = finding{Applied, said[name]}
		}
	}
	return v
}

// linesByObject sorts problems by the objects that they are about.
func linesByObject(doc *document, problems config.Problems, s config.Severity) map[string][]string {
	out := map[string][]string{}
	for _, p := range problems {
		if p.Severity != s {
			continue
		}
		at := doc.of(p.Line)
		line := fmt.Sprintf("%s: %s [%s]", cmp.Or(at.field, "spec"), doc.translate(at.object, p.Message), p.Code)
		if p.Hint != "" {
			line += "; " + doc.translate(at.object, p.Hint)
		}
		if !slices.Contains(out[at.object], line) {
			out[at.object] = append(out[at.object], line)
		}
	}
	return out
}
