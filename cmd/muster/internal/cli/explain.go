package cli

import (
	"context"
	"encoding/json"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/runtime/serve/client"
	"github.com/musterhq/muster/runtime/serve/view"
)

func (a *app) explain() *cobra.Command {
	c := a.group("explain", "say why a job waits, or what a queue or node holds", `
  muster explain job team/train
  muster explain queue root.research`,
		a.explainOne("job", "say why a job waits, where it runs, and why it was evicted", `
The levels of the decision in order: structure, policy, quota, order, fit, victims. The
first that is marked with ✗ holds the job up; what would help is said last.`,
			"  muster explain job team/train\n  muster explain job team/train -o json"),
		a.explainOne("queue", "say what a queue holds, is owed, and waits for", "",
			"  muster explain queue root.research.llm\n  muster explain queue research -o yaml"),
		a.explainOne("node", "say what is free on a node, and who is on it", "",
			"  muster explain node gpu-17\n  muster explain node gpu-17 -o json"))
	c.Aliases = []string{"why"}
	return c
}

func (a *app) explainOne(kind, short, long, examples string) *cobra.Command {
	var f readerFlags
	c := a.command(kind+" NAME", short, long, examples, readerExits, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
		if err := f.checkFormat(); err != nil {
			return err
		}
		reader, err := f.open()
		if err != nil {
			return err
		}
		defer reader.Close()
		var raw json.RawMessage
		m, err := readFrom(ctx, reader, client.Path("/explain/"+kind, args[0]), nil, &raw)
		if err != nil {
			return err
		}
		a.stale(m)
		return a.printRead(f.format, raw, func() error { return a.explainText(raw) })
	})
	f.add(c)
	f.addFormat(c)
	return c
}

var verdictMarks = map[view.Verdict]string{view.Passed: "✓", view.Blocked: "✗", view.NotReached: " ", view.Note: "·"}

func (a *app) explainText(raw json.RawMessage) error {
	var e view.Explanation
	if err := json.Unmarshal(raw, &e); err != nil {
		return err
	}
	fmt.Fprintln(a.out, safe(e.Summary))
	if len(e.Levels) > 0 {
		fmt.Fprintln(a.out)
	}
	for _, l := range e.Levels {
		text := safe(l.Text)
		if l.Verdict == view.NotReached {
			text = "not reached"
		}
		fmt.Fprintf(a.out, "%s %-10s %s\n", verdictMarks[l.Verdict], l.Level, text)
		for _, d := range l.Details {
			fmt.Fprintf(a.out, "             %s\n", safe(d))
		}
	}
	for _, r := range e.Extra {
		fmt.Fprintf(a.out, "! %-10s %s [%s]\n", "outside", safe(r.Text), safe(r.Code))
	}
	a.explainTasks(&e)
	for i := range e.Evictions {
		fmt.Fprintf(a.out, "evicted %s\n", safe(e.Evictions[i].Sentence()))
	}
	if e.Unblock != "" {
		fmt.Fprintf(a.out, "\nwhat would help: %s\n", safe(e.Unblock))
	}
	return nil
}

// maxTasks is how many tasks the text lists; -o json has all.
const maxTasks = 32

func (a *app) explainTasks(e *view.Explanation) {
	if len(e.Tasks) == 0 {
		return
	}
	fmt.Fprintln(a.out)
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	for i, t := range e.Tasks {
		if i == maxTasks {
			fmt.Fprintf(w, "and %d more (-o json lists all)\n", len(e.Tasks)-i)
			break
		}
		where := "on " + t.Node
		if t.Node == "" {
			where = "of " + t.Job
		}
		fmt.Fprintf(w, "task %d\t%s\t%s\tsince %s\n", t.Index, safe(where), strings.ToLower(t.State), t.Since.UTC().Format(time.RFC3339))
	}
	_ = w.Flush() // the stream remembers a failure
}
