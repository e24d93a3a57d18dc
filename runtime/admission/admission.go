// Package admission lets the scheduler's cycle ask rules in Rego: it is the
// adapter between what the cycle wants (one verdict for every job) and what
// package rego answers.
package admission

import (
	"context"
	"fmt"
	"os"
	"strings"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/rego"
)

// Rules are admission rules as the cycle sees them. They never change and may be
// used by many goroutines at once.
type Rules struct{ rules *rego.Admission }

var _ cycle.Admission = (*Rules)(nil)

// New makes rules that are compiled already usable by a cycle.
func New(rules *rego.Admission) *Rules { return &Rules{rules} }

// Open compiles the rules of a folder: its *.rego files over its data.json. What
// is wrong with them comes as rego.Errors.
func Open(ctx context.Context, dir string) (*Rules, error) {
	files, data, err := rego.ReadDir(os.DirFS(dir), ".")
	if err != nil {
		return nil, fmt.Errorf("admission rules %s: %w", dir, err)
	}
	rules, err := rego.Load(ctx, files, data, rego.Options{})
	if err != nil {
		return nil, fmt.Errorf("admission rules %s: %w", dir, err)
	}
	return New(rules), nil
}

// Digest identifies the rules and their data.
func (r *Rules) Digest() string { return r.rules.Digest() }

// Judge answers for every job, in their order. When ctx ends, the jobs not reached
// are refused with that as the reason; no job is ever admitted by accident.
func (r *Rules) Judge(ctx context.Context, jobs []*spec.Job) []cycle.Verdict {
	// The error says only that ctx ended, which the verdicts say as well.
	answers, _ := r.rules.DecideAll(ctx, jobs)
	out := make([]cycle.Verdict, len(jobs))
	for i := range out {
		if i >= len(answers) {
			out[i].Refused = "no answer from the rules"
			continue
		}
		out[i] = verdict(answers[i])
	}
	return out
}

func verdict(a rego.Verdict) cycle.Verdict {
	if a.Allow {
		return cycle.Verdict{Queue: a.Queue, Priority: a.Priority}
	}
	if reason := strings.Join(a.Messages, "; "); reason != "" {
		return cycle.Verdict{Refused: reason}
	}
	return cycle.Verdict{Refused: a.Code}
}
