package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/output"
	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/runtime/sim"
	"github.com/musterhq/muster/runtime/sim/report"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// aboutTraces is the part of the help that says what a TRACE is.
const aboutTraces = `
TRACE is a file or folder, plain or gzip, in one of the formats of --format, or
talk1, talk2 or use, the stories of the demo.`

type runFlags struct {
	traceFlags
	timeFlags
	policyset.Names
	format          string
	html, png, plan string
	quiet, progress bool
}

func (a *app) simRun() *cobra.Command {
	var f runFlags
	c := a.command("run TRACE", "play a trace and print its scorecard", aboutTraces+`

The scorecard goes to stdout, or the whole report as JSON or YAML; everything else
goes to stderr. The same trace, policies and seed give the same report.`, `
  muster sim run talk2 --html report.html
  muster sim run ../shared/traces/openb-2023 --fill 1300 --seed 42 --placement fragmentation`,
		"", cobra.ExactArgs(1), func(ctx context.Context, args []string) error { return a.runTrace(ctx, args[0], f) })
	policyFlags(c, &f.Names)
	f.addShape(c)
	f.addPool(c)
	f.timeFlags.add(c)
	f.addLoad(c)
	formatFlag(c, &f.format)
	c.Flags().StringVar(&f.html, "html", "", "write a report with plots that opens offline to `FILE`")
	c.Flags().StringVar(&f.png, "png", "", "write the picture of used GPUs over time to `FILE`")
	c.Flags().StringVar(&f.plan, "events", "", "write every plan as a line of JSON to `FILE`")
	c.Flags().BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no remarks")
	c.Flags().BoolVar(&f.progress, "progress", false, "draw progress even if stderr is no terminal")
	return c
}

// runReport is the JSON of `sim run`.
type runReport struct {
	Trace traceInfo `json:"trace"`
	outcome
}

func (a *app) runTrace(ctx context.Context, path string, f runFlags) (err error) {
	if err := errors.Join(checkFormat(f.format), f.timeFlags.check()); err != nil {
		return err
	}
	tr, original, err := f.shaped(path)
	if err != nil {
		return err
	}
	if tr.Static && (f.html != "" || f.png != "" || f.plan != "") {
		return misused("leave out --html, --png and --events, or --fill and --static", "a fill has no time that could be drawn")
	}
	var l policyset.Loader
	defer func() { err = errors.Join(err, l.Close()) }()
	var files output.Files
	defer files.Discard()
	began := time.Now()
	r := runReport{Trace: infoOf(tr)}
	if err := a.playInto(ctx, &r.outcome, &l, &files, tr, original, f); err != nil {
		return err
	}
	if err := f.draw(&files, tr, &r); err != nil {
		return err
	}
	if err := files.Commit(); err != nil {
		return err
	}
	if !f.quiet {
		a.tellFailures("", r.Policies)
		a.remark("played in %.1f s", time.Since(began).Seconds())
	}
	return a.print(f.format, r, func() error { return runText(a.out, tr, &r) })
}

// playInto plays the trace, in time or as a fill.
func (a *app) playInto(ctx context.Context, to *outcome, l *policyset.Loader, files *output.Files, tr, original *trace.Trace, f runFlags) error {
	set, tree, err := l.Set(ctx, f.Names, tr.Queues)
	if err != nil {
		return err
	}
	tr.Queues = tree
	update, end := a.progress(f.progress, f.quiet, "playing "+tr.Name)
	defer end()
	if tr.Static {
		to.Fill, err = sim.Fill(ctx, tr, original, set, f.seed, update)
		return err
	}
	o := f.options(tr, set, f.seed)
	o.Progress = update
	var events *eventLog
	if f.plan != "" {
		w, err := files.Create(f.plan)
		if err != nil {
			return err
		}
		events = &eventLog{w: w}
		o.Observe = events.observe
	}
	played, err := playTrace(ctx, tr, o)
	if err != nil {
		return err
	}
	*to = *played
	if events != nil && events.err != nil {
		return fmt.Errorf("cannot write %s: %w", f.plan, events.err)
	}
	return nil
}

// draw makes the pictures that were asked for.
func (f *runFlags) draw(files *output.Files, tr *trace.Trace, r *runReport) error {
	if f.html != "" {
		notes := append([]string{describe(tr)}, tr.Notes...)
		for _, u := range r.Policies {
			notes = append(notes, fmt.Sprintf("%s by %s (%s)", u.Kind, identity(u.Name, u.Version), short(u.Digest)))
		}
		run := report.Run{Name: tr.Name, Card: r.Scorecard, Series: r.series, Notes: notes}
		err := files.Write(f.html, func(w io.Writer) error { return report.HTML(w, "muster sim run "+tr.Name, []report.Run{run}) })
		if err != nil {
			return err
		}
	}
	if f.png == "" {
		return nil
	}
	title := fmt.Sprintf("%s: %s GPUs, %s", tr.Name, gpus(int64(tr.MilliGPUs())), plural(len(tr.Leaves()), "queue"))
	return files.Write(f.png, func(w io.Writer) error { return report.PNG(w, title, r.series, pngWidth, pngHeight) })
}

// Size of the picture, in centimetres.
const (
	pngWidth  = 22
	pngHeight = 10
)

func runText(w io.Writer, tr *trace.Trace, r *runReport) error {
	fmt.Fprintln(w, describe(tr))
	notesText(w, tr.Notes)
	fmt.Fprintln(w)
	if r.Fill != nil {
		return fillTable(w, nil, []*sim.FillResult{r.Fill})
	}
	policyTable(w, r.Policies)
	fmt.Fprintf(w, "  digest of all plans %s, %d cycles\n", short("sha256:"+r.Digest), r.Cycles)
	if err := r.Scorecard.Text(w); err != nil {
		return err
	}
	if len(r.Stuck) > 0 {
		fmt.Fprintln(w, "\nNEVER STARTED (the first of them)")
		for _, p := range r.Stuck[:min(5, len(r.Stuck))] {
			fmt.Fprintf(w, "  %s in %s: %s\n", p.Job, p.Queue, p.Why.Sentence())
		}
	}
	return nil
}

// fillTable writes static fills side by side.
func fillTable(w io.Writer, names []string, fills []*sim.FillResult) error {
	line := func(label string, value func(*sim.FillResult) string) {
		fmt.Fprintf(w, "  %-34s", label)
		for _, f := range fills {
			fmt.Fprintf(w, "%16s", value(f))
		}
		fmt.Fprintln(w)
	}
	if len(names) > 0 {
		fmt.Fprintf(w, "  %-34s", "")
		for _, n := range names {
			fmt.Fprintf(w, "%16s", n)
		}
		fmt.Fprintln(w)
	}
	percent := func(v float64) string { return fmt.Sprintf("%.2f %%", v) }
	line("allocated, of all GPUs", func(f *sim.FillResult) string { return percent(f.AllocatedPercent) })
	line("asked for when first refused", func(f *sim.FillResult) string { return percent(f.FirstRefusalPercent) })
	line("asked for in the end", func(f *sim.FillResult) string { return percent(f.ArrivedPercent) })
	line("fragmented, of all GPUs", func(f *sim.FillResult) string { return percent(f.FragmentPercent) })
	line("fragmented, of the idle GPUs", func(f *sim.FillResult) string { return percent(f.FragmentOfIdlePercent) })
	line("jobs", func(f *sim.FillResult) string { return fmt.Sprint(f.Jobs) })
	line("placed", func(f *sim.FillResult) string { return fmt.Sprint(f.Placed) })
	line("refused", func(f *sim.FillResult) string { return fmt.Sprint(f.Refused) })
	return nil
}
