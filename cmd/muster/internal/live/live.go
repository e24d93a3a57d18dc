// Package live plays an endless workload on a simulated cluster at the speed of a
// clock, with policies that come and go by their life cycle: what an operator does to
// a running scheduler can be tried here, on the same loop and with the same manager.
package live

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/shadow"
	"github.com/musterhq/muster/runtime/sim"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// Options of a live cluster.
type Options struct {
	Out io.Writer
	// File is the policies.yaml that the cluster runs with.
	File string
	// Trace has the nodes and queues, and the jobs that More goes on with.
	Trace *trace.Trace
	More  func(after spec.Time) []trace.Job
	// Speed is how many simulated seconds pass in one.
	Speed float64
	// Every is the time between two tables of the queues.
	Every time.Duration
	// Set is what decides where nothing is loaded.
	Set cycle.Set
	// Life is how policies are loaded, without Swap, StatusFile and Log.
	Life reload.Options
	// Status is the file for `muster policy status`.
	Status string
}

// Run plays until ctx ends, which is no error. It returns early only if the cluster
// can't go on.
func Run(ctx context.Context, o Options) error {
	out := newPrinter(o.Out)
	defer out.close()
	c := &cluster{o: o, out: out, began: time.Now()}
	_, err := sim.Run(ctx, o.Trace, sim.Options{Set: o.Set, Began: func(l *loop.Loop) error { return c.begin(ctx, l) }, Live: sim.Live{Pace: c.pace, More: o.More}})
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		err = nil
	}
	err = errors.Join(err, c.end())
	c.summary()
	return err
}

// cluster is one live run. All but the manager belongs to the loop's goroutine.
type cluster struct {
	o       Options
	out     *printer
	ctx     context.Context
	loop    *loop.Loop
	manager *reload.Manager
	follows chan error // the manager's Run
	began   time.Time
	tally   tally
	tabled  time.Time
	names   names
}

// begin gives the loop a manager that follows policies.yaml.
func (c *cluster) begin(ctx context.Context, l *loop.Loop) error {
	life := c.o.Life
	life.Swap = reload.Into(l.Swap, c.o.Set)
	life.StatusFile = c.o.Status
	life.Log = c.step
	life.Names = shadow.Names{Job: c.names.job, Queue: c.names.queue}
	m, err := reload.New(life)
	if err != nil {
		return err
	}
	c.ctx, c.loop, c.manager, c.follows = ctx, l, m, make(chan error, 1)
	l.Listen(c.turned)
	go func() { c.follows <- m.Run(ctx, c.o.File) }()
	return nil
}

// end waits for the manager, which frees every policy.
func (c *cluster) end() error {
	if c.manager == nil {
		return nil
	}
	err := c.manager.Close()
	if e := <-c.follows; e != nil && c.ctx.Err() == nil {
		err = errors.Join(err, e)
	}
	return err
}

// pace waits until a simulated instant is due. What is late stays late: no instant is
// left out.
func (c *cluster) pace(at spec.Time) {
	due := c.began.Add(time.Duration(float64(at-c.o.Trace.Start) / c.o.Speed))
	for {
		c.table(at)
		left := min(time.Until(due), c.o.Every)
		if left <= 0 {
			return
		}
		t := time.NewTimer(left)
		select {
		case <-t.C:
		case <-c.ctx.Done():
			t.Stop()
			return
		}
	}
}

// step tells of one step of one version.
func (c *cluster) step(e reload.Event) {
	v := e.Version
	name := e.Policy
	if v.Spec != "" && v.Spec != e.Policy {
		name = v.Spec + " beside " + e.Policy
	}
	if v.Digest != "" {
		name += fmt.Sprintf(" (%s)", strings.Join(strings.Fields(v.Name+" "+v.Version+" "+shortDigest(v.Digest)), " "))
	}
	text := fmt.Sprintf("%s: %s", name, e.Step.State)
	if e.Step.Code != reason.Done {
		text += fmt.Sprintf(" [%s]", e.Step.Code)
	}
	if e.Step.Text != "" {
		text += " " + e.Step.Text
	}
	c.out.say("%s", text)
}

func shortDigest(d string) string {
	if len(d) > len("sha256:")+8 {
		return d[len("sha256:") : len("sha256:")+8]
	}
	return d
}
