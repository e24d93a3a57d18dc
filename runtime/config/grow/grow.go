// Package grow adds the queues that placement rules create to a configured tree. It is a
// pure function of both: who creates a queue, and when it goes again, is decided elsewhere
// (runtime/kube), and a scheduler that starts anew comes to the same tree by the same jobs.
package grow

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/builtin/spec"
)

// Leaf is a queue that is not configured, and that jobs are in.
type Leaf struct {
	// Path from the root: "root.users.ada". Queues on it that are missing are created as
	// parents.
	Path string
	// Below is the path of the configured queue that it was created under, the nearest to
	// it then. Without that one, or with that one as a leaf, there is no place for it.
	Below string
	// Quota in place of what the template says.
	Quota Quota
}

// Quota are amounts of one leaf; what is not set (nil, 0) is the template's.
type Quota struct {
	Guaranteed, Max spec.Resources
	MaxApps         int64
}

// Dropped is a leaf that the tree has no place for any more.
type Dropped struct {
	Path string
	Why  string // "its parent root.users is not configured any more"
}

// Grown is a configured tree with leaves added.
type Grown struct {
	Tree spec.Tree
	// Leaves that were added, sorted by path. One that has been configured since is none:
	// the configured queue took its place, and its jobs.
	Leaves  []Leaf
	Dropped []Dropped // sorted by path
}

// Overlay adds leaves to a configured tree, which stays as it is. Their order is of no
// account. Where one leaf is on the path of another the shorter one is added.
func Overlay(tree spec.Tree, leaves []Leaf) Grown {
	b := builder{at: map[string]*plot{}}
	out := Grown{Tree: tree}
	if len(leaves) == 0 {
		return out
	}
	out.Tree.Root = b.copy(rootOf(tree), "", nil)
	leaves = slices.Clone(leaves)
	slices.SortFunc(leaves, func(a, b Leaf) int { return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Below, b.Below)) })
	leaves = slices.CompactFunc(leaves, func(a, b Leaf) bool { return strings.EqualFold(a.Path, b.Path) })
	for _, l := range leaves {
		p := b.at[strings.ToLower(l.Path)]
		if p != nil && p.configured && p.leaf() {
			continue
		}
		if why := b.obstacle(l, p); why != "" {
			out.Dropped = append(out.Dropped, Dropped{l.Path, why})
			continue
		}
		b.plant(l)
		out.Leaves = append(out.Leaves, l)
	}
	return out
}

// rootOf is the root of a tree, or of the one that a tree without a root stands for.
func rootOf(tree spec.Tree) *spec.Queue {
	if tree.Root != nil {
		return tree.Root
	}
	return &spec.Queue{Name: "root", Children: []*spec.Queue{{Name: "default"}}}
}

// plot is a queue of the new tree.
type plot struct {
	*spec.Queue
	up         *plot
	configured bool
}

func (p *plot) leaf() bool { return len(p.Children) == 0 && !p.Parent }

// template is what holds for new leaves below the queue, nil if nothing does.
func (p *plot) template() *spec.Queue {
	for ; p != nil; p = p.up {
		if p.Template != nil {
			return p.Template
		}
	}
	return nil
}

// builder makes the new tree.
type builder struct {
	at map[string]*plot // by path in lower case
}

// copy takes over configured queues, so that children can be added.
func (b *builder) copy(q *spec.Queue, above string, up *plot) *spec.Queue {
	c := *q
	p := &plot{Queue: &c, up: up, configured: true}
	path := strings.ToLower(above + q.Name)
	b.at[path] = p
	c.Children = slices.Clone(q.Children)
	for i, child := range c.Children {
		c.Children[i] = b.copy(child, path+".", p)
	}
	return &c
}

// obstacle is why a leaf can't be added, "" if it can. The queue p is at its path already,
// nil if none is.
func (b *builder) obstacle(l Leaf, p *plot) string {
	below := b.at[strings.ToLower(l.Below)]
	switch {
	case p != nil && p.configured:
		return "it is configured as a parent now, and jobs go into leaves"
	case p != nil:
		return fmt.Sprintf("%s is on the way to another queue, and jobs go into leaves", l.Path)
	case below == nil || !below.configured:
		return fmt.Sprintf("its parent %s is not configured any more", l.Below)
	case below.leaf():
		return fmt.Sprintf("its parent %s is a leaf now", l.Below)
	case !strings.HasPrefix(strings.ToLower(l.Path), strings.ToLower(l.Below)+"."):
		return fmt.Sprintf("it is not below %s", l.Below)
	}
	for path := parentOf(l.Path); path != ""; path = parentOf(path) {
		if up := b.at[strings.ToLower(path)]; up != nil {
			if up.leaf() {
				return fmt.Sprintf("%s is a leaf", path)
			}
			return ""
		}
	}
	return fmt.Sprintf("%s is not below the root", l.Path)
}

// plant adds a leaf, and parents on the way to it.
func (b *builder) plant(l Leaf) {
	leaf := spec.Queue{}
	up := b.parent(parentOf(l.Path))
	if t := up.template(); t != nil {
		leaf = *t
	}
	leaf.Name = l.Path[strings.LastIndexByte(l.Path, '.')+1:]
	leaf.Children, leaf.Parent, leaf.Template = nil, false, nil
	if l.Quota.Guaranteed != nil {
		leaf.Guaranteed = l.Quota.Guaranteed
	}
	if l.Quota.Max != nil {
		leaf.Max = l.Quota.Max
	}
	leaf.MaxApps = cmp.Or(l.Quota.MaxApps, leaf.MaxApps)
	b.add(l.Path, &leaf, up)
}

// parent finds the queue at a path, or creates it and what is missing above.
func (b *builder) parent(path string) *plot {
	if p := b.at[strings.ToLower(path)]; p != nil {
		return p
	}
	up := b.parent(parentOf(path))
	return b.add(path, &spec.Queue{Name: path[strings.LastIndexByte(path, '.')+1:], Parent: true}, up)
}

func (b *builder) add(path string, q *spec.Queue, up *plot) *plot {
	p := &plot{Queue: q, up: up}
	up.Children = append(up.Children, q)
	b.at[strings.ToLower(path)] = p
	return p
}

// parentOf is the path above, "" at the root.
func parentOf(path string) string {
	return path[:max(0, strings.LastIndexByte(path, '.'))]
}
