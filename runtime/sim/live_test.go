package sim

import (
	"context"
	"errors"
	"testing"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// everyMinute is a workload without end: each job runs for half a minute.
func everyMinute(after spec.Time) (out []trace.Job) {
	for at := after + 60*spec.Second; len(out) < 3; at += 60 * spec.Second {
		out = append(out, trace.Job{
			Job: spec.Job{
				ID: "j" + string(rune('a'+at/(60*spec.Second)%26)), Queue: "root.default", Submit: at,
				Tasks: []spec.TaskGroup{{Name: "w", Min: 1, Size: 1, Request: spec.GPUs(1)}},
			},
			Run: 30 * spec.Second,
		})
	}
	return out
}

func liveTrace() *trace.Trace {
	return &trace.Trace{
		Name: "live", Nodes: trace.Talk1().Nodes, Jobs: everyMinute(0),
		Queues: spec.Tree{Root: &spec.Queue{Name: "root", Parent: true, Children: []*spec.Queue{{Name: "default"}}}},
	}
}

func TestALiveRunGoesOnUntilItsContextEndsAndPacesEveryInstant(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	var started, refused int
	var paced []spec.Time
	_, err := Run(ctx, liveTrace(), Options{
		Began: func(l *loop.Loop) error {
			l.Listen(func(t loop.Turn) { started += len(t.Taken.Binds); refused += len(t.Refused) })
			return nil
		},
		Live: Live{More: everyMinute, Pace: func(at spec.Time) {
			paced = append(paced, at)
			if len(paced) == 201 {
				cancel()
			}
		}},
	})
	if !errors.Is(err, context.Canceled) {
		t.Fatal(err)
	}
	if started < 99 || refused > 0 { // a start and an end for each job, and the first instant
		t.Errorf("%d jobs started in 200 instants, %d events refused", started, refused)
	}
	for i := 1; i < len(paced); i++ {
		if paced[i] < paced[i-1] {
			t.Fatalf("time went back from %d to %d", paced[i-1], paced[i])
		}
	}
}

func TestALiveRunWhoseWorkloadEndsEnds(t *testing.T) {
	rounds := 0
	res, err := Run(t.Context(), liveTrace(), Options{Live: Live{More: func(after spec.Time) []trace.Job {
		if rounds++; rounds > 3 {
			return nil
		}
		return everyMinute(after)
	}}})
	if err != nil || res.Cycles == 0 || rounds != 4 {
		t.Fatalf("%d rounds, %v", rounds, err)
	}
}

func TestASwapOfOnesOwnTakesEffectAtItsTimeAndItsFailureEndsTheRun(t *testing.T) {
	fair, ok := order.Builtin("fair")
	if !ok {
		t.Fatal("no fair")
	}
	tr := trace.Talk1()
	root := *tr.Queues.Root
	root.JobOrder = "mine"
	tr.Queues.Root = &root
	var l *loop.Loop
	const at = 600 * spec.Second
	run := func(do func() error) (before, after int, err error) {
		_, err = Run(t.Context(), tr, Options{
			Began: func(of *loop.Loop) error { l = of; return nil },
			Swaps: []Swap{{At: at, Do: do, Note: "swap"}},
			Observe: func(o Observation) {
				for _, u := range o.Plan.Policies {
					switch {
					case u.Name == "fair" && o.Now < at:
						before++
					case u.Name == "fair":
						after++
					}
				}
			},
		})
		return before, after, err
	}
	before, after, err := run(func() error { l.Swap(cycle.Set{Named: map[string]policies.Policy{"mine": fair}}); return nil })
	if before > 0 || after == 0 || err != nil {
		t.Errorf("fair was asked %d times before the swap and %d times after it, %v", before, after, err)
	}
	failure := errors.New("no")
	if _, _, err := run(func() error { return failure }); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
	if _, err := Run(t.Context(), tr, Options{Began: func(*loop.Loop) error { return failure }}); !errors.Is(err, failure) {
		t.Errorf("got %v", err)
	}
}
