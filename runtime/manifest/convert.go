package manifest

import (
	"github.com/goccy/go-yaml/ast"
)

// converter turns the library's nodes into ours, and reports keys that come twice and
// what manifests have no use for.
type converter struct {
	report *report
	count  int
}

func (c *converter) convert(n ast.Node, depth int) node {
	c.count++
	if n == nil || depth > maxNest || c.count > maxNodes {
		return node{at: nodePos(n)}
	}
	switch v := n.(type) {
	case *ast.MappingNode:
		return c.mapping(n, v.Values, depth)
	case *ast.MappingValueNode:
		return c.mapping(n, []*ast.MappingValueNode{v}, depth)
	case *ast.SequenceNode:
		out := node{at: nodePos(n), kind: isList}
		for _, item := range v.Values {
			out.items = append(out.items, c.convert(item, depth+1))
		}
		return out
	case *ast.AnchorNode, *ast.AliasNode, *ast.TagNode, *ast.MergeKeyNode:
		c.report.errorf(nodePos(n), CodeAlias, "write the value itself", "anchors, aliases, tags and merges are not for manifests")
		return node{at: nodePos(n)}
	}
	return c.scalar(n)
}

func (c *converter) mapping(n ast.Node, values []*ast.MappingValueNode, depth int) node {
	out := node{at: nodePos(n), kind: isMapping}
	seen := map[string]pos{}
	for _, v := range values {
		key := c.convert(keyNode(v.Key), depth+1)
		switch first, dup := seen[key.text]; {
		case key.kind == isNull:
			continue // reported
		case key.kind != isScalar:
			c.report.errorf(key.at, CodeWrongType, "write key: value", "a key must be a text, not %s", key.kind)
			continue
		case dup:
			c.report.errorf(key.at, CodeDuplicateKey, "keep one of them", "key %q is already set at line %d", key.text, first.line)
			continue
		}
		seen[key.text] = key.at
		out.entries = append(out.entries, entry{key.text, key.at, c.convert(v.Value, depth+1)})
	}
	return out
}

func (c *converter) scalar(n ast.Node) node {
	out := node{at: nodePos(n), kind: isScalar}
	switch v := n.(type) {
	case *ast.StringNode:
		out.text = c.report.restore(v.Value)
		out.value = out.text
	case *ast.LiteralNode:
		if v.Value != nil {
			out.text = c.report.restore(v.Value.Value)
		}
		out.value = out.text
	case *ast.IntegerNode:
		out.text, out.value = v.GetToken().Value, v.Value
	case *ast.FloatNode:
		out.text, out.value = v.GetToken().Value, v.Value
	case *ast.BoolNode:
		out.text, out.value = v.GetToken().Value, v.Value
	case *ast.NullNode:
		return node{at: out.at}
	default: // .inf, .nan
		out.text = n.GetToken().Value
		out.value = out.text
	}
	return out
}

func keyNode(k ast.MapKeyNode) ast.Node {
	if m, ok := k.(*ast.MappingKeyNode); ok {
		return m.Value
	}
	return k
}

// nodePos is where a reader would point at a node: at its first character, not at the
// colon that the library calls the token of a mapping.
func nodePos(n ast.Node) pos {
	switch v := n.(type) {
	case nil:
		return pos{1, 1}
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return nodePos(v.Values[0])
		}
	case *ast.MappingValueNode:
		return nodePos(keyNode(v.Key))
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return pos{t.Position.Line, t.Position.Column}
	}
	return pos{1, 1}
}
