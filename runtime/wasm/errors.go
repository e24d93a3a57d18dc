package wasm

import (
	"fmt"
	"strings"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// LoadCode says why a module was refused. The codes are stable.
type LoadCode string

// The codes of a refusal.
const (
	NotWasm         LoadCode = "not-wasm"
	Truncated       LoadCode = "truncated"
	Invalid         LoadCode = "invalid-module"
	MissingExport   LoadCode = "missing-export"
	WrongSignature  LoadCode = "wrong-signature"
	WrongVersion    LoadCode = "abi-version"
	NoKind          LoadCode = "no-kind"
	ForbiddenImport LoadCode = "forbidden-import"
	StartFunction   LoadCode = "start-function"
	TooMuchMemory   LoadCode = "memory-limit"
	BadMetadata     LoadCode = "bad-metadata"
	InitFailed      LoadCode = "init-failed"
	BadParams       LoadCode = "bad-params"
)

// LoadError is a module that was refused.
type LoadError struct {
	Policy  string // name of the policy or file
	Code    LoadCode
	Where   string // byte 12, export muster_reserve, import env.abort
	Problem string
	Hint    string
	Err     error // what lies behind it, for errors.As; nil as a rule
}

func (e *LoadError) Unwrap() error { return e.Err }

func (e *LoadError) Error() string {
	s := fmt.Sprintf("policy %s: %s: %s (%s)", e.Policy, e.Where, e.Problem, e.Code)
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

// fault is a failed call before it is known which policy and kind it was.
type fault struct {
	code   policies.Code
	detail string
}

func (f *fault) Error() string { return string(f.code) + ": " + f.detail }

func hostFault(code policies.Code, format string, args ...any) error {
	return &fault{code, fmt.Sprintf(format, args...)}
}

// statusFault maps the guest's own statuses.
func statusFault(status hostabi.Status, text string) error {
	f := &fault{code: policies.CodeInternal, detail: text}
	switch status {
	case hostabi.StatusAbstain:
		f.code = policies.CodeAbstain
	case hostabi.StatusBadInput:
		f.code = policies.CodeBadInput
	case hostabi.StatusBadParams:
		f.code = policies.CodeBadParams
	}
	if f.detail == "" {
		f.detail = fmt.Sprintf("the policy returned status %d", uint32(status))
	}
	return f
}

// trapFault says what a failed call into the guest was: the engine's error, with
// what the guest last wrote to stderr.
func trapFault(err error, said string, memoryFull bool) error {
	detail, _, _ := strings.Cut(err.Error(), "\n")
	detail = strings.TrimPrefix(detail, "wasm error: ")
	if said != "" {
		detail += ": " + said
	}
	if memoryFull || strings.Contains(said, "out of memory") {
		return hostFault(policies.CodeMemory, "%s", detail)
	}
	return hostFault(policies.CodeTrap, "%s", detail)
}
