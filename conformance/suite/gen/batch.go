// Package gen makes batches for the conformance suite: from a seed, so that the same
// seed is the same batch on every machine; believable ones, as the host would send
// them, and extreme ones; and smaller ones, for a failure that is to be understood.
package gen

import (
	"slices"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// Batch is a batch of any kind: exactly one of the three is set.
type Batch struct {
	Jobs    *policies.JobBatch
	Queues  *policies.QueueBatch
	Victims *policies.VictimBatch
}

// Kind is the kind of policy that the batch is for; 0 for the zero Batch.
func (b Batch) Kind() policies.Kind {
	switch {
	case b.Jobs != nil:
		return policies.JobOrder
	case b.Queues != nil:
		return policies.QueueShares
	case b.Victims != nil:
		return policies.VictimCosts
	}
	return 0
}

// N is the number of rows.
func (b Batch) N() int {
	switch {
	case b.Jobs != nil:
		return b.Jobs.N
	case b.Queues != nil:
		return b.Queues.N
	case b.Victims != nil:
		return b.Victims.N
	}
	return 0
}

// R is the number of resources, 0 for jobs.
func (b Batch) R() int {
	switch {
	case b.Queues != nil:
		return b.Queues.R
	case b.Victims != nil:
		return b.Victims.R
	}
	return 0
}

// Call is the batch's own part about the cycle, to be read and changed.
func (b Batch) Call() *policies.Call {
	switch {
	case b.Jobs != nil:
		return &b.Jobs.Call
	case b.Queues != nil:
		return &b.Queues.Call
	case b.Victims != nil:
		return &b.Victims.Call
	}
	return &policies.Call{}
}

// Column is one input column of a batch that has elements for each row or resource.
// Exactly one of the pointers is set, to the batch's own slice.
type Column struct {
	ID  hostabi.ColumnID
	I64 *[]int64
	U32 *[]uint32
	I32 *[]int32
	U8  *[]uint8
	// Plain is the least remarkable value: what the shrinker puts in.
	Plain int64
}

// Schema is what the ABI says of the column.
func (c Column) Schema() hostabi.Column {
	s, _ := hostabi.ColumnByID(c.ID)
	return s
}

// Len is the number of elements.
func (c Column) Len() int {
	switch {
	case c.I64 != nil:
		return len(*c.I64)
	case c.U32 != nil:
		return len(*c.U32)
	case c.I32 != nil:
		return len(*c.I32)
	}
	return len(*c.U8)
}

// Get is one element.
func (c Column) Get(i int) int64 {
	switch {
	case c.I64 != nil:
		return (*c.I64)[i]
	case c.U32 != nil:
		return int64((*c.U32)[i])
	case c.I32 != nil:
		return int64((*c.I32)[i])
	}
	return int64((*c.U8)[i])
}

// Set changes one element, cut to the width of the column.
func (c Column) Set(i int, v int64) {
	switch {
	case c.I64 != nil:
		(*c.I64)[i] = v
	case c.U32 != nil:
		(*c.U32)[i] = uint32(v)
	case c.I32 != nil:
		(*c.I32)[i] = int32(v)
	default:
		(*c.U8)[i] = uint8(v)
	}
}

func i64(id hostabi.ColumnID, s *[]int64, plain int64) Column {
	return Column{ID: id, I64: s, Plain: plain}
}
func u32(id hostabi.ColumnID, s *[]uint32) Column { return Column{ID: id, U32: s} }
func u8(id hostabi.ColumnID, s *[]uint8) Column   { return Column{ID: id, U8: s} }

// Columns lists the input columns in the order of their ids, without texts and labels.
func (b Batch) Columns() []Column {
	switch {
	case b.Jobs != nil:
		return jobColumns(b.Jobs)
	case b.Queues != nil:
		return queueColumns(b.Queues)
	case b.Victims != nil:
		return victimColumns(b.Victims)
	}
	return nil
}

func jobColumns(b *policies.JobBatch) []Column {
	return []Column{
		u32(hostabi.JobJob, &b.Job), u32(hostabi.JobUser, &b.User), i64(hostabi.JobPriority, &b.Priority, 0),
		i64(hostabi.JobSubmit, &b.Submit, 0), i64(hostabi.JobWait, &b.Wait, 0), i64(hostabi.JobGPUs, &b.GPUs, 0),
		i64(hostabi.JobDominant, &b.Dominant, 0), i64(hostabi.JobMin, &b.Min, 1), i64(hostabi.JobSize, &b.Size, 1),
		i64(hostabi.JobRunning, &b.Running, 0), i64(hostabi.JobAttempts, &b.Attempts, 0),
		i64(hostabi.JobDuration, &b.Duration, policies.Unset), i64(hostabi.JobDeadline, &b.Deadline, policies.Unset),
		u8(hostabi.JobElastic, &b.Elastic), i64(hostabi.JobEvicted, &b.Evicted, 0), i64(hostabi.JobUserShare, &b.UserShare, 0),
		i64(hostabi.JobAllocated, &b.Allocated, 0), u8(hostabi.JobPreemptible, &b.Preemptible),
		i64(hostabi.JobUse, &b.Use, policies.Unset),
	}
}

func queueColumns(b *policies.QueueBatch) []Column {
	return []Column{
		i64(hostabi.QueueCapacity, &b.Capacity, 0),
		{ID: hostabi.QueueParent, I32: &b.Parent},
		i64(hostabi.QueueDepth, &b.Depth, 0), u8(hostabi.QueueLeaf, &b.Leaf), i64(hostabi.QueueWeight, &b.Weight, 0),
		i64(hostabi.QueuePriority, &b.Priority, 0), i64(hostabi.QueueGuaranteed, &b.Guaranteed, policies.Unset),
		i64(hostabi.QueueMax, &b.Max, policies.NoMax), i64(hostabi.QueueDemand, &b.Demand, 0), i64(hostabi.QueueUsed, &b.Used, 0),
		i64(hostabi.QueueDecayed, &b.Decayed, 0), i64(hostabi.QueueUse, &b.Use, policies.Unset),
	}
}

func victimColumns(b *policies.VictimBatch) []Column {
	return []Column{
		u32(hostabi.VictimJob, &b.Job), u32(hostabi.VictimQueue, &b.Queue), i64(hostabi.VictimTasks, &b.Tasks, 1),
		i64(hostabi.VictimGPUs, &b.GPUs, 0), i64(hostabi.VictimFreed, &b.Freed, 0), i64(hostabi.VictimPriority, &b.Priority, 0),
		i64(hostabi.VictimRunning, &b.Running, 0), i64(hostabi.VictimSinceCheckpoint, &b.SinceCheckpoint, 0),
		i64(hostabi.VictimLost, &b.Lost, 0), i64(hostabi.VictimRestartCost, &b.RestartCost, 0),
		u8(hostabi.VictimSurplus, &b.Surplus), u8(hostabi.VictimLeader, &b.Leader), i64(hostabi.VictimExcess, &b.Excess, 0),
		i64(hostabi.VictimEvicted, &b.Evicted, 0), u32(hostabi.VictimGang, &b.Gang),
		i64(hostabi.VictimUse, &b.Use, policies.Unset), i64(hostabi.VictimIdle, &b.Idle, policies.Unset),
	}
}

// Column finds a column by its id. It panics if the batch has none such: laws name
// only columns of their own kind.
func (b Batch) Column(id hostabi.ColumnID) Column {
	for _, c := range b.Columns() {
		if c.ID == id {
			return c
		}
	}
	panic("gen: no column " + id.String())
}

// Clone copies a batch with its outputs.
func (b Batch) Clone() Batch {
	rows := make([]int, b.N())
	for i := range rows {
		rows[i] = i
	}
	return b.Select(rows)
}

// Select returns a batch of some rows, in the given order; a row may come more than
// once. It copies, so the batches share nothing. Queues keep their numbers of parents:
// Repair them, or use Without.
func (b Batch) Select(rows []int) Batch {
	out := b.copied()
	from, to := b.Columns(), out.Columns()
	for i := range from {
		width := 1
		switch from[i].Schema().Shape {
		case hostabi.ShapeMatrix:
			width = b.R()
		case hostabi.ShapeResource:
			rows := []int{0}
			to[i].choose(from[i], rows, b.R())
			continue
		}
		to[i].choose(from[i], rows, width)
	}
	if j := out.Jobs; j != nil {
		j.N = len(rows)
		j.UserName = chosen(b.Jobs.UserName, rows, 1)
		j.Labels = slices.Clone(j.Labels)
		for i := range j.Labels {
			j.Labels[i].Value = chosen(b.Jobs.Labels[i].Value, rows, 1)
		}
		j.Serial = nil // rows of a made-up batch have no identity
	}
	switch {
	case out.Queues != nil:
		out.Queues.N = len(rows)
	case out.Victims != nil:
		out.Victims.N = len(rows)
	}
	return out
}

// copied is a copy of the struct, without outputs; slices are still shared.
func (b Batch) copied() Batch {
	var out Batch
	switch {
	case b.Jobs != nil:
		j := *b.Jobs
		j.Keys, j.NKeys, j.Reason, j.Order = [policies.MaxKeys][]int64{}, 0, nil, nil
		out.Jobs = &j
	case b.Queues != nil:
		q := *b.Queues
		q.Entitled, q.Rank = nil, nil
		out.Queues = &q
	case b.Victims != nil:
		v := *b.Victims
		v.Cost, v.Veto, v.Reason = nil, nil, nil
		out.Victims = &v
	}
	return out
}

func (c Column) choose(from Column, rows []int, width int) {
	switch {
	case c.I64 != nil:
		*c.I64 = chosen(*from.I64, rows, width)
	case c.U32 != nil:
		*c.U32 = chosen(*from.U32, rows, width)
	case c.I32 != nil:
		*c.I32 = chosen(*from.I32, rows, width)
	default:
		*c.U8 = chosen(*from.U8, rows, width)
	}
}

// chosen copies rows of a column; a column without values stays without.
func chosen[T any](s []T, rows []int, width int) []T {
	if len(s) == 0 {
		return nil
	}
	out := make([]T, 0, len(rows)*width)
	for _, r := range rows {
		out = append(out, s[r*width:(r+1)*width]...)
	}
	return out
}

// Same says whether two batches have the same inputs, bit for bit.
func Same(a, b Batch) bool {
	if a.Kind() != b.Kind() || a.N() != b.N() || a.R() != b.R() || *a.Call() != *b.Call() {
		return false
	}
	x, y := a.Columns(), b.Columns()
	for i := range x {
		if x[i].Len() != y[i].Len() {
			return false
		}
		for k := range x[i].Len() {
			if x[i].Get(k) != y[i].Get(k) {
				return false
			}
		}
	}
	return a.Jobs == nil || sameTexts(a.Jobs, b.Jobs)
}

func sameTexts(a, b *policies.JobBatch) bool {
	return a.Queue == b.Queue && slices.Equal(a.Strings, b.Strings) && slices.Equal(a.UserName, b.UserName) &&
		slices.EqualFunc(a.Labels, b.Labels, func(x, y policies.LabelColumn) bool {
			return x.Key == y.Key && slices.Equal(x.Value, y.Value)
		})
}
