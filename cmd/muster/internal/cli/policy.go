package cli

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/author"
	"github.com/musterhq/muster/cmd/muster/internal/output"
	"github.com/musterhq/muster/hostabi/wasmbin"
	"github.com/musterhq/muster/runtime/rego"
	"github.com/musterhq/muster/sdk"
)

// policy is the group of everything that is about policies: first the author's loop,
// then the operator's.
func (a *app) policy() *cobra.Command {
	return a.group("policy", "write, prove and run policies", `
  muster policy new my-order --lang go
  muster policy build my-order`,
		a.policyNew(), a.policyBuild(), a.policyAnnotate(), a.policyInspect(), a.policyCheck(), a.policyTest(),
		a.policyRun(), a.policyBench(), a.policyDiff(),
		a.policySign(), a.policyVerify(), a.policyPush(), a.policyPull(),
		a.policyLoad(), a.policyRollback(), a.policyReload(), a.policyPromote(), a.policyStatus())
}

func (a *app) tools() author.Tools {
	self, err := os.Executable()
	if err != nil {
		self = "muster"
	}
	return author.Tools{Log: a.err, Self: self}
}

func (a *app) policyNew() *cobra.Command {
	var lang, dir string
	c := a.command("new NAME", "start a policy of your own", `
Writes a folder with a whole policy: its source, policy.yaml, a test, and the SDK, so
that it builds without a network. It is a job order; docs/policy-authors.md leads on
from there.`, `
  muster policy new my-order --lang go
  muster policy new my-order --lang c --dir policies/my-order`,
		"", cobra.ExactArgs(1), func(_ context.Context, args []string) error { return a.newPolicy(args[0], lang, dir) })
	c.Flags().StringVar(&lang, "lang", "go", "`LANGUAGE`: "+strings.Join(sdk.Languages(), ", "))
	c.Flags().StringVar(&dir, "dir", "", "`FOLDER` to write (default: the name)")
	return c
}

func (a *app) newPolicy(name, lang, dir string) error {
	files, err := sdk.Project(lang, name)
	if err != nil {
		return misused("as in: muster policy new my-order --lang go", "%w", err)
	}
	if dir == "" {
		dir = name
	}
	if err := author.Write(dir, files); err != nil {
		return authorFailed(err)
	}
	fmt.Fprintf(a.out, "%s: a policy in %s\n\n", dir, lang)
	module := filepath.Join(dir, name+".wasm")
	fmt.Fprint(a.out, a.say(fmt.Sprintf("  muster policy test %s     run its tests\n  muster policy build %s    make %s\n", dir, dir, module)))
	fmt.Fprint(a.out, a.say(fmt.Sprintf("  muster policy check %s\n  muster demo --job-order %s\n", module, module)))
	return nil
}

// authorFailed gives an error of package author its hint.
func authorFailed(err error) error {
	var e *author.Error
	if errors.As(err, &e) {
		return failed(e.Hint, "%s", e.Problem)
	}
	return err
}

func (a *app) policyBuild() *cobra.Command {
	var to string
	c := a.command("build [DIR]", "build a policy and write its metadata into it", `
Runs the toolchain of the policy's language (Go, clang, rustc, or npm for
AssemblyScript), writes policy.yaml into the module as its section muster.policy,
and tries the result. What the toolchain says goes to standard error.`, `
  muster policy build my-order
  muster policy build my-order -o bin/my-order.wasm`,
		"", cobra.MaximumNArgs(1), func(ctx context.Context, args []string) error {
			return a.buildPolicy(ctx, folder(args), to)
		})
	c.Flags().StringVarP(&to, "output", "o", "", "`FILE` to write (default: DIR/NAME.wasm)")
	return c
}

func folder(args []string) string {
	if len(args) == 0 {
		return "."
	}
	return args[0]
}

func (a *app) buildPolicy(ctx context.Context, dir, to string) error {
	p, err := author.Open(dir)
	if err != nil {
		return authorFailed(err)
	}
	start := time.Now()
	bin, err := a.tools().Build(ctx, p)
	if err != nil {
		return authorFailed(err)
	}
	if to == "" {
		to = filepath.Join(dir, p.Metadata.Name+".wasm")
	}
	if err := writeFile(to, bin); err != nil {
		return err
	}
	a.remark("built in %.1f s", time.Since(start).Seconds())
	return a.checkPolicies(ctx, checkFlags{format: "text"}, false, []string{to})
}

func writeFile(path string, content []byte) error {
	var files output.Files
	defer files.Discard()
	if err := files.Write(path, func(w io.Writer) error { _, err := io.Copy(w, bytes.NewReader(content)); return err }); err != nil {
		return failed("is there such a folder, and may you write to it?", "%w", err)
	}
	return files.Commit()
}

func (a *app) policyAnnotate() *cobra.Command {
	c := a.command("annotate policy.yaml IN.wasm [OUT.wasm]", "write policy.yaml into a module", `
The metadata become the custom section muster.policy, in place of one that is there;
every other byte stays as it is. They are part of the module's digest. Without
OUT.wasm the module is replaced.`, `
  muster policy annotate policy.yaml policy.wasm my-order.wasm
  muster policy annotate my-order/policy.yaml my-order.wasm`,
		"", cobra.RangeArgs(2, 3), func(_ context.Context, args []string) error {
			bin, err := os.ReadFile(args[1])
			if err != nil {
				return failed("name the module that the compiler wrote", "cannot read %w", pathFirst(err))
			}
			out, md, err := author.Describe(args[0], bin)
			if err != nil {
				return authorFailed(moduleFailed(args[1], err))
			}
			to := args[len(args)-1]
			if err := writeFile(to, out); err != nil {
				return err
			}
			fmt.Fprintf(a.out, "%s: %s, %d bytes\n", to, identity(md.Name, md.Version), len(out))
			return nil
		})
	return c
}

// moduleFailed adds the module's path to what is wrong with its bytes.
func moduleFailed(path string, err error) error {
	var e *wasmbin.Error
	if errors.As(err, &e) {
		return failed("build or copy the file again", "%s: %w", path, e)
	}
	return err
}

// testReport is the JSON of tests of rules.
type testReport struct {
	Folder string     `json:"folder"`
	Tests  []ruleTest `json:"tests"`
	Passed int        `json:"passed"`
	Failed int        `json:"failed"`
}

type ruleTest struct {
	Package string `json:"package"`
	Name    string `json:"name"`
	File    string `json:"file"`
	Line    int    `json:"line"`
	Outcome string `json:"outcome"` // pass, fail, error, skipped
	Message string `json:"message,omitempty"`
}

func (a *app) policyTest() *cobra.Command {
	var format string
	var limit time.Duration
	c := a.command("test [DIR]", "run the tests of a policy", `
A project in Go, C, Rust or AssemblyScript runs its own tests, without Wasm where the
language allows it. A folder or bundle of Rego rules runs its *_test.rego files as
`+"`opa test`"+` does, with what rules may call and nothing else.`, `
  muster policy test my-order
  muster policy test policies/library/victim-guard -o json`,
		"0 all passed, 1 some failed or could not run, 2 it was called wrongly", cobra.MaximumNArgs(1),
		func(ctx context.Context, args []string) error {
			if err := checkFormat(format); err != nil {
				return err
			}
			dir := folder(args)
			if strings.HasSuffix(dir, ".tar.gz") {
				return a.testRules(ctx, dir, format, limit)
			}
			p, err := author.Open(dir)
			switch {
			case err != nil:
				return authorFailed(err)
			case p.Language == author.Rego:
				return a.testRules(ctx, dir, format, limit)
			case format != "text":
				return misused("leave -o away: the tests of a project print what its toolchain prints", "-o %s is for rules in Rego", format)
			}
			if err := a.tools().Test(ctx, p); err != nil {
				return authorFailed(err)
			}
			fmt.Fprintf(a.out, "%s: ok\n", dir)
			return nil
		})
	formatFlag(c, &format)
	c.Flags().DurationVar(&limit, "timeout", 10*time.Second, "time limit of one test of rules")
	return c
}

func (a *app) testRules(ctx context.Context, dir, format string, limit time.Duration) error {
	src, err := rego.Open(dir)
	if err != nil {
		return err
	}
	results, err := src.Test(ctx, limit)
	if err != nil {
		return err
	}
	r := testReport{Folder: dir, Tests: []ruleTest{}}
	for _, t := range results {
		r.Tests = append(r.Tests, ruleTest{t.Package, t.Name, t.File, t.Row, t.Outcome, t.Message})
		switch t.Outcome {
		case "pass":
			r.Passed++
		case "fail", "error":
			r.Failed++
		}
	}
	if len(results) == 0 {
		return failed("name them like admission_test.rego, with rules called test_…", "%s has no tests", dir)
	}
	if err := a.print(format, r, func() error { a.rulesText(r); return nil }); err != nil {
		return err
	}
	if r.Failed > 0 {
		return failed("each line above that says fail has its place", "%d of %s failed", r.Failed, plural(len(results), "test"))
	}
	return nil
}

func (a *app) rulesText(r testReport) {
	for _, t := range r.Tests {
		if t.Outcome != "pass" {
			fmt.Fprintf(a.out, "%s: %s:%d: %s: %s\n", t.Outcome, t.File, t.Line, t.Name, t.Message)
		}
	}
	fmt.Fprintf(a.out, "%s: %d passed, %d failed, %d skipped\n", r.Folder, r.Passed, r.Failed, len(r.Tests)-r.Passed-r.Failed)
}
