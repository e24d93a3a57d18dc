package suite

import (
	"context"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/policies"
)

// stateful is a policy that remembers.
type stateful struct {
	ordered
	last  gen.Batch
	times int  // how often the last batch has come without a pause
	large bool // a large batch has come since the last one of a single row
}

func remembering(name string, keys func(s *stateful) int64) Subject {
	return Subject{New: func() policies.Policy {
		s := &stateful{}
		s.info = policies.Info{Name: name, Kinds: policies.JobOrder, Digest: "builtin"}
		s.keys = func(b *policies.JobBatch, out []int64) error {
			s.remember(b)
			for i := range out {
				out[i] = keys(s)
			}
			return nil
		}
		return s
	}}
}

func (s *stateful) remember(b *policies.JobBatch) {
	now := gen.Batch{Jobs: b}.Clone()
	if s.times++; s.last.Kind() == 0 || !gen.Same(s.last, now) {
		s.times = 1
	}
	s.last = now
	s.large = b.N >= 24 || s.large && b.N != 1
}

func badInState() []bad {
	instances := 0
	return []bad{
		{law: "purity/same-again", subject: remembering("tired of it", func(s *stateful) int64 { return int64(s.times / 3) })},
		{
			law: "purity/after-others", also: []string{"purity/fresh-instance"},
			subject: remembering("impressed", func(s *stateful) int64 {
				if s.large {
					return 1
				}
				return 0
			}),
		},
		{law: "purity/fresh-instance", subject: Subject{New: func() policies.Policy {
			instances++
			mine := int64(instances)
			return &ordered{info: policies.Info{Name: "individual", Kinds: policies.JobOrder, Digest: "builtin"}, keys: func(_ *policies.JobBatch, keys []int64) error {
				for i := range keys {
					keys[i] = mine
				}
				return nil
			}}
		}}},
		{law: "bounds/inputs-untouched", subject: ordering("scribbler", nil, func(b *policies.JobBatch, keys []int64) error {
			for i := range b.Attempts {
				b.Attempts[i] = -3
			}
			return fifo(b, keys)
		})},
	}
}

func badTotality() []bad {
	return []bad{
		{law: "totality/every-row", subject: ordering("forgetful", nil, func(b *policies.JobBatch, keys []int64) error {
			for i := range keys {
				if b.Duration[i] == policies.Unset || i < len(keys)-1 {
					keys[i] = 0
				}
			}
			return nil
		})},
		{law: "totality/sizes", subject: ordering("superstitious", nil, func(b *policies.JobBatch, keys []int64) error {
			if b.N == 127 {
				return refuse(policies.JobOrder, policies.CodeBadInput)
			}
			return fifo(b, keys)
		})},
		{law: "totality/extremes", subject: ordering("overflowing", nil, func(b *policies.JobBatch, keys []int64) error {
			for _, v := range b.Wait {
				if v < -1e15 {
					return refuse(policies.JobOrder, policies.CodeInternal)
				}
			}
			return fifo(b, keys)
		})},
		{law: "totality/unknown-values", subject: dividing("dividing by the half-life", nil, func(b *policies.QueueBatch) error {
			if b.HalfLife == 0 {
				return refuse(policies.QueueShares, policies.CodeBadInput)
			}
			return guaranteeOnly(b)
		})},
	}
}

// shares is a fairness policy made of one function.
type shares struct {
	policies.Unimplemented
	info   policies.Info
	divide func(b *policies.QueueBatch) error
}

func (s *shares) Info() policies.Info { return s.info }

func (s *shares) Entitle(_ context.Context, b *policies.QueueBatch) error { return s.divide(b) }

func dividing(name string, laws []string, divide func(b *policies.QueueBatch) error) Subject {
	return Subject{New: func() policies.Policy {
		return &shares{info: policies.Info{Name: name, Kinds: policies.QueueShares, Digest: "builtin", Laws: laws}, divide: divide}
	}}
}
