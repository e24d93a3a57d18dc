package wasm

import (
	"encoding/binary"
	"math"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

func (f *frame) output(mem []byte, id hostabi.ColumnID) []byte {
	return f.Output(mem, f.outputs[slotOf(id)])
}

func badOutput(format string, args ...any) error {
	return hostFault(policies.CodeBadOutput, format, args...)
}

var keyColumns = [policies.MaxKeys]hostabi.ColumnID{hostabi.JobKey0, hostabi.JobKey1, hostabi.JobKey2, hostabi.JobKey3}

// keyForm is what a job order says of its keys.
type keyForm struct{ count, format uint32 }

func (f *frame) keyForm(mem []byte) (keyForm, error) {
	k := keyForm{
		binary.LittleEndian.Uint32(f.output(mem, hostabi.JobKeyCount)),
		binary.LittleEndian.Uint32(f.output(mem, hostabi.JobKeyFormat)),
	}
	if k.count < 1 || k.count > policies.MaxKeys {
		return k, badOutput("job.key_count is %d, want 1 to %d", k.count, policies.MaxKeys)
	}
	return k, nil
}

// jobKeys reads the answer of a job order. Keys come out as int64, ascending,
// whatever the policy's form was.
func (f *frame) jobKeys(mem []byte, b *policies.JobBatch) error {
	form, err := f.keyForm(mem)
	if err != nil {
		return err
	}
	for k := range int(form.count) {
		b.Keys[k] = sized(b.Keys[k], b.N)
		if i := readKeys(b.Keys[k], f.output(mem, keyColumns[k]), form.format>>(2*k)&3); i >= 0 {
			return badOutput("%s[%d] is not a finite number", keyColumns[k], i)
		}
	}
	b.NKeys = int(form.count)
	return f.readReasons(mem, hostabi.JobReason, b.Reason)
}

// The two bits of a key in job.key_format.
const (
	formFloat      = 1
	formDescending = 2
)

// readKeys brings a column of keys into ascending int64, in one pass, and returns the
// row of the first one that is not a finite number, or -1.
func readKeys(dst []int64, src []byte, form uint32) (bad int) {
	if form&formFloat != 0 {
		return readFloats(dst, src, -int64(form>>1))
	}
	hostabi.Read(dst, src)
	if form&formDescending != 0 {
		for i, v := range dst {
			dst[i] = ^v
		}
	}
	return -1
}

// readFloats turns the bits of float64 into integers of the same order; both zeros are
// equal. flip is -1 to turn the order around, else 0.
func readFloats(dst []int64, src []byte, flip int64) (bad int) {
	const (
		exponent = 0x7ff << 52 // all ones in NaN and both infinities
		negative = math.MinInt64
	)
	src = src[:8*len(dst)]
	for i := range dst {
		v := int64(binary.LittleEndian.Uint64(src[8*i:]))
		if v&exponent == exponent {
			return i
		}
		if v == negative { // -0
			v = 0
		}
		dst[i] = v ^ int64(uint64(v>>63)>>1) ^ flip
	}
	return -1
}

func notFinite(src []byte) int {
	for i := 0; i+8 <= len(src); i += 8 {
		if x := math.Float64frombits(binary.LittleEndian.Uint64(src[i:])); x-x != 0 {
			return i / 8
		}
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
