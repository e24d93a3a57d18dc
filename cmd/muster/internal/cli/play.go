package cli

import (
	"context"
	"fmt"
	"io"
	"time"

	"github.com/schollz/progressbar/v3"
	"github.com/spf13/cobra"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/sim"
	"github.com/musterhq/muster/runtime/sim/score"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// policyFlags name the policies of a run.
func policyFlags(c *cobra.Command, n *policyset.Names) {
	f := c.Flags()
	f.StringVar(&n.JobOrder, "job-order", "", "`POLICY` that orders the jobs of a queue: "+list(order.Names(policies.JobOrder))+" (default: what the queues say, else fifo)")
	f.StringVar(&n.Fairness, "fairness", "", "`POLICY` of the queues' shares: "+list(order.Names(policies.QueueShares)))
	f.StringVar(&n.Victims, "victims", "", "`POLICY` of the victims' costs: "+list(order.Names(policies.VictimCosts)))
	f.StringVar(&n.Placement, "placement", "", "`STRATEGY` of choosing nodes: fragmentation, binpack or spread")
	f.StringVar(&n.Admission, "admission", "", "`DIR` or bundle of rules in Rego: admission, placement, protection")
	f.StringVar(&n.Policies, "policies", "", "`FILE` policies.yaml whose policies are loaded before the run, for the queues and flags to name")
}

// timeFlags say how time passes in a run.
type timeFlags struct{ from, until, eviction, save time.Duration }

func (t *timeFlags) add(c *cobra.Command) {
	f := c.Flags()
	f.DurationVar(&t.until, "until", 0, "end after so much simulated time, as 8h (default: where the trace ends, else when its last job has ended)")
	f.DurationVar(&t.from, "from", 0, "simulated time before which nothing counts in the scorecard")
	f.DurationVar(&t.eviction, "eviction-time", 0, "how long a victim takes to be gone, as 30s")
	f.DurationVar(&t.save, "save-after", 0, "how long a job takes to save its work after a notice (default: it does not)")
}

func (t *timeFlags) check() error {
	if min(t.from, t.until, t.eviction, t.save) < 0 {
		return misused("times are as 90s, 30m or 8h", "a time is below 0")
	}
	if t.until > 0 && t.from >= t.until {
		return misused("--from must come before --until", "nothing would count from %s until %s", t.from, t.until)
	}
	return nil
}

// options are sim's for a trace. What happens at the end itself is left out, so
// that queues are seen as they were.
func (t *timeFlags) options(tr *trace.Trace, set cycle.Set, seed uint64) sim.Options {
	o := sim.Options{Set: set, From: spec.Time(t.from), EvictionTime: spec.Duration(t.eviction), SaveAfter: spec.Duration(t.save), Seed: seed}
	switch {
	case t.until > 0:
		o.Until = tr.Start + spec.Time(t.until)
	case tr.End > 0:
		o.Until = tr.End
	}
	if o.From == 0 {
		o.From = tr.Offset // the warm-up comes before file time 0
	}
	return o
}

// traceInfo is what the reports say about a trace.
type traceInfo struct {
	Name   string   `json:"name"`
	Format string   `json:"format"`
	Jobs   int      `json:"jobs"`
	Nodes  int      `json:"nodes"`
	GPUs   float64  `json:"gpus"`
	Static bool     `json:"static"`
	Notes  []string `json:"notes"`
}

func infoOf(tr *trace.Trace) traceInfo {
	t := traceInfo{
		Name: tr.Name, Format: tr.Format, Jobs: len(tr.Jobs), Nodes: len(tr.Nodes),
		GPUs: float64(tr.MilliGPUs()) / 1000, Static: tr.Static, Notes: tr.Notes,
	}
	if t.Notes == nil {
		t.Notes = []string{}
	}
	return t
}

// outcome is one run's part of the reports.
type outcome struct {
	Name     string           `json:"name,omitempty"`
	Policies []plan.PolicyUse `json:"policies"`
	// Scorecard of a run in time; Fill of a static one.
	Scorecard *score.Card     `json:"scorecard,omitempty"`
	Fill      *sim.FillResult `json:"fill,omitempty"`
	// Digest is over all plans: equal runs have equal digests.
	Digest string         `json:"digest,omitempty"`
	Cycles int            `json:"cycles,omitempty"`
	Events map[string]int `json:"events,omitempty"`
	Stuck  []plan.Pending `json:"never_started,omitempty"`

	series *score.Series
}

// playTrace plays a trace in time. A trace with events that make no sense is
// refused as a whole: its figures would be of another workload.
func playTrace(ctx context.Context, tr *trace.Trace, o sim.Options) (*outcome, error) {
	res, err := sim.Run(ctx, tr, o)
	if err != nil {
		return nil, err
	}
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if n := len(res.Refused); n > 0 {
		return nil, failed("`muster check trace` finds what it can tell beforehand", "%s of the trace made no sense, the first: %w", plural(n, "event"), res.Refused[0])
	}
	out := &outcome{
		Policies: res.Policies, Scorecard: res.Card, Digest: res.Digest, Cycles: res.Cycles, Events: res.Events,
		Stuck: res.Stuck, series: res.Series,
	}
	if out.Policies == nil {
		out.Policies = []plan.PolicyUse{}
	}
	return out, nil
}

// eventLog writes each plan as a line of JSON.
type eventLog struct {
	w   io.Writer
	err error
}

func (e *eventLog) observe(o sim.Observation) {
	if e.err == nil {
		_, e.err = e.w.Write(append(o.Plan.JSON(), '\n'))
	}
}

// progress draws how far a run is, on stderr, for people.
func (a *app) progress(wanted, quiet bool, what string) (update func(done, total int), end func()) {
	if quiet || !wanted && terminal(a.err) == nil {
		return nil, func() {}
	}
	var bar *progressbar.ProgressBar
	return func(done, total int) {
			if bar == nil {
				bar = progressbar.NewOptions(max(total, 1), progressbar.OptionSetWriter(a.err), progressbar.OptionSetDescription(what),
					progressbar.OptionSetWidth(30), progressbar.OptionThrottle(100*time.Millisecond), progressbar.OptionShowCount(),
					progressbar.OptionSetPredictTime(true), progressbar.OptionClearOnFinish(), progressbar.OptionEnableColorCodes(false))
			}
			_ = bar.Set(done) // a bar that can't be drawn is no reason to stop
		}, func() {
			if bar != nil {
				_ = bar.Finish()
			}
		}
}

// tellFailures says which policies failed, and how often.
func (a *app) tellFailures(run string, uses []plan.PolicyUse) {
	for _, u := range uses {
		if u.Fallbacks > 0 {
			a.remark("%s%s failed in %d of %d calls, built-in %s answered instead; the first time: %s", run, identity(u.Name, u.Version), u.Fallbacks, u.Calls, u.Fallback, u.Failure)
		}
	}
}

// policyTable lists who decided.
func policyTable(w io.Writer, uses []plan.PolicyUse) {
	fmt.Fprintln(w, "POLICIES")
	for _, u := range uses {
		fmt.Fprintf(w, "  %-12s  %-36s  %9d calls  %11d rows  %s\n", u.Kind, identity(u.Name, u.Version)+" "+short(u.Digest), u.Calls, u.Rows, plural(u.Fallbacks, "fallback"))
	}
}

// short is the beginning of a digest.
func short(digest string) string {
	if len(digest) > len("sha256:")+12 {
		return digest[:len("sha256:")+12]
	}
	return digest
}

func notesText(w io.Writer, notes []string) {
	for _, n := range notes {
		fmt.Fprintln(w, "  note: "+n)
	}
}
