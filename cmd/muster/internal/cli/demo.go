package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/musterhq/muster/cmd/muster/internal/demo"
	"github.com/musterhq/muster/cmd/muster/internal/operator"
	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/policies"
)

type demoFlags struct {
	story, policies, order   string
	fast, plain, unprotected bool
	unmeasured               bool
}

func (a *app) demo() *cobra.Command {
	var f demoFlags
	c := a.command("demo", "watch three small clusters being shared, in less than a minute", `
Two queues, then five, share a simulated GPU cluster: the real core decides on a
virtual clock, and the order of jobs, the queues' shares and the choice of victims
come from policies in Wasm. Half-way the job order is swapped for another one
while everything runs: a module of your own with --job-order. It takes over as in a
real cluster: verified, compiled, checked and run as a shadow first. In the third
story probes tell what the GPUs really do: who holds GPUs and lets them idle goes
first, and stays if it wakes up in time. At the end each promise is checked against
what happened at every moment. `+"`muster sim serve`"+` is a
cluster that goes on for as long as you like.

On a terminal the picture is redrawn in place; elsewhere there is a line for each
noteworthy moment, without pauses. NO_COLOR is honoured.`, `
  muster demo
  muster demo --story two --job-order my-order/my-order.wasm`,
		"0 every promise was kept, 1 one was broken or the demo could not run, 2 it was called wrongly, 130 it was interrupted",
		cobra.NoArgs, func(ctx context.Context, _ []string) error { return a.playDemo(ctx, f) })
	c.Flags().StringVar(&f.story, "story", "all", "`STORY` to play: two, five, use or all")
	c.Flags().BoolVar(&f.fast, "fast", false, "without pauses")
	c.Flags().BoolVar(&f.plain, "plain", false, "print lines even on a terminal")
	c.Flags().StringVar(&f.policies, "policies", "", "`DIR` of the Wasm policies (default: policies beside this program, then bin/policies)")
	c.Flags().StringVar(&f.order, "job-order", "fifo-reversed", "`POLICY` that takes over half-way: a module, or the name of one in --policies")
	c.Flags().BoolVar(&f.unprotected, "without-preemption", false, "break the promise, to see that the demo notices")
	if err := c.Flags().MarkHidden("without-preemption"); err != nil {
		panic(err) // the flag is defined above
	}
	c.Flags().BoolVar(&f.unmeasured, "without-probes", false, "nobody knows what GPUs really do, to see that the demo notices")
	if err := c.Flags().MarkHidden("without-probes"); err != nil {
		panic(err) // likewise
	}
	return c
}

func (a *app) playDemo(ctx context.Context, f demoFlags) (err error) {
	o := demo.Options{Out: a.out, Fast: f.fast, Color: colorful(a.out), WithoutPreemption: f.unprotected, WithoutProbes: f.unmeasured}
	switch {
	case f.story == "all":
	case slices.Contains(demo.Names(), f.story):
		o.Stories = []string{f.story}
	default:
		return misused("stories are "+strings.Join(demo.Names(), ", ")+" and all", "there is no story %q", f.story)
	}
	if t := terminal(a.out); t != nil && !f.plain && os.Getenv("TERM") != "dumb" {
		o.Size = func() (int, int) {
			w, h, err := term.GetSize(int(t.Fd()))
			if err != nil {
				return 0, 0
			}
			return w, h
		}
	}
	var l policyset.Loader
	defer func() { err = errors.Join(err, l.Close()) }()
	if terminal(a.err) != nil {
		a.remark("compiling the Wasm policies …")
	}
	if err := f.cast(ctx, &l, &o); err != nil {
		return err
	}
	kept, err := demo.Run(ctx, o)
	if err != nil {
		return err
	}
	if !kept {
		return failed("run it again with --plain --story two|five|use to see when", "the demo did not end as promised")
	}
	return nil
}

// cast finds the policies that play.
func (f *demoFlags) cast(ctx context.Context, l *policyset.Loader, o *demo.Options) (err error) {
	dir := f.policies
	if dir == "" {
		dir = policyFolder()
	}
	if _, err := os.Stat(dir); err != nil {
		return failed("`make guests` builds them, and --policies names their folder; `muster sim serve` needs none", "the shipped policies, which play beside yours, are not in %s", dir)
	}
	if o.Policies.Shares, err = l.Load(ctx, filepath.Join(dir, "guaranteed-fair.wasm")); err != nil {
		return err
	}
	if o.Policies.Victims, err = l.Load(ctx, filepath.Join(dir, "least-lost-work.wasm")); err != nil {
		return err
	}
	next := f.order
	if !policyset.IsModule(next) {
		next = filepath.Join(dir, next+".wasm")
	}
	in, err := inspectModule(ctx, next, false)
	switch {
	case err != nil:
		return err
	case !slices.Contains(in.Kinds, policies.JobOrder.String()):
		return failed("the demo swaps the job order; `muster sim run --fairness` and --victims take the others", "%s does not order jobs, it decides %s", next, strings.Join(in.Kinds, ", "))
	}
	o.Orders = &demo.Modules{First: filepath.Join(dir, "fifo.wasm"), Next: next, Life: operator.Options("", nil)}
	return nil
}

// policyFolder is where `make` puts the policies: beside the program, or in
// bin/policies of the repository.
func policyFolder() string {
	if exe, err := os.Executable(); err == nil {
		dir := filepath.Join(filepath.Dir(exe), "policies")
		if _, err := os.Stat(dir); err == nil {
			return dir
		}
	}
	return filepath.Join("bin", "policies")
}

// list is the help text of a set of names.
func list(names []string) string { return fmt.Sprintf("%s or file.wasm", strings.Join(names, ", ")) }
