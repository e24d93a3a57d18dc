package cycle

import (
	"context"
	"fmt"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/policies"
)

// Set is the policies of a cycle, pinned for all of it.
type Set struct {
	// Generation changes whenever anything in the set does.
	Generation uint64
	// Named are the policies that queues may name. A name that is not here is a
	// built-in.
	Named map[string]policies.Policy
	// Admission judges jobs; nil admits all.
	Admission Admission
	// Protection keeps units from being evicted, whatever they cost; nil protects none.
	Protection Protection
	Placement  pack.Strategy
	// Typicals, if set, is the workload that fragmentation is measured against.
	Typicals []pack.Typical
	// Filter, if set, has the last word on a node for a shape.
	Filter func(world.ShapeID, world.NodeIx) bool
}

// Admission judges jobs before anything else does. A verdict is kept per job and
// digest; Judge must answer for every job, an undefined answer being a refusal.
type Admission interface {
	Digest() string
	Judge(ctx context.Context, jobs []*spec.Job) []Verdict
}

// Verdict is the answer for one job. Queue and Priority replace the job's own if
// they are not nil.
type Verdict struct {
	Refused  string // "" admits
	Queue    *string
	Priority *int64
	// GPUTypes and NodeLabels narrow where the job's tasks may run: nil GPUTypes leaves
	// them as they are, an empty one leaves none. A node must have, for each key, one
	// of the values.
	GPUTypes   []string
	NodeLabels map[string][]string
	// Rule names what narrows, for people; "" is "the rules".
	Rule string
}

// Protection says which units must not be evicted. It is asked at most once a cycle and
// queue, about all candidates of the queue at once.
type Protection interface {
	Digest() string
	// Protected answers for each candidate: the reason why it must stay, or "". An
	// answer for more or fewer candidates is a failure, and protects all of them.
	Protected(ctx context.Context, units []Candidate) []string
}

// CheckedProtection is a Protection that tells when it has failed; it is asked in place
// of Protected. With an error all candidates stay, and the plan says why.
type CheckedProtection interface {
	Protection
	Protect(ctx context.Context, units []Candidate) ([]string, error)
}

// Candidate is one unit that could be evicted, as rules see it.
type Candidate struct {
	Job      *spec.Job
	Queue    string // full path of the leaf
	Tasks    int64  // tasks of the unit
	GPUMilli int64  // that the unit holds
	Running  spec.Duration
	Lost     int64 // GPU-milliseconds that an eviction would lose
	Evicted  int64 // times the job was preempted so far
	Surplus  bool  // the job goes on without the unit
	Leader   bool
	// Use is the measured use of the unit's GPUs, a share, and Idle for how long none of
	// them did anything; policies.Unset where it is not known.
	Use  int64
	Idle spec.Duration
	Now  spec.Time
}

// policyTable finds policies by kind and name and counts their calls.
type policyTable struct {
	generation uint64
	builtin    map[string]policies.Policy
	use        []*plan.PolicyUse // in order of first use in this cycle
}

func (t *policyTable) reset() {
	t.use = t.use[:0]
	if t.builtin == nil {
		t.builtin = map[string]policies.Policy{}
	}
}

func (t *policyTable) uses() []plan.PolicyUse {
	out := make([]plan.PolicyUse, len(t.use))
	for i, u := range t.use {
		out[i] = *u
	}
	return out
}

// native is the built-in of that name, or the default of the kind.
func (t *policyTable) native(kind policies.Kind, name string) policies.Policy {
	key := kind.String() + "/" + name
	p, ok := t.builtin[key]
	if !ok {
		if p, ok = order.Builtin(name); !ok || p.Info().Kinds&kind == 0 {
			p = order.Default(kind)
		}
		t.builtin[key] = p
	}
	return p
}

func (t *policyTable) useOf(kind policies.Kind, info policies.Info) *plan.PolicyUse {
	u := t.named(kind.String(), info.Name, info.Digest)
	u.Version = info.Version
	return u
}

func (t *policyTable) named(kind, name, digest string) *plan.PolicyUse {
	for _, u := range t.use {
		if u.Kind == kind && u.Name == name && u.Digest == digest {
			return u
		}
	}
	u := &plan.PolicyUse{Kind: kind, Name: name, Digest: digest}
	t.use = append(t.use, u)
	return u
}

// metered policies tell how much fuel their last call used, failed or not.
type metered interface{ LastFuel() int64 }

// policyFor is the policy that a queue names for one kind: of the set, else the
// built-in.
func (c *cycle) policyFor(kind policies.Kind, name string) policies.Policy {
	if p, named := c.set.Named[name]; named && p.Info().Kinds&kind != 0 {
		return p
	}
	return c.policies.native(kind, name)
}

// ask calls the policy that a queue names for one kind. Whatever goes wrong, the
// built-in answers instead, and the plan says so. call must fill the batch from
// scratch each time: a failed policy may have written half of it.
func (c *cycle) ask(kind policies.Kind, name string, rows int, call func(policies.Policy) error) *plan.PolicyUse {
	native, p := c.policies.native(kind, name), c.policyFor(kind, name)
	u := c.policies.useOf(kind, p.Info())
	u.Calls++
	u.Rows += rows
	err := call(p)
	if m, ok := p.(metered); ok {
		u.Fuel += m.LastFuel()
	}
	if err == nil {
		return u
	}
	u.Fallbacks++
	u.Fallback = native.Info().Name
	if u.Failure == "" {
		u.Code = string(policies.CodeOf(err))
		u.Failure = fmt.Sprintf("%s: %v", policies.CodeOf(err), err)
		c.event(plan.EventPolicyFallback, nil, fmt.Sprintf("%s %s failed (%s); built-in %s answers", kind, p.Info().Name, policies.CodeOf(err), u.Fallback))
	}
	if err := call(native); err != nil { // a built-in that fails is a bug of ours: decide by zeros
		u.Failure += "; built-in: " + err.Error()
	}
	return u
}
