package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/cmd/muster/internal/compare"
	"github.com/musterhq/muster/cmd/muster/internal/output"
	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/runtime/sim"
	"github.com/musterhq/muster/runtime/sim/report"
	"github.com/musterhq/muster/runtime/sim/score"
	"github.com/musterhq/muster/runtime/sim/trace"
)

type compareFlags struct {
	traceFlags
	timeFlags
	runs            []string
	partitioned     bool
	exitCode        bool
	format, html    string
	quiet, progress bool
}

func (a *app) simCompare() *cobra.Command {
	var f compareFlags
	c := a.command("compare TRACE --run NAME=KEY:VALUE,…", "play a trace under several policies, side by side", aboutTraces+`

Each --run names a run and its policies. Keys are job-order, fairness, victims,
placement, admission and policies, as the flags of `+"`sim run`"+`, and queues, which is
shared (the default), pooled or partitioned. The first run is what the others are compared
with: for each of them the first moment is named at which it decided differently.
--partitioned adds a run in which every queue is closed at its guarantee, and says
which queues of the others wait longer than in theirs.`, `
  muster sim compare talk1 --run fifo=job-order:fifo --run fair=job-order:fair --partitioned
  muster sim compare talk1 --run builtin=job-order:fifo --run wasm=job-order:bin/policies/fifo.wasm --exit-code`,
		"0 the runs were played, 1 it failed, 2 it was called wrongly, 3 decisions differ (with --exit-code), 130 it was interrupted",
		cobra.ExactArgs(1), func(ctx context.Context, args []string) error { return a.compareTrace(ctx, args[0], f) })
	fl := c.Flags()
	fl.StringArrayVar(&f.runs, "run", nil, "a run, `NAME=KEY:VALUE,…` (repeat it)")
	fl.BoolVar(&f.partitioned, "partitioned", false, "add a run without sharing, and compare waits with it")
	fl.BoolVar(&f.exitCode, "exit-code", false, "exit with 3 if any run decides differently from the first")
	f.addShape(c)
	f.timeFlags.add(c)
	f.addLoad(c)
	formatFlag(c, &f.format)
	fl.StringVar(&f.html, "html", "", "write a report with plots that opens offline to `FILE`")
	fl.BoolVarP(&f.quiet, "quiet", "q", false, "no progress and no remarks")
	fl.BoolVar(&f.progress, "progress", false, "draw progress even if stderr is no terminal")
	return c
}

// contender is one run of a comparison.
type contender struct {
	name   string
	names  policyset.Names
	queues string // shared, pooled or partitioned

	tr        *trace.Trace
	out       *outcome
	decisions []compare.Decision
	again     compare.Player
}

// difference is where a run first decides otherwise than the first run.
type difference struct {
	A    string  `json:"a"`
	B    string  `json:"b"`
	Same bool    `json:"same"`
	At   float64 `json:"at_s"`
	InA  string  `json:"in_a"`
	InB  string  `json:"in_b"`

	lines compare.Lines
}

type compareReport struct {
	Trace       traceInfo    `json:"trace"`
	Runs        []*outcome   `json:"runs"`
	Differences []difference `json:"differences"`
}

func (a *app) compareTrace(ctx context.Context, path string, f compareFlags) (err error) {
	if err := errors.Join(checkFormat(f.format), f.timeFlags.check()); err != nil {
		return err
	}
	runs, err := f.contenders()
	if err != nil {
		return err
	}
	tr, original, err := f.shaped(path)
	if err != nil {
		return err
	}
	if tr.Static && (f.html != "" || f.partitioned) {
		return misused("leave out --html and --partitioned", "a fill has no time and no waits")
	}
	var l policyset.Loader
	defer func() { err = errors.Join(err, l.Close()) }()
	for _, r := range runs {
		if err := a.contend(ctx, &l, r, tr, original, f); err != nil {
			return err
		}
	}
	rep, err := f.judge(ctx, tr, runs)
	if err != nil {
		return err
	}
	if err := f.draw(tr, runs); err != nil {
		return err
	}
	for _, r := range runs {
		if !f.quiet {
			a.tellFailures("run "+r.name+": ", r.out.Policies)
		}
	}
	if err := a.print(f.format, rep, func() error { return compareText(a.out, tr, runs, rep) }); err != nil {
		return err
	}
	for _, d := range rep.Differences {
		if !d.Same && f.exitCode {
			return silent(exitNotable)
		}
	}
	return nil
}

// contenders reads the runs of the command line.
func (f *compareFlags) contenders() ([]*contender, error) {
	var runs []*contender
	seen := map[string]bool{}
	for _, text := range f.runs {
		r, err := parseRun(text)
		if err != nil {
			return nil, err
		}
		if seen[r.name] {
			return nil, misused("give each run its own name", "two runs are named %q", r.name)
		}
		seen[r.name] = true
		runs = append(runs, r)
	}
	if f.partitioned {
		if seen["partitioned"] {
			return nil, misused("give your run another name", "--partitioned adds a run named partitioned, and there is one")
		}
		runs = append(runs, &contender{name: "partitioned", queues: "partitioned"})
	}
	if len(runs) < 2 {
		return nil, misused("for example --run a=job-order:fifo --run b=job-order:fair", "a comparison needs two runs at least, here are %d", len(runs))
	}
	return runs, nil
}

// parseRun reads NAME=KEY:VALUE,KEY:VALUE.
func parseRun(text string) (*contender, error) {
	const hint = "write NAME=KEY:VALUE,KEY:VALUE with the keys job-order, fairness, victims, placement, admission, policies, queues"
	name, rest, _ := strings.Cut(text, "=")
	if name == "" {
		return nil, misused(hint, "--run %q has no name", text)
	}
	r := &contender{name: name, queues: "shared"}
	fields := map[string]*string{
		"job-order": &r.names.JobOrder, "fairness": &r.names.Fairness, "victims": &r.names.Victims,
		"placement": &r.names.Placement, "admission": &r.names.Admission, "policies": &r.names.Policies, "queues": &r.queues,
	}
	for _, pair := range strings.Split(rest, ",") {
		if pair == "" {
			continue
		}
		key, value, ok := strings.Cut(pair, ":")
		to := fields[key]
		if !ok || to == nil || value == "" {
			return nil, misused(hint, "--run %s: %q is not KEY:VALUE with a known key", name, pair)
		}
		*to = value
	}
	switch r.queues {
	case "shared", "pooled", "partitioned":
		return r, nil
	}
	return nil, misused("queues are shared, pooled or partitioned", "--run %s: unknown queues %q", name, r.queues)
}

// contend plays one run and keeps what it decided.
func (a *app) contend(ctx context.Context, l *policyset.Loader, r *contender, tr, original *trace.Trace, f compareFlags) error {
	mine := *tr
	r.tr = &mine
	switch r.queues {
	case "pooled":
		r.tr = tr.Pooled()
	case "partitioned":
		r.tr = tr.Partitioned()
	}
	set, tree, err := l.Set(ctx, r.names, r.tr.Queues)
	if err != nil {
		return err
	}
	r.tr.Queues = tree
	update, end := a.progress(f.progress, f.quiet, "playing "+r.name)
	defer end()
	if tr.Static {
		fill, err := sim.Fill(ctx, r.tr, original, set, f.seed, update)
		if err != nil {
			return err
		}
		r.out = &outcome{Name: r.name, Fill: fill}
		return nil
	}
	o := f.options(r.tr, set, f.seed)
	o.Progress = update
	o.Observe = func(s sim.Observation) {
		if d, ok := compare.Of(s.Plan); ok {
			r.decisions = append(r.decisions, d)
		}
	}
	if r.out, err = playTrace(ctx, r.tr, o); err != nil {
		return err
	}
	r.out.Name = r.name
	r.again = compare.Again(r.tr, o)
	return nil
}

// judge finds the first differences, and who is worse off than alone.
func (f *compareFlags) judge(ctx context.Context, tr *trace.Trace, runs []*contender) (*compareReport, error) {
	rep := &compareReport{Trace: infoOf(tr), Differences: []difference{}}
	for i, r := range runs {
		rep.Runs = append(rep.Runs, r.out)
		if i == 0 || tr.Static {
			continue
		}
		d, err := differ(ctx, runs[0], r)
		if err != nil {
			return nil, err
		}
		rep.Differences = append(rep.Differences, d)
	}
	if f.partitioned {
		private := runs[len(runs)-1].out.Scorecard
		for _, r := range runs[:len(runs)-1] {
			r.out.Scorecard.Against(private)
		}
	}
	return rep, nil
}

func differ(ctx context.Context, a, b *contender) (difference, error) {
	d := difference{A: a.name, B: b.name}
	k := compare.First(a.decisions, b.decisions)
	if k < 0 {
		d.Same = true
		return d, nil
	}
	lines, err := compare.Explain(ctx, k, a.decisions, b.decisions, a.again, b.again)
	if err != nil {
		return d, err
	}
	d.At, d.InA, d.InB, d.lines = float64(lines.Now)/float64(spec.Second), lines.A, lines.B, lines
	return d, nil
}

// draw writes the report with the plots.
func (f *compareFlags) draw(tr *trace.Trace, runs []*contender) error {
	if f.html == "" {
		return nil
	}
	var all []report.Run
	for _, r := range runs {
		notes := []string{describe(r.tr), "policies: " + r.names.String()}
		all = append(all, report.Run{Name: r.name, Card: r.out.Scorecard, Series: r.out.series, Notes: append(notes, r.tr.Notes...)})
	}
	var files output.Files
	defer files.Discard()
	if err := files.Write(f.html, func(w io.Writer) error { return report.HTML(w, "muster sim compare "+tr.Name, all) }); err != nil {
		return err
	}
	return files.Commit()
}

func compareText(w io.Writer, tr *trace.Trace, runs []*contender, rep *compareReport) error {
	fmt.Fprintln(w, describe(tr))
	notesText(w, tr.Notes)
	fmt.Fprintln(w)
	var names []string
	var cards []*score.Card
	var fills []*sim.FillResult
	for _, r := range runs {
		names = append(names, r.name)
		cards = append(cards, r.out.Scorecard)
		fills = append(fills, r.out.Fill)
	}
	if tr.Static {
		return fillTable(w, names, fills)
	}
	if err := score.Compare(w, names, cards); err != nil {
		return err
	}
	fmt.Fprintln(w, "\nFIRST DIFFERENCE")
	for _, d := range rep.Differences {
		d.text(w)
	}
	return nil
}

func (d difference) text(w io.Writer) {
	if d.Same {
		fmt.Fprintf(w, "  %s and %s decide the same, from beginning to end\n", d.A, d.B)
		return
	}
	at := time.Duration(d.lines.Now).Round(time.Millisecond)
	fmt.Fprintf(w, "  %s and %s decide the same until %s; then\n", d.A, d.B, at)
	for _, side := range []struct {
		name, line string
		at         spec.Time
	}{{d.A, d.InA, d.lines.ATime}, {d.B, d.InB, d.lines.BTime}} {
		line := side.line
		if line == "" {
			line = "nothing more"
		}
		if side.at > d.lines.Now {
			line = "nothing; later, at " + time.Duration(side.at).Round(time.Millisecond).String() + ": " + line
		}
		fmt.Fprintf(w, "    %-14s %s\n", side.name, clip(line, 150))
	}
}

// clip shortens a line that names very many nodes.
func clip(s string, most int) string {
	if r := []rune(s); len(r) > most {
		return string(r[:most-1]) + "…"
	}
	return s
}
