package wanted

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/musterhq/muster/runtime/config"
)

// Bounds of the text, far above any real file: the YAML library recurses, and is slow on
// what nobody writes.
const (
	MaxBytes    = 256 << 10
	MaxPolicies = 1000
	maxNest     = 40
	maxLine     = 8 << 10
	maxNodes    = 50_000
	maxFlow     = 4096 // brackets and commas of one line, and dashes of a run
)

// pos is a place in the text, both from 1.
type pos struct{ line, col int }

// node is a piece of YAML: a text, a list or a mapping; the zero value is a null.
type node struct {
	at      pos
	text    string
	value   any // of a scalar: string, bool, int64, uint64 or float64
	list    []node
	entries []entry
	kind    nodeKind
}

type entry struct {
	key   string
	at    pos
	value node
}

type nodeKind string

const (
	null    nodeKind = ""
	scalar  nodeKind = "a single value"
	list    nodeKind = "a list"
	mapping nodeKind = "a mapping"
)

// report collects the problems of one file.
type report struct {
	file     string
	lines    []string
	problems config.Problems
	shielded bool
	nodes    int
}

func (r *report) errorf(at pos, code, hint, format string, args ...any) {
	at = pos{max(at.line, 1), max(at.col, 1)}
	p := config.Problem{
		File: r.file, Line: at.line, Col: at.col, Code: code, Severity: config.Error,
		Message: r.restore(fmt.Sprintf(format, args...)), Hint: hint,
	}
	if at.line <= len(r.lines) {
		if s := strings.TrimRight(r.lines[at.line-1], "\r"); len(s) <= 1024 && utf8.ValidString(s) {
			p.Source = s
		}
	}
	r.problems = append(r.problems, p)
}

func (r *report) finish() config.Problems {
	slices.SortStableFunc(r.problems, func(a, b config.Problem) int {
		return cmp.Or(cmp.Compare(a.Line, b.Line), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Message, b.Message))
	})
	return slices.Compact(r.problems)
}

// parse reads the one document of a text; false if it can't be read at all.
func (r *report) parse(text []byte) (node, bool) {
	if !r.readable(text) {
		return node{}, false
	}
	source := r.shield(strings.TrimPrefix(string(text), "\ufeff"))
	file, err := parseSource(source)
	if err != nil {
		r.syntax(err)
		return node{}, false
	}
	if len(file.Docs) > 1 && file.Docs[1].Body != nil {
		r.errorf(place(file.Docs[1].Body), config.CodeExtraDocument, "put everything into one document", "a second document")
	}
	if len(file.Docs) == 0 {
		return node{}, true
	}
	root := r.convert(file.Docs[0].Body, 0)
	return root, r.nodes <= maxNodes
}

// readable refuses what the library would take without a word, or for ever.
func (r *report) readable(text []byte) bool {
	if len(text) > MaxBytes {
		r.errorf(pos{1, 1}, config.CodeTooLarge, "keep keys in files of their own", "the file has %d bytes, the most is %d", len(text), MaxBytes)
		return false
	}
	depth := 0
	for n, line := range r.lines {
		if i := strings.IndexFunc(line, func(c rune) bool { return c == utf8.RuneError || c < ' ' && c != '\t' && c != '\r' || c == 0x7f }); i >= 0 {
			r.errorf(pos{n + 1, utf8.RuneCountInString(line[:i]) + 1}, config.CodeNotText, "save it as UTF-8, without control characters", "it is not text")
			return false
		}
		depth += strings.Count(line, "[") + strings.Count(line, "{") - strings.Count(line, "]") - strings.Count(line, "}")
		depth = max(depth, 0)
		run := len(line) - len(strings.TrimLeft(line, " -?:\t"))
		if depth > maxNest || run > 4*maxNest || strings.Count(line, "[")+strings.Count(line, "{") > maxNest {
			r.errorf(pos{n + 1, 1}, config.CodeTooDeep, "no such file needs that", "nested deeper than %d levels", maxNest)
			return false
		}
		if len(line) > maxLine || strings.Count(line, ",") > maxFlow {
			r.errorf(pos{n + 1, 1}, config.CodeTooLarge, "break it", "a line of %d bytes, the most is %d", len(line), maxLine)
			return false
		}
	}
	return true
}

// parseSource runs the YAML library, which may panic on what is not YAML.
func parseSource(source string) (file *ast.File, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("the YAML library failed: %v", p)
		}
	}()
	return parser.ParseBytes([]byte(source), 0, parser.AllowDuplicateMapKey())
}

func (r *report) syntax(err error) {
	at, message := pos{1, 1}, err.Error()
	var theirs *yaml.SyntaxError
	if errors.As(err, &theirs) {
		message = theirs.Message
		if theirs.Token != nil && theirs.Token.Position != nil {
			at = pos{theirs.Token.Position.Line, theirs.Token.Position.Column}
		}
	}
	r.errorf(at, config.CodeYAML, "check indentation (spaces only), quotes, brackets and colons at or before this place", "not valid YAML: %s", message)
}

// hidden stands for a colon inside a word while the library reads the text: YAML takes
// [oci:host/name:1] for one text, the library for a mapping.
const hidden = '\uf03a'

func (r *report) shield(source string) string {
	if strings.ContainsRune(source, hidden) {
		return source
	}
	r.shielded = true
	out := []byte(source[:0])
	last := 0
	for i := 1; i+1 < len(source); i++ {
		if source[i] == ':' && !strings.ContainsRune(" \t\r\n,[]{}\"'", rune(source[i-1])) && !strings.ContainsRune(" \t\r\n,[]{}", rune(source[i+1])) {
			out = utf8.AppendRune(append(out, source[last:i]...), hidden)
			last = i + 1
		}
	}
	return string(append(out, source[last:]...))
}

func (r *report) restore(s string) string {
	if !r.shielded {
		return s
	}
	return strings.ReplaceAll(s, string(hidden), ":")
}

// convert turns the library's nodes into ours.
func (r *report) convert(n ast.Node, depth int) node {
	if r.nodes++; r.nodes > maxNodes || depth > maxNest {
		if r.nodes == maxNodes+1 {
			r.errorf(place(n), config.CodeTooLarge, "no such file needs that", "more than %d values", maxNodes)
		}
		return node{at: place(n)}
	}
	out := node{at: place(n), kind: scalar}
	switch v := n.(type) {
	case nil, *ast.NullNode:
		out.kind = null
	case *ast.MappingNode:
		return r.mapping(n, v.Values, depth)
	case *ast.MappingValueNode:
		return r.mapping(n, []*ast.MappingValueNode{v}, depth)
	case *ast.SequenceNode:
		out.kind = list
		for _, item := range v.Values {
			out.list = append(out.list, r.convert(item, depth+1))
		}
	case *ast.StringNode:
		out.text = r.restore(v.Value)
		out.value = out.text
	case *ast.LiteralNode:
		if v.Value != nil {
			out.text = r.restore(v.Value.Value)
		}
		out.value = out.text
	case *ast.IntegerNode:
		out.text, out.value = v.GetToken().Value, v.Value
	case *ast.FloatNode:
		out.text, out.value = v.GetToken().Value, v.Value
	case *ast.BoolNode:
		out.text, out.value = v.GetToken().Value, v.Value
	case *ast.InfinityNode, *ast.NanNode:
		out.text = n.GetToken().Value
		out.value = out.text
	default:
		r.errorf(out.at, CodeAlias, "write the value itself", "anchors, aliases, tags and merges are not for this file")
		out.kind = null
	}
	return out
}

func (r *report) mapping(n ast.Node, values []*ast.MappingValueNode, depth int) node {
	out := node{at: place(n), kind: mapping}
	seen := map[string]pos{}
	for _, v := range values {
		key := r.convert(keyOf(v.Key), depth+1)
		first, dup := seen[key.text]
		switch {
		case key.kind != scalar:
			r.errorf(key.at, config.CodeWrongType, "write key: value", "a key must be a text")
			continue
		case dup:
			r.errorf(key.at, config.CodeDuplicateKey, "keep one of them", "key %q is already set at line %d", key.text, first.line)
			continue
		}
		seen[key.text] = key.at
		out.entries = append(out.entries, entry{key.text, key.at, r.convert(v.Value, depth+1)})
	}
	return out
}

func keyOf(k ast.MapKeyNode) ast.Node {
	if m, ok := k.(*ast.MappingKeyNode); ok {
		return m.Value
	}
	return k
}

// place is where a reader would point at a node.
func place(n ast.Node) pos {
	switch v := n.(type) {
	case nil:
		return pos{1, 1}
	case *ast.MappingNode:
		if !v.IsFlowStyle && len(v.Values) > 0 {
			return place(v.Values[0])
		}
	case *ast.MappingValueNode:
		return place(keyOf(v.Key))
	}
	if t := n.GetToken(); t != nil && t.Position != nil {
		return pos{t.Position.Line, t.Position.Column}
	}
	return pos{1, 1}
}
