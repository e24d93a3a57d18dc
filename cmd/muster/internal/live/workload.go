package live

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/gpuprobe/pattern"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// The workload: each of the five queues of the talk is busy for two thirds of the time
// and silent for one, in turns. While it is busy it asks for 1.3 times its guarantee,
// so that there is always something to borrow, to give back and to order, and what
// waits never grows without end.
const (
	round      = 3 * 60 * 60 * spec.Second // every queue is silent for a third of it
	load       = 130                       // percent of the guarantee, while busy
	shortest   = 300                       // seconds; a job runs up to 16 times as long
	workSeed   = 7
	meanGPUs   = 3.76 // of a job, see sizes
	meanRun    = 1687 // seconds: the mean of 1.5 * shortest * {1, 2, 4, 8}
	priorities = 3
	users      = 4 // of each queue
)

// size is the workers of a job and the GPUs of each; below is a percentile.
type size struct {
	below         uint64
	workers, gpus int64
}

var sizes = []size{{40, 1, 1}, {60, 1, 2}, {76, 1, 4}, {95, 1, 8}, {100, 2, 8}}

// Workload is the five-queue cluster of the demo with an endless workload: the trace
// has the jobs of the first hours, more makes those after an instant.
func Workload() (tr *trace.Trace, more func(after spec.Time) []trace.Job) {
	tr = trace.Talk2()
	tr.Name, tr.Jobs, tr.End, tr.Notes = "live", nil, 0, nil
	g := &generator{leaves: tr.Leaves(), rng: trace.NewRand(workSeed)}
	tr.Jobs = g.next(0)
	return tr, g.next
}

// habits are what the GPUs of jobs do, in turns: most work, one job falls asleep, and one
// for a while. Each is the same for long stretches, so that the simulated probes have little
// to tell at any speed.
var habits = parsed("busy for 5m, idle", "busy=0.9", "busy for 5m, idle for 20m, busy=0.7", "busy", "busy=0.8")

func parsed(texts ...string) (out []pattern.Pattern) {
	for _, text := range texts {
		p, err := pattern.Parse(text)
		if err != nil {
			panic(err) // they are part of the program
		}
		out = append(out, p)
	}
	return out
}

type generator struct {
	leaves []trace.Leaf
	rng    *trace.Rand
	rounds int64
	number int
}

// next makes the jobs of the next round.
func (g *generator) next(spec.Time) (out []trace.Job) {
	from := g.rounds * round
	for i, l := range g.leaves {
		silent := (int64(i) + g.rounds) % 3
		mean := float64(meanGPUs*meanRun*1000*100) / float64(load) / float64(l.Guaranteed) * float64(spec.Second)
		for at := from; at < from+round; at += 1 + int64(g.rng.Below(uint64(2*mean))) {
			if (at-from)/(round/3) != silent {
				out = append(out, g.job(l, at))
			}
		}
	}
	if g.rounds++; from == 0 {
		out = append(out, g.crowd()...)
	}
	slices.SortStableFunc(out, func(a, b trace.Job) int { return cmp.Compare(a.Submit, b.Submit) })
	return out
}

// crowd is what waits when the cluster opens: every queue that is not silent wants more
// than its guarantee, so that it is full at once.
func (g *generator) crowd() (out []trace.Job) {
	for i, l := range g.leaves {
		for wanted := amount.Amount(0); i%3 != 0 && wanted < l.Guaranteed*2; {
			j := g.job(l, 0)
			wanted += j.MilliGPUs()
			out = append(out, j)
		}
	}
	return out
}

func (g *generator) job(l trace.Leaf, at spec.Time) trace.Job {
	g.number++
	draw := g.rng.Below(100)
	n := sizes[slices.IndexFunc(sizes, func(s size) bool { return draw < s.below })]
	run := uint64(shortest) << g.rng.Below(4)
	seconds := int64(run + g.rng.Below(run))
	return trace.Job{
		Job: spec.Job{
			ID: fmt.Sprintf("job-%06d", g.number), Queue: l.Path, Submit: at, Priority: int64(g.rng.Below(priorities)),
			User: fmt.Sprintf("user-%d", g.rng.Below(users)), Duration: seconds * spec.Second,
			Tasks: []spec.TaskGroup{{Name: "worker", Min: n.workers, Size: n.workers, Request: spec.GPUs(n.gpus)}},
		},
		Run: seconds * spec.Second, Use: habits[g.number%len(habits)],
	}
}
