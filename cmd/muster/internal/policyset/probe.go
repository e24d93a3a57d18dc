package policyset

import (
	"context"
	"errors"
	"fmt"

	"github.com/musterhq/muster/policies"
)

// ProbeError is a policy that failed on the trial batch.
type ProbeError struct{ Call *policies.CallError }

func (e *ProbeError) Error() string {
	return fmt.Sprintf("policy %s: %s on a trial batch of 3 rows: %s (%s)", e.Call.Policy, e.Call.Kind, e.Call.Detail, e.Call.Code)
}

// Unwrap is the failed call.
func (e *ProbeError) Unwrap() error { return e.Call }

// probeSecond is one second in the batches.
const probeSecond int64 = 1_000_000_000

// Probe asks a policy to decide each of its kinds on three plain rows. A policy
// that abstains has answered.
func Probe(ctx context.Context, p policies.Policy) error {
	for _, call := range []struct {
		kind policies.Kind
		ask  func() error
	}{
		{policies.JobOrder, func() error { return p.ScoreJobs(ctx, probeJobs()) }},
		{policies.QueueShares, func() error { return p.Entitle(ctx, probeQueues()) }},
		{policies.VictimCosts, func() error { return p.CostVictims(ctx, probeVictims()) }},
	} {
		if p.Info().Kinds&call.kind == 0 {
			continue
		}
		err := call.ask()
		var ce *policies.CallError
		switch {
		case err == nil || policies.CodeOf(err) == policies.CodeAbstain:
		case errors.As(err, &ce):
			return &ProbeError{ce}
		default:
			return fmt.Errorf("policy %s: %s: %w", p.Info().Name, call.kind, err)
		}
	}
	return nil
}

func probeCall() policies.Call { return policies.Call{Now: 3600 * probeSecond, Cycle: 1, Seed: 1} }

// probeJobs are three jobs of 1, 2 and 3 GPUs by two users.
func probeJobs() *policies.JobBatch {
	b := &policies.JobBatch{
		Call: probeCall(), N: 3, Queue: "root.probe",
		Job: []uint32{0, 1, 2}, User: []uint32{0, 1, 0}, Priority: []int64{0, 5, 0},
		Submit: []int64{0, 60 * probeSecond, 120 * probeSecond}, Wait: []int64{3600 * probeSecond, 3540 * probeSecond, 3480 * probeSecond},
		GPUs: []int64{1000, 2000, 3000}, Dominant: []int64{1 << 28, 1 << 29, 3 << 28},
		Min: []int64{1, 2, 0}, Size: []int64{1, 2, 3}, Running: []int64{0, 0, 1}, Attempts: []int64{0, 1, 2},
		Duration: []int64{policies.Unset, 600 * probeSecond, 60 * probeSecond}, Deadline: []int64{policies.Unset, policies.Unset, 7200 * probeSecond},
		Elastic: []uint8{0, 0, 1}, Evicted: []int64{0, 1, 0}, UserShare: []int64{0, 1 << 30, 0},
		Reason: make([]uint32, 3),
	}
	for i := range b.Keys {
		b.Keys[i] = make([]int64, 3)
	}
	return b
}

// probeQueues are a root of 10 GPUs and two leaves, one over its guarantee.
func probeQueues() *policies.QueueBatch {
	return &policies.QueueBatch{
		Call: probeCall(), N: 3, R: 1, Resources: []string{"nvidia.com/gpu"}, Capacity: []int64{10_000},
		Parent: []int32{-1, 0, 0}, Depth: []int64{0, 1, 1}, Leaf: []uint8{0, 1, 1}, Weight: []int64{0, 0, 2}, Priority: []int64{0, 0, 5},
		Guaranteed: []int64{policies.Unset, 6000, 4000}, Max: []int64{10_000, policies.NoMax, 8000},
		Demand: []int64{14_000, 9000, 5000}, Used: []int64{9000, 8000, 1000},
		Entitled: make([]int64, 3), Rank: make([]int64, 3),
	}
}

// probeVictims are three units of 1, 1 and 8 GPUs.
func probeVictims() *policies.VictimBatch {
	return &policies.VictimBatch{
		Call: probeCall(), N: 3, R: 1,
		Job: []uint32{0, 1, 1}, Queue: []uint32{0, 0, 0}, Tasks: []int64{1, 1, 8}, GPUs: []int64{1000, 1000, 8000}, Freed: []int64{1000, 1000, 8000},
		Priority: []int64{0, 1, 1}, Running: []int64{60 * probeSecond, 600 * probeSecond, 600 * probeSecond},
		SinceCheckpoint: []int64{60 * probeSecond, 0, 600 * probeSecond}, Lost: []int64{60_000, 0, 4_800_000}, RestartCost: []int64{0, 0, 1000},
		Surplus: []uint8{0, 1, 0}, Leader: []uint8{0, 0, 1}, Excess: []int64{2000, 2000, 2000}, Evicted: []int64{0, 0, 1},
		Cost: make([]int64, 3), Veto: make([]uint8, 3), Reason: make([]uint32, 3),
	}
}
