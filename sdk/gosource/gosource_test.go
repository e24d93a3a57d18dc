package gosource

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"testing/fstest"
)

func TestTheSDKInTheCommandIsCurrent(t *testing.T) {
	want, err := Pack(os.DirFS("../go"))
	if err != nil {
		t.Fatal(err)
	}
	if string(want) != text {
		t.Error("go.txt is not what sdk/go holds: run go generate ./sdk/gosource")
	}
}

func TestUnpackingGivesWhatWasPacked(t *testing.T) {
	files := fstest.MapFS{
		"go.mod": {Data: []byte("module x\n")}, "a.go": {Data: []byte("package a\n\n// --\n")},
		"b/b.go": {Data: []byte("package b\n")}, "a_test.go": {Data: []byte("x")}, "README.md": {Data: []byte("x")},
		"template/go.mod.tmpl": {Data: []byte("module y\n")}, "template/main_test.go": {Data: []byte("package main\n")},
	}
	packed, err := Pack(files)
	if err != nil {
		t.Fatal(err)
	}
	got := unpack(string(packed))
	for _, name := range []string{"go.mod", "a.go", "b/b.go", "template/go.mod.tmpl", "template/main_test.go"} {
		if string(got[name]) != string(files[name].Data) {
			t.Errorf("%s: %q", name, got[name])
		}
	}
	if len(got) != 5 {
		t.Errorf("%d files", len(got))
	}
}

func TestATextThatCanNotBePackedIsRefused(t *testing.T) {
	for _, data := range []string{"package a", "-- x --\n", "package a\n-- x --\n"} {
		if _, err := Pack(fstest.MapFS{"a.go": {Data: []byte(data)}}); err == nil || !strings.Contains(err.Error(), "a.go") {
			t.Errorf("%q: %v", data, err)
		}
	}
}

// A new project needs the Go toolchain and nothing else: no network, no repository.
func TestANewProjectTestsAndBuildsByItself(t *testing.T) {
	files, err := Files()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := fs.Stat(files, "go.mod"); err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	for _, args := range [][]string{
		{"vet", "./..."},
		{"test", "./..."},
		{"build", "-buildmode=c-shared", "-o", "my-policy.wasm", "."},
	} {
		cmd := exec.Command("go", args...)
		cmd.Dir = dir
		cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=", "GOWORK=off")
		if args[0] == "build" {
			cmd.Env = append(cmd.Env, "GOOS=wasip1", "GOARCH=wasm")
		}
		if out, err := cmd.CombinedOutput(); err != nil {
			t.Fatalf("go %s: %v\n%s", args[0], err, out)
		}
	}
	bin, err := os.ReadFile(filepath.Join(dir, "my-policy.wasm"))
	if err != nil || !strings.HasPrefix(string(bin), "\x00asm") {
		t.Errorf("%v", err)
	}
}
