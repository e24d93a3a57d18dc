// Package clock is where time comes from: the real clock in production, a virtual
// one in the simulator and in tests. Nothing else in the project asks the machine
// for the time.
package clock

import (
	"time"
)

// Clock tells the time, in nanoseconds since the Unix epoch (or since the start of
// a simulation), and wakes its owner.
type Clock interface {
	Now() int64
	// Wake returns a channel that receives once at or after t.
	Wake(t int64) <-chan int64
}

// Real is the machine's clock.
type Real struct{}

// Now is the time in nanoseconds since the Unix epoch.
func (Real) Now() int64 { return time.Now().UnixNano() }

// Wake fires when the machine's clock reaches t.
func (Real) Wake(t int64) <-chan int64 {
	ch := make(chan int64, 1)
	time.AfterFunc(time.Until(time.Unix(0, t)), func() { ch <- t })
	return ch
}
