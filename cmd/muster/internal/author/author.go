// Package author is the policy author's loop: a new project from a template, its build
// by its own toolchain, the metadata written into the module, its tests.
package author

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/runtime/manifest"
)

// Language is what a policy is written in.
type Language string

// The languages of a project.
const (
	Go             Language = "go"
	C              Language = "c"
	Rust           Language = "rust"
	AssemblyScript Language = "assemblyscript"
	Rego           Language = "rego"
)

// Manifest is the file that says what a policy is.
const Manifest = "policy.yaml"

// Project is a folder with a policy in it.
type Project struct {
	Dir      string
	Language Language
	Metadata hostabi.Metadata // empty for Rego
	text     []byte           // of the manifest
}

// Error is a project that can't be used, with what to do about it.
type Error struct {
	Problem string
	Hint    string
}

func (e *Error) Error() string { return e.Problem }

// marks are the files by which a language is known, in the order in which they are
// looked for.
var marks = []struct {
	file     string
	language Language
}{
	{"go.mod", Go},
	{"main.go", Go},
	{"package.json", AssemblyScript},
	{"Cargo.toml", Rust},
	{"policy.rs", Rust},
	{"policy.c", C},
}

// Open reads a project. Problems of its policy.yaml come as manifest.Problems.
func Open(dir string) (*Project, error) {
	switch info, err := os.Stat(dir); {
	case err != nil:
		return nil, &Error{fmt.Sprintf("cannot read %s: %s", dir, reason(err)), "name the folder of a policy; `muster policy new NAME --lang go` makes one"}
	case !info.IsDir():
		return nil, &Error{dir + " is a file", "name the folder that the policy's source is in"}
	}
	p := &Project{Dir: dir}
	if p.Language = languageOf(dir); p.Language == "" {
		return nil, &Error{
			fmt.Sprintf("%s holds no policy that can be built", dir),
			"`muster policy new NAME --lang go` makes one; a project is known by its go.mod, policy.c, Cargo.toml, package.json or *.rego",
		}
	}
	if p.Language == Rego {
		return p, nil
	}
	file := filepath.Join(dir, Manifest)
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, &Error{fmt.Sprintf("cannot read %s: %v", file, reason(err)), "it says the policy's name, version, kinds and columns: `muster policy new` writes an example"}
	}
	md, problems := manifest.Parse(file, text)
	if err := problems.Err(); err != nil {
		return nil, err
	}
	p.Metadata, p.text = md, text
	return p, nil
}

func languageOf(dir string) Language {
	for _, m := range marks {
		if _, err := os.Stat(filepath.Join(dir, m.file)); err == nil {
			return m.language
		}
	}
	if rules, _ := filepath.Glob(filepath.Join(dir, "*.rego")); len(rules) > 0 { // the pattern is well formed
		return Rego
	}
	return ""
}

func reason(err error) string {
	var p *fs.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// Tools runs the toolchains; Log gets what they print.
type Tools struct {
	Log io.Writer
	// Self is the path of this program, for build files that call `muster policy
	// annotate`.
	Self string
}

// run runs a command in the project's folder.
func (t Tools) run(ctx context.Context, dir string, env []string, name string, args ...string) error {
	path, err := exec.LookPath(name)
	if err != nil {
		return &Error{name + " is needed to build this policy and was not found", hints[name]}
	}
	cmd := exec.CommandContext(ctx, path, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, t.Log, t.Log
	cmd.Env = append(os.Environ(), append(env, "MUSTER="+t.Self)...)
	fmt.Fprintln(t.Log, name, strings.Join(args, " ")) // the first time, it can take a while
	err = cmd.Run()
	var exit *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.As(err, &exit):
		return &Error{fmt.Sprintf("%s %s failed (%s)", name, strings.Join(args, " "), exit), "what it said is above"}
	}
	return err
}

var hints = map[string]string{
	"go":    "install Go 1.24 or later from your distribution or go.dev",
	"make":  "install make, as in: apt-get install make",
	"npm":   "install Node.js 20 or later with npm, as in: apt-get install nodejs npm",
	"clang": "install clang and lld, as in: apt-get install clang lld",
	"cc":    "install a C compiler for the tests, as in: apt-get install gcc",
	"rustc": "install rustc with the target wasm32-unknown-unknown, as in: rustup target add wasm32-unknown-unknown, or apt-get install rustc libstd-rust-dev-wasm32 lld",
}

// needs are the programs that a language's build files call, the first of each list
// that is there.
var needs = map[Language]map[string][]string{
	C:              {"make": nil, "clang": {"clang-19", "clang-18", "clang-17", "clang-16", "clang-15", "clang-14"}},
	Rust:           {"make": nil, "rustc": {"/usr/bin/rustc"}},
	AssemblyScript: {"npm": nil},
}

// ready says which program is missing, before a build file stops half-way.
func ready(l Language) error {
	for _, name := range slices.Sorted(maps.Keys(needs[l])) {
		found := slices.ContainsFunc(append([]string{name}, needs[l][name]...), func(p string) bool {
			_, err := exec.LookPath(p)
			return err == nil
		})
		if !found && !(name == "clang" && os.Getenv("CLANG") != "") {
			return &Error{name + " is needed to build this policy and was not found", hints[name]}
		}
	}
	return nil
}

// Build builds the module of a project and returns it with its metadata inside.
func (t Tools) Build(ctx context.Context, p *Project) ([]byte, error) {
	if err := ready(p.Language); err != nil {
		return nil, err
	}
	switch p.Language {
	case Rego:
		return nil, &Error{p.Dir + " holds rules in Rego, which need no build", "`muster policy check " + p.Dir + "` compiles them"}
	case Go:
		return t.buildGo(ctx, p)
	case AssemblyScript:
		if _, err := os.Stat(filepath.Join(p.Dir, "node_modules")); err != nil {
			if err := t.run(ctx, p.Dir, nil, "npm", "install", "--no-audit", "--no-fund"); err != nil {
				return nil, err
			}
		}
		if err := t.run(ctx, p.Dir, nil, "npm", "run", "--silent", "build"); err != nil {
			return nil, err
		}
	default:
		if err := t.run(ctx, p.Dir, nil, "make", "--silent"); err != nil {
			return nil, err
		}
	}
	return p.built()
}

// built reads what the project's own build has made, and writes the metadata into it
// once more: a build file need not do it.
func (p *Project) built() ([]byte, error) {
	name := filepath.Join(p.Dir, p.Metadata.Name+".wasm")
	bin, err := os.ReadFile(name)
	if err != nil {
		return nil, &Error{fmt.Sprintf("the build ended well but made no %s", name), "name the module in the build file like the policy in policy.yaml"}
	}
	return manifest.Annotate(bin, p.Metadata)
}

func (t Tools) buildGo(ctx context.Context, p *Project) ([]byte, error) {
	tmp, err := os.MkdirTemp("", "muster-build-*")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(tmp) //nolint:errcheck // our own temporary folder
	out := filepath.Join(tmp, "policy.wasm")
	err = t.run(ctx, p.Dir, []string{"GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0"}, "go", "build",
		"-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, ".")
	if err != nil {
		return nil, err
	}
	bin, err := os.ReadFile(out)
	if err != nil {
		return nil, err
	}
	return manifest.Annotate(bin, p.Metadata)
}

// Test runs the project's own tests. Rules in Rego are not tested here.
func (t Tools) Test(ctx context.Context, p *Project) error {
	switch p.Language {
	case Go:
		return t.run(ctx, p.Dir, nil, "go", "test", "./...")
	case AssemblyScript:
		return t.run(ctx, p.Dir, nil, "npm", "test", "--silent")
	default:
		return t.run(ctx, p.Dir, nil, "make", "--silent", "test")
	}
}

// Write writes the files of a new project. It refuses a folder that is there and not
// empty, and leaves nothing behind if it fails.
func Write(dir string, files fs.FS) (err error) {
	if entries, err := os.ReadDir(dir); err == nil && len(entries) > 0 {
		return &Error{dir + " is there already, and not empty", "name another folder, or remove this one"}
	}
	if err := os.MkdirAll(filepath.Dir(filepath.Clean(dir)), 0o755); err != nil {
		return err
	}
	tmp, err := os.MkdirTemp(filepath.Dir(filepath.Clean(dir)), ".new-policy-*")
	if err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(tmp))
		}
	}()
	if err := os.CopyFS(tmp, files); err != nil {
		return err
	}
	if err := os.Chmod(tmp, 0o755); err != nil { //nolint:gosec // a folder of sources, not a secret
		return err
	}
	_ = os.Remove(dir) // an empty folder that is there gives way; if it can't, the rename says so
	return os.Rename(tmp, dir)
}

// Describe reads a policy.yaml and writes it into a module.
func Describe(file string, bin []byte) ([]byte, hostabi.Metadata, error) {
	text, err := os.ReadFile(file)
	if err != nil {
		return nil, hostabi.Metadata{}, &Error{fmt.Sprintf("cannot read %s: %s", file, reason(err)), "name the policy.yaml of the policy"}
	}
	md, problems := manifest.Parse(file, bytes.TrimPrefix(text, []byte("\ufeff")))
	if err := problems.Err(); err != nil {
		return nil, md, err
	}
	out, err := manifest.Annotate(bin, md)
	return out, md, err
}
