// Package doctor looks at a running installation and says what is wrong with it: at the
// scheduler through its API, at the cluster through the API server. It only reads.
package doctor

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// State of a check.
type State string

// The states, the worst last but one.
const (
	OK      State = "ok"
	Warning State = "warn" // it works, with less than it could
	Failure State = "fail"
	Skipped State = "skip" // it could not be asked
)

// Check is the result of one.
type Check struct {
	Name  string `json:"name"`
	State State  `json:"state"`
	Text  string `json:"text"`
	// Hint says what to do; "" of what is ok.
	Hint string `json:"hint,omitempty"`
	// Details are all things that the text names some of.
	Details []string `json:"details,omitempty"`
}

// Worst is the state of an installation: that of its worst check.
func Worst(checks []Check) State {
	worst := OK
	for _, c := range checks {
		if c.State == Failure || c.State == Warning && worst == OK {
			worst = c.State
		}
	}
	return worst
}

func ok(name, format string, args ...any) Check {
	return Check{Name: name, State: OK, Text: fmt.Sprintf(format, args...)}
}

func warn(name, hint, format string, args ...any) Check {
	return Check{Name: name, State: Warning, Text: fmt.Sprintf(format, args...), Hint: hint}
}

func fail(name, hint, format string, args ...any) Check {
	return Check{Name: name, State: Failure, Text: fmt.Sprintf(format, args...), Hint: hint}
}

func skip(name, hint, format string, args ...any) Check {
	return Check{Name: name, State: Skipped, Text: fmt.Sprintf(format, args...), Hint: hint}
}

// with adds the details.
func (c Check) with(details []string) Check {
	c.Details = details
	return c
}

// some names the first few of many.
func some(names []string) string {
	slices.Sort(names)
	const few = 3
	if len(names) <= few {
		return strings.Join(names, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(names[:few], ", "), len(names)-few)
}

// Bounds of clocks: ages are told wrongly from the first on; tokens and certificates may
// be refused from the second on.
const (
	skewed = 5 * time.Second
	wrong  = time.Minute
)

// clock compares another machine's clock, which it told between two times of ours.
func clock(name, whose string, told, before, after time.Time) Check {
	if told.IsZero() {
		return skip(name, "a proxy between may leave the header Date out", "%s does not tell its time", whose)
	}
	off := time.Duration(0) // it may have told any time between, cut to seconds
	switch {
	case told.Add(time.Second).Before(before):
		off = before.Sub(told.Add(time.Second))
	case told.After(after):
		off = told.Sub(after)
	}
	off = off.Round(100 * time.Millisecond)
	switch {
	case off > wrong:
		return fail(name, "let both follow NTP; certificates and tokens are refused by clocks that are far off", "the clock of %s is off by %s", whose, off)
	case off > skewed:
		return warn(name, "let both follow NTP; ages are told wrongly until then", "the clock of %s is off by %s", whose, off)
	default:
		return ok(name, "the clock of %s agrees with this machine's", whose)
	}
}
