// Package servetest has a small cluster that really schedules, for the tests of what is
// served of one: two GPU types, guarantees that were borrowed and taken back, jobs that
// wait for different reasons.
package servetest

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/ledger"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/serve/view"
)

// Start is the time at which a cluster's clock begins.
const Start = 1_800_000_000 * spec.Second

// Cluster is a loop that runs, with everything that looks at it.
type Cluster struct {
	Loop     *loop.Loop
	Clock    *clock.Virtual
	Recorder *view.Recorder
	Source   *view.Source
	t        testing.TB
}

// New runs a loop over a tree of queues until the test ends. Options' clock is set.
func New(t testing.TB, tree spec.Tree, o view.Options) *Cluster {
	t.Helper()
	c := &Cluster{Clock: clock.NewVirtual(Start), t: t}
	c.Loop = loop.New(ledger.New(tree), cycle.Set{}, nil, c.Clock)
	c.Recorder = view.NewRecorder(c.Clock)
	c.Loop.Listen(c.Recorder.Turned)
	o.Clock = c.Clock
	if o.MaxAge == 0 {
		o.MaxAge = 1 // tests look after each change
	}
	c.Source = view.NewSource(c.Loop, c.Recorder, o)
	ctx, cancel := context.WithCancel(context.Background())
	end := make(chan error, 1)
	go func() { end <- c.Loop.Run(ctx) }()
	t.Cleanup(func() {
		cancel()
		if err := <-end; !errors.Is(err, context.Canceled) {
			t.Errorf("the loop ended with %v", err)
		}
	})
	return c
}

// Post hands events over and waits until they are decided.
func (c *Cluster) Post(evs ...ledger.Event) {
	c.t.Helper()
	before := c.Recorder.Counts()
	c.Loop.Post(evs...)
	c.settle() // a turn that had begun before may answer this one,
	c.settle() // and that which takes them in this one,
	c.settle() // and once the next one answers, the listeners have been told of it
	after := c.Recorder.Counts()
	if after.Refused != before.Refused || after.Events < before.Events+uint64(len(evs)) {
		c.t.Fatalf("of %d events %d were taken in, and %d refused", len(evs), after.Events-before.Events, after.Refused-before.Refused)
	}
}

// settle waits until a turn comes to its end.
func (c *Cluster) settle() {
	done := make(chan struct{})
	c.Loop.Visit(func(*world.World) { close(done) })
	<-done
}

// Sample notes what is used now.
func (c *Cluster) Sample() {
	c.t.Helper()
	c.Source.Sample(c.t.Context())
	c.settle()
}

// Snapshot is the world as it is now.
func (c *Cluster) Snapshot() *view.Snapshot {
	c.t.Helper()
	s, err := c.Source.Snapshot(c.t.Context())
	if err != nil {
		c.t.Fatal(err)
	}
	return s
}

// Tree has research.llm (guaranteed 12 H100, at most 24), research.vision (4 A100, 8),
// batch (nothing guaranteed, everything allowed) and serving (8 of any).
func Tree() spec.Tree {
	gpus := func(n int64, typed string) spec.Resources {
		r := spec.GPUs(n)
		if typed != "" {
			r = r.Set(amount.TypedGPU(typed), amount.Amount(n)*1000)
		}
		return r
	}
	return spec.Tree{Root: &spec.Queue{Name: "root", Parent: true, Children: []*spec.Queue{
		{Name: "batch"},
		{Name: "research", Parent: true, Guaranteed: gpus(16, ""), Max: gpus(32, ""), Children: []*spec.Queue{
			{Name: "llm", Guaranteed: gpus(12, "H100"), Max: gpus(24, "H100"), JobOrder: "priority-fifo"},
			{Name: "vision", Guaranteed: gpus(4, "A100"), Max: gpus(8, "A100")},
		}},
		{Name: "serving", Guaranteed: gpus(8, ""), Max: gpus(12, ""), MaxApps: 4},
	}}}
}

// Node is a machine with 8 GPUs of a type.
func Node(name, gpuType string) ledger.NodeAdded {
	return ledger.NodeAdded{Node: spec.Node{
		Name: name, GPUType: gpuType, Labels: map[string]string{"gpu": gpuType},
		Capacity: spec.Resources{{Name: "cpu", Amount: 96_000}, {Name: "memory", Amount: 512 << 30}}.Set(amount.GPUName, 8000),
	}}
}

// Job is a gang of n tasks with so many GPUs each, of one type if that is named.
func Job(id, queue, gpuType string, n, gpus int64) ledger.JobSubmitted {
	g := spec.TaskGroup{
		Name: "worker", Min: n, Size: n,
		Request: spec.Resources{{Name: "cpu", Amount: 4000}, {Name: "memory", Amount: 16 << 30}}.Set(amount.GPUName, amount.Amount(gpus)*1000),
	}
	if gpuType != "" {
		g.GPUTypes = []string{gpuType}
	}
	return ledger.JobSubmitted{Job: &spec.Job{ID: id, Queue: queue, User: "ann", Submit: Start, Tasks: []spec.TaskGroup{g}}}
}

// Busy is a cluster in which batch had borrowed everything, llm took its guarantee back,
// and jobs wait for quota, for room, and because they can never fit.
func Busy(t testing.TB, o view.Options) *Cluster {
	t.Helper()
	c := New(t, Tree(), o)
	c.Post(Node("h-1", "H100"), Node("h-2", "H100"), Node("h-3", "H100"), Node("a-1", "A100"))
	for i := range 16 {
		c.Post(Job(fmt.Sprintf("batch-%02d", i), "root.batch", "", 1, 2))
	}
	c.Clock.Advance(Start + 600*spec.Second)
	c.Post(Job("train", "root.research.llm", "H100", 3, 4))
	for _, e := range c.Recorder.Evictions() {
		c.Post(ledger.Evicted{Job: e.Job, Tasks: e.Tasks})
	}
	c.Post(
		Job("too-large", "root.research.llm", "H100", 7, 4),
		Job("image", "root.research.vision", "A100", 1, 8),
		Job("late", "root.batch", "", 2, 4),
	)
	return c
}
