package wasm

import (
	"math"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// frame is the kept frame of one kind: the columns that the policy wants.
type frame struct {
	hostabi.Frame
	outputs map[hostabi.ColumnID]int // index into Parts
	ids     []uint32                 // 0, 1, 2 …: dictionary ids
	queue   [1]string
	prefill [2][1]uint32 // job.key_count, job.key_format before the call
	reasons int          // length of the policy's table of reasons
}

func newFrame(k hostabi.Kind, md *hostabi.Metadata) *frame {
	f := &frame{outputs: map[hostabi.ColumnID]int{}, reasons: len(md.Reasons), ids: []uint32{0}}
	f.Kind = k
	f.prefill = [2][1]uint32{{uint32(max(1, len(md.Keys)))}, {md.KeyFormat()}}
	columns := hostabi.Columns(k)
	for i := range columns {
		if !md.Wants(columns[i]) {
			continue
		}
		if columns[i].Output {
			f.outputs[columns[i].ID] = len(f.Parts)
		}
		f.Parts = append(f.Parts, hostabi.Part{Column: &columns[i]})
	}
	return f
}

func (f *frame) begin(c policies.Call, rows, resources int) {
	f.Rows, f.Resources = rows, resources
	f.Now, f.Cycle, f.Seed = c.Now, c.Cycle, c.Seed
}

func (f *frame) jobs(b *policies.JobBatch) {
	f.begin(b.Call, b.N, 0)
	f.queue[0] = b.Queue
	f.Strings = f.queue[:]
	for i := range f.Parts {
		p := &f.Parts[i]
		switch p.Column.ID {
		case hostabi.JobQueue:
			p.Data = hostabi.Bytes(f.ids[:1])
		case hostabi.JobKeyCount:
			p.Data = hostabi.Bytes(f.prefill[0][:])
		case hostabi.JobKeyFormat:
			p.Data = hostabi.Bytes(f.prefill[1][:])
		default:
			p.Data = jobInput(b, p.Column.ID)
		}
	}
}

func (f *frame) queues(b *policies.QueueBatch) {
	f.begin(b.Call, b.N, b.R)
	f.Strings = b.Resources
	for len(f.ids) < len(b.Resources) {
		f.ids = append(f.ids, uint32(len(f.ids)))
	}
	for i := range f.Parts {
		p := &f.Parts[i]
		if p.Column.ID != hostabi.QueueResources {
			p.Data = queueInput(b, p.Column.ID)
			continue
		}
		if p.Data = nil; len(b.Resources) > 0 {
			p.Data = hostabi.Bytes(f.ids[:len(b.Resources)])
		}
	}
}

func (f *frame) victims(b *policies.VictimBatch) {
	f.begin(b.Call, b.N, b.R)
	for i := range f.Parts {
		f.Parts[i].Data = victimInput(b, f.Parts[i].Column.ID)
	}
}

func (f *frame) output(mem []byte, id hostabi.ColumnID) []byte { return f.Output(mem, f.outputs[id]) }

func badOutput(format string, args ...any) error {
	return hostFault(policies.CodeBadOutput, format, args...)
}

// jobKeys reads the answer of a job order. Keys come out as int64, ascending,
// whatever the policy's form was.
func (f *frame) jobKeys(mem []byte, b *policies.JobBatch) error {
	var count, format [1]uint32
	hostabi.Read(count[:], f.output(mem, hostabi.JobKeyCount))
	hostabi.Read(format[:], f.output(mem, hostabi.JobKeyFormat))
	if count[0] < 1 || count[0] > policies.MaxKeys {
		return badOutput("job.key_count is %d, want 1 to %d", count[0], policies.MaxKeys)
	}
	ids := [policies.MaxKeys]hostabi.ColumnID{hostabi.JobKey0, hostabi.JobKey1, hostabi.JobKey2, hostabi.JobKey3}
	for k := range int(count[0]) {
		b.Keys[k] = sized(b.Keys[k], b.N)
		hostabi.Read(b.Keys[k], f.output(mem, ids[k]))
		if format[0]&hostabi.KeyFloat(k) != 0 {
			if i := orderFloats(b.Keys[k]); i >= 0 {
				return badOutput("%s[%d] is not a finite number", ids[k], i)
			}
		}
		if format[0]&hostabi.KeyDescending(k) != 0 {
			for i, v := range b.Keys[k] {
				b.Keys[k][i] = ^v
			}
		}
	}
	b.NKeys = int(count[0])
	return f.readReasons(mem, hostabi.JobReason, b.Reason)
}

// orderFloats turns the bits of float64 into integers of the same order, and
// returns the row of the first one that is not finite, or -1. Both zeros are equal.
func orderFloats(keys []int64) (bad int) {
	for i, v := range keys {
		x := math.Float64frombits(uint64(v))
		if x-x != 0 { // NaN and both infinities
			return i
		}
		v = int64(math.Float64bits(x + 0)) // -0 + 0 is +0
		keys[i] = v ^ int64(uint64(v>>63)>>1)
	}
	return -1
}

func (f *frame) shares(mem []byte, b *policies.QueueBatch) error {
	b.Entitled, b.Rank = sized(b.Entitled, b.N*b.R), sized(b.Rank, b.N)
	hostabi.Read(b.Entitled, f.output(mem, hostabi.QueueEntitled))
	hostabi.Read(b.Rank, f.output(mem, hostabi.QueueRank))
	if i := negative(b.Entitled); i >= 0 {
		return badOutput("queue.entitled of row %d, resource %d is %d, want 0 or more", i/b.R, i%b.R, b.Entitled[i])
	}
	if i := negative(b.Rank); i >= 0 {
		return badOutput("queue.rank[%d] is %d, want 0 or more", i, b.Rank[i])
	}
	return nil
}

func (f *frame) costs(mem []byte, b *policies.VictimBatch) error {
	b.Cost, b.Veto = sized(b.Cost, b.N), sized(b.Veto, b.N)
	hostabi.Read(b.Cost, f.output(mem, hostabi.VictimCost))
	copy(b.Veto, f.output(mem, hostabi.VictimVeto))
	if i := negative(b.Cost); i >= 0 {
		return badOutput("victim.cost[%d] is %d, want 0 or more", i, b.Cost[i])
	}
	for i, v := range b.Veto {
		if v > 1 {
			return badOutput("victim.veto[%d] is %d, want 0 or 1", i, v)
		}
	}
	return f.readReasons(mem, hostabi.VictimReason, b.Reason)
}

// readReasons fills the caller's reason column, if there is one.
func (f *frame) readReasons(mem []byte, id hostabi.ColumnID, dst []uint32) error {
	if len(dst) == 0 {
		return nil
	}
	if f.reasons == 0 {
		clear(dst)
		return nil
	}
	hostabi.Read(dst, f.output(mem, id))
	for i, r := range dst {
		if int(r) >= f.reasons {
			return badOutput("%s[%d] is %d, the table has %d", id, i, r, f.reasons)
		}
	}
	return nil
}

// negative returns the index of the first negative number, or -1.
func negative(s []int64) int {
	var all int64
	for _, v := range s {
		all |= v
	}
	if all >= 0 {
		return -1
	}
	for i, v := range s {
		if v < 0 {
			return i
		}
	}
	return -1
}

// sized returns an output column of n elements; the caller's own where it has room.
func sized[T any](s []T, n int) []T {
	if cap(s) >= n {
		return s[:n]
	}
	return make([]T, n)
}
