package trace

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"
)

// yamlVersion is the value of the first key of Muster's YAML form.
const yamlVersion = "trace/v1"

// Bounds that keep the YAML parser from eating memory or stack. A longer trace
// belongs into CSV.
const (
	maxYAML  = 64 << 20
	maxDepth = 64
)

var (
	topKeys   = []string{"muster", "name", "end_s", "static", "nodes", "queues", "jobs"}
	queueKeys = []string{"name", "guaranteed", "max", "weight", "preemption", "children"}
	idleKeys  = []string{"idleAfter", "idleGrace"} // of preemption, as in queues.yaml
	nodeKeys  = append([]string{"count"}, nodeColumns...)
	jobKeys   = append([]string{"count"}, jobColumns...)
)

// parseYAML reads Muster's YAML form.
func parseYAML(src source, _ Options, ps *Problems) *Trace {
	top, ok := openYAML(src, ps)
	if !ok {
		return nil
	}
	top.check(topKeys)
	if v, ok := top.cell("muster"); !ok || v.text != yamlVersion {
		ps.at(v, CodeFormat, "the file does not say that it is a trace", "begin it with muster: "+yamlVersion)
	}
	t := &Trace{Name: text(top, "name"), End: ps.seconds(top, "end_s"), Static: ps.boolean(top, "static", false)}
	nr := newNodeReader(ps)
	for _, m := range top.list("nodes") {
		m.check(nodeKeys)
		nr.read(m, ps.integer(m, "count", 1, 1, maxCount))
	}
	t.Nodes = nr.nodes
	rows := yamlQueues(top.list("queues"), "", 0, ps)
	if len(rows) == 0 {
		rows = []queueRow{{id: cell{text: "default"}, queue: oneQueue().Children[0]}}
	}
	set := buildTree(rows, ps)
	t.Queues.Root = set.root
	jr := newJobReader(set, ps)
	for _, m := range top.list("jobs") {
		m.check(jobKeys)
		jr.read(m, ps.integer(m, "count", 1, 1, maxCount))
	}
	t.Jobs = jr.jobs
	return t
}

// yamlQueues flattens nested queues into rows with full paths.
func yamlQueues(list []*mapping, parent string, depth int, ps *Problems) []queueRow {
	var rows []queueRow
	for _, m := range list {
		m.check(queueKeys)
		preemption := m.sub("preemption")
		preemption.check(idleKeys)
		name, ok := ps.require(m, "name")
		if !ok {
			continue
		}
		if strings.Contains(name.text, ".") || depth > maxDepth {
			ps.at(name, CodeValue, fmt.Sprintf("queue name %q has a point, or is too deep", clip(name.text)), "nest queues by children")
			continue
		}
		path := strings.TrimPrefix(parent+"."+name.text, ".")
		row, ok := readQueueRow(queueMapping{m, preemption, path, parent}, ps)
		if ok {
			rows = append(rows, row)
		}
		rows = append(rows, yamlQueues(m.list("children"), path, depth+1, ps)...)
	}
	return rows
}

// queueMapping gives a nested queue the columns that a flat one has.
type queueMapping struct {
	*mapping
	preemption   *mapping
	path, parent string
}

func (m queueMapping) cell(name string) (cell, bool) {
	switch name {
	case "queue":
		c, ok := m.mapping.cell("name")
		c.text = m.path
		return c, ok
	case "parent":
		c, _ := m.mapping.cell("name")
		c.text = m.parent
		return c, m.parent != ""
	case "idle_after":
		return m.preemption.cell("idleAfter")
	case "idle_grace":
		return m.preemption.cell("idleGrace")
	}
	return m.mapping.cell(name)
}

// mapping is a YAML mapping as a record.
type mapping struct {
	ps        *Problems
	file      string
	line, col int
	keys      []cell // text is the key
	values    []ast.Node
}

func openYAML(src source, ps *Problems) (*mapping, bool) {
	if len(src.data) > maxYAML {
		ps.file(src.name, CodeFile, fmt.Sprintf("more than %d MiB of YAML", maxYAML>>20), "use the csv form")
		return nil, false
	}
	if line := tooDeep(src.data); line > 0 {
		ps.add(Problem{src.name, line, 1, CodeSyntax, "nested too deeply", fmt.Sprintf("at most %d levels", maxDepth)})
		return nil, false
	}
	file, err := safeParse(src.data)
	if err != nil {
		ps.add(yamlProblem(src.name, err))
		return nil, false
	}
	if len(file.Docs) != 1 || file.Docs[0].Body == nil {
		ps.file(src.name, CodeEmpty, "not one YAML document", "begin the file with muster: "+yamlVersion)
		return nil, false
	}
	m := newMapping(src.name, file.Docs[0].Body, ps)
	return m, m != nil
}

// tooDeep returns the line where brackets or dashes nest deeper than maxDepth,
// 0 if none does. It is coarse (it also counts inside strings), and that is
// enough: no trace comes near.
func tooDeep(data []byte) int {
	depth := 0
	for i, line := range bytes.Split(data, []byte("\n")) {
		depth += bytes.Count(line, []byte("[")) + bytes.Count(line, []byte("{"))
		if depth > maxDepth || bytes.Count(line, []byte("- ")) > maxDepth || bytes.Count(line, []byte("? ")) > maxDepth {
			return i + 1
		}
		depth = max(0, depth-bytes.Count(line, []byte("]"))-bytes.Count(line, []byte("}")))
	}
	return 0
}

// safeParse turns a panic of the YAML library into an error: a file from
// outside must never crash the program.
func safeParse(data []byte) (f *ast.File, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("the YAML parser gave up: %v", r)
		}
	}()
	return parser.ParseBytes(data, 0)
}

func yamlProblem(file string, err error) Problem {
	p := Problem{File: file, Line: 1, Col: 1, Code: CodeSyntax, Message: "not YAML: " + err.Error(), Hint: "check indentation and quotes"}
	var se interface {
		GetMessage() string
		Error() string
	}
	if errors.As(err, &se) {
		p.Message = "not YAML: " + se.GetMessage()
	}
	// The library writes "[line:col] message" first.
	var line, col int
	if n, _ := fmt.Sscanf(err.Error(), "[%d:%d]", &line, &col); n == 2 {
		p.Line, p.Col = line, col
	}
	return p
}

func newMapping(file string, n ast.Node, ps *Problems) *mapping {
	line, col := position(n)
	m := &mapping{ps: ps, file: file, line: line, col: col}
	var pairs []*ast.MappingValueNode
	switch n := n.(type) {
	case *ast.MappingNode:
		pairs = n.Values
	case *ast.MappingValueNode:
		pairs = []*ast.MappingValueNode{n}
	default:
		ps.at(m.here(""), CodeSyntax, "not a mapping of keys and values", "write key: value")
		return nil
	}
	for _, p := range pairs {
		m.add(p)
	}
	return m
}

func (m *mapping) add(p *ast.MappingValueNode) {
	line, col := position(p.Key)
	key := cell{file: m.file, line: line, col: col}
	if s, ok := p.Key.(ast.ScalarNode); ok {
		key.text = scalarText(s)
	}
	if slices.ContainsFunc(m.keys, func(k cell) bool { return k.text == key.text }) {
		m.ps.at(key, CodeDuplicate, fmt.Sprintf("key %q is there twice", clip(key.text)), "")
		return
	}
	m.keys = append(m.keys, key)
	m.values = append(m.values, p.Value)
}

// check reports keys outside known.
func (m *mapping) check(known []string) {
	for _, k := range m.keys {
		if !slices.Contains(known, k.text) {
			m.ps.at(k, CodeColumn, fmt.Sprintf("unknown key %q", clip(k.text)), "known are "+strings.Join(known, ", "))
		}
	}
}

func (m *mapping) here(name string) cell {
	return cell{file: m.file, line: m.line, col: m.col, name: name}
}

func (m *mapping) value(name string) (ast.Node, bool) {
	for i, k := range m.keys {
		if k.text == name {
			return m.values[i], true
		}
	}
	return nil, false
}

func (m *mapping) cell(name string) (cell, bool) {
	n, ok := m.value(name)
	if !ok {
		return m.here(name), false
	}
	c := cell{file: m.file, name: name}
	c.line, c.col = position(n)
	switch s := n.(type) {
	case *ast.NullNode:
		return c, false
	case ast.ScalarNode:
		c.text = strings.TrimSpace(scalarText(s))
	default:
		m.ps.at(c, CodeSyntax, name+" is not a single value", "write "+name+": value")
		return c, false
	}
	return c, c.text != ""
}

// sub is the mapping that is a value; absent is one without keys.
func (m *mapping) sub(name string) *mapping {
	none := &mapping{ps: m.ps, file: m.file, line: m.line, col: m.col}
	n, ok := m.value(name)
	if !ok {
		return none
	}
	if _, null := n.(*ast.NullNode); null {
		return none
	}
	if e := newMapping(m.file, n, m.ps); e != nil {
		return e
	}
	return none
}

// list returns the mappings of a sequence; absent is empty.
func (m *mapping) list(name string) []*mapping {
	n, ok := m.value(name)
	if !ok {
		return nil
	}
	if _, null := n.(*ast.NullNode); null {
		return nil
	}
	seq, ok := n.(*ast.SequenceNode)
	if !ok {
		c := m.here(name)
		c.line, c.col = position(n)
		m.ps.at(c, CodeSyntax, name+" is not a list", "write each entry as - key: value")
		return nil
	}
	var out []*mapping
	for _, v := range seq.Values {
		if e := newMapping(m.file, v, m.ps); e != nil {
			out = append(out, e)
		}
	}
	return out
}

// scalarText is a scalar as it was written: numbers are not parsed by the YAML
// library, so that 0x10 or 1e3 are refused by name and no digit is lost.
func scalarText(s ast.ScalarNode) string {
	if t := s.GetToken(); t != nil {
		return t.Value
	}
	return ""
}

func position(n ast.Node) (line, col int) {
	if n == nil {
		return 1, 1
	}
	if kv, ok := n.(*ast.MappingValueNode); ok {
		n = kv.Key
	}
	if mn, ok := n.(*ast.MappingNode); ok && len(mn.Values) > 0 {
		n = mn.Values[0].Key
	}
	t := n.GetToken()
	if t == nil || t.Position == nil {
		return 1, 1
	}
	return t.Position.Line, t.Position.Column
}

// yamlText quotes a string only where plain YAML would read it otherwise.
func yamlText(s string) string {
	plain := s != "" && strings.Trim(s, "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_-./|") == ""
	words := []string{"true", "false", "null"}
	if plain && strings.ContainsAny(s[:1], "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ") && !slices.Contains(words, strings.ToLower(s)) {
		return s
	}
	return fmt.Sprintf("%q", s)
}

var _ record = queueMapping{}
