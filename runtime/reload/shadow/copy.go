package shadow

import (
	"slices"

	"github.com/musterhq/muster/policies"
)

// answer holds the outputs of one policy for one batch.
type answer struct {
	nkeys int
	keys  [policies.MaxKeys][]int64

	entitled, rank []int64

	cost []int64
	veto []uint8
}

func keep[T any](to *[]T, from []T) { *to = append((*to)[:0], from...) }

// blank makes an output column of n zeros, as the host hands it to a policy.
func blank[T any](col *[]T, n int) {
	*col = slices.Grow((*col)[:0], n)[:n]
	clear(*col)
}

// copyJobs copies a batch and the active policy's answer. Labels come in the order that
// the candidate asks for them, as if it had been the one to be asked.
func (r *record) copyJobs(b *policies.JobBatch, labels []string) {
	to := &r.jobs
	to.Call, to.N, to.Queue = b.Call, b.N, b.Queue
	keep(&to.Job, b.Job)
	keep(&to.User, b.User)
	keep(&to.Elastic, b.Elastic)
	keep(&to.Preemptible, b.Preemptible)
	keep(&to.Strings, b.Strings)
	keep(&to.UserName, b.UserName)
	keep(&to.Serial, b.Serial)
	for _, c := range [...]struct {
		to   *[]int64
		from []int64
	}{
		{&to.Priority, b.Priority},
		{&to.Submit, b.Submit},
		{&to.Wait, b.Wait},
		{&to.GPUs, b.GPUs},
		{&to.Dominant, b.Dominant},
		{&to.Min, b.Min},
		{&to.Size, b.Size},
		{&to.Running, b.Running},
		{&to.Attempts, b.Attempts},
		{&to.Duration, b.Duration},
		{&to.Deadline, b.Deadline},
		{&to.Evicted, b.Evicted},
		{&to.UserShare, b.UserShare},
		{&to.Allocated, b.Allocated},
		{&to.Use, b.Use},
	} {
		keep(c.to, c.from)
	}
	r.copyLabels(b, labels)
	for k := range to.Keys {
		blank(&to.Keys[k], b.N)
		keep(&r.active.keys[k], b.Keys[k])
	}
	to.NKeys, r.active.nkeys = 0, b.NKeys
	blank(&to.Reason, b.N)
}

func (r *record) copyLabels(b *policies.JobBatch, labels []string) {
	to := &r.jobs.Labels
	for len(*to) < len(labels) {
		*to = append(*to, policies.LabelColumn{})
	}
	*to = (*to)[:len(labels)]
	for i, key := range labels {
		col := &(*to)[i]
		col.Key = key
		j := slices.IndexFunc(b.Labels, func(l policies.LabelColumn) bool { return l.Key == key })
		if j >= 0 {
			keep(&col.Value, b.Labels[j].Value)
			continue
		}
		blank(&col.Value, b.N) // the host did not fill it: no job has it
		for n := range col.Value {
			col.Value[n] = policies.NoString
		}
	}
}

func (r *record) copyQueues(b *policies.QueueBatch) {
	to := &r.queues
	to.Call, to.N, to.R, to.HalfLife = b.Call, b.N, b.R, b.HalfLife
	keep(&to.Resources, b.Resources)
	keep(&to.Parent, b.Parent)
	keep(&to.Leaf, b.Leaf)
	for _, c := range [...]struct {
		to   *[]int64
		from []int64
	}{
		{&to.Capacity, b.Capacity},
		{&to.Depth, b.Depth},
		{&to.Weight, b.Weight},
		{&to.Priority, b.Priority},
		{&to.Guaranteed, b.Guaranteed},
		{&to.Max, b.Max},
		{&to.Demand, b.Demand},
		{&to.Used, b.Used},
		{&to.Decayed, b.Decayed},
		{&to.Use, b.Use},
		{&r.active.entitled, b.Entitled},
		{&r.active.rank, b.Rank},
	} {
		keep(c.to, c.from)
	}
	blank(&to.Entitled, b.N*b.R)
	blank(&to.Rank, b.N)
}

func (r *record) copyVictims(b *policies.VictimBatch) {
	to := &r.victims
	to.Call, to.N, to.R = b.Call, b.N, b.R
	keep(&to.Job, b.Job)
	keep(&to.Queue, b.Queue)
	keep(&to.Gang, b.Gang)
	keep(&to.Surplus, b.Surplus)
	keep(&to.Leader, b.Leader)
	keep(&r.active.veto, b.Veto)
	for _, c := range [...]struct {
		to   *[]int64
		from []int64
	}{
		{&to.Tasks, b.Tasks},
		{&to.GPUs, b.GPUs},
		{&to.Freed, b.Freed},
		{&to.Priority, b.Priority},
		{&to.Running, b.Running},
		{&to.SinceCheckpoint, b.SinceCheckpoint},
		{&to.Lost, b.Lost},
		{&to.RestartCost, b.RestartCost},
		{&to.Excess, b.Excess},
		{&to.Evicted, b.Evicted},
		{&to.Use, b.Use},
		{&to.Idle, b.Idle},
		{&r.active.cost, b.Cost},
	} {
		keep(c.to, c.from)
	}
	blank(&to.Cost, b.N)
	blank(&to.Veto, b.N)
	blank(&to.Reason, b.N)
}

// take copies the outputs of the record's own batch.
func (a *answer) take(r *record) {
	switch r.kind {
	case policies.JobOrder:
		a.nkeys = r.jobs.NKeys
		for k := range a.keys {
			keep(&a.keys[k], r.jobs.Keys[k])
		}
	case policies.QueueShares:
		keep(&a.entitled, r.queues.Entitled)
		keep(&a.rank, r.queues.Rank)
	default:
		keep(&a.cost, r.victims.Cost)
		keep(&a.veto, r.victims.Veto)
	}
}
