// Package clock is where time comes from: the real clock in production, a virtual
// one in the simulator and in tests. Nothing else in the project asks the machine
// for the time.
package clock

import (
	"time"

	"github.com/musterhq/muster/builtin/spec"
)

// Clock tells the time and wakes its owner.
type Clock interface {
	Now() spec.Time
	// Wake returns a channel that receives once at or after t.
	Wake(t spec.Time) <-chan spec.Time
}

// Real is the machine's clock.
type Real struct{}

// Now is the time in nanoseconds since the Unix epoch.
func (Real) Now() spec.Time { return time.Now().UnixNano() }

// Wake fires when the machine's clock reaches t.
func (Real) Wake(t spec.Time) <-chan spec.Time {
	ch := make(chan spec.Time, 1)
	time.AfterFunc(time.Until(time.Unix(0, t)), func() { ch <- t })
	return ch
}
