package rego

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"strings"

	"github.com/open-policy-agent/opa/v1/ast"
	"github.com/open-policy-agent/opa/v1/bundle"
)

// maxBundleBytes bounds each file of a bundle, unpacked.
const maxBundleBytes = 16 << 20

// Source is what rules are made of: texts by file name, and the data, which is any
// value that encodes to a JSON object (nil is an empty one).
type Source struct {
	Files map[string]string
	Tests map[string]string // *_test.rego: run by Test, never by a scheduler
	Data  any
}

// Open reads a folder (ReadDir) or a bundle (ReadBundle), which is a file whose name
// ends in .tar.gz.
func Open(name string) (Source, error) {
	if !strings.HasSuffix(name, ".tar.gz") {
		return ReadDir(os.DirFS(name), ".")
	}
	f, err := os.Open(name)
	if err != nil {
		return Source{}, fmt.Errorf("read rules: %w", err)
	}
	defer f.Close() //nolint:errcheck // it was only read
	return ReadBundle(f)
}

// ReadDir reads a folder and those below it, as OPA does: every *.rego file, and the
// data.json of each folder, which stands in the data below the folder's names.
func ReadDir(fsys fs.FS, dir string) (Source, error) {
	s := Source{Files: map[string]string{}, Tests: map[string]string{}}
	data := map[string]any{}
	err := fs.WalkDir(fsys, dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		isRule := strings.HasSuffix(name, ".rego")
		if !isRule && e.Name() != "data.json" {
			return nil
		}
		text, err := fs.ReadFile(fsys, name)
		switch {
		case err != nil:
			return err
		case isRule:
			s.add(name, string(text))
			return nil
		}
		return insert(data, strings.TrimPrefix(path.Dir(name), dir), name, text)
	})
	var bad Errors
	if err != nil && !errors.As(err, &bad) {
		return Source{}, fmt.Errorf("read rules: %w", err)
	}
	if len(data) > 0 {
		s.Data = data
	}
	return s, err
}

func (s *Source) add(name, text string) {
	if strings.HasSuffix(name, "_test.rego") {
		s.Tests[name] = text
		return
	}
	s.Files[name] = text
}

// insert puts the object of a data.json below the names of its folder.
func insert(data map[string]any, dir, name string, text []byte) error {
	object, err := parseData(name, text)
	if err != nil {
		return Errors{asError(err)}
	}
	at := data
	for _, part := range strings.FieldsFunc(dir, func(r rune) bool { return r == '/' || r == '.' && dir == "." }) {
		next, ok := at[part].(map[string]any)
		if !ok {
			next = map[string]any{}
			at[part] = next
		}
		at = next
	}
	for k, v := range object {
		if _, dup := at[k]; dup {
			return Errors{{File: name, Row: 1, Col: 1, Code: ErrCodeBadData, Message: fmt.Sprintf("%q is also defined by another data.json", k), Hint: "keep it in one of them"}}
		}
		at[k] = v
	}
	return nil
}

// ReadBundle reads an OPA bundle (a .tar.gz of the same files). Signatures of a bundle
// are not looked at: Muster signs the whole artifact.
func ReadBundle(r io.Reader) (Source, error) {
	b, err := bundle.NewReader(r).
		WithSkipBundleVerification(true).
		WithSizeLimitBytes(maxBundleBytes).
		WithRegoVersion(ast.RegoV1).
		WithCapabilities(capabilities()).
		Read()
	if err != nil {
		var parse ast.Errors
		if errors.As(err, &parse) {
			return Source{}, fromAST(err)
		}
		return Source{}, Errors{{Code: ErrCodeBadBundle, Message: err.Error(), Hint: "make it by `opa build -b FOLDER`, or tar czf"}}
	}
	s := Source{Files: map[string]string{}, Tests: map[string]string{}, Data: b.Data}
	for _, m := range b.Modules {
		s.add(strings.TrimPrefix(m.Path, "/"), string(m.Raw))
	}
	return s, nil
}

func parseData(name string, text []byte) (map[string]any, error) {
	var data map[string]any
	d := json.NewDecoder(bytes.NewReader(text))
	d.UseNumber()
	err := d.Decode(&data)
	if err == nil && d.More() {
		err = errors.New("text after the JSON object")
	}
	if err != nil {
		e := &Error{File: name, Row: 1, Col: 1, Code: ErrCodeBadData, Message: err.Error(), Hint: "data.json holds one JSON object"}
		var syntax *json.SyntaxError
		offset := 0
		switch {
		case errors.As(err, &syntax):
			offset = min(int(syntax.Offset), len(text))
		case errors.Is(err, io.ErrUnexpectedEOF):
			offset = len(text)
		}
		if offset > 0 {
			before := string(text[:offset])
			e.Row += strings.Count(before, "\n")
			e.Col = max(1, len(before)-strings.LastIndex(before, "\n")-1)
		}
		return nil, e
	}
	return data, nil
}
