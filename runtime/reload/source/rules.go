package source

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"maps"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/musterhq/muster/runtime/reload/reason"
)

// rulesFolder reads all files of a folder of rules into memory.
func rulesFolder(dir string) (*Artifact, error) {
	r := folderReader{dir: dir, files: map[string][]byte{}}
	if err := r.read("", 0); err != nil {
		return nil, err
	}
	if !slices.ContainsFunc(slices.Collect(maps.Keys(r.files)), func(f string) bool { return path.Ext(f) == ".rego" }) {
		return nil, &reason.Error{Code: reason.EmptyFolder, Where: dir, Problem: "neither a .wasm nor a .rego in it", Hint: "put one there, or name another folder", Again: true}
	}
	a := &Artifact{Files: r.files, Content: treeDigest(r.files), Origin: "folder:" + dir}
	return a, a.signatures(filepath.Clean(dir))
}

// folderReader collects what rules are made of: Rego, and data in JSON or YAML.
type folderReader struct {
	dir   string
	files map[string][]byte
	size  int
}

func (r *folderReader) read(at string, depth int) error {
	if depth > maxDepth {
		return reason.New(reason.TooLarge, r.dir, "flatten it", "folders are nested deeper than %d", maxDepth)
	}
	entries, err := os.ReadDir(filepath.Join(r.dir, filepath.FromSlash(at)))
	if err != nil {
		return unreadable(r.dir, err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), ".") { // hidden, or the real folder behind a ConfigMap's links
			continue
		}
		if err := r.entry(path.Join(at, e.Name()), depth); err != nil {
			return err
		}
	}
	return nil
}

// entry takes in a file or folder; links are followed, as a mounted ConfigMap has them.
func (r *folderReader) entry(at string, depth int) error {
	full := filepath.Join(r.dir, filepath.FromSlash(at))
	info, err := os.Stat(full)
	if err != nil {
		return unreadable(full, err)
	}
	if info.IsDir() {
		return r.read(at, depth+1)
	}
	switch path.Ext(at) {
	case ".rego", ".json", ".yaml", ".yml":
	default:
		return nil
	}
	b, err := readFile(full, MaxModule)
	if err != nil {
		return err
	}
	r.files[at] = b
	if r.size += len(b); r.size > MaxModule || len(r.files) > MaxFiles {
		return reason.New(reason.TooLarge, r.dir, "keep large data out of the rules", "more than %d bytes or %d files", MaxModule, MaxFiles)
	}
	return nil
}

// treeDigest is the SHA-256 over the paths and digests of all files, in order.
func treeDigest(files map[string][]byte) string {
	h := sha256.New()
	for _, name := range slices.Sorted(maps.Keys(files)) {
		fmt.Fprintf(h, "%d %s %x\n", len(name), name, sha256.Sum256(files[name]))
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}

// WriteTo puts rules on disk for whoever opens them: what was read and verified, not
// what the source holds by now. It returns the path to open, below dir.
func (a *Artifact) WriteTo(dir string) (string, error) {
	if a.Bundle != nil {
		to := filepath.Join(dir, "bundle.tar.gz")
		return to, os.WriteFile(to, a.Bundle, 0o600)
	}
	to := filepath.Join(dir, "rules")
	for name, b := range a.Files {
		full := filepath.Join(to, filepath.FromSlash(name))
		if err := os.MkdirAll(filepath.Dir(full), 0o700); err != nil {
			return "", err
		}
		if err := os.WriteFile(full, b, 0o600); err != nil {
			return "", err
		}
	}
	return to, nil
}

// Tar packs the files of a folder of rules for a registry: the same files give the same
// bytes, in the order of their names and without times.
func (a *Artifact) Tar() ([]byte, error) {
	if a.Bundle != nil {
		return a.Bundle, nil
	}
	var out bytes.Buffer
	zip := gzip.NewWriter(&out)
	w := tar.NewWriter(zip)
	for _, name := range slices.Sorted(maps.Keys(a.Files)) {
		b := a.Files[name]
		if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(b)), Format: tar.FormatUSTAR}); err != nil {
			return nil, err
		}
		if _, err := w.Write(b); err != nil {
			return nil, err
		}
	}
	if err := w.Close(); err != nil {
		return nil, err
	}
	if err := zip.Close(); err != nil {
		return nil, err
	}
	return out.Bytes(), nil
}
