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

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/conformance/suite"
	"github.com/musterhq/muster/conformance/suite/report"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
)

const conformanceCodes = "0 every law that must hold does, 1 one is broken or the suite could not run, 2 it was called wrongly, 3 only laws that should hold are broken (with --lint)"

type conformanceFlags struct {
	format, out    string
	seed           uint64
	profiles, laws []string
	params         []string
	quiet, lint    bool
}

func (a *app) conformance() *cobra.Command {
	return a.group("conformance", "prove that policies keep the laws", `
  muster conformance run my-order.wasm
  muster conformance report conformance/report.yaml`,
		a.conformanceRun(), a.conformanceReport())
}

func (a *app) conformanceRun() *cobra.Command {
	var f conformanceFlags
	c := a.command("run X.wasm|NAME", "hold a policy to the laws of the conformance suite", `
Every law is one sentence that must be true of every batch; docs/conformance.md lists
them. They are tried on batches made from a seed, so that a run can be repeated, and
what breaks a law is made as small as can be. NAME is a built-in policy; "host" holds
this program to its own promises, with modules that loop, trap and lie.

--out writes report.yaml, junit.xml, report.html, badge.svg and, for each broken law,
the batch that breaks it: `+"`muster policy run X.wasm repro/….mbatch`"+` sends it again.`, `
  muster conformance run my-order.wasm --out conformance
  muster conformance run my-order.wasm --profile core --seed 7 -o json`,
		conformanceCodes, cobra.ExactArgs(1), func(ctx context.Context, args []string) error {
			if err := checkFormat(f.format); err != nil {
				return err
			}
			return a.runSuite(ctx, args[0], f)
		})
	formatFlag(c, &f.format)
	fl := c.Flags()
	fl.StringVar(&f.out, "out", "", "`DIR` to write the reports to")
	fl.Uint64Var(&f.seed, "seed", suite.DefaultSeed, "`SEED` of the batches")
	fl.StringSliceVar(&f.profiles, "profile", nil, "`PROFILE` to check: "+profileNames()+" (default: all that apply)")
	fl.StringSliceVar(&f.laws, "law", nil, "`ID` of a law to check (default: all)")
	fl.StringArrayVar(&f.params, "param", nil, "setting of the policy, `NAME=VALUE`; may be repeated")
	fl.BoolVar(&f.quiet, "quiet", false, "no progress")
	fl.BoolVar(&f.lint, "lint", false, "exit with 3 if laws that should hold are broken")
	return c
}

func profileNames() string {
	var names []string
	for _, p := range suite.Profiles() {
		names = append(names, string(p))
	}
	return strings.Join(names, ", ")
}

func (a *app) runSuite(ctx context.Context, name string, f conformanceFlags) error {
	s, err := subjectOf(name, f)
	if err != nil {
		return err
	}
	opt := suite.Options{Seed: f.seed, Laws: f.laws}
	for _, p := range f.profiles {
		opt.Profiles = append(opt.Profiles, suite.Profile(p))
	}
	if !f.quiet && terminal(a.err) != nil {
		opt.Progress = func(id string) { fmt.Fprintf(a.err, "\r\x1b[K%s", id) }
	}
	r, err := suite.Check(ctx, s, opt)
	if opt.Progress != nil {
		fmt.Fprint(a.err, "\r\x1b[K")
	}
	if err != nil {
		var le *wasm.LoadError
		if errors.As(err, &le) {
			return &policyset.FileError{Path: name, Err: le}
		}
		return misused("`muster conformance run --help` lists the profiles, docs/conformance.md the laws", "%w", err)
	}
	return a.reported(r, f.out, f.format, f.lint)
}

// subjectOf is what a name on the command line means.
func subjectOf(name string, f conformanceFlags) (suite.Subject, error) {
	if name == "host" {
		return suite.Subject{Name: "host", Host: suite.WasmHost()}, nil
	}
	params, err := readParams(f.params)
	if err != nil {
		return suite.Subject{}, err
	}
	if slices.Contains(order.Names(policies.JobOrder|policies.QueueShares|policies.VictimCosts), name) {
		if _, err := order.Configured(name, params); err != nil {
			return suite.Subject{}, paramFailed(name, err)
		}
		return suite.Subject{Name: name, New: func() policies.Policy {
			p, err := order.Configured(name, params)
			if err != nil { // it went well a moment ago
				panic(err)
			}
			return p
		}}, nil
	}
	if _, err := readModule(name); err != nil {
		return suite.Subject{}, err
	}
	return suite.Subject{Wasm: name, Params: params}, nil
}

// reported writes and prints a report, and says by the exit code what is in it.
func (a *app) reported(r *suite.Report, out, format string, lint bool) error {
	if out != "" {
		files, err := r.Write(out)
		if err != nil {
			return failed("may you write there?", "cannot write the report: %w", err)
		}
		a.remark("wrote %s", strings.Join(files, ", "))
	}
	if err := a.print(format, r, func() error { _, err := fmt.Fprint(a.out, r.Text()); return err }); err != nil {
		return err
	}
	switch {
	case r.Result == report.Failed:
		return failed("docs/conformance.md explains each law; --out DIR writes the batches that break them", "%s does not keep the laws", identity(r.Policy.Name, r.Policy.Version))
	case r.Result == report.Partial && lint:
		return silent(exitNotable)
	}
	return nil
}

func (a *app) conformanceReport() *cobra.Command {
	var format, out string
	var lint bool
	c := a.command("report report.yaml|DIR…", "show conformance reports, or make their pages anew", `
Reads what `+"`muster conformance run --out`"+` wrote. With --out it writes JUnit, the HTML
page and the badge again beside it, from report.yaml alone.`, `
  muster conformance report policies/library/fair/conformance
  muster conformance report report.yaml --out site -o json`,
		conformanceCodes, cobra.MinimumNArgs(1), func(_ context.Context, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			for _, path := range args {
				r, err := readReport(path)
				if err != nil {
					return err
				}
				if err := a.reported(r, out, format, lint); err != nil {
					return err
				}
			}
			return nil
		})
	formatFlag(c, &format)
	c.Flags().StringVar(&out, "out", "", "`DIR` to write the pages to")
	c.Flags().BoolVar(&lint, "lint", false, "exit with 3 if laws that should hold are broken")
	return c
}

func readReport(path string) (*suite.Report, error) {
	if info, err := os.Stat(path); err == nil && info.IsDir() {
		path = filepath.Join(path, report.FileYAML)
	}
	text, err := os.ReadFile(path)
	if err != nil {
		return nil, failed("`muster conformance run --out DIR` writes one", "cannot read %w", pathFirst(err))
	}
	r, err := report.Read(text)
	if err != nil {
		return nil, failed("`muster conformance run --out DIR` writes one", "%s: %w", path, err)
	}
	return r, nil
}
