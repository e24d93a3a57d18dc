package clock

import (
	"cmp"
	"slices"
	"sync"
)

// Virtual is a clock that stands still until Advance moves it. It is safe for
// concurrent use.
type Virtual struct {
	mu     sync.Mutex
	now    int64
	alarms []alarm
}

type alarm struct {
	at int64
	ch chan int64
}

// NewVirtual returns a clock that shows start.
func NewVirtual(start int64) *Virtual { return &Virtual{now: start} }

// Now is the time the clock shows.
func (v *Virtual) Now() int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// Wake fires when Advance reaches t; at once if it already has.
func (v *Virtual) Wake(t int64) <-chan int64 {
	v.mu.Lock()
	defer v.mu.Unlock()
	ch := make(chan int64, 1)
	if t <= v.now {
		ch <- t
		return ch
	}
	v.alarms = append(v.alarms, alarm{t, ch})
	return ch
}

// Advance moves the clock to t, firing alarms in order of their times. A clock
// never goes back: an earlier t changes nothing.
func (v *Virtual) Advance(t int64) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = max(v.now, t)
	slices.SortStableFunc(v.alarms, func(a, b alarm) int { return cmp.Compare(a.at, b.at) })
	for len(v.alarms) > 0 && v.alarms[0].at <= v.now {
		v.alarms[0].ch <- v.alarms[0].at
		v.alarms = v.alarms[1:]
	}
}
