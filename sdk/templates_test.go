package sdk_test

import (
	"bytes"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/sdk"
)

// write puts a new policy on disk and returns its folder.
func write(t *testing.T, lang, name string) string {
	t.Helper()
	files, err := sdk.Project(lang, name)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	if err := os.CopyFS(dir, files); err != nil {
		t.Fatal(err)
	}
	return dir
}

func TestANewPolicyIsCalledByItsNameEverywhere(t *testing.T) {
	for _, lang := range sdk.Languages() {
		files, err := sdk.Project(lang, "big-jobs-2")
		if err != nil {
			t.Fatal(err)
		}
		all, named := 0, 0
		err = fs.WalkDir(files, ".", func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.IsDir() {
				return err
			}
			text, err := fs.ReadFile(files, path)
			for _, old := range []string{sdk.PlaceholderName, sdk.PlaceholderIdent} {
				if strings.Contains(string(text), old) {
					t.Errorf("%s: %s still says %s", lang, path, old)
				}
			}
			all++
			if strings.Contains(string(text), "big-jobs-2") {
				named++
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
		for _, file := range []string{"policy.yaml", "README.md"} {
			if _, err := fs.Stat(files, file); err != nil {
				t.Errorf("%s: %v", lang, err)
			}
		}
		if named < 3 || all < 6 {
			t.Errorf("%s: %d files, the name is in %d of them", lang, all, named)
		}
	}
}

func TestAWrongLanguageOrNameIsRefusedWithWhatIsRight(t *testing.T) {
	if _, err := sdk.Project("cobol", "x"); err == nil || !strings.Contains(err.Error(), strings.Join(sdk.Languages(), ", ")) {
		t.Errorf("error %v", err)
	}
	for _, name := range []string{"", "2x", "-x", "X", "a b", "../x", "x-", "größe"} {
		if _, err := sdk.Project("c", name); err == nil {
			t.Errorf("the name %q is taken", name)
		}
	}
}

// need skips a test of a template where its toolchain is missing.
func need(t *testing.T, lang string, tools ...string) {
	t.Helper()
	for _, tool := range tools {
		if _, err := exec.LookPath(tool); err != nil {
			t.Skipf("no %s: the template in %s is not built; tools/toolchains.sh installs it", tool, lang)
		}
	}
}

// run runs a command in a new project.
func run(t *testing.T, dir string, args ...string) {
	t.Helper()
	cmd := exec.Command(args[0], args[1:]...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

// isModule holds a file to be a Wasm module that exports a job order.
func isModule(t *testing.T, path string) {
	t.Helper()
	bin, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(bin, []byte("\x00asm\x01\x00\x00\x00")) || !bytes.Contains(bin, []byte("muster_job_order")) {
		t.Errorf("%s is no policy: %d bytes", path, len(bin))
	}
}

func TestANewPolicyInCPassesItsTestsAndBecomesAModule(t *testing.T) {
	need(t, "c", "make", "cc", "clang-16", "wasm-ld-16")
	dir := write(t, "c", "big-jobs")
	run(t, dir, "make", "test")
	run(t, dir, "make", "policy.wasm")
	isModule(t, filepath.Join(dir, "policy.wasm"))
}

func TestANewPolicyInAssemblyScriptPassesItsTestsAndBecomesAModule(t *testing.T) {
	need(t, "assemblyscript", "npm", "node")
	compiler, err := filepath.Abs(filepath.Join("assemblyscript", "node_modules"))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(compiler, ".bin", "asc")); err != nil {
		t.Skip("no AssemblyScript compiler: the template is not built; tools/toolchains.sh installs it")
	}
	dir := write(t, "assemblyscript", "big-jobs")
	if err := os.Symlink(compiler, filepath.Join(dir, "node_modules")); err != nil {
		t.Fatal(err)
	}
	run(t, dir, "npm", "test")
	isModule(t, filepath.Join(dir, "policy.wasm"))
}

// rustc returns a Rust compiler that has a standard library for Wasm: Debian's, or the
// one in PATH.
func rustc(t *testing.T) string {
	t.Helper()
	for _, name := range []string{"/usr/bin/rustc", "rustc"} {
		out, err := exec.Command(name, "--print", "sysroot").Output()
		if err != nil {
			continue
		}
		lib := filepath.Join(strings.TrimSpace(string(out)), "lib", "rustlib", "wasm32-unknown-unknown", "lib")
		if _, err := os.Stat(lib); err == nil {
			return name
		}
	}
	t.Skip("no Rust compiler for wasm32-unknown-unknown: the template is not built; tools/toolchains.sh installs it")
	return ""
}

func TestANewPolicyInRustPassesItsTestsAndBecomesAModule(t *testing.T) {
	need(t, "rust", "make", "wasm-ld-16")
	compiler := "RUSTC=" + rustc(t)
	dir := write(t, "rust", "big-jobs")
	run(t, dir, "make", "test", compiler)
	run(t, dir, "make", "policy.wasm", compiler, "WASMLD=wasm-ld-16")
	isModule(t, filepath.Join(dir, "policy.wasm"))
}
