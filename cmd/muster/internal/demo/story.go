package demo

import (
	"fmt"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/sim/trace"
)

const (
	minute = 60 * spec.Second
	hour   = 60 * minute
)

// largestGang of the five-queue story, in milli-GPUs: shares cannot come closer
// than what one gang takes.
const largestGang amount.Amount = 16_000

// Policies that decide in the demo, all the time.
type Policies struct {
	Shares, Victims policies.Policy
}

// The names under which the queues of a story know the policies.
const (
	RoleOrder   = "demo-order"
	roleShares  = "demo-shares"
	roleVictims = "demo-victims"
)

// story is a scenario with what is told about it and what it promises.
type story struct {
	number, title string
	trace         *trace.Trace
	names         []string  // of the leaf queues, as people call them
	swapAt        spec.Time // of the job order; 0 is never
	policies      Policies
	first, next   policies.Info // the job orders, as soon as they decide
	beats         []beat
	promises      []*promise
	measured      bool // it is about what GPUs really do: that is shown, and of each job
}

func (s *story) swaps() bool { return s.swapAt > 0 }

// beat is a sentence that is told once the cluster has answered to what happens at
// that moment.
type beat struct {
	at  spec.Time
	say func(p *player) string
}

func storyNamed(name string, o Policies) (*story, error) {
	var s *story
	switch name {
	case "two":
		s = twoQueues(o)
	case "five":
		s = fiveQueues(o)
	case "use":
		s = realUse(o)
	default:
		return nil, fmt.Errorf("there is no story %q", name)
	}
	root := *s.trace.Queues.Root
	root.JobOrder, root.Fairness, root.Victims = RoleOrder, roleShares, roleVictims
	s.trace.Queues.Root = &root
	return s, nil
}

// rest is the set without the job order.
func (s *story) rest() cycle.Set {
	return cycle.Set{Named: map[string]policies.Policy{roleShares: s.policies.Shares, roleVictims: s.policies.Victims}}
}

func (s *story) disablePreemption() { s.trace.Queues.Root.Preemption = spec.PreemptionDisabled }

func twoQueues(o Policies) *story {
	s := &story{title: "two queues share 100 GPUs", trace: trace.Talk1(), names: []string{"a", "b"}, policies: o, swapAt: 30 * minute}
	for _, v := range trace.Talk1Promise() {
		s.promises = append(s.promises, exactly(s.names, v))
	}
	s.beats = []beat{
		{0, func(p *player) string {
			return fmt.Sprintf("a has work for %s GPUs, b has none. GPUs that b leaves idle are lent: a holds %s, %s above its guarantee.",
				gpus(p.demand(0)), p.used(0), gpus(p.now.queues[0].borrowed()))
		}},
		{10 * minute, func(p *player) string {
			if q := p.now.queues[1]; q.used < min(q.demand, q.guaranteed) {
				return fmt.Sprintf("b comes with 60 jobs and is owed %s GPUs, but holds %s.", gpus(q.guaranteed), gpus(q.used))
			}
			return fmt.Sprintf("b comes with 60 jobs and takes its guarantee back, in the same instant: a gives %s borrowed GPUs back and not one more. a holds %s, b %s.",
				gpus(p.freed), p.used(0), p.used(1))
		}},
		{s.swapAt, swapBeat(s)},
		{hour, func(p *player) string {
			text := fmt.Sprintf("b has only 20 jobs left. The other GPUs do not idle: a holds %s, b %s.", p.used(0), p.used(1))
			if id := p.firstStart[0]; id != "" {
				text += fmt.Sprintf(" The first of a to start is %s", id)
				if s.next.Name == newestFirst {
					text += ": the newest, as the new policy says"
				}
				text += "."
			}
			return text
		}},
		{110 * minute, func(p *player) string {
			return fmt.Sprintf("b has finished. a holds %s again.", p.used(0))
		}},
	}
	return s
}

// newestFirst is the policy of which it is known whom it starts first.
const newestFirst = "fifo-reversed"

func swapBeat(s *story) func(*player) string {
	return func(*player) string {
		return fmt.Sprintf("Hot swap between two cycles: from now on policy %s orders the jobs instead of %s. It was verified, compiled and checked beside the cluster, and ran as a shadow. Nothing stops.",
			s.next.Name, s.first.Name)
	}
}

func fiveQueues(o Policies) *story {
	s := &story{
		title: "five queues share 512 GPUs", trace: trace.Talk2(), names: []string{"q1", "q2", "q3", "q4", "q5"},
		policies: o, swapAt: 5 * hour,
	}
	shares := trace.Talk2Promise()
	last := shares[len(shares)-1]
	s.promises = []*promise{
		reaches(s.names, 0, shares[0].Used[0], 0, hour),
		neverOwed(s.names, hour, last.From),
	}
	for _, v := range shares[1 : len(shares)-1] {
		s.promises = append(s.promises, nearAtEnd(s.names, v, largestGang))
	}
	s.promises = append(s.promises, exactly(s.names, last), busy(98, hour, last.To))
	s.beats = []beat{{0, func(p *player) string {
		q := p.now.queues[0]
		text := fmt.Sprintf("q1 is alone. It has %s GPUs guaranteed and may borrow up to its max of %s: it holds %s",
			gpus(q.guaranteed), gpus(q.max), gpus(q.used))
		switch left := q.max - q.used; {
		case q.waiting == 0:
			text += ", all that its jobs ask for so far"
		case left > 0:
			text += fmt.Sprintf(", and its next gang needs more than the %s left", gpus(left))
		}
		return text + "."
	}}}
	for i := 1; i < len(s.names); i++ {
		s.beats = append(s.beats, beat{int64(i) * hour, comes(s, i)})
	}
	s.beats = append(s.beats,
		beat{s.swapAt, swapBeat(s)},
		beat{7 * hour, func(p *player) string {
			return fmt.Sprintf("Before the swap, a job that started had waited %s; since then %s (medians). The shares did not move: a policy orders jobs, the core keeps the guarantees.",
				p.waitBefore(), p.waitSince())
		}})
	return s
}

// comes is the arrival of queue i.
func comes(s *story, i int) func(*player) string {
	return func(p *player) string {
		q := p.now.queues[i]
		text := fmt.Sprintf("%s comes and gets its guarantee of %s at once: it holds %s. %s",
			s.names[i], gpus(q.guaranteed), gpus(q.used), p.givers())
		if i == len(s.names)-1 {
			text += " Now all five are busy, and each holds its guarantee."
		}
		return text
	}
}
