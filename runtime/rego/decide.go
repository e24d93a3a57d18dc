package rego

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/topdown"

	"github.com/musterhq/muster/builtin/spec"
)

// The codes of a verdict. Every code but CodeAllowed is a refusal.
const (
	CodeAllowed     = "allowed"
	CodeDenied      = "denied"       // deny has messages
	CodeNotAllowed  = "not-allowed"  // allow is false
	CodeUndefined   = "undefined"    // allow has no value for this job
	CodeTimeout     = "timeout"      // no verdict within Options.Timeout
	CodeEvalError   = "eval-error"   // a call failed, or two rules contradict each other
	CodeBadDocument = "bad-document" // an output has the wrong type
)

// Verdict is what the rules say about one job.
type Verdict struct {
	Allow bool
	// Messages say why a job is refused, sorted: the deny set, or one sentence that
	// stands for any other code. Never empty in a refusal, always empty otherwise.
	Messages []string
	// Queue and Priority replace those of the job if not nil. Both are nil in a
	// refusal. Whether the queue exists and the user may use it is the caller's to
	// check.
	Queue    *string
	Priority *int64
	Code     string
}

func refusal(code, format string, args ...any) Verdict {
	return Verdict{Code: code, Messages: []string{fmt.Sprintf(format, args...)}}
}

// Decide asks the rules about a job. What goes wrong in the rules is a refusal,
// not an error; the error is that of a ctx that ended, and comes with a refusal.
func (r *Rules) Decide(ctx context.Context, j *spec.Job) (Verdict, error) {
	return r.allowed(ctx, Admission, inputOf(j), "job "+j.ID)
}

// allowed asks a decision that has allow and deny.
func (r *Rules) allowed(ctx context.Context, d Decision, input ast.Value, about string) (Verdict, error) {
	bounded, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	doc, bad, err := r.ask(ctx, bounded, d, input, about)
	if bad != nil {
		return *bad, err
	}
	v := verdict(d, doc, about)
	if v.Code == CodeUndefined {
		v.Messages[0] += r.whyUndefined(bounded, d, input)
	}
	return v, nil
}

// ask evaluates the outputs of a decision. What went wrong comes as a refusal; the error
// is that of a ctx that ended.
func (r *Rules) ask(ctx, bounded context.Context, d Decision, input ast.Value, about string) (doc map[string]any, bad *Verdict, err error) {
	fail := func(code, format string, args ...any) (map[string]any, *Verdict, error) {
		v := refusal(code, format, args...)
		return nil, &v, ctx.Err()
	}
	name := strings.TrimPrefix(d.Package(), "muster.")
	q := r.questions[d]
	if q == nil {
		return fail(CodeUndefined, "there are no rules of package %s", d.Package())
	}
	results, err := q.query.Eval(bounded, rego.EvalParsedInput(input))
	switch {
	case ctx.Err() != nil:
		return fail(CodeTimeout, "the question about %s was withdrawn", about)
	case bounded.Err() != nil:
		return fail(CodeTimeout, "the %s rules did not answer within %s", name, r.timeout)
	case err != nil:
		return fail(CodeEvalError, "the %s rules failed: %s", name, evalMessage(err))
	case len(results) != 1 || len(results[0].Expressions) != 1:
		return fail(CodeBadDocument, "the %s rules gave no decision document", name)
	}
	doc, _ = results[0].Expressions[0].Value.(map[string]any)
	return doc, nil, nil
}

// DecideAll asks about many jobs; answer i is about job i. Each has its own time
// limit, so that one slow job cannot refuse the others. It stops at a ctx that
// ended; the verdicts not reached are refusals.
func (r *Rules) DecideAll(ctx context.Context, jobs []*spec.Job) ([]Verdict, error) {
	out := make([]Verdict, len(jobs))
	var failed error
	for i, j := range jobs {
		if failed != nil {
			out[i] = refusal(CodeTimeout, "the question about job %s was withdrawn", j.ID)
			continue
		}
		out[i], failed = r.Decide(ctx, j)
	}
	return out, failed
}

// verdict reads the decision document: each output is an array of its one value,
// empty if it is undefined.
func verdict(d Decision, doc map[string]any, about string) Verdict {
	deny, problem := messages(doc)
	if problem != "" {
		return refusal(CodeBadDocument, "%s", problem)
	}
	what, _, _ := strings.Cut(about, " ")
	allow, isDefined := single(doc, "allow")
	allowed, isBool := allow.(bool)
	switch {
	case len(deny) > 0:
		return Verdict{Code: CodeDenied, Messages: deny}
	case !isDefined:
		return refusal(CodeUndefined, "data.%s.allow is undefined for this %s", d.Package(), what)
	case !isBool:
		return refusal(CodeBadDocument, "allow is %v, not true or false", allow)
	case !allowed:
		return refusal(CodeNotAllowed, "no %s rule allows this %s", strings.TrimPrefix(d.Package(), "muster."), what)
	}
	v := Verdict{Allow: true, Code: CodeAllowed}
	if problem := v.overrides(doc); problem != "" {
		return refusal(CodeBadDocument, "%s", problem)
	}
	return v
}

func single(doc map[string]any, name string) (value any, ok bool) {
	list, _ := doc[name].([]any)
	if len(list) != 1 {
		return nil, false
	}
	return list[0], true
}

// messages reads the deny set, sorted. A set comes as an array.
func messages(doc map[string]any) (deny []string, problem string) {
	value, ok := single(doc, "deny")
	if !ok {
		return nil, ""
	}
	list, ok := value.([]any)
	if !ok {
		return nil, fmt.Sprintf("deny is %v, not a set of messages; write: deny contains message if …", value)
	}
	for _, m := range list {
		s, ok := m.(string)
		if !ok {
			return nil, fmt.Sprintf("deny contains %v, which is not a text", m)
		}
		deny = append(deny, s)
	}
	slices.Sort(deny)
	return deny, ""
}

// overrides reads queue and priority. An undefined one changes nothing.
func (v *Verdict) overrides(doc map[string]any) (problem string) {
	if value, ok := single(doc, "queue"); ok {
		s, isText := value.(string)
		if !isText || s == "" {
			return fmt.Sprintf("queue is %v, not the path of a queue", value)
		}
		v.Queue = &s
	}
	if value, ok := single(doc, "priority"); ok {
		number, _ := value.(json.Number)
		n, err := number.Int64()
		if err != nil {
			return fmt.Sprintf("priority is %v, not a whole number", value)
		}
		v.Priority = &n
	}
	return ""
}

func evalMessage(err error) string {
	var e *topdown.Error
	if !errors.As(err, &e) {
		return err.Error()
	}
	if e.Location == nil || e.Location.File == "" {
		return fmt.Sprintf("%s: %s", e.Code, e.Message)
	}
	return fmt.Sprintf("%s:%d:%d: %s: %s", e.Location.File, e.Location.Row, e.Location.Col, e.Code, strings.Join(strings.Fields(e.Message), " "))
}

// whyUndefined evaluates once more, looking: it names the expressions of the rules
// for allow that did not hold. Empty if it cannot tell.
func (r *Rules) whyUndefined(ctx context.Context, d Decision, input ast.Value) string {
	t := &failTracer{}
	_, err := r.questions[d].query.Eval(ctx, rego.EvalParsedInput(input), rego.EvalQueryTracer(t),
		rego.EvalRuleIndexing(false)) // the index leaves out rules that cannot hold
	if err != nil || len(t.failed) == 0 {
		return ""
	}
	slices.Sort(t.failed)
	text := ": undefined or false is "
	for i, f := range slices.Compact(t.failed) {
		if i > 0 {
			text += "; "
		}
		text += f
	}
	return text
}

// failTracer collects the expressions that failed directly in the bodies of the
// rules for allow.
type failTracer struct {
	allow  map[uint64]bool // queries that are bodies of allow
	failed []string
}

// Enabled is part of topdown.QueryTracer.
func (*failTracer) Enabled() bool { return true }

// Config is part of topdown.QueryTracer.
func (*failTracer) Config() topdown.TraceConfig { return topdown.TraceConfig{} }

// TraceEvent is part of topdown.QueryTracer.
func (t *failTracer) TraceEvent(e topdown.Event) {
	switch node := e.Node.(type) {
	case *ast.Rule:
		if e.Op == topdown.EnterOp && node.Head.Name == "allow" {
			if t.allow == nil {
				t.allow = map[uint64]bool{}
			}
			t.allow[e.QueryID] = true
		}
	case *ast.Expr:
		if e.Op == topdown.FailOp && t.allow[e.QueryID] && node.Location != nil && len(t.failed) < 8 {
			t.failed = append(t.failed, fmt.Sprintf("%s:%d:%d: %s", node.Location.File, node.Location.Row, node.Location.Col, node.Location.Text))
		}
	}
}
