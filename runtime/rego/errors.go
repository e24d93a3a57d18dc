package rego

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
)

// The codes of our own load errors; all others are OPA's (rego_parse_error,
// rego_type_error, rego_unsafe_var_error, …).
const (
	ErrCodeMissingData   = "rego_missing_data"   // a data document that the rules use was not given
	ErrCodeMissingOutput = "rego_missing_output" // a package lacks the rule that decides: allow, protect
	ErrCodeNoDecision    = "rego_no_decision"    // no package that decides anything
	ErrCodeOtherInput    = "rego_other_input"    // a part of the input that another decision has
	ErrCodeBadData       = "rego_bad_data"       // the data is not an object of JSON values
	ErrCodeBadBundle     = "rego_bad_bundle"     // the file is no bundle
)

// Error is one problem of the rules or their data, found at load. File, Row and
// Col say where (1 is the first; all zero if it has no place in a file).
type Error struct {
	File     string
	Row, Col int
	Code     string
	Message  string
	Hint     string // what to do about it; may be empty
}

func (e *Error) Error() string {
	var b strings.Builder
	if e.File != "" {
		fmt.Fprintf(&b, "%s:%d:%d: ", e.File, e.Row, e.Col)
	}
	fmt.Fprintf(&b, "%s: %s", e.Code, e.Message)
	if e.Hint != "" {
		fmt.Fprintf(&b, " (%s)", e.Hint)
	}
	return b.String()
}

// Errors is all problems that were found at once, in the order of their places.
type Errors []*Error

func (es Errors) Error() string {
	lines := make([]string, len(es))
	for i, e := range es {
		lines[i] = e.Error()
	}
	return strings.Join(lines, "\n")
}

// Unwrap lets errors.As find each *Error.
func (es Errors) Unwrap() []error {
	out := make([]error, len(es))
	for i, e := range es {
		out[i] = e
	}
	return out
}

func (es Errors) sorted() Errors {
	slices.SortStableFunc(es, func(a, b *Error) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row), cmp.Compare(a.Col, b.Col), cmp.Compare(a.Message, b.Message))
	})
	return slices.CompactFunc(es, func(a, b *Error) bool { return *a == *b })
}

// fromAST turns what OPA's parser or compiler returned into Errors.
func fromAST(err error) Errors {
	var list ast.Errors
	if !errors.As(err, &list) {
		return Errors{{Code: ast.CompileErr, Message: err.Error()}}
	}
	out := make(Errors, 0, len(list))
	for _, e := range list {
		x := &Error{Code: e.Code, Message: e.Message, Hint: hintFor(e)}
		if e.Location != nil {
			x.File, x.Row, x.Col = e.Location.File, e.Location.Row, e.Location.Col
		}
		out = append(out, x)
	}
	return out
}

func hintFor(e *ast.Error) string {
	if name, ok := strings.CutPrefix(e.Message, "undefined function "); ok && refused(name) {
		return "the network, the clock, chance and the environment are not available: the same job must get the same verdict"
	}
	switch {
	case strings.HasPrefix(e.Message, "undefined ref: input."):
		return "the input document is described in the package documentation of runtime/rego: input.job.gpus, input.job.user, …"
	case e.Code == ast.ParseErr:
		return "rules are Rego v1: write \"if\" before a rule body and \"contains\" for a set"
	case e.Code == ast.UnsafeVarErr:
		return "give the variable a value first: x := … or some x in …"
	case e.Code == ast.RecursionErr:
		return "a rule may not need its own result"
	default:
		return ""
	}
}
