package rego

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/tester"
	"github.com/open-policy-agent/opa/v1/topdown"
)

// TestResult is one test rule of a *_test.rego file.
type TestResult struct {
	Package, Name string
	File          string
	Row           int
	// Outcome is pass, fail, error or skipped (a name that begins with todo_).
	Outcome string
	// Message says which expression did not hold, or what went wrong.
	Message  string
	Duration time.Duration
}

// Test runs the tests of a source as `opa test` does, with what rules may call and
// nothing else. A source without tests gives none.
func (s Source) Test(ctx context.Context, timeout time.Duration) ([]TestResult, error) {
	doc, _, err := jsonObject(s.Data)
	if err != nil {
		return nil, Errors{asError(err)}
	}
	all := maps.Clone(s.Files)
	maps.Copy(all, s.Tests)
	modules, err := parse(all)
	if err != nil {
		return nil, err
	}
	store := storeOf(doc)
	txn, err := store.NewTransaction(ctx, storage.TransactionParams{})
	if err != nil {
		return nil, err
	}
	defer store.Abort(ctx, txn)
	results, err := tester.NewRunner().
		SetCompiler(ast.NewCompiler().WithCapabilities(capabilities()).SetErrorLimit(0)).
		SetStore(store).SetModules(modules).SetTimeout(timeout).
		SetDefaultRegoVersion(ast.RegoV1).RaiseBuiltinErrors(true).
		EnableTracing(true). // so that a failed test can say where
		RunTests(ctx, txn)
	if err != nil {
		return nil, fromAST(err).sorted()
	}
	var out []TestResult
	for r := range results {
		out = append(out, resultOf(r))
	}
	slices.SortFunc(out, func(a, b TestResult) int { return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Row, b.Row)) })
	return out, ctx.Err()
}

func resultOf(r *tester.Result) TestResult {
	t := TestResult{Package: strings.TrimPrefix(r.Package, "data."), Name: r.Name, Outcome: "pass", Duration: r.Duration}
	if r.Location != nil {
		t.File, t.Row = r.Location.File, r.Location.Row
	}
	switch {
	case r.Error != nil:
		t.Outcome, t.Message = "error", evalMessage(r.Error)
	case r.Skip:
		t.Outcome = "skipped"
	case r.Fail:
		t.Outcome, t.Message = "fail", "the test rule is false or undefined"
		if l := failedAt(r); l != nil {
			t.Message = fmt.Sprintf("%s:%d:%d: does not hold: %s", l.File, l.Row, l.Col, l.Text)
		}
	}
	return t
}

// failedAt is the last expression of the test's own file that did not hold.
func failedAt(r *tester.Result) (at *ast.Location) {
	for _, e := range r.Trace {
		x, ok := e.Node.(*ast.Expr)
		if ok && e.Op == topdown.FailOp && r.Location != nil && x.Location != nil && x.Location.File == r.Location.File {
			at = x.Location
		}
	}
	return at
}
