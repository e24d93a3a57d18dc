package shadow

import (
	"context"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/clock"
)

// Batch is one recorded batch; exactly one field is set.
type Batch struct {
	Jobs    *policies.JobBatch
	Queues  *policies.QueueBatch
	Victims *policies.VictimBatch
}

// Compare puts recorded batches to two policies, one after the other, and reports what
// the candidate would have decided differently. Outputs in the batches are not looked
// at. A batch of a kind that one of them does not decide is passed over. The error is
// only that ctx has ended; failures of either policy are in the report.
func Compare(ctx context.Context, active, candidate policies.Policy, batches []Batch, opt Options) (Report, error) {
	if opt.Clock == nil {
		opt.Clock = clock.Real{}
	}
	one, other := active.Info(), candidate.Info()
	kinds := one.Kinds & other.Kinds
	if opt.Kinds != 0 {
		kinds &= opt.Kinds
	}
	t := newTally(one, other)
	r := &record{}
	for i := range batches {
		if ctx.Err() != nil {
			return t.report(), ctx.Err()
		}
		if r.load(&batches[i], one.Labels); r.kind&kinds == 0 {
			continue
		}
		var err error
		r.took, r.fuel, err = ask(ctx, active, r, opt.Clock)
		r.failed = err != nil
		mine := r.other
		r.other = r.active
		r.load(&batches[i], other.Labels) // the candidate gets the batch as the active policy got it
		r.active = mine
		took, fuel, err := ask(ctx, candidate, r, opt.Clock)
		d := r.difference(err)
		t.add(r, &d, err, took, fuel, &opt.Names)
	}
	return t.report(), nil
}

// load copies a batch.
func (r *record) load(b *Batch, labels []string) {
	switch {
	case b.Jobs != nil:
		r.kind = policies.JobOrder
		r.copyJobs(b.Jobs, labels)
	case b.Queues != nil:
		r.kind = policies.QueueShares
		r.copyQueues(b.Queues)
	case b.Victims != nil:
		r.kind = policies.VictimCosts
		r.copyVictims(b.Victims)
	default:
		r.kind = 0
	}
}
