package suite

import (
	"context"
	"math/rand/v2"
	"slices"
	"strings"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/policies"
)

// Profile is a group of laws with a result of its own.
type Profile string

// The profiles. Which of them apply follows from the kinds that a policy decides;
// Strict holds the laws that it claims, Host is about the host and no policy.
const (
	Core     Profile = "core"
	JobOrder Profile = "job-order"
	Fairness Profile = "fairness"
	Victims  Profile = "victims"
	Strict   Profile = "strict"
	Host     Profile = "host"
)

// Profiles lists all of them, in the order of a report.
func Profiles() []Profile { return []Profile{Core, JobOrder, Fairness, Victims, Strict, Host} }

// Severity says what a broken law means.
type Severity string

// The severities. A broken Must is a failure of the profile. A broken Should leaves it
// partial: there are reasons to do otherwise, and the report says so. A Claimed law
// counts only for a policy whose metadata claim it; what holds without a claim is
// noted.
const (
	Must    Severity = "must"
	Should  Severity = "should"
	Claimed Severity = "claimed"
)

// Law is one thing that the suite checks.
type Law struct {
	ID       string // stable: group/name
	Profile  Profile
	Severity Severity
	// Statement says in one sentence what holds.
	Statement string
	// Wasm laws can be checked on modules only.
	Wasm bool
	// Smoke laws are part of Smoke.
	Smoke bool

	kinds policies.Kind // that it is about; 0 for every policy
	test  test
}

// Claim is the word by which metadata claim the law: the part of its id after the
// group. The whole id is understood as well.
func (l *Law) Claim() string {
	_, name, _ := strings.Cut(l.ID, "/")
	return name
}

func (l *Law) claimedBy(laws []string) bool {
	return slices.Contains(laws, l.ID) || slices.Contains(laws, l.Claim())
}

// test is how a law is checked: it returns what broke the law, or nil.
type test interface {
	check(ctx context.Context, r *run, l *Law) *Failure
}

// Laws lists all laws in the order of the reports.
func Laws() []Law {
	return slices.Concat(loadLaws(), purityLaws(), totalityLaws(), boundsLaws(), moduleLaws(), orderLaws(), fairnessLaws(), victimLaws(), twinLaws(), hostLaws())
}

// breach is a broken law, before it is known how small a batch breaks it.
type breach struct {
	what string
	with gen.Batch // the second batch of a comparison, if there was one
	// bytes are that batch where it exists only in that form.
	bytes []byte
}

func broken(what string) *breach { return &breach{what: what} }

// property is a law that holds for every batch. The suite tries batches, and makes one
// that breaks the law as small as it can.
type property struct {
	kind   policies.Kind // 0: each kind that the policy decides
	cases  int           // batches of a full run
	rows   []int         // sizes, in turn; empty for a mix of small ones
	loose  bool          // batches need not be such as the host could send
	budget int           // of shrinking; 0 for the default
	// make changes or replaces a believable batch; nil keeps it.
	make func(c *caseOf, b gen.Batch) gen.Batch
	// hold returns nil if the batch keeps the law. It must not change the batch. It draws
	// chance only from c.rnd, which begins anew for every batch.
	hold func(c *caseOf, b gen.Batch) *breach
}

// caseOf is one trial of a property.
type caseOf struct {
	*run
	ctx context.Context
	law *Law
	rnd *rand.Rand
}

var mixedRows = []int{1, 2, 3, 5, 8, 13, 24, 40, 64}

const defaultShrink = 400

func (p property) check(ctx context.Context, r *run, l *Law) *Failure {
	for _, k := range allKinds {
		if r.info.Kinds&k == 0 || p.kind != 0 && p.kind != k {
			continue
		}
		for i := range r.cases(p.cases) {
			if ctx.Err() != nil {
				return nil
			}
			if f := p.try(ctx, r, l, k, i); f != nil {
				return f
			}
		}
	}
	return nil
}

func (p property) try(ctx context.Context, r *run, l *Law, k policies.Kind, i int) *Failure {
	name := l.ID + "/" + k.String()
	sizes := p.rows
	if len(sizes) == 0 {
		sizes = mixedRows
	}
	fresh := func() *caseOf {
		return &caseOf{run: r, ctx: ctx, law: l, rnd: gen.Rand(r.opt.Seed, name+"/hold", i)}
	}
	b := gen.Of(k, gen.Rand(r.opt.Seed, name, i), sizes[i%len(sizes)], r.info)
	if p.make != nil {
		b = p.make(&caseOf{run: r, ctx: ctx, law: l, rnd: gen.Rand(r.opt.Seed, name+"/make", i)}, b)
	}
	first := p.hold(fresh(), b)
	if first == nil {
		return nil
	}
	budget := p.budget
	if budget == 0 {
		budget = defaultShrink
	}
	least := gen.Shrink(b, !p.loose, budget, func(b gen.Batch) bool { return p.hold(fresh(), b) != nil })
	br := p.hold(fresh(), least)
	if br == nil { // the policy is not a function of its batch: keep what was seen first
		least, br = b, broken("once, and not when asked again: "+first.what)
	}
	return r.failure(l, i, br, least)
}

// custom is a law with a check of its own.
type custom func(c *caseOf) (*breach, gen.Batch)

func (f custom) check(ctx context.Context, r *run, l *Law) *Failure {
	br, b := f(&caseOf{run: r, ctx: ctx, law: l, rnd: gen.Rand(r.opt.Seed, l.ID, 0)})
	if br == nil {
		return nil
	}
	return r.failure(l, 0, br, b)
}

var allKinds = []policies.Kind{policies.JobOrder, policies.QueueShares, policies.VictimCosts}
