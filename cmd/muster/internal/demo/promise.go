package demo

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// promise is something that must hold between two moments. It is shown every
// state and for how long that state lasted.
type promise struct {
	text     string
	from, to spec.Time
	// broken says what is wrong with a state, "" if nothing. last marks the state
	// that reaches the end of the interval.
	broken func(s *state, held spec.Duration, last bool) string

	seen    bool
	failure string // the first one, with its time
}

// hold shows the promise a state that lasted from s.now to until.
func (p *promise) hold(s *state, until spec.Time) {
	from, to := max(s.now, p.from), min(until, p.to)
	if from >= to {
		return
	}
	p.seen = true
	if why := p.broken(s, to-from, to == p.to); why != "" && p.failure == "" {
		p.failure = fmt.Sprintf("at %s %s", clock(from), why)
	}
}

// kept says whether the promise held. One that was never tested did not.
func (p *promise) kept() (bool, string) {
	if !p.seen {
		return false, "the story never came that far"
	}
	return p.failure == "", p.failure
}

// exactly: every queue holds what the interval says, and so many evictions
// happened, at every moment of it.
func exactly(names []string, v trace.Interval) *promise {
	text := "exactly " + amounts(names, v.Used)
	if v.Evicted >= 0 {
		text += fmt.Sprintf(", %d evicted in all", v.Evicted)
	}
	return &promise{text: text, from: v.From, to: v.To, broken: func(s *state, _ spec.Duration, _ bool) string {
		for i, want := range v.Used {
			if s.queues[i].used != want {
				return fmt.Sprintf("%s held %s instead of %s", names[i], gpus(s.queues[i].used), gpus(want))
			}
		}
		if v.Evicted >= 0 && s.evicted != v.Evicted {
			return fmt.Sprintf("%d had been evicted instead of %d", s.evicted, v.Evicted)
		}
		return ""
	}}
}

// nearAtEnd: when the interval ends, every queue is within so much of what it says.
func nearAtEnd(names []string, v trace.Interval, within amount.Amount) *promise {
	text := fmt.Sprintf("ends within %s GPUs of fair shares, %s", gpus(within), amounts(names, v.Used))
	return &promise{text: text, from: v.From, to: v.To, broken: func(s *state, _ spec.Duration, last bool) string {
		for i, want := range v.Used {
			used := s.queues[i].used
			if last && (used > want+within || used < want-within) {
				return fmt.Sprintf("%s ended with %s, not near %s", names[i], gpus(used), gpus(want))
			}
		}
		return ""
	}}
}

// reaches: the queue comes to hold so much, and never more.
func reaches(names []string, queue int, limit amount.Amount, from, to spec.Time) *promise {
	reached := false
	text := fmt.Sprintf("%s borrows up to its max of %s, never more", names[queue], gpus(limit))
	return &promise{text: text, from: from, to: to, broken: func(s *state, _ spec.Duration, last bool) string {
		used := s.queues[queue].used
		reached = reached || used == limit
		if used > limit {
			return fmt.Sprintf("%s held %s", names[queue], gpus(used))
		}
		if last && !reached {
			return fmt.Sprintf("%s had never held %s", names[queue], gpus(limit))
		}
		return ""
	}}
}

// neverOwed: no queue that wants its guarantee has less, at any moment.
func neverOwed(names []string, from, to spec.Time) *promise {
	text := "no queue with work is below its guarantee, at any moment"
	return &promise{text: text, from: from, to: to, broken: func(s *state, _ spec.Duration, _ bool) string {
		for i, q := range s.queues {
			if owed := min(q.demand, q.guaranteed); q.used < owed {
				return fmt.Sprintf("%s held %s and was owed %s", names[i], gpus(q.used), gpus(owed))
			}
		}
		return ""
	}}
}

// busy: so many percent of the pool are in use over the whole interval.
func busy(percent float64, from, to spec.Time) *promise {
	var used, all float64
	text := fmt.Sprintf("at least %g %% of all GPUs are in use", percent)
	return &promise{text: text, from: from, to: to, broken: func(s *state, held spec.Duration, last bool) string {
		for _, q := range s.queues {
			used += float64(q.used) * float64(held)
		}
		all += float64(s.capacity) * float64(held)
		if last && used*100 < percent*all {
			return fmt.Sprintf("it was %.2f %%", 100*used/all)
		}
		return ""
	}}
}

func amounts(names []string, used []amount.Amount) string {
	var out []string
	for i, a := range used {
		if a > 0 || len(used) == 2 {
			out = append(out, names[i]+" "+gpus(a))
		}
	}
	return strings.Join(out, ", ")
}

// gpus is a number of milli-GPUs as people say it, with one decimal if need be.
func gpus(a amount.Amount) string {
	return strings.TrimSuffix(strconv.FormatFloat(float64(a)/1000, 'f', 1, 64), ".0")
}

// clock is a simulated time as hours and minutes.
func clock(t spec.Time) string {
	minutes := t / (60 * spec.Second)
	return fmt.Sprintf("%d:%02d", minutes/60, minutes%60)
}
