package trace

import (
	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

const hour = 3600 * spec.Second

// Interval is what a scenario promises from From (inclusive) to To: milli-GPUs
// of each leaf, in the order of Leaves, and the evictions so far (-1 when none
// are promised).
type Interval struct {
	From, To spec.Time
	Used     []amount.Amount
	Evicted  int
}

// Talk1 is the talk's two-queue story: 25 nodes of 4 GPUs; a has 60 guaranteed,
// b 40, both may take all 100. a submits 160 one-GPU jobs of 4 hours; 10 minutes
// later b submits 60 one-GPU jobs of 50 minutes.
func Talk1() *Trace {
	t := &Trace{Name: "t1", Format: "talk", Nodes: nodesOf(25, 4), End: 4 * hour}
	t.Queues.Root = talkRoot(100, talkQueue("a", 60, 100), talkQueue("b", 40, 100))
	for i := range int64(160) {
		t.Jobs = append(t.Jobs, talkJob(numbered("a", i, 160), "root.a", 0, 1, 1, 4*hour))
	}
	for i := range int64(60) {
		t.Jobs = append(t.Jobs, talkJob(numbered("b", i, 1000), "root.b", 600*spec.Second, 1, 1, 3000*spec.Second))
	}
	return t
}

// Talk1Promise is what must hold in Talk1 at every moment, but for the grace of
// the scheduler's cycle.
func Talk1Promise() []Interval {
	s := spec.Second
	return []Interval{
		{0, 600 * s, wholeGPUs(100, 0), 0},
		{600 * s, 3600 * s, wholeGPUs(60, 40), 40},
		{3600 * s, 6600 * s, wholeGPUs(80, 20), 40},
		{6600 * s, 4 * hour, wholeGPUs(100, 0), 40},
	}
}

// talk2 are the five queues: guarantee, max, and the hour in which they come.
var talk2 = []struct {
	name            string
	guaranteed, max int64
}{{"q1", 160, 448}, {"q2", 128, 512}, {"q3", 96, 512}, {"q4", 80, 512}, {"q5", 48, 512}}

// Shape of Talk2's workload: each queue begins with a burst larger than the
// pool, then submits on until the end, together more than the pool can do, so
// that from its first moment it always has pending jobs.
const (
	talk2Seed  = 2
	talk2Burst = 185
	talk2Every = 28 * spec.Second // mean time between submissions
	talk2End   = 8 * hour
)

// Talk2 is the talk's five-queue story: 64 nodes of 8 GPUs; q1 to q5 have 160,
// 128, 96, 80 and 48 guaranteed and become busy in hours 0 to 4. The workload is
// made here, by splitmix64 from a fixed seed: gangs of 1, 2, 4, 8 and 2 x 8 GPUs
// (40, 20, 16, 19, 5 %) that run 5 minutes to 5.3 hours (uniform within a
// uniformly drawn octave).
func Talk2() *Trace {
	t := &Trace{Name: "t2", Format: "talk", Nodes: nodesOf(64, 8), End: talk2End}
	rng := Rand{state: talk2Seed}
	var queues []*spec.Queue
	for i, q := range talk2 {
		queues = append(queues, talkQueue(q.name, q.guaranteed, q.max))
		submit := int64(i) * hour
		for n := int64(0); submit < talk2End; n++ {
			workers, gpus := talk2Size(rng.Below(100))
			run := talk2Run(&rng)
			t.Jobs = append(t.Jobs, talkJob(numbered(q.name+"-", n, 10_000), "root."+q.name, submit, workers, gpus, run))
			if n >= talk2Burst {
				submit += spec.Second * (1 + int64(rng.Below(2*uint64(talk2Every/spec.Second)-1)))
			}
		}
	}
	t.Queues.Root = talkRoot(512, queues...)
	t.settle()
	return t
}

// Talk2Promise is the weighted max-min share of Talk2's queues, rounded down to
// milli-GPUs; from hour 4 on it is exactly the guarantees.
func Talk2Promise() []Interval {
	return []Interval{
		{0, hour, wholeGPUs(448, 0, 0, 0, 0), -1},
		{hour, 2 * hour, []amount.Amount{284_444, 227_555, 0, 0, 0}, -1},
		{2 * hour, 3 * hour, []amount.Amount{213_333, 170_666, 128_000, 0, 0}, -1},
		{3 * hour, 4 * hour, []amount.Amount{176_551, 141_241, 105_931, 88_275, 0}, -1},
		{4 * hour, talk2End, wholeGPUs(160, 128, 96, 80, 48), -1},
	}
}

func talk2Size(percent uint64) (workers, gpus int64) {
	switch {
	case percent < 40:
		return 1, 1
	case percent < 60:
		return 1, 2
	case percent < 76:
		return 1, 4
	case percent < 95:
		return 1, 8
	default:
		return 2, 8
	}
}

func talk2Run(rng *Rand) spec.Duration {
	shortest := uint64(300) << rng.Below(6)
	return int64(shortest+rng.Below(shortest)) * spec.Second
}

func talkRoot(gpus int64, children ...*spec.Queue) *spec.Queue {
	return &spec.Queue{Name: "root", Parent: true, Children: children, Guaranteed: spec.GPUs(gpus), Max: spec.GPUs(gpus)}
}

func talkQueue(name string, guaranteed, limit int64) *spec.Queue {
	return &spec.Queue{Name: name, Guaranteed: spec.GPUs(guaranteed), Max: spec.GPUs(limit)}
}

func talkJob(id, queue string, submit spec.Time, workers, gpus int64, run spec.Duration) Job {
	return Job{
		Job: spec.Job{
			ID: id, Queue: queue, Submit: submit,
			Tasks: []spec.TaskGroup{{Name: "worker", Min: workers, Size: workers, Request: spec.GPUs(gpus)}},
		},
		Run: run,
	}
}

func wholeGPUs(n ...int64) []amount.Amount {
	out := make([]amount.Amount, len(n))
	for i, v := range n {
		out[i] = amount.Amount(v).Mul(1000)
	}
	return out
}
