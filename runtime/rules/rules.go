// Package rules lets the scheduler ask rules in Rego: it is the adapter between what
// the cycle wants (one verdict for every job, one answer for every candidate) and what
// package rego answers.
package rules

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/rego"
)

// Options of Open.
type Options struct {
	// Timeout bounds one verdict; 0 is rego.DefaultTimeout.
	Timeout time.Duration
	// Cache is how many verdicts are kept; 0 is DefaultCache, negative keeps none.
	Cache int
}

// DefaultCache is how many verdicts are kept where Options says nothing.
const DefaultCache = 16384

// Rules are rules as the cycle sees them. They never change and may be used by many
// goroutines at once.
type Rules struct {
	rules *rego.Rules
	limit int

	mu sync.Mutex
	// kept are verdicts by rego.Rules.JobKey. The rules never change, so a verdict
	// holds for ever; a change of rules is another Rules.
	kept map[string]cycle.Verdict
	hits uint64
}

var (
	_ cycle.Admission         = (*Rules)(nil)
	_ cycle.CheckedProtection = (*Rules)(nil)
)

// New makes rules that are compiled already usable by a cycle.
func New(rules *rego.Rules, cache int) *Rules {
	if cache == 0 {
		cache = DefaultCache
	}
	return &Rules{rules: rules, limit: cache, kept: map[string]cycle.Verdict{}}
}

// Open compiles the rules of a folder or bundle. What is wrong with them comes as
// rego.Errors.
func Open(ctx context.Context, path string, opt Options) (*Rules, error) {
	src, err := rego.Open(path)
	if err != nil {
		return nil, fmt.Errorf("rules %s: %w", path, err)
	}
	rules, err := rego.Load(ctx, src, rego.Options{Timeout: opt.Timeout})
	if err != nil {
		return nil, fmt.Errorf("rules %s: %w", path, err)
	}
	return New(rules, opt.Cache), nil
}

// Digest identifies the rules and their data.
func (r *Rules) Digest() string { return r.rules.Digest() }

// Admission is what a cycle asks about jobs; nil if the rules say nothing of them.
func (r *Rules) Admission() cycle.Admission {
	if r.rules.Decides(rego.Admission) || r.rules.Decides(rego.Placement) {
		return r
	}
	return nil
}

// Protection is what a cycle asks about victims; nil if the rules say nothing of them.
func (r *Rules) Protection() cycle.Protection {
	if r.rules.Decides(rego.Protection) {
		return r
	}
	return nil
}

// Guard decides who may load which policy; nil if the rules say nothing of it. An error
// is a refusal.
func (r *Rules) Guard() func(context.Context, rego.LoadRequest) error {
	if !r.rules.Decides(rego.Loading) {
		return nil
	}
	return func(ctx context.Context, q rego.LoadRequest) error {
		v, err := r.rules.MayLoad(ctx, q)
		if err == nil && v.Allow {
			return nil
		}
		return fmt.Errorf("policy %s may not be loaded: %s", q.Name, strings.Join(v.Messages, "; "))
	}
}

// Kinds lists what the rules decide: admission, placement, protection, loading.
func (r *Rules) Kinds() (kinds []string) {
	for _, d := range []rego.Decision{rego.Admission, rego.Placement, rego.Protection, rego.Loading} {
		if r.rules.Decides(d) {
			kinds = append(kinds, strings.TrimPrefix(d.Package(), "muster."))
		}
	}
	return kinds
}

// Judge answers for every job, in their order. When ctx ends, the jobs not reached
// are refused with that as the reason; no job is ever admitted by accident.
func (r *Rules) Judge(ctx context.Context, jobs []*spec.Job) []cycle.Verdict {
	out := make([]cycle.Verdict, len(jobs))
	for i, j := range jobs {
		key := r.rules.JobKey(j)
		v, ok := r.recall(key)
		if !ok {
			var keep bool
			if v, keep = r.judge(ctx, j); keep {
				r.keep(key, v)
			}
		}
		out[i] = v
	}
	return out
}

// judge asks about one job, and says whether the answer is worth keeping: one that came
// too late is not.
func (r *Rules) judge(ctx context.Context, j *spec.Job) (v cycle.Verdict, keep bool) {
	if r.rules.Decides(rego.Admission) {
		a, err := r.rules.Decide(ctx, j) // the error says only that ctx ended, as the verdict does
		if v = verdict(a); v.Refused != "" {
			return v, err == nil && a.Code != rego.CodeTimeout
		}
	}
	if !r.rules.Decides(rego.Placement) {
		return v, true
	}
	placed := j
	if v.Queue != nil || v.Priority != nil { // placement sees the job as admission left it
		changed := *j
		if v.Queue != nil {
			changed.Queue = *v.Queue
		}
		if v.Priority != nil {
			changed.Priority = *v.Priority
		}
		placed = &changed
	}
	w, err := r.rules.Place(ctx, placed)
	v.Refused, v.GPUTypes, v.NodeLabels, v.Rule = w.Refused, w.GPUTypes, w.Nodes, rego.Placement.Package()
	return v, err == nil && w.Refused == ""
}

func (r *Rules) recall(key string) (cycle.Verdict, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	v, ok := r.kept[key]
	if ok {
		r.hits++
	}
	return v, ok
}

// keep remembers a verdict. A full memory is emptied: what is asked again is soon there
// again, and no order has to be kept.
func (r *Rules) keep(key string, v cycle.Verdict) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.limit < 0 {
		return
	}
	if len(r.kept) >= r.limit {
		clear(r.kept)
	}
	r.kept[key] = v
}

// Recalled is how many verdicts were answered from memory.
func (r *Rules) Recalled() uint64 {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.hits
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

// Protected answers for every candidate, in one evaluation. Rules that fail protect
// everything.
func (r *Rules) Protected(ctx context.Context, units []cycle.Candidate) []string {
	out, _ := r.Protect(ctx, units) // the answers say the error
	return out
}

// Protect is Protected with the error of rules that failed.
func (r *Rules) Protect(ctx context.Context, units []cycle.Candidate) ([]string, error) {
	in := make([]rego.Unit, len(units))
	var now spec.Time
	for i := range units {
		u := &units[i]
		now = u.Now
		in[i] = rego.Unit{
			Job: u.Job, Queue: u.Queue, Tasks: u.Tasks, GPUMilli: u.GPUMilli, Running: u.Running, Lost: u.Lost,
			Evicted: u.Evicted, Surplus: u.Surplus, Leader: u.Leader, Use: u.Use, Idle: u.Idle,
		}
	}
	return r.rules.Protect(ctx, now, in)
}
