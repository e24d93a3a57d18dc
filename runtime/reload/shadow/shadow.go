// Package shadow asks a candidate the same as the active policy was asked, behind its
// back, and tells what it would have decided differently: which jobs would change
// places, what queues would be entitled to, which victims would be the cheapest, and
// what it would cost. The plan never depends on a candidate: it gets copies, on a
// goroutine of its own, and when it is too slow batches are dropped and counted.
package shadow

import (
	"context"
	"sync"
	"sync/atomic"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/clock"
)

// Slots is how many batches may wait for a candidate. Their memory is used again.
const Slots = 4

// Names names rows for people: batches have numbers only. The functions are called on
// the shadow's goroutine, must not call the shadow or its manager, and may be nil.
type Names struct {
	// Job names a job by JobBatch.Serial.
	Job func(serial uint64) string
	// Queue names a queue by its row in QueueBatch.
	Queue func(row int) string
	// Victim names a unit by its job's number in VictimBatch, and its row.
	Victim func(job uint32, row int) string
}

// Options of a shadow.
type Options struct {
	Kinds policies.Kind // what is compared; 0 is all that the candidate decides
	Names Names
	Clock clock.Clock // measures the candidate; nil is the real one
}

// Shadow compares one candidate with the active policy. It is a guard.Tap. Jobs, Queues
// and Victims never block and may be called from any goroutine, one at a time.
type Shadow struct {
	candidate policies.Policy
	info      policies.Info
	opt       Options

	free chan *record // to be filled
	full chan *record // to be compared
	end  chan struct{}
	once sync.Once
	done sync.WaitGroup

	epoch   atomic.Uint64 // counts the policies that were compared with
	dropped atomic.Uint64

	mu    sync.Mutex // never held while the candidate is asked
	tally *tally
}

// record is a copy of one batch, with what the active policy answered.
type record struct {
	epoch   uint64
	kind    policies.Kind
	failed  bool // the active policy gave no answer, and the built-in decided
	took    int64
	fuel    int64
	jobs    policies.JobBatch
	queues  policies.QueueBatch
	victims policies.VictimBatch
	active  answer
	other   answer // the candidate's
	scratch scratch
}

// Start starts asking a candidate. End it by Stop, and close the candidate then.
func Start(active policies.Info, candidate policies.Policy, opt Options) *Shadow {
	if opt.Clock == nil {
		opt.Clock = clock.Real{}
	}
	s := &Shadow{
		candidate: candidate, info: candidate.Info(), opt: opt,
		free: make(chan *record, Slots), full: make(chan *record, Slots), end: make(chan struct{}),
	}
	if opt.Kinds == 0 {
		s.opt.Kinds = s.info.Kinds
	}
	s.tally = newTally(active, s.info)
	for range Slots {
		s.free <- &record{}
	}
	s.done.Go(s.work)
	return s
}

// Beside starts the report anew, beside another active policy.
func (s *Shadow) Beside(active policies.Info) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.epoch.Add(1)
	s.dropped.Store(0)
	s.tally = newTally(active, s.info)
}

// Stop ends the asking and waits for the call under way.
func (s *Shadow) Stop() {
	s.once.Do(func() { close(s.end) })
	s.done.Wait()
}

// Report is what was found so far.
func (s *Shadow) Report() Report {
	s.mu.Lock()
	defer s.mu.Unlock()
	r := s.tally.report()
	r.Dropped = s.dropped.Load()
	return r
}

// slot takes a free record, or counts what is dropped.
func (s *Shadow) slot(k policies.Kind, err error, took, fuel int64) *record {
	if k&s.opt.Kinds == 0 {
		return nil
	}
	select {
	case r := <-s.free:
		r.epoch, r.kind, r.failed, r.took, r.fuel = s.epoch.Load(), k, err != nil, took, fuel
		return r
	default:
		s.dropped.Add(1)
		return nil
	}
}

// Jobs takes note of a job order. It never blocks.
func (s *Shadow) Jobs(b *policies.JobBatch, err error, took, fuel int64) {
	if r := s.slot(policies.JobOrder, err, took, fuel); r != nil {
		r.copyJobs(b, s.info.Labels)
		s.full <- r // as many places as records
	}
}

// Queues takes note of queue shares. It never blocks.
func (s *Shadow) Queues(b *policies.QueueBatch, err error, took, fuel int64) {
	if r := s.slot(policies.QueueShares, err, took, fuel); r != nil {
		r.copyQueues(b)
		s.full <- r
	}
}

// Victims takes note of the costs of victims. It never blocks.
func (s *Shadow) Victims(b *policies.VictimBatch, err error, took, fuel int64) {
	if r := s.slot(policies.VictimCosts, err, took, fuel); r != nil {
		r.copyVictims(b)
		s.full <- r
	}
}

func (s *Shadow) work() {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() { <-s.end; cancel() }() // also ends a call that listens to its context
	for {
		select {
		case <-s.end:
			return
		case r := <-s.full:
			s.compare(ctx, r)
			s.free <- r
		}
	}
}

// compare asks the candidate and takes the difference in.
func (s *Shadow) compare(ctx context.Context, r *record) {
	took, fuel, err := ask(ctx, s.candidate, r, s.opt.Clock)
	if ctx.Err() != nil {
		return // the candidate did not fail, it was stopped
	}
	d := r.difference(err)
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.epoch == s.epoch.Load() {
		s.tally.add(r, &d, err, took, fuel, &s.opt.Names)
	}
}

// metered is a policy that knows what its last call has cost.
type metered interface{ LastFuel() int64 }

// ask puts the batch of a record to a policy; its answer is in r.other.
func ask(ctx context.Context, p policies.Policy, r *record, c clock.Clock) (took, fuel int64, err error) {
	start := c.Now()
	switch r.kind {
	case policies.JobOrder:
		err = p.ScoreJobs(ctx, &r.jobs)
	case policies.QueueShares:
		err = p.Entitle(ctx, &r.queues)
	default:
		err = p.CostVictims(ctx, &r.victims)
	}
	took = c.Now() - start
	if m, ok := p.(metered); ok {
		fuel = m.LastFuel()
	}
	if err == nil {
		r.other.take(r)
	}
	return took, fuel, err
}
