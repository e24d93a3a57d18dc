package wasm

import (
	"encoding/binary"
	"slices"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// frame is the kept frame of one kind: the columns that the policy wants. Filling it
// copies no column, and allocates nothing after the first calls.
type frame struct {
	hostabi.Frame
	settings slots
	outputs  [16]int // index into Parts by the low bits of an output's id
	prefill  [2][1]uint32
	queue    [1]uint32 // job.queue: its index in the dictionary
	ids      []uint32  // 0, 1, 2 …: indices of the resources' names
	texts    []string  // the dictionary, where it is put together here
	valid    [][]byte  // room for the validity bitmap of each part
	reasons  int       // length of the policy's table of reasons
	readsIDs bool      // reads columns that point into the caller's own dictionary
}

func newFrame(k hostabi.Kind, md *hostabi.Metadata) *frame {
	f := &frame{reasons: len(md.Reasons)}
	f.Kind = k
	f.prefill = [2][1]uint32{{uint32(max(1, len(md.Keys)))}, {md.KeyFormat()}}
	for _, c := range wanted(k, md) {
		if c.Output {
			f.outputs[slotOf(c.ID)] = len(f.Parts)
		}
		f.readsIDs = f.readsIDs || pointsOutside(c)
		f.Parts = append(f.Parts, hostabi.Part{Column: c})
	}
	f.valid = make([][]byte, len(f.Parts))
	return f
}

// wanted lists the columns that the policy is sent. One that names no columns gets
// every column of its kinds that costs the caller nothing extra to fill.
func wanted(k hostabi.Kind, md *hostabi.Metadata) []*hostabi.Column {
	var out []*hostabi.Column
	named := len(md.Columns.Required)+len(md.Columns.Optional) > 0
	columns := hostabi.Columns(k)
	for i := range columns {
		if c := &columns[i]; md.Wants(*c) && (named || !pointsOutside(c)) {
			out = append(out, c)
		}
	}
	if k == hostabi.KindJobOrder {
		labels := md.LabelColumns()
		for i := range labels {
			out = append(out, &labels[i])
		}
	}
	// inputs first, as the header counts them
	slices.SortStableFunc(out, func(a, b *hostabi.Column) int { return truth(a.Output) - truth(b.Output) })
	return out
}

func truth(b bool) int {
	if b {
		return 1
	}
	return 0
}

// pointsOutside says whether a column's elements are indices that the caller has made.
func pointsOutside(c *hostabi.Column) bool {
	return c.Kind == hostabi.KindJobOrder && c.Type == hostabi.Dict32 && c.Shape == hostabi.ShapeRow
}

func slotOf(id hostabi.ColumnID) int { return int(id & 0xf) }

func (f *frame) begin(c policies.Call, rows, resources int) {
	f.Rows, f.Resources = rows, resources
	f.Now, f.Cycle, f.Seed = c.Now, c.Cycle, c.Seed
}

func (f *frame) jobs(b *policies.JobBatch) {
	f.begin(b.Call, b.N, 0)
	f.texts = f.texts[:0]
	if f.readsIDs {
		f.texts = append(f.texts, b.Strings...)
	}
	f.queue[0] = f.index(b.Queue)
	f.finishTexts()
	for i := range f.Parts {
		p := &f.Parts[i]
		switch id := p.Column.ID; id {
		case hostabi.JobQueue:
			p.Data = hostabi.Bytes(f.queue[:])
		case hostabi.JobUserName:
			p.Data = hostabi.Bytes(b.UserName)
		case hostabi.JobKeyCount:
			p.Data = hostabi.Bytes(f.prefill[0][:])
		case hostabi.JobKeyFormat:
			p.Data = hostabi.Bytes(f.prefill[1][:])
		default:
			if id >= hostabi.LabelBase {
				p.Data = label(b, p.Column)
			} else {
				p.Data = jobInput(b, id)
			}
		}
		f.validity(i)
	}
}

// label is the column of a label, nil if the caller has not filled it. Labels come in
// the order of Info.Labels, which is that of the ids.
func label(b *policies.JobBatch, c *hostabi.Column) []byte {
	key, _ := c.LabelKey()
	if i := int(c.ID - hostabi.LabelBase); i < len(b.Labels) && b.Labels[i].Key == key {
		return hostabi.Bytes(b.Labels[i].Value)
	}
	return nil
}

func (f *frame) queues(b *policies.QueueBatch) {
	f.begin(b.Call, b.N, b.R)
	f.texts = append(f.texts[:0], b.Resources...)
	f.finishTexts()
	for len(f.ids) < len(b.Resources) {
		f.ids = append(f.ids, uint32(len(f.ids)))
	}
	for i := range f.Parts {
		p := &f.Parts[i]
		switch {
		case p.Column.ID != hostabi.QueueResources:
			p.Data = queueInput(b, p.Column.ID)
		case len(b.Resources) > 0:
			p.Data = hostabi.Bytes(f.ids[:len(b.Resources)])
		default:
			p.Data = nil
		}
		f.validity(i)
	}
}

func (f *frame) victims(b *policies.VictimBatch) {
	f.begin(b.Call, b.N, b.R)
	f.texts = f.texts[:0]
	f.finishTexts()
	for i := range f.Parts {
		f.Parts[i].Data = victimInput(b, f.Parts[i].Column.ID)
		f.validity(i)
	}
}

// index is the place of a text in the dictionary, which has each text once: so a
// policy compares indices in place of texts.
func (f *frame) index(text string) uint32 {
	i := slices.Index(f.texts, text)
	if i < 0 {
		i = len(f.texts)
		f.texts = append(f.texts, text)
	}
	return uint32(i)
}

// finishTexts puts the settings that are texts into the dictionary.
func (f *frame) finishTexts() {
	for _, t := range f.settings.texts {
		f.settings.words[t.slot] = uint64(f.index(t.text))
	}
	f.Strings = f.texts
}

// validity says of each element of a nullable column whether it is known.
func (f *frame) validity(i int) {
	p := &f.Parts[i]
	p.Valid = nil
	if p.Column.Nullable && p.Data != nil {
		if p.Valid = bitmap(f.valid[i], p.Data); p.Valid != nil {
			f.valid[i] = p.Valid
		}
	}
}

// bitmap is hostabi.Validity for a column in its wire form.
func bitmap(room, wire []byte) []byte {
	var all uint64
	for i := 0; i+8 <= len(wire); i += 8 {
		all |= binary.LittleEndian.Uint64(wire[i:])
	}
	if int64(all) >= 0 {
		return nil
	}
	rows := len(wire) / 8
	bits := sized(room, (rows+7)/8)
	clear(bits)
	for i := range rows {
		if int64(binary.LittleEndian.Uint64(wire[8*i:])) != policies.Unset {
			bits[i/8] |= 1 << (i % 8)
		}
	}
	return bits
}

// sized returns a slice of n elements; the given one where it has room.
func sized[T any](s []T, n int) []T {
	if cap(s) >= n {
		return s[:n]
	}
	return make([]T, n)
}
