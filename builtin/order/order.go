// Package order has the built-in policies: Go implementations of the contract in
// package policies, and what the host falls back to when any other policy fails.
//
// Read fifo.go first. A policy value keeps scratch memory between calls, so that
// a call allocates nothing; it must be used by one goroutine at a time. Builtin
// returns a new value on every call.
package order

import (
	"fmt"

	"github.com/musterhq/muster/policies"
)

// version of all built-in policies; it changes when an answer changes.
const version = "1"

var builtins = []struct {
	name string
	kind policies.Kind
	make func() policies.Policy
}{
	{"fair", policies.JobOrder, func() policies.Policy { return &fair{} }},
	{"fifo", policies.JobOrder, func() policies.Policy { return fifo{} }},
	{"guaranteed-fair", policies.QueueShares, func() policies.Policy { return &guaranteedFair{} }},
	{"least-lost-work", policies.VictimCosts, func() policies.Policy { return &leastLostWork{} }},
	{"priority-fifo", policies.JobOrder, func() policies.Policy { return priorityFIFO{} }},
	{"yunikorn-fair", policies.QueueShares, func() policies.Policy { return &yunikornFair{} }},
}

// Builtin returns a new value of the built-in policy of that name.
func Builtin(name string) (policies.Policy, bool) {
	for _, b := range builtins {
		if b.name == name {
			return b.make(), true
		}
	}
	return nil, false
}

// Names lists the built-in policies that decide any of the kinds in k, sorted.
func Names(k policies.Kind) []string {
	var names []string
	for _, b := range builtins {
		if b.kind&k != 0 {
			names = append(names, b.name)
		}
	}
	return names
}

// Default returns a new value of the policy that decides a kind where nothing is
// configured: fifo, guaranteed-fair or least-lost-work. It returns nil for a
// value that is not exactly one kind.
func Default(k policies.Kind) policies.Policy {
	switch k {
	case policies.JobOrder:
		return fifo{}
	case policies.QueueShares:
		return &guaranteedFair{}
	case policies.VictimCosts:
		return &leastLostWork{}
	default:
		return nil
	}
}

func info(name string, k policies.Kind) policies.Info {
	return policies.Info{Name: name, Version: version, Digest: "builtin", Kinds: k}
}

func badInput(name string, k policies.Kind, format string, args ...any) error {
	return &policies.CallError{Policy: name + " " + version, Kind: k, Code: policies.CodeBadInput, Detail: fmt.Sprintf(format, args...)}
}

// resized returns s with n elements of any content, reusing its memory.
func resized[T any](s []T, n int) []T {
	if cap(s) < n {
		return make([]T, n)
	}
	return s[:n]
}
