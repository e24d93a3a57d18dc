// Package guests finds the policies of policies/library as Wasm modules with their
// metadata, and builds them where they are missing, so that a test of one package needs no make.
package guests

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/musterhq/muster/runtime/manifest"
)

// ErrNoRepository says that the working directory is not inside the repository.
var ErrNoRepository = errors.New("no go.mod of github.com/musterhq/muster above the working directory")

// Path returns the file bin/policies/NAME.wasm of the repository around the working
// directory, built by the Go toolchain if it is missing or older than its sources.
func Path(name string) (string, error) {
	root, err := repository()
	if err != nil {
		return "", err
	}
	path := filepath.Join(root, "bin", "policies", name+".wasm")
	if upToDate(root, name, path) {
		return path, nil
	}
	return path, build(root, name, path)
}

// Build returns the bytes of a policy, built if need be.
func Build(name string) ([]byte, error) {
	path, err := Path(name)
	if err != nil {
		return nil, err
	}
	return os.ReadFile(path)
}

// repository walks up to the directory with policies/library and go.mod.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for {
		if _, err := os.Stat(filepath.Join(dir, "policies", "library", "go.mod")); err == nil {
			return dir, nil
		}
		up := filepath.Dir(dir)
		if up == dir {
			return "", ErrNoRepository
		}
		dir = up
	}
}

// upToDate says whether a module is there and no source of it is newer.
func upToDate(root, name, path string) bool {
	built, err := os.Stat(path)
	if err != nil {
		return false
	}
	patterns := []string{
		filepath.Join(root, "policies", "library", name, "*.go"),
		filepath.Join(root, "policies", "library", name, "policy.yaml"),
		filepath.Join(root, "policies", "library", "internal", "*", "*.go"),
		filepath.Join(root, "sdk", "go", "*.go"),
		filepath.Join(root, "sdk", "go", "*", "*.go"),
	}
	for _, p := range patterns {
		files, _ := filepath.Glob(p) // the only error is a bad pattern
		for _, f := range files {
			if src, err := os.Stat(f); err == nil && src.ModTime().After(built.ModTime()) {
				return false
			}
		}
	}
	return true
}

// build compiles into a temporary file and renames it, because tests of several
// packages may build the same policy at the same moment.
func build(root, name, path string) error {
	if _, err := os.Stat(filepath.Join(root, "policies", "library", name, "main.go")); err != nil {
		return fmt.Errorf("policy %s: there is no policies/library/%s/main.go", name, name)
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		return err
	}
	tmp, err := os.CreateTemp(filepath.Dir(path), name+"-*.tmp")
	if err != nil {
		return err
	}
	if err := tmp.Close(); err != nil {
		return err
	}
	defer os.Remove(tmp.Name()) //nolint:errcheck // it is gone after the rename
	cmd := exec.Command("go", "build", "-buildmode=c-shared", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", tmp.Name(), "./"+name)
	cmd.Dir = filepath.Join(root, "policies", "library")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "GOWORK=off", "GOFLAGS=")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("building policy %s: %w\n%s", name, err, out)
	}
	if err := annotate(filepath.Join(root, "policies", "library", name, "policy.yaml"), tmp.Name()); err != nil {
		return fmt.Errorf("annotating policy %s: %w", name, err)
	}
	return os.Rename(tmp.Name(), path)
}

// annotate writes the policy's manifest into the module.
func annotate(manifestFile, module string) error {
	src, err := os.ReadFile(manifestFile)
	if err != nil {
		return err
	}
	md, problems := manifest.Parse(manifestFile, src)
	if err := problems.Err(); err != nil {
		return err
	}
	bin, err := os.ReadFile(module)
	if err != nil {
		return err
	}
	if bin, err = manifest.Annotate(bin, md); err != nil {
		return err
	}
	return os.WriteFile(module, bin, 0o600)
}

// Example returns the bytes of bin/examples/NAME.wasm: an example of policies/examples,
// in a language whose compiler the machine may not have, so it is not built here.
// tools/sdks.sh does that. The error is fs.ErrNotExist where it was not.
func Example(name string) ([]byte, error) {
	root, err := repository()
	if err != nil {
		return nil, err
	}
	return os.ReadFile(filepath.Join(root, "bin", "examples", name+".wasm"))
}
