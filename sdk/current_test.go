package sdk_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

func TestTheGeneratedBindingsOfEverySDKAreCurrent(t *testing.T) {
	dir := t.TempDir()
	cmd := exec.Command("go", "run", "./schema/gen", dir)
	cmd.Dir = filepath.Join("..", "hostabi")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	made := filepath.Join(dir, "sdk")
	found := 0
	err := filepath.WalkDir(made, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(made, path)
		if err != nil {
			return err
		}
		found++
		return same(t, path, name)
	})
	if err != nil {
		t.Fatal(err)
	}
	if found < 7 { // Go 1, C 2, Rust 2, AssemblyScript 2
		t.Errorf("the generator wrote %d files below sdk", found)
	}
}

func same(t *testing.T, path, name string) error {
	t.Helper()
	want, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	got, err := os.ReadFile(name)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, want) {
		t.Errorf("sdk/%s is not what columns.txt says: run go generate ./hostabi", filepath.ToSlash(name))
	}
	return nil
}
