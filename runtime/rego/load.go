package rego

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// Package is the Rego package whose rules decide.
const Package = "muster.admission"

// DefaultTimeout bounds one verdict where Options says nothing.
const DefaultTimeout = 50 * time.Millisecond

// Options of Load.
type Options struct {
	// Timeout bounds one verdict, wall clock; 0 is DefaultTimeout. A verdict that
	// takes longer is a refusal.
	Timeout time.Duration
}

// Admission is a set of rules with its data, compiled once. It never changes and
// may be used by many goroutines at once.
type Admission struct {
	query   rego.PreparedEvalQuery
	timeout time.Duration
	digest  string
	rules   map[string]bool // which of outputs are defined by a rule
}

// outputs are the rules of the package that are read.
var outputs = []string{"allow", "deny", "queue", "priority"}

// Load compiles the rules in files (name to text) over data, which is any value
// that encodes to a JSON object (nil is an empty one).
//
// It refuses, with Errors that list every problem of the first stage that has one
// (syntax, meaning, missing data): what does not parse or compile, calls to
// anything that is not a function of its input, fields that the input does not
// have, references to data documents that are not there, and rules that never
// define allow.
func Load(ctx context.Context, files map[string]string, data any, opt Options) (*Admission, error) {
	doc, text, err := jsonObject(data)
	if err != nil {
		return nil, Errors{asError(err)}
	}
	modules, err := parse(files)
	if err != nil {
		return nil, err
	}
	compiler, err := compile(modules, doc)
	if err != nil {
		return nil, err
	}
	a := &Admission{timeout: opt.Timeout, digest: digest(files, text), rules: definedOutputs(compiler)}
	if a.timeout <= 0 {
		a.timeout = DefaultTimeout
	}
	store := inmem.NewFromObjectWithOpts(doc, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
	if a.query, err = prepare(ctx, compiler, store, a.rules); err != nil {
		return nil, fmt.Errorf("prepare admission rules: %w", err)
	}
	return a, nil
}

// ReadDir reads what Load takes from a folder: every *.rego file but tests
// (*_test.rego), and data.json if it is there.
func ReadDir(fsys fs.FS, dir string) (files map[string]string, data any, err error) {
	entries, err := fs.ReadDir(fsys, dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read admission rules: %w", err)
	}
	files = map[string]string{}
	for _, e := range entries {
		name := path.Join(dir, e.Name())
		isRule := strings.HasSuffix(name, ".rego") && !strings.HasSuffix(name, "_test.rego")
		if e.IsDir() || !isRule && e.Name() != "data.json" {
			continue
		}
		text, err := fs.ReadFile(fsys, name)
		if err != nil {
			return nil, nil, fmt.Errorf("read admission rules: %w", err)
		}
		if isRule {
			files[name] = string(text)
		} else if data, err = parseData(name, text); err != nil {
			return nil, nil, Errors{asError(err)}
		}
	}
	return files, data, nil
}

func parseData(name string, text []byte) (any, error) {
	var data map[string]any
	if err := json.Unmarshal(text, &data); err != nil {
		e := &Error{File: name, Row: 1, Col: 1, Code: ErrCodeBadData, Message: err.Error(), Hint: "data.json holds one JSON object"}
		var syntax *json.SyntaxError
		if errors.As(err, &syntax) {
			before := string(text[:min(int(syntax.Offset), len(text))])
			e.Row += strings.Count(before, "\n")
			e.Col = max(1, len(before)-strings.LastIndex(before, "\n")-1)
		}
		return nil, e
	}
	return json.RawMessage(text), nil
}

func asError(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: ErrCodeBadData, Message: err.Error()}
}

func parse(files map[string]string) (map[string]*ast.Module, error) {
	modules := make(map[string]*ast.Module, len(files))
	var problems Errors
	for _, name := range slices.Sorted(maps.Keys(files)) {
		m, err := ast.ParseModuleWithOpts(name, files[name], ast.ParserOptions{RegoVersion: ast.RegoV1, Capabilities: capabilities()})
		switch {
		case err != nil:
			problems = append(problems, fromAST(err)...)
		case m != nil:
			modules[name] = m
		}
	}
	if len(problems) > 0 {
		return nil, problems.sorted()
	}
	return modules, nil
}

func compile(modules map[string]*ast.Module, data map[string]any) (*ast.Compiler, error) {
	schemas, err := inputSchemas()
	if err != nil {
		return nil, err
	}
	c := ast.NewCompiler().
		WithCapabilities(capabilities()).
		WithSchemas(schemas).
		WithPathConflictsCheck(func(p []string) (bool, error) { return absent(data, p) == 0, nil }).
		SetErrorLimit(0)
	if c.Compile(modules); c.Failed() {
		return nil, fromAST(c.Errors).sorted()
	}
	problems := missingData(c, data)
	if !definedOutputs(c)["allow"] {
		problems = append(problems, &Error{
			Code:    ErrCodeMissingAllow,
			Message: "no rule of package " + Package + " defines allow, so every job would be refused",
			Hint:    "write: default allow := false",
		})
	}
	if len(problems) > 0 {
		return nil, problems
	}
	return c, nil
}

func definedOutputs(c *ast.Compiler) map[string]bool {
	defined := map[string]bool{}
	for _, name := range outputs {
		ref := ast.MustParseRef("data." + Package + "." + name)
		defined[name] = len(c.GetRulesExact(ref)) > 0
	}
	return defined
}

// prepare makes the query that evaluates each output by itself. An undefined one
// comes back as an empty array: one undefined rule must not hide the others.
func prepare(ctx context.Context, c *ast.Compiler, store storage.Store, rules map[string]bool) (rego.PreparedEvalQuery, error) {
	var fields []string
	for _, name := range outputs {
		if rules[name] {
			fields = append(fields, fmt.Sprintf("%q: [x | x := data.%s.%s]", name, Package, name))
		}
	}
	return rego.New(
		rego.Query("{"+strings.Join(fields, ", ")+"}"),
		rego.Compiler(c),
		rego.Store(store),
		rego.StrictBuiltinErrors(true), // else a failing call makes its rule vanish
	).PrepareForEval(ctx)
}

// digest names the rules and their data: two sets with one digest give every job
// the same verdict.
func digest(files map[string]string, data []byte) string {
	h := sha256.New()
	write := func(s string) {
		var n [8]byte
		binary.BigEndian.PutUint64(n[:], uint64(len(s)))
		h.Write(n[:])
		h.Write([]byte(s))
	}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		write(name)
		write(files[name])
	}
	write(string(data))
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// Digest is "sha256:…" over the rules and their data, for caches of verdicts and
// for trails.
func (a *Admission) Digest() string { return a.digest }
