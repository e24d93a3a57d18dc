package suite

import (
	"context"
	"fmt"

	"github.com/musterhq/muster/policies"
)

// Smoke checks the laws that a policy must keep before it may decide anything: a small
// part of the core profile, in less than a second. It returns the first broken law. The
// policy is not closed; nobody else may call it meanwhile.
func Smoke(ctx context.Context, p policies.Policy, seed uint64) error {
	r, err := start(ctx, Subject{Policy: p}, Options{Seed: seed, smoke: true})
	if err != nil {
		return err
	}
	defer r.close()
	results, err := r.laws(ctx)
	if err != nil {
		return err
	}
	for _, res := range results {
		if f := res.Failure; f != nil && res.Law.Severity == Must {
			return &SmokeError{Policy: r.info.Name, Law: res.Law.ID, Statement: res.Law.Statement, What: f.What, Seed: f.Seed, Batch: f.Bytes}
		}
	}
	return nil
}

// SmokeError is a policy that Smoke refuses.
type SmokeError struct {
	Policy, Law, Statement, What string
	Seed                         uint64
	Batch                        []byte // what breaks the law, as a .mbatch file; nil if none does
}

func (e *SmokeError) Error() string {
	return fmt.Sprintf("policy %s breaks %s: %s", e.Policy, e.Law, e.What)
}
