package cli

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/runtime/config"
	"github.com/musterhq/muster/runtime/sim/trace"
)

// traceFlags say how a trace is read and what is made of it.
type traceFlags struct {
	o      trace.Options
	queues string
	pooled bool
	parted bool
	fill   int64 // permille
	seed   uint64
}

// defaultFillSeed is the first of the seeds of the published experiment.
const defaultFillSeed = 42

// addLoad adds the flags of reading.
func (t *traceFlags) addLoad(c *cobra.Command) {
	f := c.Flags()
	var names []string
	for _, known := range trace.Formats() {
		names = append(names, known.Name)
	}
	f.StringVar(&t.o.Format, "format", "", "`FORMAT` of the trace: "+strings.Join(names, ", ")+" (default: by its content)")
	f.Int64Var(&t.o.Nodes, "nodes", 0, "`NUMBER` of nodes, for formats that describe no cluster")
	f.Int64Var(&t.o.GPUsPerNode, "gpus-per-node", 0, "`NUMBER` of GPUs of each of them")
	f.StringVar(&t.o.NodeFile, "node-file", "", "`FILE` with the nodes of openb and csv (default: beside the jobs)")
	f.StringVar(&t.o.QueueFile, "queue-file", "", "`FILE` with the queues of csv, or the nodes per virtual cluster of philly (default: beside the jobs)")
	f.StringVar(&t.o.WarmupFile, "warmup-file", "", "`FILE` with philly jobs that come before those that count")
	f.BoolVar(&t.o.Static, "static", false, "read openb as a fill without time")
	f.BoolVar(&t.o.PerfectEstimates, "perfect-estimates", false, "declare every job's true run time to the scheduler")
}

// addShape adds the flags of what is played.
func (t *traceFlags) addShape(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&t.queues, "queues", "", "`FILE` queues.yaml whose default partition replaces the trace's queues")
	f.Int64Var(&t.fill, "fill", 0, "fill the cluster without time until so many `PERMILLE` of its GPUs are asked for (1300 is the published experiment)")
	f.Uint64Var(&t.seed, "seed", 0, fmt.Sprintf("`NUMBER` that draws the jobs of --fill (default %d); else shuffles the events of one instant, 0 keeps their order", defaultFillSeed))
}

func (t *traceFlags) addPool(c *cobra.Command) {
	f := c.Flags()
	f.BoolVar(&t.pooled, "pooled", false, "put all jobs into one queue without limits")
	f.BoolVar(&t.parted, "partitioned", false, "close every queue at its guarantee: no sharing")
	c.MarkFlagsMutuallyExclusive("pooled", "partitioned")
}

// load reads a trace: talk1, talk2 and use are the program's own, anything else a path.
func (t *traceFlags) load(path string) (*trace.Trace, error) {
	switch path {
	case "talk1":
		return trace.Talk1(), nil
	case "talk2":
		return trace.Talk2(), nil
	case "use":
		return trace.Use(), nil
	}
	return trace.Load(path, t.o)
}

// shaped reads a trace and makes of it what the flags say. original is the trace
// before it was inflated.
func (t *traceFlags) shaped(path string) (tr, original *trace.Trace, err error) {
	if tr, err = t.load(path); err != nil {
		return nil, nil, err
	}
	if t.queues != "" {
		if err := t.replaceQueues(tr); err != nil {
			return nil, nil, err
		}
	}
	switch {
	case t.pooled:
		tr = tr.Pooled()
	case t.parted:
		tr = tr.Partitioned()
	}
	original = tr
	if t.fill < 0 || t.fill > 100_000 {
		return nil, nil, misused("1300 is 130 %, the published experiment", "--fill %d is not from 1 to 100000 permille", t.fill)
	}
	if t.fill > 0 {
		if t.seed == 0 {
			t.seed = defaultFillSeed
		}
		tr = tr.Fill(t.fill, t.seed)
	}
	return tr, original, nil
}

// replaceQueues takes the queues of a configuration. Every job must have a leaf in
// it: a trace that is played in part would give figures that look right.
func (t *traceFlags) replaceQueues(tr *trace.Trace) error {
	text, err := os.ReadFile(t.queues)
	if err != nil {
		return failed("--queues takes a queues.yaml", "cannot read %w", pathFirst(err))
	}
	file, problems := config.Parse(t.queues, text)
	if err := problems.Err(); err != nil {
		return err
	}
	var found bool
	for _, p := range file.Partitions {
		if p.Name == "default" {
			tr.Queues, found = p.Tree, true
		}
	}
	if !found {
		return failed("YuniKorn calls the partition that everybody uses default", "%s has no partition named default", t.queues)
	}
	leaves := map[string]bool{}
	for _, l := range tr.Leaves() {
		leaves[l.Path] = true
	}
	lost, first := 0, ""
	for i := range tr.Jobs {
		if q := tr.Jobs[i].Queue; !leaves[q] {
			lost++
			if first == "" {
				first = fmt.Sprintf("job %s is in %s", tr.Jobs[i].ID, q)
			}
		}
	}
	if lost > 0 {
		return failed("the leaves of the file must have the names of the trace's queues", "%d of %d jobs have no leaf queue in %s: %s", lost, len(tr.Jobs), t.queues, first)
	}
	tr.Notes = append(tr.Notes, "queues of "+t.queues)
	return nil
}

// describe says in one line what a trace is.
func describe(tr *trace.Trace) string {
	text := fmt.Sprintf("%s (%s): %s, %s, %s GPUs, %s", tr.Name, tr.Format, plural(len(tr.Jobs), "job"), plural(len(tr.Nodes), "node"),
		gpus(int64(tr.MilliGPUs())), plural(len(tr.Leaves()), "leaf queue"))
	switch {
	case tr.Static:
		return text + ", without time"
	case tr.End > 0:
		return text + ", " + time.Duration(tr.End-tr.Start).Round(time.Second).String()
	case len(tr.Jobs) > 0:
		return text + ", submitted within " + time.Duration(tr.Jobs[len(tr.Jobs)-1].Submit-tr.Jobs[0].Submit).Round(time.Second).String()
	}
	return text
}

// gpus is a number of milli-GPUs with what decimals it needs.
func gpus(milli int64) string {
	return strings.TrimRight(strings.TrimRight(fmt.Sprintf("%d.%03d", milli/1000, milli%1000), "0"), ".")
}

// identity is name@version.
func identity(name, version string) string {
	if version == "" {
		return name
	}
	return name + "@" + version
}
