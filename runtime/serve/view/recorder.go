package view

import (
	"maps"
	"slices"
	"sync"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/loop"
)

// Bounds of what a Recorder keeps.
const (
	MaxEvictions = 2000
	MaxEvents    = 1000
	maxReasons   = 1 << 18
)

// Recorder keeps what the turns of a loop decided. Turned is a listener of the loop;
// everything else may be called from any goroutine.
type Recorder struct {
	clock clock.Clock
	usage useOverTime

	mu        sync.Mutex
	reasons   map[string]reasonAge // by job
	evictions ring[Eviction]
	events    ring[Event]
	counts    Counts
	policies  map[policyKey]*PolicyUse
	observe   []func(Cycle)
}

type reasonAge struct {
	code  plan.Code
	since spec.Time
}

// Counts are totals since the recorder began.
type Counts struct {
	Turns, Events, Refused, Stale uint64
	Binds, Claims, Ends           uint64
	Evictions                     map[plan.Rule]uint64 // victim units by rule
	EventCodes                    map[string]uint64
	Stays                         map[string]uint64 // evictions that were withdrawn, by reason
	Wakes                         uint64            // turns that took no events in
}

// Cycle is one turn, for whoever measures.
type Cycle struct {
	Seconds float64 // from its beginning until the listeners were called
	Held    float64 // for which posts and swaps kept it from beginning
	Empty   bool    // it decided nothing
}

// NewRecorder returns a recorder that stamps and measures with a clock, the loop's own.
func NewRecorder(c clock.Clock) *Recorder {
	return &Recorder{
		clock: c, usage: newUsage(), reasons: map[string]reasonAge{},
		evictions: newRing[Eviction](MaxEvictions), events: newRing[Event](MaxEvents),
		counts:   Counts{Evictions: map[plan.Rule]uint64{}, EventCodes: map[string]uint64{}, Stays: map[string]uint64{plan.StayWoke: 0, plan.StayUnknown: 0, plan.StayUnneeded: 0}},
		policies: map[policyKey]*PolicyUse{},
	}
}

// Observe calls f after every turn, on the loop's goroutine.
func (r *Recorder) Observe(f func(Cycle)) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.observe = append(slices.Clip(r.observe), f) // a turn may be going through the old list
}

// Turned takes in one turn; hand it to loop.Listen.
func (r *Recorder) Turned(t loop.Turn) {
	c := Cycle{Seconds: float64(r.clock.Now()-t.Now) / 1e9, Held: float64(t.Held) / 1e9, Empty: t.Taken.Empty()}
	r.mu.Lock()
	r.count(&t)
	r.keepReasons(t.Taken)
	r.keepEvictions(t.Taken)
	r.keepStays(t.Taken)
	for _, e := range t.Taken.Events {
		r.events.add(Event{Number: r.events.total + 1, At: stamp(t.Taken.Now), Code: e.Code, Job: e.Job, Text: e.Text})
		r.counts.EventCodes[e.Code]++
	}
	for i := range t.Taken.Policies {
		r.keepPolicy(&t.Taken.Policies[i], t.Taken.Now)
	}
	observe := r.observe
	r.mu.Unlock()
	for _, f := range observe {
		f(c)
	}
}

func (r *Recorder) count(t *loop.Turn) {
	n := &r.counts
	n.Turns++
	n.Events += uint64(t.Events)
	n.Refused += uint64(len(t.Refused))
	n.Stale += uint64(len(t.Stale))
	n.Binds += uint64(len(t.Taken.Binds))
	n.Claims += uint64(len(t.Taken.Claims))
	n.Ends += uint64(len(t.Taken.Ends))
	if t.Events == 0 {
		n.Wakes++
	}
}

// keepReasons notes since when a job waits for the same reason. A job that starts in
// part may wait on for the same reason as before.
func (r *Recorder) keepReasons(p *plan.Plan) {
	for _, j := range p.Pending {
		if old, ok := r.reasons[j.Job]; ok && old.code == j.Why.Code {
			continue
		}
		r.reasons[j.Job] = reasonAge{j.Why.Code, p.Now}
	}
}

func (r *Recorder) keepEvictions(p *plan.Plan) {
	for i := range p.Evictions {
		e := evictionOf(&p.Evictions[i], p.Now)
		e.Number = r.evictions.total + 1
		r.counts.Evictions[p.Evictions[i].Rule]++
		r.evictions.add(e)
	}
	for _, end := range p.Ends {
		r.evictions.newest(func(e *Eviction) bool {
			if e.Job != end.Job || !e.waits() {
				return true
			}
			e.Ended, e.Saved = stamp(p.Now), end.Saved
			return false
		})
	}
}

// keepStays notes which evictions were withdrawn.
func (r *Recorder) keepStays(p *plan.Plan) {
	for _, stay := range p.Stays {
		r.counts.Stays[stay.Reason]++
		r.evictions.newest(func(e *Eviction) bool {
			if e.Job != stay.Job || !e.waits() || !slices.Equal(e.Tasks, stay.Tasks) {
				return true
			}
			e.Stayed, e.StayedFor = stamp(p.Now), stay.Reason
			return false
		})
	}
}

// Counts returns the totals.
func (r *Recorder) Counts() Counts {
	r.mu.Lock()
	defer r.mu.Unlock()
	out := r.counts
	out.Evictions = maps.Clone(r.counts.Evictions)
	out.EventCodes, out.Stays = maps.Clone(r.counts.EventCodes), maps.Clone(r.counts.Stays)
	return out
}

// Evictions lists the last ones, newest first.
func (r *Recorder) Evictions() []Eviction {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.evictions.list()
}

// Events lists the last ones, newest first.
func (r *Recorder) Events() []Event {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.events.list()
}

// reasonSince is since when a job waits for a reason, 0 if that is not known.
func (r *Recorder) reasonSince(job, code string) spec.Time {
	r.mu.Lock()
	defer r.mu.Unlock()
	if a, ok := r.reasons[job]; ok && string(a.code) == code {
		return a.since
	}
	return 0
}

// forget drops the reasons of jobs that wait no more.
func (r *Recorder) forget(s *Snapshot) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.reasons) <= 2*s.Pool.Pending+1024 {
		return
	}
	for id := range r.reasons {
		if j, ok := s.Job(id); !ok || !j.State.Waits() {
			delete(r.reasons, id)
		}
	}
	if len(r.reasons) > maxReasons {
		clear(r.reasons)
	}
}
