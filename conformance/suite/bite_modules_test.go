package suite

import (
	"context"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/conformance/suite/mbatch"
	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
)

// pretender stands in for a module whose code is wrong in one way. It answers all zeros,
// as package wasmtest's good guest does, but for that.
type pretender struct {
	ordered
	meta  hostabi.Metadata
	moved int64 // how often the arena was moved
	calls int64
	rows  int64 // of the last call
	// What the fault can be: raw changes the bytes after a call, or refuses them.
	raw   func(p *pretender, batch []byte) error
	fuel  func(rows int64) int64
	pages func(calls int64) uint32
}

func (p *pretender) ScoreJobs(ctx context.Context, b *policies.JobBatch) error {
	p.calls++
	p.rows = int64(b.N)
	return p.ordered.ScoreJobs(ctx, b)
}

func (p *pretender) Metadata() hostabi.Metadata { return p.meta }

func (p *pretender) CallRaw(_ context.Context, batch []byte) (wasm.Answer, error) {
	a := wasm.Answer{Batch: append([]byte(nil), batch...)}
	if p.raw != nil {
		return a, p.raw(p, a.Batch)
	}
	return a, nil
}

func (p *pretender) MoveArena(context.Context) error {
	p.moved++
	return nil
}

func (p *pretender) Stats() wasm.Stats {
	s := wasm.Stats{LastFuel: 10 * p.rows, Pages: 2}
	if p.fuel != nil {
		s.LastFuel = p.fuel(p.rows)
	}
	if p.pages != nil {
		s.Pages = p.pages(p.calls)
	}
	return s
}

func (p *pretender) EncodeJobs(b *policies.JobBatch) ([]byte, error) {
	return mbatch.Encode(gen.Batch{Jobs: b})
}

func (p *pretender) EncodeQueues(b *policies.QueueBatch) ([]byte, error) {
	return mbatch.Encode(gen.Batch{Queues: b})
}

func (p *pretender) EncodeVictims(b *policies.VictimBatch) ([]byte, error) {
	return mbatch.Encode(gen.Batch{Victims: b})
}

func pretending(change func(p *pretender)) Subject {
	p := &pretender{ordered: ordered{info: policies.Info{Name: "pretender", Kinds: policies.JobOrder}, keys: fifo}}
	change(p)
	return Subject{Policy: p}
}

// firstID is the id of the first column of a batch.
func firstID(batch []byte) hostabi.ColumnID {
	return hostabi.ColumnID(uint32(batch[128]) | uint32(batch[129])<<8)
}

func badModules() []bad {
	return []bad{
		{
			law: "purity/interpreter", subject: pretending(func(*pretender) {}),
			prepare: func(r *run) {
				r.opened.interpreted = func(context.Context) (policies.Policy, error) {
					return byRow("slow", nil, func(*policies.JobBatch, int) int64 { return 1 }).New(), nil
				}
			},
		},
		{law: "purity/other-address", subject: pretending(func(p *pretender) {
			p.keys = func(_ *policies.JobBatch, keys []int64) error {
				for i := range keys {
					keys[i] = p.moved
				}
				return nil
			}
		})},
		{law: "totality/absent-optional", subject: pretending(func(p *pretender) {
			p.meta.Columns.Optional = []string{"job.deadline"}
			p.raw = func(_ *pretender, batch []byte) error {
				d, err := hostabi.Decode(batch)
				if err != nil {
					return err
				}
				if _, ok := d.Column(hostabi.JobDeadline); !ok {
					return refuse(policies.JobOrder, policies.CodeTrap)
				}
				return nil
			}
		})},
		{law: "totality/unknown-columns", subject: pretending(func(p *pretender) {
			p.raw = func(_ *pretender, batch []byte) error { // it reads the first column, whichever that is
				if firstID(batch) != hostabi.JobQueue && firstID(batch)>>8 != 0xa5 {
					return refuse(policies.JobOrder, policies.CodeTrap)
				}
				return nil
			}
		})},
		{law: "totality/longer-strides", subject: pretending(func(p *pretender) {
			p.raw = func(_ *pretender, batch []byte) error { // it takes the header for 128 bytes
				if id := firstID(batch); id != hostabi.JobQueue && id>>8 != 0x6f {
					return refuse(policies.JobOrder, policies.CodeTrap)
				}
				return nil
			}
		})},
		{law: "bounds/fuel-linear", subject: pretending(func(p *pretender) {
			p.fuel = func(rows int64) int64 { return rows * rows }
		})},
		{law: "bounds/fuel-claim", subject: pretending(func(p *pretender) {
			p.meta.Fuel = hostabi.Fuel{Base: 100, PerRow: 9}
		})},
		{law: "bounds/memory", subject: pretending(func(p *pretender) {
			p.pages = func(calls int64) uint32 { return uint32(2 + calls/1000) }
		})},
		{law: lawTwin, subject: Subject{New: func() policies.Policy {
			return &ordered{info: policies.Info{Name: "priority-fifo", Kinds: policies.JobOrder}, keys: fifo}
		}}},
	}
}
