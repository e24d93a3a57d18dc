// Package sim plays a trace against the scheduler on a virtual clock: the same
// loop, ledger and cycle as in production, with nodes and jobs that are only
// numbers. A run is a function of its trace, its policies and its seed.
package sim

import (
	"context"
	"crypto/sha256"
	"fmt"
	"hash"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/sim/score"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// Options of a run.
type Options struct {
	// Set is the policies; Swaps replace them at later times.
	Set   cycle.Set
	Swaps []Swap
	// Until ends the run, before what would happen at that instant; 0 is when every
	// job that ends has ended, or when nothing is left to happen but measurements.
	Until spec.Time
	// From is where per-time figures start to count (after the warm-up).
	From spec.Time
	// EvictionTime is how long a victim takes to be gone once it is told to end.
	EvictionTime spec.Duration
	// SaveAfter is how long a job takes to save its work after a notice; 0 never
	// saves on notice, so the deadline decides.
	SaveAfter spec.Duration
	// Seed shuffles the order of events of one instant; 0 keeps the trace's order.
	// The decisions must not depend on it.
	Seed uint64
	// Observe is called after every cycle in which something was decided. The
	// world must only be read, and only during the call.
	Observe func(Observation)
	// Measured is called after each instant at which probes told what the GPUs of jobs
	// do. The same holds for the world.
	Measured func(now spec.Time, w *world.World)
	// Progress is called now and then with how many jobs have ended, of how many.
	Progress func(done, total int)
	// Began is handed the loop before the first event: whoever loads policies swaps
	// them into it, at any time and from any goroutine.
	Began func(*loop.Loop) error
	Live
}

// Swap is a change of policies in the middle of a run.
type Swap struct {
	At  spec.Time
	Set cycle.Set
	// Do, if not nil, makes the change itself in place of Set, by the loop's Swap.
	Do   func() error
	Note string
}

// Observation is the state after a cycle.
type Observation struct {
	Now   spec.Time
	Plan  *plan.Plan
	World *world.World
	Note  string // of a swap that took effect with this cycle
}

// Result is what came of a run.
type Result struct {
	Card   *score.Card
	Series *score.Series
	// Digest is over the bytes of all plans: equal runs have equal digests.
	Digest string
	Cycles int
	// PlanDigests has one short digest per cycle that decided something, in order,
	// with its time: two runs are compared by the first that differs.
	Plans []PlanDigest
	// Events that the cycles told, by code.
	Events map[string]int
	// Refused are events of the trace that the ledger refused.
	Refused []error
	// Stuck lists jobs that never started, with the reason (at most 20).
	Stuck []plan.Pending
	// Policies that were asked, summed over the run.
	Policies []plan.PolicyUse
}

// PlanDigest identifies one plan.
type PlanDigest struct {
	Now    spec.Time
	Digest [8]byte
	// First is the plan's first line, for people.
	First string
}

type engine struct {
	ctx   context.Context
	tr    *trace.Trace
	o     Options
	clock *clock.Virtual
	loop  *loop.Loop
	queue agenda
	jobs  map[string]*job
	rec   *recorder
	res   *Result
	hash  hash.Hash
	done  int
	ends  int       // jobs that will end some day
	last  spec.Time // submission that is known
	uses  map[string]int

	watched []*job    // that run and have a pattern
	looked  bool      // probes told of one in this instant
	wake    spec.Time // that was put on the agenda last
}

// job is what the simulator knows about a job and the scheduler does not.
type job struct {
	t *trace.Job
	// left is the work that remains, in ns of run time with the whole gang; while
	// it runs, as of since.
	left    spec.Duration
	since   spec.Time
	running bool
	started bool
	first   spec.Time
	ended   bool
	end     spec.Time
	pending spec.Duration // time in which it held nothing
	idleAt  spec.Time     // since when it holds nothing
	run     uint64        // number of the current start; stale ends carry an older one
	saved   spec.Time     // last checkpoint
	startAt spec.Time
	look    spec.Time // when the probes tell of it next, if they do
	told    seen
	// notices are the evictions that it was told of and that may still be withdrawn, or
	// end with its work saved.
	notices []plan.Eviction
}

// Run plays a trace to its end.
func Run(ctx context.Context, tr *trace.Trace, o Options) (*Result, error) {
	e := &engine{
		ctx: ctx, tr: tr, o: o, clock: clock.NewVirtual(tr.Start), jobs: map[string]*job{},
		res: &Result{Events: map[string]int{}}, hash: sha256.New(), uses: map[string]int{},
	}
	e.loop = loop.New(ledger.New(tr.Queues), o.Set, e, e.clock)
	e.rec = newRecorder(tr, o)
	if o.Began != nil {
		if err := o.Began(e.loop); err != nil {
			return nil, err
		}
	}
	e.plan()
	if err := e.play(); err != nil {
		return nil, err
	}
	return e.finish(), nil
}

// plan puts everything that is known beforehand on the agenda.
func (e *engine) plan() {
	for _, n := range e.tr.Nodes {
		e.queue.add(e.tr.Start, ledger.NodeAdded{Node: n})
	}
	e.submit(e.tr.Jobs)
	for _, s := range e.o.Swaps {
		e.queue.add(s.At, s)
	}
	e.queue.shuffle(e.o.Seed)
}

// submit puts jobs on the agenda.
func (e *engine) submit(jobs []trace.Job) {
	for i := range jobs {
		t := &jobs[i]
		e.jobs[t.ID] = &job{t: t, left: t.Run + t.RestartCost, idleAt: t.Submit}
		if t.Run > 0 {
			e.ends++
		}
		e.last = max(e.last, t.Submit)
		e.queue.add(t.Submit, ledger.JobSubmitted{Job: &t.Job})
	}
}

// play advances from one instant to the next until nothing is left to happen.
func (e *engine) play() error {
	for {
		at, ok := e.queue.next()
		if !ok || e.o.Until > 0 && at >= e.o.Until {
			break
		}
		if err := e.ctx.Err(); err != nil {
			return fmt.Errorf("stopped at %s of simulated time: %w", hours(at), err)
		}
		if e.o.Until == 0 && e.o.More == nil && (e.ends > 0 && e.done == e.ends || e.queue.idle()) {
			break
		}
		if e.goesOn(at) {
			continue
		}
		e.clock.Advance(at)
		note, err := e.happen(at)
		if err != nil {
			return err
		}
		e.turns(note)
	}
	if e.o.Until > 0 {
		e.clock.Advance(e.o.Until)
	}
	return nil
}

// happen hands over everything of one instant and returns the note of a swap.
func (e *engine) happen(at spec.Time) (note string, err error) {
	for _, it := range e.queue.take(at) {
		switch ev := it.(type) {
		case Swap:
			if note = ev.Note; ev.Do == nil {
				e.loop.Swap(ev.Set)
			} else if err := ev.Do(); err != nil {
				return note, err
			}
		case jobEnd:
			if j := e.jobs[ev.id]; j != nil && !j.ended && j.running && j.run == ev.run {
				e.endJob(j, at)
			}
		case jobSaved:
			if j := e.jobs[ev.id]; j != nil && !j.ended && j.running && j.run == ev.run {
				j.saved = at
				e.loop.Post(ledger.Saved{Job: ev.id})
			}
		case look:
			if j := e.jobs[ev.id]; j != nil && j.running && j.run == ev.run && j.look == at {
				e.tell(j, at)
			}
		case wakeUp:
		case ledger.Event:
			e.loop.Post(ev)
		}
	}
	return note, nil
}

// turns lets the scheduler decide until it has nothing more to do at this instant.
func (e *engine) turns(note string) {
	for {
		t := e.loop.Turn(e.ctx)
		e.res.Cycles++
		if e.o.More == nil {
			e.res.Refused = append(e.res.Refused, t.Refused...)
			e.note(t, note)
		}
		if wake := t.Taken.Wake; wake > t.Now && wake != e.wake {
			e.wake = wake
			e.queue.add(wake, wakeUp{})
		}
		if !e.loop.Busy() && t.Taken.Empty() {
			break
		}
		note = ""
	}
	if e.o.More == nil {
		e.rec.sample(e.clock.Now(), e.loop.Ledger().World(), e.watched)
	}
	if e.looked && e.o.Measured != nil {
		e.o.Measured(e.clock.Now(), e.loop.Ledger().World())
	}
	e.looked = false
	if e.o.Progress != nil {
		e.o.Progress(e.done, len(e.tr.Jobs))
	}
}

// note keeps what a cycle decided.
func (e *engine) note(t loop.Turn, note string) {
	p := t.Taken
	for _, ev := range p.Events {
		e.res.Events[ev.Code]++
	}
	e.countPolicies(p)
	if p.Empty() && len(p.Pending) == 0 && note == "" {
		return
	}
	sum := sha256.Sum256(p.JSON())
	e.hash.Write(sum[:])
	d := PlanDigest{Now: t.Now, First: p.First()}
	copy(d.Digest[:], sum[:])
	e.res.Plans = append(e.res.Plans, d)
	if e.o.Observe != nil {
		e.o.Observe(Observation{Now: t.Now, Plan: p, World: e.loop.Ledger().World(), Note: note})
	}
}

func (e *engine) countPolicies(p *plan.Plan) {
	for _, u := range p.Policies {
		key := u.Kind + "\x00" + u.Name + "\x00" + u.Digest
		i, ok := e.uses[key]
		if !ok {
			i = len(e.res.Policies)
			e.uses[key] = i
			e.res.Policies = append(e.res.Policies, plan.PolicyUse{Kind: u.Kind, Name: u.Name, Version: u.Version, Digest: u.Digest})
		}
		sum := &e.res.Policies[i]
		sum.Calls += u.Calls
		sum.Rows += u.Rows
		sum.Fallbacks += u.Fallbacks
		if sum.Failure == "" {
			sum.Failure, sum.Fallback = u.Failure, u.Fallback
		}
	}
}

func (e *engine) finish() *Result {
	now := e.clock.Now()
	for i := range e.tr.Jobs {
		j := e.jobs[e.tr.Jobs[i].ID]
		if j == nil {
			continue // ended, in a run that keeps no figures
		}
		e.rec.job(j, now)
		if !j.started && len(e.res.Stuck) < 20 {
			e.res.Stuck = append(e.res.Stuck, e.whyStuck(j))
		}
	}
	e.rec.rec.Finish(now)
	e.res.Card, e.res.Series = e.rec.rec.Result(), e.rec.rec.Series()
	e.res.Digest = fmt.Sprintf("%x", e.hash.Sum(nil))
	return e.res
}

func (e *engine) whyStuck(j *job) plan.Pending {
	p := plan.Pending{Job: j.t.ID, Queue: j.t.Queue, Why: &plan.Why{Code: plan.NotConsidered, Text: "the run ended before"}}
	if w := e.loop.Ledger().World().Job(j.t.ID); w != nil {
		if y, ok := w.Notes.(*plan.Why); ok {
			p.Why = y
		}
	}
	return p
}

func hours(t spec.Time) string { return fmt.Sprintf("%.2f h", float64(t)/float64(3600*spec.Second)) }
