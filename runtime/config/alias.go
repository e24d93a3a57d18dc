package config

import "github.com/goccy/go-yaml/ast"

// aliasEnd is an anchored node, with its size and depth after expansion.
type aliasEnd struct {
	node        ast.Node
	open        bool // the walk is inside it: an alias to it is a cycle
	size, depth int
}

// aliasWalk visits every node once, in the order of the text, and computes how
// large the document becomes when its aliases are expanded, without doing so.
type aliasWalk struct {
	report  *report
	anchors map[string]*aliasEnd // the latest of each name, as YAML wants it
	ends    map[*ast.AliasNode]*aliasEnd
	deepest pos // of the first collection that is nested too deep
}

// resolveAliases finds the node of each alias. An alias without a node, or with
// one that never ends, is reported and then read as if it were absent. It is
// false if the document, with its aliases expanded, is too large or too deep.
func (d *document) resolveAliases(r *report) bool {
	w := &aliasWalk{report: r, anchors: map[string]*aliasEnd{}, ends: map[*ast.AliasNode]*aliasEnd{}}
	size, depth := w.visit(d.body, 0)
	d.aliases = w.ends
	switch {
	case size > maxNodes:
		r.errorf(nodePos(d.body), CodeTooLarge, "an alias of aliases multiplies; write less of it",
			"with its aliases expanded, the file has more than %d nodes", maxNodes)
		return false
	case depth > maxNest:
		r.errorf(w.deepest, CodeTooDeep, "queues are at most 64 levels deep", "nested deeper than %d levels", maxNest)
		return false
	}
	return true
}

// visit returns the size and depth of a node; size stops counting above
// maxNodes. level is how many collections the node stands in.
func (w *aliasWalk) visit(n ast.Node, level int) (size, depth int) {
	switch v := n.(type) {
	case *ast.MappingNode:
		return w.collection(n, level, func(add func(ast.Node)) {
			for _, e := range v.Values {
				add(keyNode(e.Key))
				add(e.Value)
			}
		})
	case *ast.MappingValueNode:
		return w.collection(n, level, func(add func(ast.Node)) {
			add(keyNode(v.Key))
			add(v.Value)
		})
	case *ast.SequenceNode:
		return w.collection(n, level, func(add func(ast.Node)) {
			for _, e := range v.Values {
				add(e)
			}
		})
	case *ast.AnchorNode:
		return w.anchor(v, level)
	case *ast.AliasNode:
		return w.alias(v, level)
	case *ast.TagNode:
		return w.visit(v.Value, level)
	default:
		return 1, 0
	}
}

func (w *aliasWalk) collection(n ast.Node, level int, each func(add func(ast.Node))) (size, depth int) {
	if level > maxNest { // and no deeper: the walk recurses
		w.tooDeep(n)
		return 1, maxNest + 1
	}
	size = 1
	each(func(child ast.Node) {
		s, d := w.visit(child, level+1)
		size, depth = min(size+s, maxNodes+1), max(depth, d)
	})
	return size, depth + 1
}

func (w *aliasWalk) tooDeep(n ast.Node) {
	if w.deepest == (pos{}) {
		w.deepest = nodePos(n)
	}
}

func (w *aliasWalk) anchor(v *ast.AnchorNode, level int) (size, depth int) {
	end := &aliasEnd{node: v.Value, open: true}
	if v.Name != nil {
		w.anchors[v.Name.GetToken().Value] = end
	}
	end.size, end.depth = w.visit(v.Value, level)
	end.open = false
	return end.size, end.depth
}

func (w *aliasWalk) alias(v *ast.AliasNode, level int) (size, depth int) {
	name := ""
	if v.Value != nil {
		name = v.Value.GetToken().Value
	}
	end := w.anchors[name]
	switch {
	case end == nil:
		w.report.errorf(nodePos(v), CodeUndefinedAlias, "define it before its use: &"+name, "alias *%s has no anchor", name)
		return 1, 0
	case end.open:
		w.report.errorf(nodePos(v), CodeAliasCycle, "a queue can't contain itself; write the inner part out",
			"alias *%s stands inside its own anchor, which has no end", name)
		return 1, 0
	}
	w.ends[v] = end
	if level+end.depth > maxNest {
		w.tooDeep(v)
	}
	return end.size, end.depth
}

func keyNode(k ast.MapKeyNode) ast.Node {
	if m, ok := k.(*ast.MappingKeyNode); ok {
		return m.Value
	}
	return k
}

// nodePos is where a reader would point at a node: at its first character, not
// at the colon that the library calls the token of a mapping.
func nodePos(n ast.Node) pos {
	for {
		switch v := n.(type) {
		case *ast.MappingNode:
			if v.IsFlowStyle || len(v.Values) == 0 {
				return tokenPos(n)
			}
			n = v.Values[0]
		case *ast.MappingValueNode:
			n = v.Key
		case *ast.AnchorNode:
			if v.Value == nil {
				return tokenPos(n)
			}
			n = v.Value
		default:
			return tokenPos(n)
		}
	}
}

func tokenPos(n ast.Node) pos {
	if n == nil {
		return pos{1, 1}
	}
	t := n.GetToken()
	if t == nil || t.Position == nil {
		return pos{1, 1}
	}
	return pos{t.Position.Line, t.Position.Column}
}
