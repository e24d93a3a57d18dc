// Package ledger holds the truth about the pool: events from outside change it,
// a plan that is committed changes it, nothing else does. It belongs to one
// goroutine.
package ledger

import (
	"fmt"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/quota"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// Ledger is the mutable state of the pool.
type Ledger struct {
	world   *world.World
	frozen  bool
	mark    world.Mark
	late    []lateEvent // events that came while the world was frozen
	rescale bool        // nodes came or went since the guarantees were scaled
}

type lateEvent struct {
	now spec.Time
	ev  Event
}

// New returns a ledger over an empty pool.
func New(tree spec.Tree) *Ledger {
	res := amount.NewTable()
	return &Ledger{world: world.New(res, quota.New(res, tree))}
}

// Error is an event that was refused. The ledger is as it was before.
type Error struct {
	Code string // stable: unknown-node, duplicate-job, …
	Text string
}

func (e *Error) Error() string { return e.Text + " [" + e.Code + "]" }

func refuse(code, format string, args ...any) error {
	return &Error{code, fmt.Sprintf(format, args...)}
}

// Apply takes an event into the ledger. An event that makes no sense is refused
// with an *Error or spec.Problems and changes nothing. While the world is frozen,
// events are kept, and taken in by Commit or Discard; their errors come from there.
func (l *Ledger) Apply(now spec.Time, ev Event) error {
	if l.frozen {
		l.late = append(l.late, lateEvent{now, ev})
		return nil
	}
	l.Advance(now)
	return ev.apply(l, now)
}

// Advance brings history, the decayed usage of the queues, to a time. Apply does so
// before each event; whoever freezes the world for a cycle at a time calls it first,
// so that what the cycle starts counts from then on.
func (l *Ledger) Advance(now spec.Time) { l.world.Quota.Advance(now) }

// Freeze returns the world for a cycle. Until Commit or Discard it is the cycle's
// to change; everything it does can be taken back.
func (l *Ledger) Freeze() *world.World {
	if l.rescale {
		l.world.Quota.Rescale()
		l.rescale = false
	}
	for q := range l.world.Quota.Queues {
		l.world.PendingIn(quota.Q(q)) // drops the jobs that no longer wait
	}
	l.mark = l.world.Mark()
	l.frozen = true
	return l.world
}

// World is the state for reading, between cycles.
func (l *Ledger) World() *world.World { return l.world }

// Discard takes back what a cycle did to the frozen world: for what-if.
func (l *Ledger) Discard() []error {
	l.world.Rollback(l.mark)
	cycle.Withdraw(l.world)
	cycle.Forget(l.world)
	return l.thaw()
}

// Result is what became of a plan.
type Result struct {
	// Taken is the plan, or the part of it that still holds. What is taken is
	// assumed at once: its tasks run as far as the ledger is concerned.
	Taken *plan.Plan
	// Stale lists the units that events overtook. Their jobs are pending again.
	Stale []Stale
	// Refused are late events that made no sense.
	Refused []error
}

// Stale is a unit of a plan that no longer holds.
type Stale struct{ Job, Reason string }

// Commit takes a plan that was made on the frozen world. If nothing happened since
// Freeze it is taken whole. Otherwise the plan is taken back, the late events are
// applied, and each unit of the plan is verified against the new state and taken
// if it still holds; a gang, or a preemptor with its victims, is one unit.
func (l *Ledger) Commit(p *plan.Plan) Result {
	if len(l.late) == 0 {
		l.world.Keep(l.mark)
		l.frozen = false
		cycle.Accept(l.world, p, true)
		return Result{Taken: p}
	}
	l.world.Rollback(l.mark)
	cycle.Forget(l.world)
	r := Result{Refused: l.thaw()}
	r.Taken, r.Stale = l.verify(p)
	cycle.Accept(l.world, r.Taken, false)
	return r
}

// thaw applies the events that came while the world was frozen.
func (l *Ledger) thaw() (refused []error) {
	l.frozen = false
	late := l.late
	l.late = nil
	for _, e := range late {
		if err := l.Apply(e.now, e.ev); err != nil {
			refused = append(refused, err)
		}
	}
	return refused
}
