package cli

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/output"
	"github.com/musterhq/muster/runtime/sim/trace"
)

func (a *app) simImport() *cobra.Command {
	var f traceFlags
	var to string
	c := a.command("import TRACE -o FILE.yaml|DIR", "turn a trace into Muster's own format", aboutTraces+`

A name that ends in .yaml or .yml gives one file; anything else is a folder, which
gets jobs.csv, nodes.csv and queues.csv. docs/trace-format.md describes both.`, `
  muster sim import talk1 -o talk1.yaml
  muster sim import ../shared/traces/muri-philly64/trace1.csv.gz --format muri -o muri1`,
		"", cobra.ExactArgs(1), func(_ context.Context, args []string) error { return a.importTrace(args[0], to, f) })
	f.addShape(c)
	f.addPool(c)
	f.addLoad(c)
	c.Flags().StringVarP(&to, "output", "o", "", "`FILE|DIR` to write (required)")
	return c
}

func (a *app) importTrace(path, to string, f traceFlags) error {
	if to == "" {
		return misused("add -o trace.yaml, or -o FOLDER for CSV", "where shall the trace go?")
	}
	tr, _, err := f.shaped(path)
	if err != nil {
		return err
	}
	if ext := filepath.Ext(to); ext == ".yaml" || ext == ".yml" {
		var files output.Files
		defer files.Discard()
		if err := files.Write(to, func(w io.Writer) error { return trace.WriteYAML(w, tr) }); err != nil {
			return err
		}
		if err := files.Commit(); err != nil {
			return err
		}
	} else if err := writeFolder(to, tr); err != nil {
		return err
	}
	for _, n := range tr.Notes {
		a.remark("note: %s", n)
	}
	fmt.Fprintf(a.out, "%s: %s\n", to, describe(tr))
	return nil
}

// writeFolder writes the CSV files beside their folder, and moves them into it only
// when all are whole.
func writeFolder(dir string, tr *trace.Trace) error {
	dir = filepath.Clean(dir)
	tmp, err := os.MkdirTemp(filepath.Dir(dir), "."+strings.TrimPrefix(filepath.Base(dir), ".")+".*.tmp")
	if err != nil {
		return failed("name a folder below one that is there", "cannot write %s: %w", dir, err)
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // what is left of it is in our own temporary folder
	if err := trace.WriteCSV(tmp, tr); err != nil {
		return failed("an openb or philly trace may need --pooled", "cannot write %s: %w", dir, err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return failed("name a folder, or a file that ends in .yaml", "cannot write %s: %w", dir, err)
	}
	entries, err := os.ReadDir(tmp)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := os.Rename(filepath.Join(tmp, e.Name()), filepath.Join(dir, e.Name())); err != nil {
			return fmt.Errorf("cannot write %s: %w", dir, err)
		}
	}
	return nil
}
