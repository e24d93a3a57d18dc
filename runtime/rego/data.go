package rego

import (
	"bytes"
	"encoding/json"
	"fmt"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// jsonObject copies data through JSON, so that what was checked at load cannot be
// changed by the caller. It returns the copy and its canonical text.
func jsonObject(data any) (map[string]any, []byte, error) {
	if data == nil {
		data = map[string]any{}
	}
	text, err := json.Marshal(data)
	if err != nil {
		return nil, nil, &Error{Code: ErrCodeBadData, Message: err.Error(), Hint: "data holds JSON values only"}
	}
	var out map[string]any
	dec := json.NewDecoder(bytes.NewReader(text))
	dec.UseNumber()
	if err := dec.Decode(&out); err != nil || out == nil {
		return nil, nil, &Error{Code: ErrCodeBadData, Message: "data is not an object", Hint: "write {\"name\": document}"}
	}
	if text, err = json.Marshal(out); err != nil { // again, for the order of the keys
		return nil, nil, &Error{Code: ErrCodeBadData, Message: err.Error()}
	}
	return out, text, nil
}

// missingData lists each reference of the rules to a data document that neither
// data nor a rule defines. Without this check such a reference is undefined at
// run time, and a deny rule that contains it (in the argument of sprintf, say)
// silently denies nothing.
//
// Only the statically known front of a reference is looked at: data.users[u].max
// needs data.users.
func missingData(c *ast.Compiler, data map[string]any) Errors {
	var out Errors
	for _, m := range c.Modules {
		for _, rule := range m.Rules {
			ast.WalkRefs(rule, func(ref ast.Ref) bool {
				if path, ok := staticPath(ref); ok {
					depth, defined := virtual(c.RuleTree, path)
					if at := absent(data, path); !defined && at > 0 {
						out = append(out, missing(ref, rule, path[:max(at, depth+1)]))
					}
				}
				return false
			})
		}
	}
	return out.sorted()
}

func missing(ref ast.Ref, rule *ast.Rule, path []string) *Error {
	name := "data." + strings.Join(path, ".")
	e := &Error{
		Code:    ErrCodeMissingData,
		Message: fmt.Sprintf("the rules use %s, which neither the data nor a rule defines", name),
		Hint:    fmt.Sprintf("add %q to the data, as an empty value if there is none", strings.Join(path, ".")),
	}
	if strings.HasPrefix(name, "data.muster.") {
		e.Hint = "no rule of that name; is it misspelt?"
	}
	loc := ref[0].Location
	if loc == nil || loc.File == "" {
		loc = rule.Location
	}
	if loc != nil {
		e.File, e.Row, e.Col = loc.File, loc.Row, loc.Col
	}
	return e
}

// staticPath is the path of a reference into data up to the first part that is
// not a constant string.
func staticPath(ref ast.Ref) (path []string, ok bool) {
	if len(ref) < 2 || !ref[0].Equal(ast.DefaultRootDocument) {
		return nil, false
	}
	for _, t := range ref[1:] {
		s, isString := t.Value.(ast.String)
		if !isString {
			break
		}
		path = append(path, string(s))
	}
	return path, len(path) > 0
}

// virtual says whether a path leads to a rule, into one, or to a package, and how
// many of its names lead to packages.
func virtual(tree *ast.TreeNode, path []string) (depth int, defined bool) {
	node := tree.Child(ast.DefaultRootDocument.Value)
	for ; node != nil && depth < len(path); depth++ {
		if len(node.Values) > 0 {
			return depth, true
		}
		if node = node.Child(ast.String(path[depth])); node == nil {
			return depth, false
		}
	}
	return depth, node != nil
}

// absent returns how many names of the path, at least 1, lead to the first
// document that is not there; 0 if all are.
func absent(data map[string]any, path []string) int {
	var at any = data
	for i, name := range path {
		object, _ := at.(map[string]any)
		next, ok := object[name]
		if !ok {
			return i + 1
		}
		at = next
	}
	return 0
}
