package suite

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
)

// Subject is what is to be proven. Set exactly one of Policy, New, Wasm, Module and
// Host.
type Subject struct {
	// Policy is a policy in Go, or a module already loaded. The suite does not close it,
	// and nobody else may call it during a check.
	Policy policies.Policy
	// New makes policies in Go: with it, the suite can compare instances.
	New func() policies.Policy
	// Wasm is the path of a module; Module its bytes, Name what it is called then.
	Wasm   string
	Module []byte
	Name   string
	// Params are the settings of a module, as an operator gives them, and Fuel the budget
	// of its calls, if it is not the default.
	Params map[string]any
	Fuel   wasm.Budget
	// Host is the host that loads modules, to be held to its own promises.
	Host Loader
	// Twin is a policy that must give the same bits. Without one, a policy called like a
	// built-in of the same kind has that for its twin.
	Twin policies.Policy
}

// Loader is a host of modules; WasmHost is Muster's own.
type Loader interface {
	Load(ctx context.Context, name string, bin []byte) (policies.Policy, error)
}

// opened is a subject at work.
type opened struct {
	bin  []byte // nil for a policy in Go
	name string
	main policies.Policy
	// fresh makes another instance, interpreted one in an interpreter; nil if there is no
	// way to.
	fresh, interpreted func(ctx context.Context) (policies.Policy, error)
	close              func()
	// compiled is what loading took; 0 for a policy in Go.
	compiled time.Duration
}

// errSubject is a Subject that says nothing, or two things.
var errSubject = errors.New("set exactly one of Policy, New, Wasm, Module and Host")

func (s Subject) open(ctx context.Context) (*opened, error) {
	set := 0
	for _, yes := range []bool{s.Policy != nil, s.New != nil, s.Wasm != "", s.Module != nil, s.Host != nil} {
		if yes {
			set++
		}
	}
	switch {
	case set != 1:
		return nil, errSubject
	case s.Host != nil:
		return &opened{name: "host", close: func() {}}, nil
	case s.Policy != nil:
		return &opened{name: s.Policy.Info().Name, main: s.Policy, close: func() {}}, nil
	case s.New != nil:
		p := s.New()
		return &opened{
			name: p.Info().Name, main: p, close: func() { _ = p.Close() },
			fresh: func(context.Context) (policies.Policy, error) { return s.New(), nil },
		}, nil
	}
	return s.openModule(ctx)
}

// twin is what the subject must agree with, bit for bit; nil if there is nothing.
func (s Subject) twin(in policies.Info) policies.Policy {
	if s.Twin != nil {
		return s.Twin
	}
	if in.Digest == "builtin" {
		return nil
	}
	if p, err := order.Configured(in.Name, s.Params); err == nil && p.Info().Kinds == in.Kinds {
		return p
	}
	return nil
}

func (o *opened) String() string { return fmt.Sprintf("%s (%d bytes)", o.name, len(o.bin)) }
