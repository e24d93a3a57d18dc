package rego

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
)

// Decision is one of the things that rules can decide. Each has a package of its own,
// so that one folder may hold rules for several of them.
type Decision int

// The decisions.
const (
	Admission  Decision = iota // may this job run, in which queue, at which priority
	Placement                  // on which GPU types and nodes may it run
	Protection                 // which units must not be evicted
	Loading                    // may this policy be loaded
)

// decision describes the package of one decision.
type decision struct {
	pkg string
	// outputs are the rules that are read, inputs the documents below input.
	outputs, inputs []string
	// must is an output without which the rules would refuse everything; "" if none.
	must, example string
}

var decisions = [...]decision{
	Admission:  {"muster.admission", []string{"allow", "deny", "queue", "priority"}, []string{"job"}, "allow", "default allow := false"},
	Placement:  {"muster.placement", []string{"gpu_types", "nodes", "deny"}, []string{"job"}, "", ""},
	Protection: {"muster.protection", []string{"protect"}, []string{"units", "now_s"}, "protect", "protect[i] contains \"it is on call\" if { some i, unit in input.units; … }"},
	Loading:    {"muster.loading", []string{"allow", "deny"}, []string{"policy"}, "allow", "default allow := false"},
}

// Package is the Rego package whose rules make the decision.
func (d Decision) Package() string { return decisions[d].pkg }

// Decides says whether the rules make a decision at all.
func (r *Rules) Decides(d Decision) bool { return r.questions[d] != nil }

// definedBy returns the outputs that rules define; none if the package has no rule of
// its own.
func (d *decision) definedBy(c *ast.Compiler) map[string]bool {
	defined := map[string]bool{}
	for _, name := range d.outputs {
		if len(c.GetRulesWithPrefix(ast.MustParseRef("data."+d.pkg+"."+name))) > 0 {
			defined[name] = true
		}
	}
	return defined
}

// undecided lists decisions whose package lacks the output that matters, and says so
// if the rules decide nothing at all.
func undecided(c *ast.Compiler) (out Errors) {
	some := false
	var names []string
	for i := range decisions {
		d := &decisions[i]
		names = append(names, d.pkg)
		if !hasPackage(c, d.pkg) {
			continue
		}
		some = true
		if d.must != "" && !d.definedBy(c)[d.must] {
			out = append(out, &Error{
				Code:    ErrCodeMissingOutput,
				Message: fmt.Sprintf("no rule of package %s defines %s, so the others would decide nothing", d.pkg, d.must),
				Hint:    "write: " + d.example,
			})
		}
	}
	if !some {
		out = append(out, &Error{
			Code: ErrCodeNoDecision, Message: "no file is of a package that decides anything",
			Hint: "the packages are " + strings.Join(names, ", "),
		})
	}
	return out
}

func hasPackage(c *ast.Compiler, pkg string) bool {
	want := ast.MustParseRef("data." + pkg)
	for _, m := range c.Modules {
		if m.Package.Path.Equal(want) {
			return true
		}
	}
	return false
}

// otherInputs lists references to a part of the input that another decision has: in
// this one it is undefined, and would make its rule vanish.
func otherInputs(c *ast.Compiler) (out Errors) {
	for _, m := range c.Modules {
		i := slices.IndexFunc(decisions[:], func(d decision) bool { return m.Package.Path.String() == "data."+d.pkg })
		if i < 0 {
			continue
		}
		ast.WalkRefs(m, func(ref ast.Ref) bool {
			if len(ref) < 2 || !ref[0].Equal(ast.InputRootDocument) {
				return false
			}
			name, ok := ref[1].Value.(ast.String)
			if loc := ref[0].Location; ok && loc != nil && !slices.Contains(decisions[i].inputs, string(name)) {
				out = append(out, &Error{
					File: loc.File, Row: loc.Row, Col: loc.Col, Code: ErrCodeOtherInput,
					Message: fmt.Sprintf("input.%s does not exist in package %s", string(name), decisions[i].pkg),
					Hint:    "it has input." + strings.Join(decisions[i].inputs, ", input."),
				})
			}
			return false
		})
	}
	return out.sorted()
}

// prepare makes the query that evaluates each output by itself. An undefined one
// comes back as an empty array: one undefined rule must not hide the others.
func (d *decision) prepare(ctx context.Context, c *ast.Compiler, store storage.Store, defined map[string]bool) (rego.PreparedEvalQuery, error) {
	var fields []string
	for _, name := range d.outputs {
		if defined[name] {
			fields = append(fields, fmt.Sprintf("%q: [x | x := data.%s.%s]", name, d.pkg, name))
		}
	}
	return rego.New(
		rego.Query("{"+strings.Join(fields, ", ")+"}"),
		rego.Compiler(c),
		rego.Store(store),
		rego.StrictBuiltinErrors(true), // else a failing call makes its rule vanish
	).PrepareForEval(ctx)
}
