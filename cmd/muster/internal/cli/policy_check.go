package cli

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/policyset"
	"github.com/musterhq/muster/conformance/suite"
	"github.com/musterhq/muster/policies"
)

// policyCheck is `muster check policy` where authors look for it, with the short form
// of the conformance suite.
func (a *app) policyCheck() *cobra.Command {
	var f checkFlags
	c := a.command("check X.wasm|DIR…", "find out whether policies can be used", `
A module is checked against the ABI before any of its code runs, and then held to the
laws that no policy may break, in less than a second; a scheduler does the same
before it lets a new version decide anything. Rules in Rego (a folder, or a bundle
.tar.gz) are compiled with their data. Of a project, its policy.yaml is checked, and
its module if it is built. `+"`muster conformance run`"+` is the long form.`, `
  muster policy check my-order.wasm
  muster policy check policies/library/admission -o json`,
		checkCodes, cobra.MinimumNArgs(1), func(ctx context.Context, args []string) error {
			return a.checkPolicies(ctx, f, true, args)
		})
	f.add(c)
	return c
}

// checkPolicies checks modules and rules, modules also by the laws if smoke says so.
func (a *app) checkPolicies(ctx context.Context, f checkFlags, smoke bool, paths []string) error {
	var l policyset.Loader
	err := a.checkAll(f, paths, func(path string) (checkedFile, error) {
		file, err := checkPolicyFile(ctx, &l, path)
		if err != nil || len(file.Problems) > 0 || !smoke || file.Kind != "wasm" {
			return file, err
		}
		m, err := l.Load(ctx, file.File)
		if err != nil {
			return file, err
		}
		return file, smokeInto(ctx, &file, m)
	})
	return errors.Join(err, l.Close())
}

func smokeInto(ctx context.Context, file *checkedFile, m policies.Policy) error {
	err := suite.Smoke(ctx, m, suite.DefaultSeed)
	var broken *suite.SmokeError
	if errors.As(err, &broken) {
		file.Problems = append(file.Problems, finding{
			File: file.File, Code: broken.Law, Severity: "error", Message: broken.Statement + " " + broken.What,
			Hint: "docs/conformance.md explains the law; `muster conformance run` writes the batch that breaks it",
		})
		return nil
	}
	return err
}
