package hostabi_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestTheGeneratedBindingsAreCurrent(t *testing.T) {
	dir := t.TempDir()
	if out, err := exec.Command("go", "run", "./schema/gen", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	files := 0
	err := filepath.WalkDir(dir, func(made string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		files++
		path, err := filepath.Rel(dir, made)
		if err != nil {
			return err
		}
		want, err := os.ReadFile(made)
		if err != nil {
			return err
		}
		if got, err := os.ReadFile(filepath.Join("..", path)); err != nil || !bytes.Equal(got, want) {
			t.Errorf("%s is not what columns.txt says: run go generate ./hostabi (%v)", path, err)
		}
		return nil
	})
	if err != nil || files < 4 {
		t.Fatal(files, err)
	}
}
