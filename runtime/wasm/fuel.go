package wasm

import (
	"context"
	"time"

	"github.com/tetratelabs/wazero/api"

	"github.com/musterhq/muster/policies"
)

// sliceUnits is how far apart safepoints are, in units: 0.1 to 8 ms.
const sliceUnits int64 = 1 << 20

// What a guest may spend outside of its calls, in units: on starting (standard Go's
// runtime needs some 100,000), and on each muster_reserve besides a unit a byte.
const (
	initFuel    int64 = 1 << 26
	reserveFuel int64 = 1 << 24
)

// gauge holds one instance to its fuel and its time. The guest counts its fuel in two
// globals that the rewriter gave it, and comes to the safepoint each time that a slice
// of 2^20 units is used up. There the host looks at the clock and at the caller's
// context: so that a call arms no timer and starts no goroutine, however it ends.
type gauge struct {
	slice, rest api.MutableGlobal // of the guest: what is left of this slice, and after it
	deep        api.Global        // of the guest: room left for recursion
	limit       time.Duration     // of one call, not positive for none

	caller  context.Context //nolint:containedctx // of the call that runs; the safepoint has no other way to it
	began   time.Time
	budget  int64
	spent   int64  // by the last question; see ask
	stopped string // why the safepoint ended the call
}

// fill gives a call its fuel and starts its clock.
func (g *gauge) fill(caller context.Context, budget int64) {
	first := min(budget, sliceUnits)
	g.slice.Set(uint64(first))
	g.rest.Set(uint64(budget - first))
	g.caller, g.budget, g.stopped = caller, budget, ""
	if g.limit > 0 {
		g.began = time.Now() //nolint:forbidigo // the watchdog bounds real time
	}
}

// used is the fuel that the call has used so far.
func (g *gauge) used() int64 {
	return min(g.budget, g.budget-int64(g.slice.Get())-int64(g.rest.Get()))
}

// empty says whether the guest asked for more than was left.
func (g *gauge) empty() bool { return int64(g.slice.Get()) < 0 }

// goOn is asked at every safepoint.
func (g *gauge) goOn() bool {
	switch {
	case g.caller.Err() != nil:
		g.stopped = "the caller gave up"
	case g.limit > 0 && time.Since(g.began) > g.limit: //nolint:forbidigo // the watchdog bounds real time
		g.stopped = "no answer within the time limit of " + g.limit.String()
	}
	return g.stopped == ""
}

// fault says whether one of the limits ended a call that failed; nil if none did.
func (g *gauge) fault() error {
	switch {
	case g.stopped != "":
		return hostFault(policies.CodeWatchdog, "%s", g.stopped)
	case int32(g.deep.Get()) < 0:
		return hostFault(policies.CodeTrap, "the call stack is full: functions called themselves some 16,000 times, or with large frames less often")
	case g.empty():
		return hostFault(policies.CodeOutOfFuel, "the budget of %d units of fuel is used up", g.budget)
	}
	return nil
}

// safepoint is muster_meter.safepoint: 0 to go on.
func safepoint(in *instance, _ api.Module, stack []uint64) {
	stack[0] = 0
	if !in.goOn() {
		stack[0] = 1
	}
}

// callContext leads from a host function back to its instance. It is a context only
// because the engine hands one through.
type callContext struct{ in *instance }

// Deadline, Done, Err and Value say that nothing ends by this context.
func (callContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is nil: never.
func (callContext) Done() <-chan struct{} { return nil }

// Err is nil.
func (callContext) Err() error { return nil }

// Value has nothing.
func (callContext) Value(any) any { return nil }
