package guests

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func TestAPolicyIsBuiltWhereItIsMissing(t *testing.T) {
	bin, err := Build("fifo")
	if err != nil {
		t.Fatal(err)
	}
	if !strings.HasPrefix(string(bin), "\x00asm") {
		t.Errorf("it begins with %q", bin[:4])
	}
	path, err := Path("fifo")
	if err != nil || filepath.Base(path) != "fifo.wasm" {
		t.Errorf("path %q, error %v", path, err)
	}
}

func TestAPolicyThatIsNotThereIsNamed(t *testing.T) {
	if _, err := Path("no-such-policy"); err == nil || !strings.Contains(err.Error(), "policies/library/no-such-policy") {
		t.Error(err)
	}
}

func TestOutsideOfTheRepositoryNothingIsFound(t *testing.T) {
	t.Chdir(t.TempDir())
	if _, err := Path("fifo"); err == nil || !strings.Contains(err.Error(), "go.mod") {
		t.Error(err)
	}
}

func TestAModuleIsOldWhenASourceIsNewer(t *testing.T) {
	root := t.TempDir()
	write := func(at time.Time, parts ...string) string {
		path := filepath.Join(append([]string{root}, parts...)...)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, nil, 0o644); err != nil {
			t.Fatal(err)
		}
		if err := os.Chtimes(path, at, at); err != nil {
			t.Fatal(err)
		}
		return path
	}
	now := time.Now()
	source := []string{"policies", "library", "p", "main.go"}
	sdk := []string{"sdk", "go", "joborder", "joborder.go"}
	write(now, source...)
	write(now, sdk...)
	wasm := write(now, "bin", "p.wasm")
	if !upToDate(root, "p", wasm) {
		t.Error("nothing is newer")
	}
	write(now.Add(time.Hour), sdk...)
	if upToDate(root, "p", wasm) {
		t.Error("the SDK is newer")
	}
	write(now, sdk...)
	write(now.Add(time.Hour), source...)
	if upToDate(root, "p", wasm) {
		t.Error("the source is newer")
	}
	if upToDate(root, "p", filepath.Join(root, "bin", "q.wasm")) {
		t.Error("there is no module")
	}
}
