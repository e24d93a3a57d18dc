package suite

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/conformance/suite/report"
	"github.com/musterhq/muster/runtime/wasm"
)

// built is a shipped policy as make guests has built it, "" if it has not.
func built(t testing.TB, name string) string {
	path := filepath.Join("..", "..", "bin", "policies", name+".wasm")
	if _, err := os.Stat(path); err != nil {
		t.Skipf("%s is not built: run make guests", name)
	}
	return path
}

func library(parts ...string) string {
	return filepath.Join(append([]string{"..", "..", "policies", "library"}, parts...)...)
}

// shipped are the names of the policies that we ship as modules.
func shipped(t testing.TB) []string {
	sources, err := filepath.Glob(library("*", "main.go"))
	if err != nil || len(sources) == 0 {
		t.Fatalf("no policies: %v", err)
	}
	var names []string
	for _, s := range sources {
		names = append(names, filepath.Base(filepath.Dir(s)))
	}
	return names
}

// One policy of each kind goes through the whole suite. With MUSTER_UPDATE set all do,
// and their reports are written.
func TestShippedPoliciesConform(t *testing.T) {
	update := os.Getenv("MUSTER_UPDATE") != ""
	for _, name := range shipped(t) {
		if !update && !slices.Contains([]string{"fair", "guaranteed-fair", "idle-first"}, name) {
			continue
		}
		t.Run(name, func(t *testing.T) {
			doc, err := Check(t.Context(), Subject{Wasm: built(t, name)}, Options{})
			if err != nil {
				t.Fatal(err)
			}
			if doc.Result != report.Success {
				t.Error(doc.Text())
			}
			if doc.Measured.Time.SuiteSeconds > 60 {
				t.Errorf("the suite took %.0f s, want less than 60", doc.Measured.Time.SuiteSeconds)
			}
			if update {
				write(t, doc, library(name, "conformance"))
			}
		})
	}
}

// write keeps of a report what goes into the repository.
func write(t *testing.T, doc *Report, dir string) {
	all := t.TempDir()
	if _, err := doc.Write(all); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range []string{report.FileYAML, report.FileBadge} {
		src, err := os.ReadFile(filepath.Join(all, f))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dir, f), src, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// A report in the repository speaks of this suite, and of the policy as it is.
func TestTheReportsInTheRepositoryHold(t *testing.T) {
	for _, name := range shipped(t) {
		t.Run(name, func(t *testing.T) {
			src, err := os.ReadFile(library(name, "conformance", report.FileYAML))
			if err != nil {
				t.Fatalf("no report; write it with MUSTER_UPDATE=1 go test -run TestShippedPoliciesConform ./conformance/suite: %v", err)
			}
			doc, err := report.Read(src)
			if err != nil {
				t.Fatal(err)
			}
			if doc.Suite.Version != Version || doc.Suite.Laws != LawsDigest() {
				t.Errorf("the report is of suite %s with laws %s, this is %s with %s", doc.Suite.Version, doc.Suite.Laws, Version, LawsDigest())
			}
			if doc.Policy.Name != name || doc.Result == report.Failed {
				t.Errorf("the report says that %s is a %s", doc.Policy.Name, doc.Result)
			}
			holds(t, doc, built(t, name))
		})
	}
}

// holds compares a report with the module that is there. Another toolchain makes other
// bytes of the same source: then the module has to pass the smoke check at least, in the
// version and with the claims of the report.
func holds(t *testing.T, doc *report.Report, path string) {
	bin, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	in, err := wasm.Inspect(doc.Policy.Name, bin)
	if err != nil {
		t.Fatal(err)
	}
	if in.Digest == doc.Policy.Digest {
		return
	}
	if in.Metadata.Version != doc.Policy.Version {
		t.Errorf("the report is of version %s, the policy is %s", doc.Policy.Version, in.Metadata.Version)
	}
	for _, claim := range in.Metadata.Laws {
		if !slices.Contains(doc.Claims.Confirmed, strings.TrimPrefix(claim, "order/")) {
			t.Errorf("it claims %s, which the report does not confirm", claim)
		}
	}
	m, err := wasm.Load(t.Context(), bin, wasm.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = m.Close() }()
	began := time.Now()
	if err := Smoke(t.Context(), m, 7); err != nil {
		t.Error(err)
	}
	t.Logf("another build than the report's; smoke check in %v", time.Since(began).Round(time.Millisecond))
}
