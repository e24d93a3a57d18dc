// Package reason has the words for why a policy is where it is in its life: a stable
// code, one sentence, and what to do.
package reason

import (
	"errors"
	"fmt"
)

// Code is stable: dashboards and scripts may compare it.
type Code string

// Why a policy was refused.
const (
	SourceDenied  Code = "source-denied"  // the trust section does not allow the source
	NotFound      Code = "not-found"      // no such file, folder, tag or digest
	Unreadable    Code = "unreadable"     // the file can't be read
	NotSettled    Code = "not-settled"    // the file changes while it is read
	TooLarge      Code = "too-large"      // beyond the bounds of what is fetched
	EmptyFolder   Code = "empty-folder"   // neither a module nor rules in it
	Ambiguous     Code = "ambiguous"      // several policies in one folder
	NotAPolicy    Code = "not-a-policy"   // an artifact of another type, or damaged
	Unreachable   Code = "unreachable"    // the registry does not answer
	Unauthorized  Code = "unauthorized"   // the registry wants other credentials
	RegistryError Code = "registry-error" // the registry answers with an error
	DigestDiffers Code = "digest-differs" // not what was pinned, or not what it says
	Unsigned      Code = "unsigned"       // no signature at all
	WrongSigner   Code = "wrong-signer"   // signed, but not by whom it must be
	GuardRefused  Code = "guard-refused"  // the load rules say no
	BadParams     Code = "bad-params"     // a setting that the policy does not take
	BadRules      Code = "bad-rules"      // rules that do not compile
	NotCompiled   Code = "not-compiled"   // the engine refuses the module
	CheckFailed   Code = "check-failed"   // the conformance smoke set found a fault
	WrongKind     Code = "wrong-kind"     // it does not decide what it is wanted for
	Cancelled     Code = "cancelled"      // the caller gave up, or the manager was closed
	StartFailed   Code = "start-failed"   // the policy fails before its first batch
	Broken        Code = "broken"         // anything else; a bug, here or in the policy
)

// Why a policy is in the state that it is in otherwise.
const (
	Done        Code = "done"         // the step was taken
	Replaced    Code = "replaced"     // by a newer version
	RolledBack  Code = "rolled-back"  // an operator went back to the version before
	Removed     Code = "removed"      // no longer wanted
	Promoted    Code = "promoted"     // a shadow became active
	ShadowFault Code = "shadow-fault" // a shadow is not promoted because it failed
	Backoff     Code = "backoff"      // a quarantine has ended, the policy is asked again
	Served      Code = "served"       // a probation went well
	Closed      Code = "closed"       // the scheduler ends
)

// Error is a refusal. Nothing has changed by what was refused.
type Error struct {
	Code    Code
	Where   string // a file, an address, a part of the policy
	Problem string
	Hint    string
	// Again says that the same may go well later, as when a registry is down.
	Again bool
	Err   error // what is behind it, or nil
}

func (e *Error) Error() string {
	s := e.Problem
	if e.Where != "" {
		s = e.Where + ": " + s
	}
	s += " (" + string(e.Code) + ")"
	if e.Hint != "" {
		s += "; " + e.Hint
	}
	return s
}

func (e *Error) Unwrap() error { return e.Err }

// New makes a refusal.
func New(code Code, where, hint, format string, args ...any) *Error {
	return &Error{Code: code, Where: where, Hint: hint, Problem: fmt.Sprintf(format, args...)}
}

// Of finds the refusal in an error; one of another kind becomes Broken.
func Of(err error) *Error {
	var e *Error
	if errors.As(err, &e) {
		return e
	}
	return &Error{Code: Broken, Problem: err.Error(), Err: err}
}
