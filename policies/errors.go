package policies

import (
	"errors"
	"fmt"
)

// ErrNotImplemented is what Unimplemented answers.
var ErrNotImplemented = errors.New("policy does not implement this kind")

// Code says how a policy call failed. The host answers the call with the
// built-in of the same kind whatever the code; the code decides what becomes of
// the instance and is what operators see.
type Code string

// The codes. The first four are the guest's own statuses, the others the host's.
const (
	CodeAbstain    Code = "abstain"       // the policy asks for the built-in
	CodeBadInput   Code = "bad-input"     // status 2
	CodeBadParams  Code = "bad-params"    // status 3
	CodeInternal   Code = "internal"      // status 4 and above
	CodeTrap       Code = "trap"          // the guest trapped
	CodeOutOfFuel  Code = "out-of-fuel"   // deterministic budget used up
	CodeMemory     Code = "memory-limit"  // reserve refused, or limit reached
	CodeBadOutput  Code = "bad-output"    // non-finite, out of range, negative cost
	CodeABI        Code = "abi-violation" // wrong layout, wrong pointer
	CodeWatchdog   Code = "watchdog"      // wall-clock limit
	CodeUnknownErr Code = "error"         // any other error of a policy

	// CodeQuarantined is the answer of a policy that has failed too often: it was not
	// asked at all.
	CodeQuarantined Code = "quarantined"
)

// CallError is a failed policy call.
type CallError struct {
	Policy string // name and version
	Kind   Kind
	Code   Code
	Detail string
}

func (e *CallError) Error() string {
	return fmt.Sprintf("policy %s: %s: %s: %s", e.Policy, e.Kind, e.Code, e.Detail)
}

// CodeOf returns the code of an error of a policy call.
func CodeOf(err error) Code {
	var ce *CallError
	if errors.As(err, &ce) {
		return ce.Code
	}
	return CodeUnknownErr
}
