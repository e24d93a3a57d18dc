// Package policies is the contract between the core and whatever decides: the
// built-in policies in Go, Wasm modules, and anything a later runtime brings.
//
// A policy is a pure function of one batch of columns. It is called at most once
// per kind, cycle and scope, fills the output columns that the caller owns, keeps
// no state between calls and allocates nothing that outlives one. It can rank,
// price and veto; it cannot break quota, gang, guarantee or grace, because the
// host checks those itself.
package policies

import (
	"context"
	"fmt"
	"slices"
)

// Kind is a bit set of what a policy can decide.
type Kind uint8

// The kinds. In a module, each is one exported function.
const (
	JobOrder Kind = 1 << iota
	QueueShares
	VictimCosts
)

func (k Kind) String() string {
	switch k {
	case JobOrder:
		return "job_order"
	case QueueShares:
		return "queue_shares"
	case VictimCosts:
		return "victim_costs"
	default:
		return fmt.Sprintf("kinds(%b)", uint8(k))
	}
}

// Info names a policy in trails, metrics and reports.
type Info struct {
	Name    string
	Version string
	// Digest is "sha256:…" over the module, or "builtin" for Go policies.
	Digest string
	Kinds  Kind
	// Reasons is the table that reason columns point into; 0 means no reason.
	Reasons []string
	// Columns are the input columns that the policy reads, by their names on the wire
	// (job.priority); nil means every column but texts and labels.
	Columns []string
	// Labels are the keys of the job labels that the policy reads. The host fills
	// JobBatch.Labels for these, in this order.
	Labels []string
	// Params are the policy's settings, with the values in force.
	Params []Param
	// Laws are the laws that the policy claims to keep, by their ids (Law…).
	Laws []string
}

// Reads says whether the policy reads an input column that costs the host extra to
// fill.
func (i *Info) Reads(column string) bool { return slices.Contains(i.Columns, column) }

// LawRowIndependent is claimed by a job order whose keys of a row depend on nothing but
// the row's own columns and the params: not on other rows, the time, the cycle or the
// seed. Then the host asks again only for rows that have changed.
const LawRowIndependent = "row-independent"

// Policy decides. A kind that Info does not list is never called.
type Policy interface {
	Info() Info
	// ScoreJobs fills Keys for each pending job of one leaf queue.
	ScoreJobs(ctx context.Context, b *JobBatch) error
	// Entitle fills Entitled and Rank for all queues of the tree.
	Entitle(ctx context.Context, b *QueueBatch) error
	// CostVictims fills Cost and Veto for each victim unit.
	CostVictims(ctx context.Context, b *VictimBatch) error
	Close() error
}

// Unimplemented answers every kind with a refusal. Embed it, so that a policy
// implements only what it decides and new kinds do not break it.
type Unimplemented struct{}

// ScoreJobs refuses.
func (Unimplemented) ScoreJobs(context.Context, *JobBatch) error { return ErrNotImplemented }

// Entitle refuses.
func (Unimplemented) Entitle(context.Context, *QueueBatch) error { return ErrNotImplemented }

// CostVictims refuses.
func (Unimplemented) CostVictims(context.Context, *VictimBatch) error { return ErrNotImplemented }

// Close does nothing.
func (Unimplemented) Close() error { return nil }
