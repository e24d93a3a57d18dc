package source

import (
	"bytes"
	"cmp"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/musterhq/muster/runtime/reload/reason"
	"github.com/musterhq/muster/runtime/reload/trust"
)

// gzipMagic is how a bundle begins, and no module.
var gzipMagic = []byte{0x1f, 0x8b}

// fetchFile reads a module or a bundle, and the signatures beside it.
func fetchFile(path string) (*Artifact, error) {
	b, err := readFile(path, MaxModule)
	if err != nil {
		return nil, err
	}
	a := &Artifact{Content: trust.Digest(b), Origin: "file:" + path}
	if bytes.HasPrefix(b, gzipMagic) {
		a.Bundle = b
	} else {
		a.Module = b
	}
	return a, a.signatures(path)
}

// signatures reads the file beside path, if there is one. A file with signatures of
// another digest is left over from another version, and signs nothing.
func (a *Artifact) signatures(path string) error {
	a.Signed = a.Content
	text, err := readFile(path+trust.Extension, trust.MaxFile)
	var e *reason.Error
	if errors.As(err, &e) && e.Code == reason.NotFound {
		return nil
	}
	if err != nil {
		return err
	}
	digest, sigs, err := trust.ParseFile(text)
	if err != nil {
		return &reason.Error{Code: reason.Unsigned, Where: path + trust.Extension, Problem: err.Error(), Hint: "sign again by muster policy sign", Again: true, Err: err}
	}
	if digest == a.Signed {
		a.Signatures = sigs
	}
	return nil
}

// readFile reads a whole file, and makes sure that it was not written to meanwhile: its
// size and time are the same before and after, or it is reported as not settled.
func readFile(path string, most int64) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, unreadable(path, err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	before, err := f.Stat()
	if err != nil {
		return nil, unreadable(path, err)
	}
	if !before.Mode().IsRegular() {
		return nil, reason.New(reason.Unreadable, path, "name a file, or use folder:", "not a regular file")
	}
	if before.Size() > most {
		return nil, reason.New(reason.TooLarge, path, "leave debug information out: -ldflags='-s -w'", "%d bytes, the most is %d", before.Size(), most)
	}
	b, err := io.ReadAll(io.LimitReader(f, most+1))
	if err != nil {
		return nil, unreadable(path, err)
	}
	after, err := f.Stat()
	if err != nil {
		return nil, unreadable(path, err)
	}
	if after.Size() != int64(len(b)) || !after.ModTime().Equal(before.ModTime()) {
		return nil, &reason.Error{Code: reason.NotSettled, Where: path, Problem: "it is being written", Hint: "write to another file and rename it", Again: true}
	}
	return b, nil
}

func unreadable(path string, err error) error {
	e := &reason.Error{Code: reason.Unreadable, Where: path, Problem: "it can't be read: " + err.Error(), Hint: "check its rights", Again: true, Err: err}
	if errors.Is(err, fs.ErrNotExist) {
		e.Code, e.Problem, e.Hint = reason.NotFound, "there is no such file", "check the path; it is relative to policies.yaml"
	}
	return e
}

// fetchFolder reads the newest module of a folder, or the rules in it.
func fetchFolder(dir string) (*Artifact, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, unreadable(dir, err)
	}
	var modules []string
	for _, e := range entries {
		if filepath.Ext(e.Name()) == ".wasm" && !strings.HasPrefix(e.Name(), ".") {
			modules = append(modules, filepath.Join(dir, e.Name()))
		}
	}
	if len(modules) > MaxFiles {
		return nil, reason.New(reason.TooLarge, dir, "move old versions away", "%d modules, the most is %d", len(modules), MaxFiles)
	}
	if len(modules) > 0 {
		return newest(dir, modules)
	}
	return rulesFolder(dir)
}

// newest picks the module with the highest version in its metadata; of equal ones, the
// last by name.
func newest(dir string, paths []string) (*Artifact, error) {
	var best *Artifact
	for _, path := range paths {
		a, err := fetchFile(path)
		if err != nil {
			return nil, err
		}
		a.describe()
		if best != nil && a.Name != best.Name {
			return nil, reason.New(reason.Ambiguous, dir, "give each policy a folder of its own, or name the file",
				"modules of the policies %q and %q", best.Name, a.Name)
		}
		if best == nil || compareVersions(a.Version, best.Version) >= 0 {
			best = a
		}
	}
	return best, nil
}

// compareVersions compares part by part, numbers as numbers; a release comes after its
// own pre-releases (1.0.0-rc1 before 1.0.0).
func compareVersions(a, b string) int {
	a, preA, _ := strings.Cut(strings.TrimPrefix(a, "v"), "-")
	b, preB, _ := strings.Cut(strings.TrimPrefix(b, "v"), "-")
	if d := compareParts(a, b); d != 0 {
		return d
	}
	if preA == "" || preB == "" {
		return cmp.Compare(len(preB), len(preA))
	}
	return compareParts(preA, preB)
}

func compareParts(a, b string) int {
	return slices.CompareFunc(strings.Split(a, "."), strings.Split(b, "."), func(x, y string) int {
		n, errX := strconv.ParseUint(x, 10, 64)
		m, errY := strconv.ParseUint(y, 10, 64)
		switch {
		case errX == nil && errY == nil:
			return cmp.Compare(n, m)
		case errX == nil:
			return -1 // numbers before words, as in semantic versions
		case errY == nil:
			return 1
		}
		return strings.Compare(x, y)
	})
}
