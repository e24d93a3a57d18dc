package testcluster

import (
	"fmt"
	"strings"
)

// Codes of errors, for scripts and tests.
const (
	CodeRunning   = "cluster-is-up"
	CodeNone      = "no-cluster"
	CodeFolder    = "folder-in-use"
	CodeOption    = "bad-option"
	CodeComponent = "unknown-component"
	CodePort      = "port-taken"
	CodeEnded     = "component-ended"
	CodeNotReady  = "not-ready"
)

// Error is what went wrong, where, and what to do about it.
type Error struct {
	Code    string
	Where   string // a folder, a file, an option or a component
	Problem string
	Hint    string
	Err     error // may be nil
}

func (e *Error) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s: %s", e.Where, e.Problem)
	if e.Err != nil {
		fmt.Fprintf(&b, ": %v", e.Err)
	}
	fmt.Fprintf(&b, " [%s]", e.Code)
	if e.Hint != "" {
		fmt.Fprintf(&b, "\n  hint: %s", e.Hint)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }
