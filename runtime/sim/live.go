package sim

import (
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// Live makes a run last, for as long as somebody watches.
type Live struct {
	// Pace is called before the clock goes on to an instant, with nothing left to decide
	// before it; it may wait.
	Pace func(at spec.Time)
	// More gives jobs to come after the last known submission, sorted by Submit; none
	// ends the asking. A run with More keeps no figures, only what is needed to go on:
	// its result is empty, and it ends with its context.
	More func(after spec.Time) []trace.Job
}

// goesOn lets time pass until an instant. It reports whether jobs were added that may
// come before it.
func (e *engine) goesOn(at spec.Time) (added bool) {
	if e.o.More != nil && at >= e.last {
		jobs := e.o.More(e.last)
		e.submit(jobs)
		if len(jobs) > 0 {
			return true
		}
		e.o.More = noMore
	}
	if e.o.Pace != nil {
		e.o.Pace(at)
	}
	return false
}

func noMore(spec.Time) []trace.Job { return nil }
