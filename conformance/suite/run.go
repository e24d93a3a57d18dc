package suite

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/policies"
)

// Version of the suite: it changes when a law is added, changed or dropped.
const Version = "1.0.0"

// DefaultSeed is the seed where none is given.
const DefaultSeed = 1

// Options choose what is checked.
type Options struct {
	// Seed of all batches; 0 is DefaultSeed.
	Seed uint64
	// Profiles and Laws narrow the check; empty is everything that applies. A law is
	// given by its id.
	Profiles []Profile
	Laws     []string
	// Progress, if not nil, hears of each law before it is checked.
	Progress func(id string)

	smoke bool
}

// Failure is a broken law.
type Failure struct {
	Law  string
	What string // what was seen
	Seed uint64
	Case int
	// Batch is the smallest batch found that breaks the law; With the second one, if the
	// law compares two. Both may be zero: some laws need no batch.
	Batch, With gen.Batch
	// Bytes are the same as .mbatch files: exactly what the policy was sent.
	Bytes, WithBytes []byte
}

// Outcome is what became of one law.
type Outcome string

// The outcomes. NotRun is a law after a failure that makes the rest pointless.
const (
	Kept    Outcome = "kept"
	Broken  Outcome = "broken"
	Skipped Outcome = "skipped"
)

// Result is the outcome of one law.
type Result struct {
	Law     Law
	Outcome Outcome
	Claimed bool     // the policy claims the law
	Note    string   // why it was skipped
	Failure *Failure // of a broken law
}

// run is one check.
type run struct {
	opt     Options
	subject Subject
	opened  *opened
	main    policies.Policy
	module  module          // main, if it is one; else nil
	slow    policies.Policy // main in an interpreter, once it was needed
	info    policies.Info
	loadErr error
}

// cases is how many batches a property tries.
func (r *run) cases(full int) int {
	if r.opt.smoke {
		return max(1, min(full, 6))
	}
	return full
}

// ask calls the subject.
func (c *caseOf) ask(b gen.Batch) answer { return ask(c.ctx, c.main, b, fillers[0]) }

func start(ctx context.Context, s Subject, opt Options) (*run, error) {
	if opt.Seed == 0 {
		opt.Seed = DefaultSeed
	}
	if err := opt.check(); err != nil {
		return nil, err
	}
	r := &run{opt: opt, subject: s}
	var err error
	if r.opened, err = s.open(ctx); err != nil {
		if r.opened == nil {
			return nil, err
		}
		r.loadErr = err
		return r, nil
	}
	if r.main = r.opened.main; r.main != nil {
		r.info = r.main.Info()
		r.module, _ = r.main.(module)
	}
	return r, nil
}

// interpreter is the subject in an interpreter; nil if there is no way to have it.
func (r *run) interpreter(ctx context.Context) policies.Policy {
	if r.slow == nil && r.opened.interpreted != nil {
		if p, err := r.opened.interpreted(ctx); err == nil {
			r.slow = p
		}
	}
	return r.slow
}

func (r *run) close() {
	if r.slow != nil {
		_ = r.slow.Close()
	}
	if r.opened.close != nil {
		r.opened.close()
	}
}

// check names a profile or law that does not exist.
func (o *Options) check() error {
	for _, p := range o.Profiles {
		if !slices.Contains(Profiles(), p) {
			return fmt.Errorf("there is no profile %q; there are %s", p, join(Profiles()))
		}
	}
	laws := Laws()
	for _, id := range o.Laws {
		if !slices.ContainsFunc(laws, func(l Law) bool { return l.ID == id }) {
			return fmt.Errorf("there is no law %q; docs/conformance.md lists them", id)
		}
	}
	return nil
}

func join(ps []Profile) string {
	var s []string
	for _, p := range ps {
		s = append(s, string(p))
	}
	return strings.Join(s, ", ")
}

// laws checks every law that applies, in order.
func (r *run) laws(ctx context.Context) ([]Result, error) {
	var out []Result
	for _, l := range Laws() {
		if !r.wanted(&l) {
			continue
		}
		res := Result{Law: l, Outcome: Skipped, Claimed: l.claimedBy(r.info.Laws)}
		if res.Note = r.skip(&l); res.Note == "" {
			if r.opt.Progress != nil {
				r.opt.Progress(l.ID)
			}
			res.Outcome = Kept
			if res.Failure = l.test.check(ctx, r, &l); res.Failure != nil {
				res.Outcome = Broken
			}
			if err := ctx.Err(); err != nil {
				return out, errors.Join(fmt.Errorf("stopped while checking %s", l.ID), err)
			}
		}
		out = append(out, res)
	}
	return out, nil
}

// wanted says whether a law is about this subject at all.
func (r *run) wanted(l *Law) bool {
	switch {
	case r.opt.smoke && !l.Smoke:
		return false
	case len(r.opt.Laws) > 0 && !slices.Contains(r.opt.Laws, l.ID):
		return false
	case len(r.opt.Profiles) > 0 && !slices.Contains(r.opt.Profiles, l.Profile):
		return false
	case (r.subject.Host != nil) != (l.Profile == Host):
		return false
	}
	return r.loadErr != nil && l.Profile == Core || r.loadErr == nil && (l.kinds == 0 || l.kinds&r.info.Kinds != 0)
}

// skip says why a law that is about the subject can't be checked, or "".
func (r *run) skip(l *Law) string {
	switch {
	case r.loadErr != nil && l.ID != lawAccepted:
		return "the host refuses the module"
	case l.Wasm && r.opened.bin == nil && r.module == nil:
		return "for modules only"
	case l.ID == lawTwin && r.subject.twin(r.info) == nil:
		return "it has no twin"
	}
	return ""
}

func (r *run) failure(l *Law, i int, br *breach, b gen.Batch) *Failure {
	f := &Failure{Law: l.ID, What: br.what, Seed: r.opt.Seed, Case: i, Batch: b, With: br.with}
	f.Bytes, f.WithBytes = r.encode(b), r.encode(br.with)
	if br.bytes != nil {
		f.WithBytes = br.bytes
	}
	return f
}
