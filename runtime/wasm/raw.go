package wasm

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
)

// Answer is what came of a batch that was sent as bytes.
type Answer struct {
	Status uint32 // what the guest returned
	Batch  []byte // all of the batch after the call, a copy
	Fuel   int64  // units that the call has used
	Pages  uint32 // of 64 KiB that the instance then had
}

// Fields of the header that CallRaw reads; see hostabi/abi.md, section 3.
const (
	headKind      = 16
	headRows      = 20
	headInputs    = 24
	headOutputs   = 26
	headDescs     = 28
	headDescBytes = 32
	headErrorLen  = 88
	headResources = 104
)

// CallRaw sends a batch as it is, whatever is in it; its kind is read from its header.
// The error is as in ScoreJobs, and the Answer says all that is known even so: the
// batch is empty if the guest did not return.
func (m *Module) CallRaw(ctx context.Context, batch []byte) (Answer, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(batch) < hostabi.HeaderBytes || len(batch) > hostabi.MaxBatchBytes {
		return Answer{}, fmt.Errorf("a batch of %d bytes; a header has %d, and a batch at most %d", len(batch), hostabi.HeaderBytes, hostabi.MaxBatchBytes)
	}
	k := hostabi.Kind(binary.LittleEndian.Uint32(batch[headKind:]))
	if int(k) >= len(m.frames) || m.frames[k] == nil {
		return Answer{}, policies.ErrNotImplemented
	}
	rows := int(binary.LittleEndian.Uint32(batch[headRows:]))
	m.stats.called(rows)
	a, err := m.callRaw(ctx, k, rows, batch)
	return a, m.failed(kindBits[k], err)
}

func (m *Module) callRaw(ctx context.Context, k hostabi.Kind, rows int, batch []byte) (a Answer, err error) {
	if m.closed {
		return a, errClosed
	}
	if err := m.running(ctx); err != nil {
		return a, err
	}
	in := m.in
	mem, err := in.room(ctx, uint32(len(batch)))
	if err != nil {
		return a, err
	}
	copy(mem, batch)
	budget := m.opt.Fuel.of(rows, int(binary.LittleEndian.Uint32(batch[headResources:])))
	status, mem, err := in.ask(ctx, k, uint32(len(batch)), budget)
	a = Answer{Status: uint32(status), Batch: slices.Clone(mem), Fuel: in.spent, Pages: in.size()}
	m.stats.sent(rows, a.Fuel, a.Pages)
	if err != nil {
		return a, err
	}
	return a, m.checkRaw(k, status, batch, a.Batch)
}

// checkRaw holds an answer to what is asked of every answer. The layout is read from
// the batch as it was sent; a batch that nobody can read has no outputs to check.
func (m *Module) checkRaw(k hostabi.Kind, status hostabi.Status, sent, got []byte) error {
	layout, err := hostabi.Decode(withOutputs(sent, got))
	if err != nil {
		if status != hostabi.StatusOK {
			return statusFault(status, "")
		}
		return nil
	}
	if status != hostabi.StatusOK {
		return statusFault(status, layout.ErrorText)
	}
	return m.frames[k].checkDecoded(layout)
}

// withOutputs is the batch after the call with its header and its descriptors as they
// were before it, but for the length of the error text: what the guest made of them
// does not matter.
func withOutputs(sent, got []byte) []byte {
	le := binary.LittleEndian
	out := slices.Clone(got)
	columns := int(le.Uint16(sent[headInputs:])) + int(le.Uint16(sent[headOutputs:]))
	from := int(le.Uint32(sent[headDescs:]))
	to := from + columns*int(le.Uint32(sent[headDescBytes:]))
	for _, part := range [2][2]int{{0, hostabi.HeaderBytes}, {from, to}} {
		if part[1] <= len(sent) {
			copy(out[part[0]:part[1]], sent[part[0]:])
		}
	}
	copy(out[headErrorLen:headErrorLen+4], got[headErrorLen:])
	return out
}

// checkDecoded checks the outputs of a decoded batch.
func (f *frame) checkDecoded(b *hostabi.Batch) error {
	switch f.Kind {
	case hostabi.KindJobOrder:
		if err := checkKeys(b); err != nil {
			return err
		}
		return f.checkReasons(b, hostabi.JobReason)
	case hostabi.KindQueueShares:
		for _, id := range [2]hostabi.ColumnID{hostabi.QueueEntitled, hostabi.QueueRank} {
			if i := negative(numbers(b, id)); i >= 0 {
				return badOutput("element %d of %s is negative", i, id)
			}
		}
		return nil
	}
	if i := negative(numbers(b, hostabi.VictimCost)); i >= 0 {
		return badOutput("victim.cost[%d] is negative", i)
	}
	veto, _ := b.Column(hostabi.VictimVeto)
	if i := slices.IndexFunc(veto.Data, func(v uint8) bool { return v > 1 }); i >= 0 {
		return badOutput("victim.veto[%d] is %d, want 0 or 1", i, veto.Data[i])
	}
	return f.checkReasons(b, hostabi.VictimReason)
}

// numbers is a column of i64; empty if it was not sent.
func numbers(b *hostabi.Batch, id hostabi.ColumnID) []int64 {
	c, _ := b.Column(id)
	out := make([]int64, len(c.Data)/8)
	hostabi.Read(out, c.Data)
	return out
}

func checkKeys(b *hostabi.Batch) error {
	count, ok := b.Column(hostabi.JobKeyCount)
	format, ok2 := b.Column(hostabi.JobKeyFormat)
	if !ok || !ok2 {
		return nil
	}
	n, form := binary.LittleEndian.Uint32(count.Data), binary.LittleEndian.Uint32(format.Data)
	if n < 1 || n > policies.MaxKeys {
		return badOutput("job.key_count is %d, want 1 to %d", n, policies.MaxKeys)
	}
	for k := range int(n) {
		keys, _ := b.Column(keyColumns[k])
		if i := notFinite(keys.Data); i >= 0 && form>>(2*k)&formFloat != 0 {
			return badOutput("%s[%d] is not a finite number", keyColumns[k], i)
		}
	}
	return nil
}

func (f *frame) checkReasons(b *hostabi.Batch, id hostabi.ColumnID) error {
	c, _ := b.Column(id)
	for i := 0; i+4 <= len(c.Data); i += 4 {
		if r := binary.LittleEndian.Uint32(c.Data[i:]); int64(r) >= int64(max(1, f.reasons)) {
			return badOutput("%s[%d] is %d, the table has %d", id, i/4, r, f.reasons)
		}
	}
	return nil
}

// EncodeJobs returns the bytes that ScoreJobs would send for a batch: the content of a
// .mbatch file.
func (m *Module) EncodeJobs(b *policies.JobBatch) ([]byte, error) {
	return m.encode(hostabi.KindJobOrder, func(f *frame) { f.jobs(b) })
}

// EncodeQueues returns the bytes that Entitle would send.
func (m *Module) EncodeQueues(b *policies.QueueBatch) ([]byte, error) {
	return m.encode(hostabi.KindQueueShares, func(f *frame) { f.queues(b) })
}

// EncodeVictims returns the bytes that CostVictims would send.
func (m *Module) EncodeVictims(b *policies.VictimBatch) ([]byte, error) {
	return m.encode(hostabi.KindVictimCosts, func(f *frame) { f.victims(b) })
}

func (m *Module) encode(k hostabi.Kind, fill func(*frame)) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f := m.frames[k]
	if f == nil {
		return nil, policies.ErrNotImplemented
	}
	fill(f)
	size, err := f.Layout()
	if err != nil {
		return nil, err
	}
	out := make([]byte, size)
	return out, f.Encode(out)
}

// MoveArena makes the next batch lie at another address of the guest's memory. An
// answer must not depend on it.
func (m *Module) MoveArena(ctx context.Context) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.closed {
		return errClosed
	}
	err := m.running(ctx)
	if err == nil {
		err = m.in.move(ctx)
	}
	var f *fault
	if errors.As(err, &f) {
		m.discard()
	}
	return err
}
