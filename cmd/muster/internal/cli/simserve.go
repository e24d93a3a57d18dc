package cli

import (
	"context"
	"fmt"
	"path/filepath"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/cmd/muster/internal/live"
	"github.com/musterhq/muster/cmd/muster/internal/operator"
	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/runtime/rules"
)

type serveFlags struct {
	traceFlags
	policyset.Names
	guard        string
	speed        float64
	every, after time.Duration
}

func (a *app) simServe() *cobra.Command {
	var f serveFlags
	c := a.command("serve [policies.yaml]", "run a simulated cluster until Ctrl-C, to load policies into", `
The five queues of the demo on 512 simulated GPUs, with an endless workload, at the
speed of a clock. The cluster follows policies.yaml (which need not be there yet):
from another terminal, `+"`muster policy load`, `status`, `rollback` and `promote`"+` do to it
what they do to a real one. Each step of a policy, and the first of equal failures,
is a line; every so often a table shows the queues.

Simulated probes tell what the GPUs do: of five jobs one falls asleep, and one for a
while. A queue of --queues with preemption.idleAfter has such GPUs taken first.

The queues name their policies order, shares and victims unless the flags or
--queues say otherwise; while nothing of that name is loaded, the built-in decides.`, `
  muster sim serve
  muster sim serve cluster/policies.yaml --job-order my-order --speed 600 --for 1m`,
		"0 it was ended by Ctrl-C or --for, 1 it failed, 2 it was called wrongly", cobra.MaximumNArgs(1),
		func(ctx context.Context, args []string) error {
			file := policiesFile
			if len(args) > 0 {
				file = args[0]
			}
			return a.serve(ctx, file, f)
		})
	fl := c.Flags()
	fl.StringVar(&f.JobOrder, "job-order", "order", "`NAME` by which the queues name their job order")
	fl.StringVar(&f.Fairness, "fairness", "shares", "`NAME` by which they name the policy of their shares")
	fl.StringVar(&f.Victims, "victims", "victims", "`NAME` by which they name the policy of the victims' costs")
	fl.StringVar(&f.queues, "queues", "", "`FILE` queues.yaml with the queues root.q1 to root.q5; then it alone names policies")
	fl.Float64Var(&f.speed, "speed", 60, "simulated seconds in a second")
	fl.DurationVar(&f.every, "every", 5*time.Second, "time between two tables")
	fl.DurationVar(&f.after, "for", 0, "end after so long (default: with Ctrl-C)")
	fl.StringVar(&f.guard, "guard", "", "`DIR` of rules that say who may load what")
	return c
}

func (a *app) serve(ctx context.Context, file string, f serveFlags) error {
	switch {
	case !(f.speed > 0 && f.speed <= 1e6):
		return misused("60 is an hour in a minute", "--speed %g is not above 0 and up to 1000000", f.speed)
	case f.every < 100*time.Millisecond || f.after < 0:
		return misused("as in --every 5s --for 1m", "--every must be at least 100ms, and --for not below 0")
	}
	if _, _, err := operator.Read(file); err != nil {
		return operatorFailed(err)
	}
	var guard *rules.Rules
	if f.guard != "" {
		var err error
		if guard, err = openRules(ctx, f.guard); err != nil {
			return err
		}
	}
	tr, more := live.Workload()
	if f.queues != "" {
		if err := f.replaceQueues(tr); err != nil {
			return err
		}
	} else {
		_, tr.Queues = policyset.Fixed(tr.Queues, f.Names, nil)
	}
	a.remark("%s of %s GPUs follow %s; Ctrl-C ends it", plural(len(tr.Leaves()), "queue"), gpus(int64(tr.MilliGPUs())), file)
	if f.queues == "" {
		fmt.Fprintf(a.err, "  load into it with: muster policy load X.wasm --name %s --at %s\n", f.JobOrder, file)
	}
	if f.after > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, f.after)
		defer cancel()
	}
	return live.Run(ctx, live.Options{
		Out: a.out, File: file, Trace: tr, More: more, Speed: f.speed, Every: f.every, Set: cycle.Set{},
		Life: operator.Options(filepath.Dir(file), guard), Status: operator.StatusFile(file),
	})
}

// openRules opens a folder or bundle of rules, with its path in the problems.
func openRules(ctx context.Context, path string) (*rules.Rules, error) {
	r, err := rules.Open(ctx, path, rules.Options{})
	if err != nil {
		return nil, &policyset.FileError{Path: path, Err: err}
	}
	return r, nil
}
