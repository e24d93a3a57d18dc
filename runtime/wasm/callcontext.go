package wasm

import (
	"context"
	"time"
)

// callContext is the context of every call into one instance. It carries the
// instance to the host functions, and the time limit: one timer, armed for each
// call, instead of a new context and timer for each.
type callContext struct {
	in    *instance
	done  chan struct{} // nil without a time limit
	timer *time.Timer
	cause chan error // holds why done was closed
}

func newCallContext(in *instance, limited bool) *callContext {
	c := &callContext{in: in}
	if limited {
		c.done, c.cause = make(chan struct{}), make(chan error, 1)
	}
	return c
}

// arm starts the limit of one call, the shorter of the policy's own and the
// caller's. The returned function ends it and says whether the limit had been
// reached: then the instance may be closed at any moment, and is of no more use.
func (c *callContext) arm(caller context.Context, limit time.Duration) (disarm func() bool) {
	if c.done == nil {
		return notReached
	}
	if t, ok := caller.Deadline(); ok {
		limit = min(limit, time.Until(t)) //nolint:forbidigo // the watchdog bounds real time
	}
	if c.timer == nil {
		c.timer = time.AfterFunc(limit, c.timeUp) //nolint:forbidigo // the watchdog bounds real time
	} else {
		c.timer.Reset(limit)
	}
	if caller.Done() == nil {
		return c.in.disarm
	}
	stop := context.AfterFunc(caller, func() { c.end(caller.Err()) })
	return func() bool {
		stopped := stop()
		return c.stop() || !stopped
	}
}

func notReached() bool { return false }

func (c *callContext) stop() bool { return !c.timer.Stop() }

func (c *callContext) timeUp() { c.end(context.DeadlineExceeded) }

// end closes done, once.
func (c *callContext) end(why error) {
	select {
	case c.cause <- why:
		close(c.done)
	default:
	}
}

// Deadline says that there is none: the limit shows by Done.
func (c *callContext) Deadline() (time.Time, bool) { return time.Time{}, false }

// Done is closed when the limit is reached.
func (c *callContext) Done() <-chan struct{} { return c.done }

// Err says why Done is closed.
func (c *callContext) Err() error {
	select {
	case <-c.done:
	default:
		return nil
	}
	why := <-c.cause
	c.cause <- why
	return why
}

// Value has nothing; host functions know the type of the context instead.
func (c *callContext) Value(any) any { return nil }
