// Package pattern says what a pod does with its GPUs, in words: "busy for 30s, idle".
// Everything about a moment follows from the pattern and the time since the pod's start;
// nothing is remembered, so nothing has to be played from the beginning. The node
// simulator, the cluster simulator and its traces share it.
package pattern

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Pattern is what a pod does with its GPUs, from its start on:
//
//	pattern = phase { "," phase } [ "," "repeat" ]
//	phase   = what [ "for" DURATION ]
//	what    = "busy" [ "=" SHARE ]         all the time, at a share of the GPU from 0.001 to 1
//	        | "idle"                       nothing at all
//	        | "duty=" DURATION "/" PERIOD  at the beginning of each period
//	        | "train=" SHARE "/" PERIOD    steps of a period, of which a share computes
//	        | "hang"                       a kernel that never ends: busy, without a launch
//
// The last phase lasts for ever, unless all of them repeat. So a pod that falls asleep is
// "busy for 30s, idle", one that wakes up "idle for 5m, busy", and an inference of 2 ms
// every 20 s "duty=2ms/20s".
type Pattern struct {
	phases []phase
	total  time.Duration // of one repetition, 0 if the last phase lasts for ever
	text   string
}

// phase is a stretch of a pattern.
type phase struct {
	share  int64         // permille, 0 is idle
	on     time.Duration // in each period; on == period is all the time
	period time.Duration
	hangs  bool
	length time.Duration // 0 is for ever
}

// Limits of patterns.
const (
	maxPhases   = 64
	minDuration = time.Millisecond
	maxDuration = 1000 * time.Hour
)

// Error is a pattern, or a part of one, that can't be read.
type Error struct {
	Text string // of the part that is wrong
	Why  string
	Hint string
}

func (e *Error) Error() string {
	return fmt.Sprintf("pattern %q: %s [bad-pattern]; %s", e.Text, e.Why, e.Hint)
}

const grammarHint = `patterns look like "busy for 30s, idle", "duty=2ms/20s", "train=0.9/1m for 5m, idle for 1m, repeat"`

// Parse reads a pattern; *Error if it can't be read.
func Parse(s string) (Pattern, error) {
	parts := strings.Split(s, ",")
	repeats := strings.TrimSpace(parts[len(parts)-1]) == "repeat"
	if repeats {
		parts = parts[:len(parts)-1]
	}
	if len(parts) == 0 || len(parts) > maxPhases {
		return Pattern{}, &Error{s, fmt.Sprintf("it must have 1 to %d phases", maxPhases), grammarHint}
	}
	p := Pattern{text: strings.TrimSpace(s)}
	for i, part := range parts {
		ph, err := parsePhase(strings.TrimSpace(part))
		if err != nil {
			return Pattern{}, err
		}
		last := i == len(parts)-1 && !repeats
		switch {
		case ph.length == 0 && !last:
			return Pattern{}, &Error{part, "it does not say for how long", `add "for 30s"; only the last phase lasts for ever`}
		case ph.length != 0 && last:
			return Pattern{}, &Error{part, "nothing is said of the time after it", `drop its "for", add another phase, or end with ", repeat"`}
		}
		p.phases = append(p.phases, ph)
		p.total += ph.length
	}
	if !repeats {
		p.total = 0
	}
	return p, nil
}

// Must is Parse for patterns that are in the program.
func Must(s string) Pattern {
	p, err := Parse(s)
	if err != nil {
		panic(err)
	}
	return p
}

// String is the pattern as it was written, without space around it.
func (p Pattern) String() string { return p.text }

// IsZero says that nothing is said of what the pod does, which is no idleness.
func (p Pattern) IsZero() bool { return len(p.phases) == 0 }

// Equal says whether two patterns were written alike.
func (p Pattern) Equal(o Pattern) bool { return p.text == o.text }

func parsePhase(s string) (ph phase, err error) {
	what, length, timed := strings.Cut(s, " for ")
	if timed {
		if ph.length, err = ParseDuration(strings.TrimSpace(length)); err != nil {
			return phase{}, err
		}
	}
	kind, arg, given := strings.Cut(strings.TrimSpace(what), "=")
	ph.share, ph.on, ph.period = 1000, time.Second, time.Second
	switch kind {
	case "busy":
		if given {
			ph.share, err = parseShare(arg)
		}
		return ph, err
	case "idle", "hang":
		if given {
			return phase{}, &Error{s, kind + " takes no value", grammarHint}
		}
		ph.hangs = kind == "hang"
		if kind == "idle" {
			ph.share, ph.on = 0, 0
		}
		return ph, nil
	case "duty", "train":
		return ph.cycled(kind, arg)
	}
	return phase{}, &Error{s, "there is no such phase", "there are busy, idle, duty, train and hang; " + grammarHint}
}

// cycled is a phase of duty or train.
func (ph phase) cycled(kind, arg string) (phase, error) {
	part, period, ok := strings.Cut(arg, "/")
	if !ok {
		return phase{}, &Error{kind + "=" + arg, "it has no period", grammarHint}
	}
	var err error
	if ph.period, err = ParseDuration(period); err != nil {
		return phase{}, err
	}
	if kind == "duty" {
		ph.on, err = ParseDuration(part)
	} else {
		var share int64
		share, err = parseShare(part)
		ph.on = max(minDuration, ph.period/1000*time.Duration(share))
	}
	if err == nil && ph.on > ph.period {
		err = &Error{kind + "=" + arg, "it is busy for longer than its period", grammarHint}
	}
	return ph, err
}

// ParseDuration reads a duration within the limits of patterns; *Error if it can't be read.
func ParseDuration(s string) (time.Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil:
		return 0, &Error{s, "it is no duration", "write 30s, 2ms or 1h30m"}
	case d < minDuration || d > maxDuration:
		return 0, &Error{s, fmt.Sprintf("a duration is from %v to %v", minDuration, maxDuration), "write 30s, 2ms or 1h30m"}
	}
	return d, nil
}

// parseShare gives permille.
func parseShare(s string) (int64, error) {
	f, err := strconv.ParseFloat(s, 64)
	if err != nil || !(f >= 0.001 && f <= 1) {
		return 0, &Error{s, "it is no share from 0.001 to 1", "write 0.9 for nine tenths of a GPU"}
	}
	return int64(f*1000 + 0.5), nil
}
