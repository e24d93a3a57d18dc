// Package loop turns events into cycles: drain, step, commit, act. One goroutine
// (Run) or one caller (Turn) owns the ledger; everybody else posts events.
package loop

import (
	"context"
	"sync"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
)

// MaxDrain is how many events one turn takes in: a flood must not keep decisions
// away for ever.
const MaxDrain = 65536

// Actor carries out what a turn decided: it binds, notifies and evicts, in the
// background, and posts what came of it.
type Actor interface {
	Act(now spec.Time, r ledger.Result)
}

// Turn is what happened in one turn, for listeners.
type Turn struct {
	Now    spec.Time
	Events int
	// Refused are events that made no sense; the ledger is unchanged by them.
	Refused []error
	// Held is for how long posts and swaps kept the turn from beginning, by the loop's
	// clock: what a swap costs the loop.
	Held spec.Duration
	ledger.Result
}

// Refusal is an event that made no sense, and why.
type Refusal struct {
	Event ledger.Event
	Err   error
}

func (r *Refusal) Error() string { return r.Err.Error() }
func (r *Refusal) Unwrap() error { return r.Err }

// Loop owns a ledger. Post, Swap and Listen may be called from any goroutine.
type Loop struct {
	ledger *ledger.Ledger
	actor  Actor
	clock  clock.Clock

	mu struct {
		sync.Mutex
		inbox     []ledger.Event
		posted    uint64    // events that were ever in it
		set       cycle.Set // of the next cycle
		listeners []func(Turn)
		turning   bool            // a turn runs, with the set that it found
		leaving   []chan struct{} // of the sets replaced since; closed when it ends
		visits    []func(*world.World)
	}
	knock   chan struct{} // holds one token while there is something to do
	applied uint64        // events taken in
}

// New returns a loop over a ledger. The ledger must not be used by anyone else
// from then on.
func New(l *ledger.Ledger, set cycle.Set, actor Actor, c clock.Clock) *Loop {
	p := &Loop{ledger: l, actor: actor, clock: c, knock: make(chan struct{}, 1)}
	p.mu.set = set
	return p
}

// Post hands over events. It never blocks; the next turn takes them in, in order. It
// returns how many events have been posted so far: once Applied has come that far,
// these are in.
func (p *Loop) Post(evs ...ledger.Event) (posted uint64) {
	p.mu.Lock()
	p.mu.inbox = append(p.mu.inbox, evs...)
	p.mu.posted += uint64(len(evs))
	posted = p.mu.posted
	p.mu.Unlock()
	p.wake()
	return posted
}

// Applied is how many events the turns so far have taken in. An actor asks for it to
// know what a plan was made in knowledge of; nobody else may, for it belongs to the
// loop's goroutine.
func (p *Loop) Applied() uint64 { return p.applied }

// Swap replaces the policies from the next cycle on. A cycle that runs keeps the
// set it began with. retired is closed once no turn uses an older set any more: at
// once if none runs, else when it ends, listeners and actor included; what the older
// set held may then be closed. Never wait for it inside a turn (a policy, an actor, a
// listener): the turn would wait for itself.
func (p *Loop) Swap(set cycle.Set) (retired <-chan struct{}) {
	ch := make(chan struct{})
	p.mu.Lock()
	set.Generation = p.mu.set.Generation + 1
	p.mu.set = set
	if p.mu.turning {
		p.mu.leaving = append(p.mu.leaving, ch)
	} else {
		close(ch)
	}
	p.mu.Unlock()
	p.wake()
	return ch
}

// Visit calls f with the world between two turns, on the loop's goroutine: soon if Run
// runs, at the end of the next turn in any case. f must be quick, must not change the
// world, and must not keep it beyond the call.
func (p *Loop) Visit(f func(*world.World)) {
	p.mu.Lock()
	p.mu.visits = append(p.mu.visits, f)
	p.mu.Unlock()
	p.wake()
}

// Listen calls f after every turn, on the loop's goroutine: f must be quick and
// must not keep what it is given beyond the call.
func (p *Loop) Listen(f func(Turn)) {
	p.mu.Lock()
	p.mu.listeners = append(p.mu.listeners, f)
	p.mu.Unlock()
}

func (p *Loop) wake() {
	select {
	case p.knock <- struct{}{}:
	default:
	}
}

// Run takes turns until the context ends: whenever something was posted, and when
// the last plan asked to be woken.
func (p *Loop) Run(ctx context.Context) error {
	var alarm <-chan spec.Time
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-p.knock:
		case <-alarm:
		}
		t := p.Turn(ctx)
		alarm = nil
		if t.Taken.Wake != 0 {
			alarm = p.clock.Wake(t.Taken.Wake)
		}
	}
}

// Turn is one cycle: stages 1 and 2 and 8 to 10 around cycle.Step.
func (p *Loop) Turn(ctx context.Context) Turn {
	now := p.clock.Now()
	t := Turn{Now: now}
	events, set, more := p.drain()
	t.Held = p.clock.Now() - now
	defer p.rest()
	for _, ev := range events {
		if err := p.ledger.Apply(now, ev); err != nil {
			t.Refused = append(t.Refused, &Refusal{ev, err})
		}
	}
	t.Events = len(events)
	p.applied += uint64(len(events))
	p.ledger.Advance(now)
	w := p.ledger.Freeze()
	t.Result = p.ledger.Commit(cycle.Step(ctx, w, set, now))
	t.Refused = append(t.Refused, t.Result.Refused...)
	if p.actor != nil {
		p.actor.Act(now, t.Result)
	}
	p.tell(t)
	if more || len(t.Stale) > 0 {
		p.wake()
	}
	return t
}

func (p *Loop) drain() (events []ledger.Event, set cycle.Set, more bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.mu.turning = true
	n := min(len(p.mu.inbox), MaxDrain)
	events = p.mu.inbox[:n:n]
	p.mu.inbox = p.mu.inbox[n:]
	return events, p.mu.set, len(p.mu.inbox) > 0
}

// rest ends a turn: the sets that were replaced while it ran are used no more.
func (p *Loop) rest() {
	p.mu.Lock()
	p.mu.turning = false
	for _, retired := range p.mu.leaving {
		close(retired)
	}
	clear(p.mu.leaving)
	p.mu.leaving = p.mu.leaving[:0]
	p.mu.Unlock()
}

func (p *Loop) tell(t Turn) {
	p.mu.Lock()
	listeners, visits := p.mu.listeners, p.mu.visits
	p.mu.visits = nil
	p.mu.Unlock()
	for _, f := range visits {
		f(p.ledger.World())
	}
	for _, f := range listeners {
		f(t)
	}
}

// Ledger is the loop's ledger, for callers of Turn. While Run runs it must not be
// touched.
func (p *Loop) Ledger() *ledger.Ledger { return p.ledger }

// Busy says whether events wait for the next turn.
func (p *Loop) Busy() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.mu.inbox) > 0
}
