package suite

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// table is the list of laws as docs/conformance.md has it.
func table() string {
	var s strings.Builder
	s.WriteString("| law | profile | | |\n|---|---|---|---|\n")
	for _, l := range Laws() {
		statement := l.Statement
		if l.Wasm {
			statement += " (Modules only.)"
		}
		fmt.Fprintf(&s, "| `%s` | %s | %s | %s |\n", l.ID, l.Profile, l.Severity, statement)
	}
	return s.String()
}

// With MUSTER_UPDATE set, the test writes the table instead of comparing it.
func TestTheDocumentListsTheLaws(t *testing.T) {
	path := filepath.Join("..", "..", "docs", "conformance.md")
	src, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	before, after, ok := strings.Cut(string(src), "## The laws\n")
	if !ok {
		t.Fatal("docs/conformance.md has no heading The laws")
	}
	if os.Getenv("MUSTER_UPDATE") != "" {
		if err := os.WriteFile(path, []byte(before+"## The laws\n\n"+table()), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if strings.TrimSpace(after) != strings.TrimSpace(table()) {
		t.Error("the table of docs/conformance.md is not that of the suite: run this test with MUSTER_UPDATE=1")
	}
}

func TestLawsAreWellFormed(t *testing.T) {
	seen := map[string]bool{}
	for _, l := range Laws() {
		if seen[l.ID] || strings.Count(l.ID, "/") != 1 || !strings.HasSuffix(l.Statement, ".") {
			t.Errorf("%q: %q", l.ID, l.Statement)
		}
		if (l.Severity == Claimed) != (l.Profile == Strict) && l.ID != lawTwin {
			t.Errorf("%s is %s in profile %s", l.ID, l.Severity, l.Profile)
		}
		seen[l.ID] = true
	}
}
