package rego

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/rego"
	"github.com/open-policy-agent/opa/v1/storage"
	"github.com/open-policy-agent/opa/v1/storage/inmem"
)

// DefaultTimeout bounds one verdict where Options says nothing.
const DefaultTimeout = 50 * time.Millisecond

// Options of Load.
type Options struct {
	// Timeout bounds one verdict, wall clock; 0 is DefaultTimeout. A verdict that
	// takes longer is a refusal.
	Timeout time.Duration
}

// Rules is a set of rules with its data, compiled once. It never changes and may be
// used by many goroutines at once.
type Rules struct {
	questions [len(decisions)]*question // nil where the package has no rules
	timeout   time.Duration
	digest    string
	readsID   bool // some rule looks at the id of a job
}

// question is the prepared query of one decision.
type question struct {
	query rego.PreparedEvalQuery
	// defined says which outputs a rule defines.
	defined map[string]bool
}

// Load compiles the rules of a source.
//
// It refuses, with Errors that list every problem of the first stage that has one
// (syntax, meaning, missing data): what does not parse or compile, calls to
// anything that is not a function of its input, fields that the input does not
// have, references to data documents that are not there, and rules that decide
// nothing.
func Load(ctx context.Context, src Source, opt Options) (*Rules, error) {
	doc, text, err := jsonObject(src.Data)
	if err != nil {
		return nil, Errors{asError(err)}
	}
	modules, err := parse(src.Files)
	if err != nil {
		return nil, err
	}
	compiler, err := compile(modules, doc)
	if err != nil {
		return nil, err
	}
	r := &Rules{timeout: opt.Timeout, digest: digest(src.Files, text), readsID: readsID(modules)}
	if r.timeout <= 0 {
		r.timeout = DefaultTimeout
	}
	store := storeOf(doc)
	for i := range decisions {
		defined := decisions[i].definedBy(compiler)
		if len(defined) == 0 {
			continue
		}
		q := &question{defined: defined}
		if q.query, err = decisions[i].prepare(ctx, compiler, store, defined); err != nil {
			return nil, fmt.Errorf("prepare the rules of package %s: %w", decisions[i].pkg, err)
		}
		r.questions[i] = q
	}
	return r, nil
}

func storeOf(doc map[string]any) storage.Store {
	return inmem.NewFromObjectWithOpts(doc, inmem.OptRoundTripOnWrite(false), inmem.OptReturnASTValuesOnRead(true))
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
	problems := slices.Concat(missingData(c, data), otherInputs(c), undecided(c))
	if len(problems) > 0 {
		return nil, problems
	}
	return c, nil
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
func (r *Rules) Digest() string { return r.digest }
