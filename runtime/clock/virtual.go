package clock

import (
	"cmp"
	"slices"
	"sync"

	"github.com/musterhq/muster/builtin/spec"
)

// Virtual is a clock that stands still until Advance moves it. It is safe for
// concurrent use.
type Virtual struct {
	mu     sync.Mutex
	now    spec.Time
	alarms []alarm
}

type alarm struct {
	at spec.Time
	ch chan spec.Time
}

// NewVirtual returns a clock that shows start.
func NewVirtual(start spec.Time) *Virtual { return &Virtual{now: start} }

// Now is the time the clock shows.
func (v *Virtual) Now() spec.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.now
}

// Wake fires when Advance reaches t; at once if it already has.
func (v *Virtual) Wake(t spec.Time) <-chan spec.Time {
	v.mu.Lock()
	defer v.mu.Unlock()
	ch := make(chan spec.Time, 1)
	if t <= v.now {
		ch <- t
		return ch
	}
	v.alarms = append(v.alarms, alarm{t, ch})
	return ch
}

// Advance moves the clock to t, firing alarms in order of their times. A clock
// never goes back: an earlier t changes nothing.
func (v *Virtual) Advance(t spec.Time) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.now = max(v.now, t)
	slices.SortStableFunc(v.alarms, func(a, b alarm) int { return cmp.Compare(a.at, b.at) })
	for len(v.alarms) > 0 && v.alarms[0].at <= v.now {
		v.alarms[0].ch <- v.alarms[0].at
		v.alarms = v.alarms[1:]
	}
}
