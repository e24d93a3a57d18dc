// Package sdktest holds the SDKs of all languages to one another: the same example
// policy, written in Go, C, Rust and AssemblyScript, must give the same bits as the
// built-in of the same rule. Its tests load the modules that make and tools/sdks.sh
// build; a language without a toolchain is skipped, by name.
package sdktest

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/musterhq/muster/runtime/wasm/guests"
)

// Languages of the example, in the order of the tables.
func Languages() []string { return []string{"c", "rust", "assemblyscript", "go"} }

// Missing is an example that is not there to be tested.
type Missing struct{ Language, Problem string }

func (m *Missing) Error() string {
	return fmt.Sprintf("the example in %s %s; tools/toolchains.sh installs what it needs, tools/sdks.sh build makes it", m.Language, m.Problem)
}

// Example returns the module of policies/examples/aged-sjf in a language; the one in Go
// is policies/library/aged-sjf. The error is a *Missing where it was not built, or its
// sources have changed since.
func Example(root, language string) ([]byte, error) {
	if language == "go" {
		return guests.Build("aged-sjf")
	}
	path := filepath.Join(root, "bin", "examples", "aged-sjf-"+language+".wasm")
	built, err := os.Stat(path)
	if err != nil {
		return nil, &Missing{language, "was not built"}
	}
	for _, sources := range []string{filepath.Join("policies", "examples", "aged-sjf", language), filepath.Join("sdk", language)} {
		changed, err := newest(filepath.Join(root, sources))
		if err != nil {
			return nil, err
		}
		if changed.After(built.ModTime()) {
			return nil, &Missing{language, "is older than its sources"}
		}
	}
	return os.ReadFile(path)
}

// newest is when a file of a folder was last changed.
func newest(dir string) (last time.Time, err error) {
	err = filepath.WalkDir(dir, func(_ string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == "node_modules" {
			return fs.SkipDir
		}
		info, err := d.Info()
		if err == nil && !d.IsDir() && info.ModTime().After(last) {
			last = info.ModTime()
		}
		return err
	})
	return last, err
}
