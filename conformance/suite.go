package conformance

import (
	"context"
	"os"

	"github.com/musterhq/muster/conformance/suite"
	"github.com/musterhq/muster/conformance/suite/report"
)

// Subject is what Run proves: a module (Wasm, its path), a policy in Go (New), or any
// other form that the suite takes.
type Subject = suite.Subject

// TB is what Run needs of a *testing.T.
type TB interface {
	Helper()
	Context() context.Context
	Logf(format string, args ...any)
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
}

// EnvReport is the environment variable that names a folder for the report of Run.
const EnvReport = "MUSTER_CONFORMANCE_REPORT"

// Run holds a policy to the laws that apply to it. A broken law that must hold, or that
// the policy claims, is an error of the test; one that should hold is logged. Where
// EnvReport names a folder, the report is left there, with the batches that break the
// laws.
func Run(t TB, s Subject) {
	t.Helper()
	doc, err := suite.Check(t.Context(), s, suite.Options{})
	if err != nil {
		t.Fatalf("%v", err)
	}
	if dir := os.Getenv(EnvReport); dir != "" {
		if _, err := doc.Write(dir); err != nil {
			t.Errorf("%v", err)
		}
	}
	for _, l := range doc.Laws {
		switch {
		case l.Outcome == report.Broken && l.Severity == string(suite.Should):
			t.Logf("%s should hold and does not: %s\n%s", l.ID, l.Statement, l.What)
		case l.Outcome == report.Broken:
			t.Errorf("%s is broken: %s\n%s", l.ID, l.Statement, l.What)
		}
	}
}
