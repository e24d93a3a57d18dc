package guard

import (
	"fmt"
	"time"

	"github.com/musterhq/muster/policies"
)

// State says whether a policy is asked.
type State string

// The states. A policy on probation is asked, and goes back into quarantine, for twice
// as long, by one failure.
const (
	Good        State = "good"
	Quarantined State = "quarantined"
	Probation   State = "probation"
)

// When a policy is quarantined, and for how long.
const (
	InARow       = 3   // failures one after the other
	Window       = 200 // or: of so many calls …
	InWindow     = 10  // … so many, 5 %
	FirstBackoff = int64(time.Second)
	MaxBackoff   = int64(10 * time.Minute)
	// Served is how many answers in a row end a probation; then the next quarantine is
	// as short as the first again.
	Served = Window
)

// IsStrike says whether a failure counts against a policy. That it abstains, or can't use
// the input or its params, does not: it says so itself, and may be right. An error of its
// own does, as a panic in Go is one.
func IsStrike(c policies.Code) bool {
	switch c {
	case policies.CodeAbstain, policies.CodeBadInput, policies.CodeBadParams:
		return false
	}
	return true
}

// meter decides by counting. It knows no clock but the time of the batches.
type meter struct {
	state   State
	row     int // failures in a row
	served  int // answers in a row, on probation
	ring    [Window]bool
	at      int // where the next call goes in the ring
	failed  int // true elements of the ring
	backoff int64
	until   int64 // while quarantined: asked again from this batch time on
}

func (m *meter) reset() { *m = meter{state: Good, backoff: FirstBackoff} }

// admit says whether the policy is asked, and the new state if it has changed.
func (m *meter) admit(now int64) (bool, State) {
	if m.state != Quarantined {
		return true, ""
	}
	if now < m.until {
		return false, ""
	}
	m.state, m.served = Probation, 0
	return true, Probation
}

// record takes an answer in; it returns the new state if it has changed.
func (m *meter) record(now int64, strike bool) State {
	if m.state == Quarantined {
		return "" // a call that was under way when another one was the last straw
	}
	m.push(strike)
	if !strike {
		m.row = 0
		return m.serve()
	}
	m.row++
	if m.state == Probation || m.row >= InARow || m.failed >= InWindow {
		return m.quarantine(now)
	}
	return ""
}

func (m *meter) push(strike bool) {
	if m.ring[m.at] {
		m.failed--
	}
	if strike {
		m.failed++
	}
	m.ring[m.at] = strike
	m.at = (m.at + 1) % Window
}

func (m *meter) serve() State {
	if m.state != Probation {
		return ""
	}
	if m.served++; m.served < Served {
		return ""
	}
	m.reset()
	return Good
}

// quarantine ends the asking for a while; what was counted so far is settled by it.
func (m *meter) quarantine(now int64) State {
	backoff := m.backoff
	*m = meter{state: Quarantined, until: saturated(now, backoff), backoff: min(2*backoff, MaxBackoff)}
	return Quarantined
}

func saturated(now, d int64) int64 {
	if s := now + d; s >= now {
		return s
	}
	return 1<<63 - 1
}

func (m *meter) text(last policies.Code) string {
	if m.state != Quarantined {
		return "asked again"
	}
	return fmt.Sprintf("failed too often, last by %s; not asked before %s", last, time.Unix(0, m.until).UTC().Format(time.RFC3339Nano))
}
