package suite

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/musterhq/muster/conformance/suite/gen"
	"github.com/musterhq/muster/policies"
)

// The little world of order/no-starvation: in each cycle, a minute after the last one,
// two jobs start and two arrive.
const (
	starveCycles  = 10_000
	starveBound   = 2_000 // cycles that a job may wait
	starvePending = 16
	starveServed  = 2
	starveRuns    = 30 // cycles that a job runs
	starveStep    = 60 * second
)

// lineUp is a queue of jobs with what the users hold.
type lineUp struct {
	b     *policies.JobBatch // pending, sorted by submit
	share map[uint32]int64
	ends  []ending
}

type ending struct {
	cycle int
	user  uint32
	share int64
}

func starvation(c *caseOf) (*breach, gen.Batch) {
	l := lineUp{b: gen.Jobs(c.rnd, starvePending, c.info), share: map[uint32]int64{}}
	for i := range l.b.N {
		l.b.Submit[i] = l.b.Now - starveStep
	}
	for cycle := range starveCycles {
		l.settle(cycle)
		batch := gen.Batch{Jobs: l.b}
		if waited := (l.b.Now - l.b.Submit[0]) / starveStep; waited > starveBound {
			return broken(fmt.Sprintf("in cycle %d a job has waited for %d cycles while others started", cycle, waited)), batch.Clone()
		}
		a := c.ask(batch)
		if a.err != nil {
			return nil, gen.Batch{} // a law of totality says so
		}
		l.start(a, cycle)
		l.arrive(c)
	}
	return nil, gen.Batch{}
}

// settle ends jobs and writes what the cycle is to see.
func (l *lineUp) settle(cycle int) {
	l.ends = slices.DeleteFunc(l.ends, func(e ending) bool {
		if e.cycle == cycle {
			l.share[e.user] -= e.share
		}
		return e.cycle == cycle
	})
	b := l.b
	b.Now += starveStep
	b.Cycle++
	for i := range b.N {
		b.Job[i] = uint32(i)
		b.Wait[i] = b.Now - b.Submit[i]
		b.UserShare[i] = l.share[b.User[i]]
	}
}

// start takes the first jobs of the order out of the queue.
func (l *lineUp) start(a answer, cycle int) {
	place := a.places(l.b.N)
	batch := gen.Batch{Jobs: l.b}
	for i, at := range place {
		if at < starveServed {
			l.share[l.b.User[i]] += l.b.Dominant[i]
			l.ends = append(l.ends, ending{cycle + starveRuns, l.b.User[i], l.b.Dominant[i]})
			continue
		}
		l.b.Attempts[i]++
	}
	l.b = batch.Without(func(row int) bool { return place[row] < starveServed }).Jobs
}

// arrive adds new jobs at the end.
func (l *lineUp) arrive(c *caseOf) {
	with := gen.Jobs(c.rnd, starvePending, c.info) // of as many users
	for i := range with.N {
		with.Submit[i] = l.b.Now
		with.Deadline[i] = later(with.Deadline[i], l.b.Now)
		// No two alike, so that who comes last in some order comes last for good.
		with.Duration[i] = starveStep * (1 + c.rnd.Int64N(24*60))
		with.Priority[i] = c.rnd.Int64N(1000)
	}
	both := gen.Batch{Jobs: joined(l.b, with, starveServed)}
	l.b = both.Jobs
	slices.SortStableFunc(l.ends, func(x, y ending) int { return cmp.Compare(x.cycle, y.cycle) })
}

// later moves a generated deadline to the time of the world.
func later(deadline, now int64) int64 {
	if deadline < 0 {
		return deadline
	}
	return deadline - gen.Now + now
}

// joined puts the first n jobs of another batch behind those of a.
func joined(a, b *policies.JobBatch, n int) *policies.JobBatch {
	first := gen.Batch{Jobs: b}.Select(identity(n))
	rows := make([]int, 0, a.N+n)
	rows = append(rows, identity(a.N)...)
	for range n {
		rows = append(rows, 0)
	}
	out := gen.Batch{Jobs: a}.Select(rows)
	if a.N == 0 {
		return first.Jobs
	}
	to, from := out.Columns(), first.Columns()
	for i := range to {
		for k := range n {
			to[i].Set(a.N+k, from[i].Get(k))
		}
	}
	for k := range n {
		out.Jobs.UserName[a.N+k] = first.Jobs.UserName[k]
		for i := range out.Jobs.Labels {
			out.Jobs.Labels[i].Value[a.N+k] = first.Jobs.Labels[i].Value[k]
		}
	}
	return out.Jobs
}
