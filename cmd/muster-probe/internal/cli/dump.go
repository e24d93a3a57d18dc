package cli

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster-probe/internal/node"
	"github.com/musterhq/muster/gpuprobe/agent"
)

func (a *app) dump() *cobra.Command {
	var o node.Options
	var format string
	var sweeps int
	c := a.command("dump", "measure for a moment and print what was found", `
Measures for some sweeps and prints what is known then: GPUs, who uses them, and how the
ways of measuring do. What is not printed is not known. It sends nothing to anybody.`, `
  muster-probe dump
  muster-probe dump --sweeps 5 --interval 2s -o json`,
		"0 it did, also where nothing is there to measure, 1 it failed, 2 it was called wrongly",
		func(ctx context.Context) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			if sweeps < 1 || o.Interval < 100*time.Millisecond {
				return misused("as in --sweeps 2 --interval 1s", "--sweeps must be at least 1, and --interval 100ms")
			}
			o.Log = slog.New(slog.DiscardHandler)
			o.Name = node.HostName()
			s, err := measure(ctx, o, uint64(sweeps))
			if err != nil {
				return failed("`muster-probe check` tells what is missing", "%w", err)
			}
			return a.print(format, view(s), func() error { return a.table(s) })
		})
	fl := c.Flags()
	machineFlags(fl, &o)
	fl.IntVar(&sweeps, "sweeps", 2, "how often to look; use is what was between two looks")
	fl.DurationVar(&o.Interval, "interval", time.Second, "time between two looks")
	formatFlag(c, &format)
	return c
}

// measure runs an agent until it has done some sweeps.
func measure(ctx context.Context, o node.Options, sweeps uint64) (*agent.State, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	done := make(chan *agent.State, 1)
	o.Sink = func(s *agent.State) {
		starting := func(x agent.Source) bool { return x.Reason == agent.Starting }
		if s.Sweep >= sweeps && !slices.ContainsFunc(s.Sources, starting) {
			select {
			case done <- s:
			default:
			}
		}
	}
	n, err := node.New(o)
	if err != nil {
		return nil, err
	}
	ended := make(chan error, 1)
	go func() { ended <- n.Run(ctx) }()
	var s *agent.State
	select {
	case s = <-done:
	case <-ctx.Done():
	}
	cancel()
	err = <-ended
	if s == nil && err == nil {
		err = errors.New("it was interrupted")
	}
	return s, errors.Join(err, n.Close())
}

// stateView, gpuView and useView are a State with words and ages in the place of numbers
// and times.
type stateView struct {
	*agent.State
	GPUs []gpuView `json:"gpus"`
	Uses []useView `json:"uses"`
}

type gpuView struct {
	agent.GPU
	Health string   `json:"health"`
	Age    *float64 `json:"age_seconds,omitempty"`
}

type useView struct {
	agent.Use
	Basis   string   `json:"basis"`
	Age     *float64 `json:"age_seconds,omitempty"`
	Idle    *float64 `json:"idle_seconds,omitempty"`
	Watched *float64 `json:"watched_seconds,omitempty"`
}

func view(s *agent.State) stateView {
	v := stateView{State: s, GPUs: []gpuView{}, Uses: []useView{}}
	for _, g := range s.GPUs {
		v.GPUs = append(v.GPUs, gpuView{g, g.Health.String(), since(s, g.At)})
	}
	for _, u := range s.Uses {
		v.Uses = append(v.Uses, useView{u, u.Basis.String(), since(s, u.At), since(s, u.LastActive), since(s, u.WatchedSince)})
	}
	return v
}

func since(s *agent.State, t time.Time) *float64 {
	if t.IsZero() {
		return nil
	}
	age := s.At.Sub(t).Seconds()
	return &age
}

func (a *app) table(s *agent.State) error {
	t := tabwriter.NewWriter(a.out, 0, 0, 2, ' ', 0)
	fmt.Fprintln(t, "SOURCE\tUP\tREASON\tDETAIL")
	for _, x := range s.Sources {
		fmt.Fprintf(t, "%s\t%v\t%s\t%s\n", x.Name, x.Up, or(x.Reason), firstLine(x.Detail))
	}
	fmt.Fprintln(t, "\nGPU\tUUID\tPRODUCT\tBUSY\tMEMORY\tHEALTH\tREASON")
	for _, g := range s.GPUs {
		fmt.Fprintf(t, "%d\t%s\t%s\t%s\t%s\t%s\t%s\n", g.Index, g.UUID, g.Product, percent(g.Busy), gib(g.MemoryUsed), g.Health, or(g.HealthReason))
	}
	fmt.Fprintln(t, "\nOWNER\tPOD\tGPU\tBUSY\tBASIS\tMEMORY\tIDLE\tWATCHED\tASSIGNED")
	for _, u := range s.Uses {
		pod := "-"
		if u.Pod != "" {
			pod = u.Namespace + "/" + u.Pod
		}
		fmt.Fprintf(t, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", u.Owner, pod, u.GPU, percent(u.Busy), u.Basis, gib(u.Memory),
			seconds(since(s, u.LastActive)), seconds(since(s, u.WatchedSince)), yesNo(u.Assigned))
	}
	return t.Flush()
}

func or(s string) string {
	if s == "" {
		return "-"
	}
	return s
}

func percent(n *uint32) string {
	if n == nil {
		return "?"
	}
	return fmt.Sprintf("%.1f%%", float64(*n)/10)
}

func gib(n *uint64) string {
	if n == nil {
		return "?"
	}
	return fmt.Sprintf("%.1fGiB", float64(*n)/(1<<30))
}

func seconds(n *float64) string {
	if n == nil {
		return "?"
	}
	return fmt.Sprintf("%.0fs", *n)
}

func yesNo(b *bool) string {
	switch {
	case b == nil:
		return "?"
	case *b:
		return "yes"
	}
	return "no"
}
