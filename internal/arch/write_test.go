package arch

import (
	"os"
	"path/filepath"
	"testing"
)

func write(t *testing.T, tree Tree, file, text string) {
	t.Helper()
	p := filepath.Join(tree.Root, filepath.FromSlash(file))
	if err := os.MkdirAll(filepath.Dir(p), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(p, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
