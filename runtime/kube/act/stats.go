package act

import (
	"sync/atomic"
	"time"
)

// Stats is what the actor has done and has to do. Counters only grow.
type Stats struct {
	Bound, BindFailed uint64
	Retries           uint64 // requests repeated, of any kind
	Intents           uint64 // records of gangs written

	Noticed, Withdrawn              uint64
	Evicted, EvictFailed            uint64
	BudgetRefusals, BudgetOverrides uint64

	Told                                    uint64 // conditions of waiting pods written
	EventsSent, EventsMerged, EventsDropped uint64

	Outages uint64        // times the API server was away
	Paused  bool          // it is away now
	Shut    time.Duration // for how long nothing was sent, in all

	QueuedBinds   int // of pods, not settled
	QueuedEvicts  int
	QueuedWaiting int
	QueuedMarks   int
	QueuedEvents  int
	InFlight      int // requests of binding

	// BindLatency is of the requests; BindWait of pods, from Do to bound.
	BindLatency, BindWait Histogram
}

// Histogram counts durations. Counts[i] are those up to Bounds[i] seconds and above
// Bounds[i-1]; the last one, beyond all bounds.
type Histogram struct {
	Bounds []float64
	Counts []uint64
	Count  uint64
	Sum    float64 // seconds
}

// latencyBounds in seconds: factors of two from a millisecond to a minute.
var latencyBounds = []float64{.001, .002, .004, .008, .016, .032, .064, .128, .256, .512, 1.024, 2.048, 4.096, 8.192, 16.384, 32.768, 65.536}

type histogram struct {
	counts [18]atomic.Uint64
	sum    atomic.Int64 // ns
}

func (h *histogram) observe(d time.Duration) {
	i := 0
	for i < len(latencyBounds) && d.Seconds() > latencyBounds[i] {
		i++
	}
	h.counts[i].Add(1)
	h.sum.Add(int64(d))
}

func (h *histogram) read() Histogram {
	out := Histogram{Bounds: latencyBounds, Counts: make([]uint64, len(h.counts)), Sum: time.Duration(h.sum.Load()).Seconds()}
	for i := range h.counts {
		out.Counts[i] = h.counts[i].Load()
		out.Count += out.Counts[i]
	}
	return out
}

// counters are what Stats is read from.
type counters struct {
	bound, bindFailed, retries, intents atomic.Uint64
	noticed, withdrawn                  atomic.Uint64
	evicted, evictFailed                atomic.Uint64
	budgetRefusals, overrides, told     atomic.Uint64
	pauses                              atomic.Uint64
	paused                              atomic.Bool
	queuedBinds, queuedEvicts           atomic.Int64
	bindLatency, bindWait               histogram
}

// Stats reads the counters; it may be called at any time.
func (a *Actor) Stats() Stats {
	c := &a.stats
	taken, _ := a.binds.load()
	a.events.mu.Lock()
	sent, merged, dropped := a.events.sent, a.events.merged, a.events.dropped
	a.events.mu.Unlock()
	return Stats{
		Bound: c.bound.Load(), BindFailed: c.bindFailed.Load(), Retries: c.retries.Load(), Intents: c.intents.Load(),
		Noticed: c.noticed.Load(), Withdrawn: c.withdrawn.Load(), Evicted: c.evicted.Load(), EvictFailed: c.evictFailed.Load(),
		BudgetRefusals: c.budgetRefusals.Load(), BudgetOverrides: c.overrides.Load(), Told: c.told.Load(),
		EventsSent: sent, EventsMerged: merged, EventsDropped: dropped,
		Outages: c.pauses.Load(), Paused: c.paused.Load(), Shut: time.Duration(a.gate.awayFor()),
		QueuedBinds: int(c.queuedBinds.Load()), QueuedEvicts: int(c.queuedEvicts.Load()),
		QueuedWaiting: a.waits.lane.len(), QueuedMarks: a.marks.lane.len(), QueuedEvents: a.events.len(), InFlight: taken,
		BindLatency: c.bindLatency.read(), BindWait: c.bindWait.read(),
	}
}
