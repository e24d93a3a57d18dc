package trace

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// shared is a file or folder of the shared traces, which lie beside the
// repository. Without them the test has nothing to read, and says so.
func shared(t *testing.T, path string) string {
	t.Helper()
	dir, err := os.Getwd()
	for ; err == nil; dir = filepath.Dir(dir) {
		root := filepath.Join(dir, "..", "shared", "traces")
		if _, e := os.Stat(root); e == nil {
			return filepath.Join(root, path)
		}
		if dir == filepath.Dir(dir) {
			break
		}
	}
	t.Skip("no ../shared/traces beside the repository: the public traces are not shipped")
	return ""
}

func mustLoad(t *testing.T, path string, o Options) *Trace {
	t.Helper()
	tr, err := Load(path, o)
	if err != nil {
		t.Fatal(err)
	}
	return tr
}

// files writes a small folder and returns its path.
func files(t *testing.T, content map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range content {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

func lines(s ...string) string { return strings.Join(s, "\n") + "\n" }
