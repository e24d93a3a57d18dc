// Package order has the built-in policies: Go implementations of the contract in
// package policies, and what the host falls back to when any other policy fails.
//
// Read fifo.go first; table.go lists them all with their settings. A policy value
// keeps scratch memory between calls, so that a call allocates nothing; it must be
// used by one goroutine at a time. Builtin and Configured return a new value on every
// call.
package order

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/musterhq/muster/policies"
)

// version of all built-in policies; it changes when an answer changes.
const version = "1"

// Builtin returns a new value of the built-in policy of that name, with the defaults
// of its settings.
func Builtin(name string) (policies.Policy, bool) {
	p, err := Configured(name, nil)
	return p, err == nil
}

// Configured returns a new value of the built-in policy of that name with the given
// settings, and the defaults of the others. A setting that can't be used is a
// *policies.ParamError.
func Configured(name string, params map[string]any) (policies.Policy, error) {
	i := slices.IndexFunc(builtins, func(b builtin) bool { return b.name == name })
	if i < 0 {
		all := Names(policies.JobOrder | policies.QueueShares | policies.VictimCosts)
		return nil, fmt.Errorf("there is no built-in policy %q; built in are %s", name, strings.Join(all, ", "))
	}
	b := &builtins[i]
	bound, err := policies.Bind(b.params, params)
	if err != nil {
		return nil, err
	}
	a := about{info: policies.Info{
		Name: b.name, Version: version, Digest: "builtin", Kinds: b.kind,
		Columns: b.columns, Params: bound, Reasons: b.reasons, Laws: b.laws,
	}}
	if b.try != nil {
		return b.try(a)
	}
	return b.make(a), nil
}

// Names lists the built-in policies that decide any of the kinds in k, sorted.
func Names(k policies.Kind) []string {
	var names []string
	for i := range builtins {
		if builtins[i].kind&k != 0 {
			names = append(names, builtins[i].name)
		}
	}
	return names
}

// Default returns a new value of the policy that decides a kind where nothing is
// configured: fifo, guaranteed-fair or least-lost-work. It returns nil for a
// value that is not exactly one kind.
func Default(k policies.Kind) policies.Policy {
	name, ok := map[policies.Kind]string{
		policies.JobOrder: "fifo", policies.QueueShares: "guaranteed-fair", policies.VictimCosts: "least-lost-work",
	}[k]
	if !ok {
		return nil
	}
	p, _ := Builtin(name)
	return p
}

// about is what every built-in policy says of itself. It refuses the kinds that the
// policy does not decide.
type about struct {
	policies.Unimplemented
	info policies.Info
}

// Info says what the policy is, with its settings in force.
func (a *about) Info() policies.Info { return a.info }

// param returns a setting's value; the table of built-ins has it, with that type.
func param[T int64 | float64 | bool | string](a *about, name string) T {
	i := slices.IndexFunc(a.info.Params, func(p policies.Param) bool { return p.Name == name })
	return a.info.Params[i].Value.(T)
}

// reason gives a row a reason, where the caller wants to know any.
func reason(column []uint32, i int, r uint32) {
	if len(column) > 0 {
		column[i] = r
	}
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

// orderFloat is the int64 that stands in the order of int64 where x, a finite number,
// stands in that of float64. Both zeros are one. The host does the same to the float64
// keys of a guest, so that a built-in policy and its twin give the same bits.
func orderFloat(x float64) int64 {
	v := int64(math.Float64bits(x + 0)) // -0 + 0 is +0
	return v ^ int64(uint64(v>>63)>>1)
}

// fixed is a number that is not negative in fixed point, 16 bits behind the point,
// rounded down. Multiplying by a power of two is exact.
func fixed(x float64) int64 { return int64(x * fixedOne) }

const fixedOne = 1 << 16
