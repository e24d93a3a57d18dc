package operator

import (
	"bytes"
	"fmt"
	"path/filepath"
	"regexp"

	"github.com/goccy/go-yaml"
	"github.com/goccy/go-yaml/ast"
	"github.com/goccy/go-yaml/parser"

	"github.com/musterhq/muster/runtime/reload/wanted"
)

// entry is a policy as policies.yaml says it, in the order in which people read it.
type entry struct {
	Name     string         `yaml:"name"`
	Source   map[string]any `yaml:"source,flow"`
	Digest   string         `yaml:"digest,omitempty"`
	SignedBy []string       `yaml:"signedBy,omitempty,flow"`
	Params   map[string]any `yaml:"params,omitempty,flow"`
	Mode     string         `yaml:"mode,omitempty"`
	Beside   string         `yaml:"beside,omitempty"`
	For      string         `yaml:"shadowFor,omitempty"`
}

// Relative is a source as policies.yaml names it: files relative to its folder.
func Relative(file string, s wanted.Source) wanted.Source {
	if s.Kind == wanted.FromOCI || filepath.IsAbs(s.At) {
		return s
	}
	base, err := filepath.Abs(filepath.Dir(file))
	if err != nil {
		return s
	}
	at, err := filepath.Abs(s.At)
	if err != nil {
		return s
	}
	if rel, err := filepath.Rel(base, at); err == nil {
		s.At = filepath.ToSlash(rel)
	}
	return s
}

// Put puts a policy into the text of a policies.yaml: in place of the one of its name,
// or at the end. Everything else, comments too, stays.
func Put(file string, text []byte, s wanted.Spec) ([]byte, error) {
	e := entry{Name: s.Name, Source: map[string]any{string(s.Source.Kind): s.Source.At}, Digest: s.Digest, SignedBy: s.SignedBy, Params: s.Params, Beside: s.Beside}
	if s.Source.PlainHTTP {
		e.Source["plainHTTP"] = true
	}
	if s.Mode == wanted.Shadow {
		e.Mode = wanted.Shadow
	}
	if s.ShadowFor > 0 {
		e.For = s.ShadowFor.String()
	}
	doc, list, err := policyList(file, text)
	if err != nil {
		return nil, err
	}
	node, err := yaml.ValueToNode(e, yaml.IndentSequence(true))
	if err != nil {
		return nil, err
	}
	if list == nil { // no policies yet
		item, err := yaml.MarshalWithOptions(map[string]any{"policies": []entry{e}}, yaml.IndentSequence(true))
		if err != nil {
			return nil, err
		}
		return append(withoutEmptyList(text), item...), nil
	}
	at := indexOf(list, s.Name)
	if at < 0 {
		item, err := yaml.MarshalWithOptions([]entry{e}, yaml.IndentSequence(true))
		if err != nil {
			return nil, err
		}
		parsed, err := parser.ParseBytes(item, parser.ParseComments)
		if err != nil {
			return nil, err
		}
		more, ok := parsed.Docs[0].Body.(*ast.SequenceNode)
		if !ok {
			return nil, fmt.Errorf("%s: cannot add a policy", file)
		}
		list.Merge(more)
		return []byte(doc.String()), nil
	}
	if err := list.Replace(at, node); err != nil {
		return nil, err
	}
	return []byte(doc.String()), nil
}

// policyList finds the list of policies; nil if there is none or it is empty.
func policyList(file string, text []byte) (*ast.File, *ast.SequenceNode, error) {
	doc, err := parser.ParseBytes(text, parser.ParseComments)
	if err != nil {
		return nil, nil, fmt.Errorf("%s: %w", file, err)
	}
	for _, d := range doc.Docs {
		root, ok := d.Body.(ast.MapNode)
		if !ok {
			continue
		}
		for it := root.MapRange(); it.Next(); {
			if list, ok := it.Value().(*ast.SequenceNode); ok && it.Key().String() == "policies" && len(list.Values) > 0 && !list.IsFlowStyle {
				return doc, list, nil
			}
		}
	}
	return doc, nil, nil
}

func indexOf(list *ast.SequenceNode, name string) int {
	for i, v := range list.Values {
		m, ok := v.(ast.MapNode)
		if !ok {
			continue
		}
		for it := m.MapRange(); it.Next(); {
			var got string
			if it.Key().String() == "name" && yaml.NodeToValue(it.Value(), &got) == nil && got == name {
				return i
			}
		}
	}
	return -1
}

// withoutEmptyList is the text without a policies key that has nothing below it.
func withoutEmptyList(text []byte) []byte {
	var out []byte
	for line := range bytes.Lines(text) {
		if !emptyList.Match(bytes.TrimRight(line, "\r\n")) {
			out = append(out, line...)
		}
	}
	if len(out) > 0 && out[len(out)-1] != '\n' {
		out = append(out, '\n')
	}
	return out
}

var emptyList = regexp.MustCompile(`^policies:\s*(\[\s*\])?\s*$`)
