// Package output writes what commands were asked for: values as text, JSON or
// YAML, and files that are whole or absent.
package output

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/goccy/go-yaml"
)

// JSON writes a value as indented JSON.
func JSON(w io.Writer, v any) error {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(v); err != nil {
		return fmt.Errorf("encode JSON: %w", err)
	}
	_, err := w.Write(b.Bytes())
	return err
}

// YAML writes a value as YAML with the names and the order of its JSON.
func YAML(w io.Writer, v any) error {
	var b bytes.Buffer
	if err := JSON(&b, v); err != nil {
		return err
	}
	text, err := yaml.JSONToYAML(b.Bytes())
	if err != nil {
		return fmt.Errorf("encode YAML: %w", err)
	}
	_, err = w.Write(text)
	return err
}

// Unwritten is a file that can't be written.
type Unwritten struct {
	Path string
	Err  error
}

// Error names the file alone: the one beside it, which is written first, tells nobody
// anything.
func (e *Unwritten) Error() string {
	why := e.Err
	var p *fs.PathError
	var l *os.LinkError
	switch {
	case errors.As(why, &p):
		why = p.Err
	case errors.As(why, &l):
		why = l.Err
	}
	return fmt.Sprintf("cannot write %s: %v", e.Path, why)
}

func (e *Unwritten) Unwrap() error { return e.Err }

// Files are files that are being made. Each is written beside its place; Commit
// puts all into their places, Discard removes them, so that a command that fails
// has changed no file. The zero value is ready to use.
type Files struct{ made []made }

type made struct {
	tmp  *os.File
	path string
}

// Create opens a new file that Commit will put at path. The caller only writes.
func (f *Files) Create(path string) (io.Writer, error) {
	tmp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".*.tmp")
	if err != nil {
		return nil, &Unwritten{path, err}
	}
	f.made = append(f.made, made{tmp, path})
	return tmp, nil
}

// Write makes a file whose content comes from a function.
func (f *Files) Write(path string, content func(io.Writer) error) error {
	w, err := f.Create(path)
	if err != nil {
		return err
	}
	if err := content(w); err != nil {
		return &Unwritten{path, err}
	}
	return nil
}

// Commit puts the files into their places. If one can't be closed, none is.
func (f *Files) Commit() error {
	defer f.Discard()
	for _, m := range f.made {
		err := errors.Join(m.tmp.Chmod(0o644), m.tmp.Close())
		if err != nil {
			return &Unwritten{m.path, err}
		}
	}
	for _, m := range f.made {
		if err := os.Rename(m.tmp.Name(), m.path); err != nil {
			return &Unwritten{m.path, err}
		}
	}
	f.made = nil
	return nil
}

// Discard removes what was not committed.
func (f *Files) Discard() {
	for _, m := range f.made {
		_ = m.tmp.Close()           // it may be closed already
		_ = os.Remove(m.tmp.Name()) // it may have its place already
	}
	f.made = nil
}
