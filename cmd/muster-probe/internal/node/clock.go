package node

import "time"

// Steady is a clock.Clock that shows the time at which it was made and what went by since:
// setting the machine's clock does not move it, so no idleness comes from that.
type Steady struct{ start time.Time }

// NewSteady returns one that shows the machine's time now.
func NewSteady() Steady { return Steady{time.Now()} }

// Now in nanoseconds since the Unix epoch.
func (s Steady) Now() int64 { return s.start.UnixNano() + int64(time.Since(s.start)) }

// Time is Now.
func (s Steady) Time() time.Time { return time.Unix(0, s.Now()) }

// Wake fires when the clock shows t.
func (s Steady) Wake(t int64) <-chan int64 {
	ch := make(chan int64, 1)
	time.AfterFunc(time.Duration(t-s.Now()), func() { ch <- t })
	return ch
}
