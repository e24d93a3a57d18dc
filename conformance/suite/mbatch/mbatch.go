// Package mbatch reads and writes .mbatch files. Such a file is exactly the bytes of
// one batch, as hostabi/abi.md describes them: what a policy was sent, so that
// `muster policy run` can send it again. The package also rewrites batches into forms
// that later versions of the ABI allow and that a policy must understand today.
package mbatch

import (
	"fmt"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// Encode writes a batch with every column that its kind has, and the labels in it: what
// a policy would be sent whose metadata name no columns. Params are left out.
func Encode(b gen.Batch) ([]byte, error) {
	f := frameOf(b)
	n, err := f.Layout()
	if err != nil {
		return nil, err
	}
	out := make([]byte, n)
	return out, f.Encode(out)
}

func frameOf(b gen.Batch) *hostabi.Frame {
	call := b.Call()
	f := &hostabi.Frame{Rows: b.N(), Resources: b.R(), Now: call.Now, Seed: call.Seed, Cycle: call.Cycle}
	switch {
	case b.Jobs != nil:
		f.Kind = hostabi.KindJobOrder
		f.Strings = b.Jobs.Strings
		if len(f.Strings) == 0 {
			f.Strings = []string{b.Jobs.Queue}
		}
	case b.Queues != nil:
		f.Kind, f.Strings = hostabi.KindQueueShares, b.Queues.Resources
	default:
		f.Kind = hostabi.KindVictimCosts
	}
	input := map[hostabi.ColumnID]gen.Column{}
	for _, c := range b.Columns() {
		input[c.ID] = c
	}
	columns := hostabi.Columns(f.Kind)
	for i := range columns {
		p := hostabi.Part{Column: &columns[i]}
		if c, ok := input[columns[i].ID]; ok {
			p.Data = bytesOf(c)
			if columns[i].Nullable && c.Len() > 0 {
				p.Valid = hostabi.Validity(nil, *c.I64)
			}
		} else {
			p.Data = special(b, columns[i].ID)
		}
		f.Parts = append(f.Parts, p)
	}
	addLabels(f, b)
	return f
}

func bytesOf(c gen.Column) []byte {
	switch {
	case c.I64 != nil:
		return hostabi.Bytes(*c.I64)
	case c.U32 != nil:
		return hostabi.Bytes(*c.U32)
	case c.I32 != nil:
		return hostabi.Bytes(*c.I32)
	}
	return *c.U8
}

// special are the columns that are not slices of numbers in package policies.
func special(b gen.Batch, id hostabi.ColumnID) []byte {
	switch id {
	case hostabi.JobQueue:
		return hostabi.Bytes([]uint32{indexOf(b.Jobs.Strings, b.Jobs.Queue)})
	case hostabi.JobUserName:
		return hostabi.Bytes(b.Jobs.UserName)
	case hostabi.JobKeyCount:
		return hostabi.Bytes([]uint32{1})
	case hostabi.QueueResources:
		ids := make([]uint32, len(b.Queues.Resources))
		for i := range ids {
			ids[i] = uint32(i)
		}
		return hostabi.Bytes(ids)
	case hostabi.QueueHalfLife:
		return hostabi.Bytes([]int64{b.Queues.HalfLife})
	}
	return nil
}

func indexOf(texts []string, s string) uint32 {
	for i, t := range texts {
		if t == s {
			return uint32(i)
		}
	}
	return 0
}

func addLabels(f *hostabi.Frame, b gen.Batch) {
	if b.Jobs == nil {
		return
	}
	var md hostabi.Metadata
	for _, l := range b.Jobs.Labels {
		md.Columns.Required = append(md.Columns.Required, hostabi.LabelPrefix+l.Key)
	}
	columns := md.LabelColumns()
	for i := range min(len(columns), len(b.Jobs.Labels)) {
		f.Parts = append(f.Parts, hostabi.Part{Column: &columns[i], Data: hostabi.Bytes(b.Jobs.Labels[i].Value)})
	}
}

// Decode reads a batch back. Columns that the file leaves out stay empty, but for those
// that make the batch's shape. Labels get the names label-0, label-1 …: a batch says
// only their numbers.
func Decode(buf []byte) (gen.Batch, error) {
	d, err := hostabi.Decode(buf)
	if err != nil {
		return gen.Batch{}, err
	}
	call := policies.Call{Now: d.Now, Cycle: d.Cycle, Seed: d.Seed}
	var b gen.Batch
	switch d.Kind {
	case hostabi.KindJobOrder:
		b.Jobs = &policies.JobBatch{Call: call, N: d.Rows}
		readTexts(b.Jobs, d)
	case hostabi.KindQueueShares:
		b.Queues = &policies.QueueBatch{Call: call, N: d.Rows, R: d.Resources}
		readResources(b.Queues, d)
	case hostabi.KindVictimCosts:
		b.Victims = &policies.VictimBatch{Call: call, N: d.Rows, R: d.Resources}
	default:
		return b, fmt.Errorf("a batch of kind %d, which this version does not know", d.Kind)
	}
	for _, c := range b.Columns() {
		if from, ok := d.Column(c.ID); ok && from.Flags&hostabi.FlagAbsent == 0 {
			readColumn(c, from.Data, from.Elements)
		}
	}
	return b, nil
}

func readColumn(c gen.Column, data []byte, n int) {
	switch {
	case c.I64 != nil:
		*c.I64 = make([]int64, n)
		hostabi.Read(*c.I64, data)
	case c.U32 != nil:
		*c.U32 = make([]uint32, n)
		hostabi.Read(*c.U32, data)
	case c.I32 != nil:
		*c.I32 = make([]int32, n)
		hostabi.Read(*c.I32, data)
	default:
		*c.U8 = append([]uint8(nil), data...)
	}
}

func dictionary(d *hostabi.Batch) []string {
	if len(d.Dicts) == 0 {
		return nil
	}
	return d.Dicts[0]
}

func readTexts(b *policies.JobBatch, d *hostabi.Batch) {
	b.Strings = dictionary(d)
	for _, c := range d.Columns {
		if c.Type != hostabi.Dict32 {
			continue
		}
		ids := make([]uint32, c.Elements)
		hostabi.Read(ids, c.Data)
		switch {
		case c.ID == hostabi.JobQueue && len(ids) == 1 && int(ids[0]) < len(b.Strings):
			b.Queue = b.Strings[ids[0]]
		case c.ID == hostabi.JobUserName:
			b.UserName = ids
		case c.ID >= hostabi.LabelBase:
			b.Labels = append(b.Labels, policies.LabelColumn{Key: fmt.Sprintf("label-%d", len(b.Labels)), Value: ids})
		}
	}
}

func readResources(b *policies.QueueBatch, d *hostabi.Batch) {
	texts := dictionary(d)
	if c, ok := d.Column(hostabi.QueueResources); ok {
		ids := make([]uint32, c.Elements)
		hostabi.Read(ids, c.Data)
		for _, id := range ids {
			name := ""
			if int(id) < len(texts) {
				name = texts[id]
			}
			b.Resources = append(b.Resources, name)
		}
	}
	if c, ok := d.Column(hostabi.QueueHalfLife); ok {
		var half [1]int64
		hostabi.Read(half[:], c.Data)
		b.HalfLife = half[0]
	}
}
