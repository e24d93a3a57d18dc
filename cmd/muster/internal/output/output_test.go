package output

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
)

func TestAFileIsThereOnlyAfterCommit(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "report.txt")
	var f Files
	if err := f.Write(path, func(w io.Writer) error { _, err := io.WriteString(w, "whole"); return err }); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(path); !errors.Is(err, os.ErrNotExist) {
		t.Fatalf("the file is there before Commit: %v", err)
	}
	if err := f.Commit(); err != nil {
		t.Fatal(err)
	}
	if text, err := os.ReadFile(path); err != nil || string(text) != "whole" {
		t.Fatalf("%q, %v", text, err)
	}
	onlyIn(t, dir, "report.txt")
}

func TestAFailureLeavesTheOldFileAndNothingElse(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "old.txt")
	if err := os.WriteFile(path, []byte("old"), 0o600); err != nil {
		t.Fatal(err)
	}
	var f Files
	broken := errors.New("broken")
	if err := f.Write(path, func(io.Writer) error { return broken }); !errors.Is(err, broken) {
		t.Fatalf("got %v", err)
	}
	f.Discard()
	if text, err := os.ReadFile(path); err != nil || string(text) != "old" {
		t.Fatalf("%q, %v", text, err)
	}
	onlyIn(t, dir, "old.txt")
}

func onlyIn(t *testing.T, dir, name string) {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil || len(entries) != 1 || entries[0].Name() != name {
		t.Fatalf("want %s alone, got %v, %v", name, entries, err)
	}
}

func TestYAMLHasTheNamesAndOrderOfTheJSON(t *testing.T) {
	v := struct {
		Zeta  int      `json:"zeta"`
		Alpha []string `json:"alpha_names"`
	}{7, []string{"a: b", "c"}}
	var b bytes.Buffer
	if err := YAML(&b, v); err != nil {
		t.Fatal(err)
	}
	if want := "zeta: 7\nalpha_names:\n- \"a: b\"\n- c\n"; b.String() != want {
		t.Fatalf("want %q, got %q", want, b.String())
	}
}
