package cli

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/author"
	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/runtime/config"
	"github.com/musterhq/muster/runtime/rules"
	"github.com/musterhq/muster/runtime/sim/trace"
)

const checkCodes = "0 no errors, 1 errors, 2 it was called wrongly, 3 warnings only (with --lint)"

// checkReport is the JSON of every check.
type checkReport struct {
	Files    []checkedFile `json:"files"`
	Errors   int           `json:"errors"`
	Warnings int           `json:"warnings"`
}

type checkedFile struct {
	File     string    `json:"file"`
	Kind     string    `json:"kind"`
	Summary  string    `json:"summary,omitempty"` // what it is, if it is usable
	Problems []finding `json:"problems"`
	// Notes are what is worth knowing of a file that is in order.
	Notes []string `json:"notes,omitempty"`
}

type checkFlags struct {
	format string
	lint   bool
}

func (f *checkFlags) add(c *cobra.Command) {
	formatFlag(c, &f.format)
	c.Flags().BoolVar(&f.lint, "lint", false, "exit with 3 if there are warnings and no errors")
}

func (a *app) checkConfig() *cobra.Command {
	var f checkFlags
	c := a.command("config FILE…", "find every problem of queue configurations", `
Reads YuniKorn's queues.yaml as it is, and Muster's own keys. Errors are what a
scheduler would refuse, warnings are settings that nothing acts on. All problems
are listed at once, with line and column. Of the manifest of a Kubernetes ConfigMap the
text below data, key queues.yaml, is read. Notes are no problems: where a file that is
in order lets everybody submit everywhere, it is said.`, `
  muster check config queues.yaml
  muster check config --lint -o json queues.yaml`,
		checkCodes, cobra.MinimumNArgs(1), func(_ context.Context, args []string) error {
			return a.checkAll(f, args, checkConfigFile)
		})
	f.add(c)
	return c
}

func checkConfigFile(path string) (checkedFile, error) {
	out := checkedFile{File: path, Kind: "config"}
	text, err := os.ReadFile(path)
	if err != nil {
		return out, failed("name a queues.yaml that can be read", "cannot read %w", pathFirst(err))
	}
	file, usedDefault, problems := config.ParseManifest(path, text)
	out.Problems = configFindings(problems)
	if file != nil {
		var parts []string
		for _, p := range file.Partitions {
			leaves := (&trace.Trace{Queues: p.Tree}).Leaves()
			parts = append(parts, fmt.Sprintf("partition %s with %s", p.Name, plural(len(leaves), "leaf queue")))
			out.Notes = append(out.Notes, p.Notes()...)
		}
		if usedDefault {
			out.Notes = []string{config.DefaultUsed}
		}
		out.Summary = strings.Join(parts, ", ")
	}
	return out, nil
}

func (a *app) checkTrace() *cobra.Command {
	var f checkFlags
	var t traceFlags
	c := a.command("trace PATH…", "find every problem of traces", `
Reads a trace as `+"`muster sim run`"+` would and says what it is.`, `
  muster check trace ../shared/traces/openb-2023
  muster check trace --format csv -o json jobs.csv`,
		checkCodes, cobra.MinimumNArgs(1), func(_ context.Context, args []string) error {
			return a.checkAll(f, args, func(path string) (checkedFile, error) { return checkTraceFile(path, t) })
		})
	f.add(c)
	t.addLoad(c)
	return c
}

func checkTraceFile(path string, t traceFlags) (checkedFile, error) {
	out := checkedFile{File: path, Kind: "trace"}
	tr, err := t.load(path)
	if err != nil {
		if out.Problems = findingsOf(err); len(out.Problems) == 0 {
			return out, err
		}
		return out, nil
	}
	out.Summary = describe(tr)
	return out, nil
}

func (a *app) checkPolicy() *cobra.Command {
	var f checkFlags
	c := a.command("policy X.wasm|DIR…", "find out whether policies can be used", `
A module is checked against the ABI before any of its code runs; then each of its
kinds decides a trial batch of three rows. A folder is compiled as admission rules
in Rego, with its data.json.`, `
  muster check policy bin/policies/fifo.wasm
  muster check policy policies/library/admission`,
		checkCodes, cobra.MinimumNArgs(1), func(ctx context.Context, args []string) error {
			var l policyset.Loader
			err := a.checkAll(f, args, func(path string) (checkedFile, error) { return checkPolicyFile(ctx, &l, path) })
			return errors.Join(err, l.Close())
		})
	f.add(c)
	return c
}

func checkPolicyFile(ctx context.Context, l *policyset.Loader, path string) (checkedFile, error) {
	info, err := os.Stat(path)
	if err != nil {
		return checkedFile{}, failed("name a module or a folder of rules that is there", "cannot read %w", pathFirst(err))
	}
	out := checkedFile{File: path, Kind: "wasm"}
	if _, err := os.Stat(filepath.Join(path, author.Manifest)); err == nil && info.IsDir() {
		return checkProject(ctx, l, path)
	}
	if info.IsDir() || strings.HasSuffix(path, ".tar.gz") {
		out.Kind = "rego"
		r, err := rules.Open(ctx, path, rules.Options{})
		if err == nil {
			out.Summary = strings.Join(r.Kinds(), ", ") + " rules, " + r.Digest()
			return out, nil
		}
		return out.with(&policyset.FileError{Path: path, Err: err})
	}
	m, err := l.Load(ctx, path)
	if err != nil {
		return out.with(err)
	}
	i := m.Info()
	out.Summary = fmt.Sprintf("%s decides %s, %s", identity(i.Name, i.Version), strings.Join(policyset.Kinds(i.Kinds), ", "), i.Digest)
	return out, nil
}

// checkProject checks the policy.yaml of a project, and its module if it is built.
func checkProject(ctx context.Context, l *policyset.Loader, dir string) (checkedFile, error) {
	out := checkedFile{File: dir, Kind: "project"}
	p, err := author.Open(dir)
	if err != nil {
		f, err := out.with(err)
		return f, authorFailed(err)
	}
	md := p.Metadata
	module := filepath.Join(dir, md.Name+".wasm")
	if _, err := os.Stat(module); err != nil {
		out.Summary = fmt.Sprintf("the policy.yaml of %s; not built yet: muster policy build %s", identity(md.Name, md.Version), dir)
		return out, nil
	}
	if out, err = checkPolicyFile(ctx, l, module); err != nil || len(out.Problems) > 0 {
		return out, err
	}
	m, err := l.Load(ctx, module)
	if err != nil {
		return out, err
	}
	if !reflect.DeepEqual(m.Metadata(), md) {
		out.Problems = append(out.Problems, finding{
			File: module, Code: "stale", Severity: string(config.Warning), Message: "the module is older than " + filepath.Join(dir, author.Manifest),
			Hint: "muster policy build " + dir,
		})
	}
	return out, nil
}

// with takes an error apart into problems, or hands it on if it has no place.
func (f checkedFile) with(err error) (checkedFile, error) {
	if f.Problems = findingsOf(err); len(f.Problems) == 0 {
		return f, err
	}
	return f, nil
}

// checkAll checks each file and prints what was found. A file that can't be read
// ends it before anything is printed.
func (a *app) checkAll(f checkFlags, paths []string, check func(string) (checkedFile, error)) error {
	if err := checkFormat(f.format); err != nil {
		return err
	}
	var r checkReport
	for _, path := range paths {
		file, err := check(path)
		if err != nil {
			return err
		}
		if file.Problems == nil {
			file.Problems = []finding{}
		}
		errs, warnings := tally(file.Problems)
		r.Errors, r.Warnings = r.Errors+errs, r.Warnings+warnings
		r.Files = append(r.Files, file)
	}
	if err := a.print(f.format, r, func() error { a.checkText(r); return nil }); err != nil {
		return err
	}
	switch {
	case r.Errors > 0:
		return failed("each problem above has its place; mend it and check again", "%s in %s", plural(r.Errors, "error"), plural(len(paths), "file"))
	case r.Warnings > 0 && f.lint:
		a.remark("%s in %s\nhint: without --lint, warnings do not change the exit code", plural(r.Warnings, "warning"), plural(len(paths), "file"))
		return silent(exitNotable)
	}
	return nil
}

func (a *app) checkText(r checkReport) {
	for _, file := range r.Files {
		for _, p := range file.Problems {
			fmt.Fprint(a.out, p.text())
		}
		if errs, _ := tally(file.Problems); errs == 0 {
			fmt.Fprintf(a.out, "%s: ok: %s\n", file.File, file.Summary)
			notesText(a.out, file.Notes)
		}
	}
}
