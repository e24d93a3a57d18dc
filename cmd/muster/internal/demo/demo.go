// Package demo plays small stories on the simulated cluster for people who see Muster
// for the first time: the real core decides, policies in Wasm order the jobs, one of
// them is swapped for another while everything runs, probes tell what GPUs really do, and
// at the end each promise is checked against what happened at every moment.
package demo

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/sim"
)

// Options of the demo.
type Options struct {
	Out io.Writer
	// Size is the terminal's width and height now; nil means that Out is no
	// terminal, and that the demo prints plain lines.
	Size func() (width, height int)
	// Color allows colours; no meaning is in them alone.
	Color bool
	// Fast leaves out every pause.
	Fast bool
	// Stories to play, of Names; empty plays all.
	Stories []string
	// Policies in Wasm that decide.
	Policies Policies
	// Orders are the two job orders, and how the second comes into use.
	Orders Orders
	// WithoutPreemption breaks the promise on purpose: borrowed GPUs do not come
	// back. It is there to show that the demo notices.
	WithoutPreemption bool
	// WithoutProbes likewise: nobody knows what GPUs really do.
	WithoutProbes bool
}

// Names of the stories, in the order of playing.
func Names() []string { return []string{"two", "five", "use"} }

// Run plays the stories and reports whether every promise was kept. It returns
// early, with ctx's error, when ctx ends.
func Run(ctx context.Context, o Options) (kept bool, err error) {
	names := o.Stories
	if len(names) == 0 {
		names = Names()
	}
	kept = true
	for i, name := range names {
		s, err := storyNamed(name, o.Policies)
		if err != nil {
			return false, err
		}
		s.number = fmt.Sprintf("Story %d of %d", i+1, len(names))
		ok, err := play(ctx, s, o)
		if err != nil {
			return false, err
		}
		kept = kept && ok
	}
	if kept {
		fmt.Fprintln(o.Out, "Every promise was kept.")
	} else {
		fmt.Fprintln(o.Out, "NOT every promise was kept: see the lines with FAIL above.")
	}
	return kept, nil
}

// Orders are the job orders of a story: the first one decides until the swap, if there
// is one, the next one from then on.
type Orders interface {
	// Begin makes the first one decide in a loop, beside the rest of a set.
	Begin(ctx context.Context, l *loop.Loop, rest cycle.Set, swaps bool) (policies.Info, error)
	// Swap makes the next one decide from the next cycle on.
	Swap(ctx context.Context) (policies.Info, error)
	// End frees both.
	End() error
}

// play is one story from its first event to its verdict.
func play(ctx context.Context, s *story, o Options) (kept bool, err error) {
	if o.WithoutPreemption {
		s.disablePreemption()
	}
	if o.WithoutProbes {
		s.trace = s.trace.Unmeasured()
	}
	p := newPlayer(ctx, s, o)
	defer p.view.close()
	defer func() { err = errors.Join(err, o.Orders.End()) }()
	// The end is left out: what was promised holds until then, not at it.
	end := s.trace.End
	run := sim.Options{
		Set:   s.rest(),
		Began: func(l *loop.Loop) (err error) { s.first, err = o.Orders.Begin(ctx, l, s.rest(), s.swaps()); return err },
		Until: end, Observe: p.observe, Measured: p.look,
	}
	if s.swaps() {
		run.Swaps = []sim.Swap{{At: s.swapAt, Note: "swap", Do: func() (err error) { s.next, err = o.Orders.Swap(ctx); return err }}}
	}
	res, err := sim.Run(ctx, s.trace, run)
	if err != nil {
		return false, err
	}
	p.finish(end)
	p.view.close()
	if err := ctx.Err(); err != nil {
		return false, err
	}
	return p.verdict(res), nil
}
