// Package gosource holds the Go SDK and its template as one text, so that muster policy
// new writes a whole project from the command alone, offline. The SDK is a module of its
// own, and a module cannot embed the files of another; so `go generate` writes them into
// go.txt, and a test holds it to them.
package gosource

import (
	"bytes"
	_ "embed"
	"fmt"
	"io/fs"
	"path"
	"slices"
	"strings"
	"testing/fstest"
)

//go:generate go run ./gen

//go:embed go.txt
var text string

// Files returns the project of a new policy: the template in its root, the SDK in the
// folder muster. The names in it are the template's.
func Files() (fs.FS, error) {
	out := fstest.MapFS{}
	for name, data := range unpack(text) {
		target, isTemplate := strings.CutPrefix(name, "template/")
		if !isTemplate {
			target = "muster/" + name
		}
		out[strings.TrimSuffix(target, ".tmpl")] = &fstest.MapFile{Data: data, Mode: 0o644}
	}
	if len(out) == 0 {
		return nil, fmt.Errorf("the Go SDK in this command is empty")
	}
	return out, nil
}

// Pack writes the files of the SDK's folder that a policy needs, tests of the SDK left
// out: for each a line "-- NAME --", and its text. The same files give the same text.
func Pack(sdk fs.FS) ([]byte, error) {
	var names []string
	err := fs.WalkDir(sdk, ".", func(name string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && wanted(name) {
			names = append(names, name)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	var out bytes.Buffer
	for _, name := range names {
		data, err := fs.ReadFile(sdk, name)
		if err != nil {
			return nil, err
		}
		if !bytes.HasSuffix(data, []byte("\n")) || bytes.HasPrefix(data, []byte(mark)) || bytes.Contains(data, []byte("\n"+mark)) {
			return nil, fmt.Errorf("%s: want a text of whole lines, none of which begins with %q", name, mark)
		}
		fmt.Fprintf(&out, "%s%s --\n%s", mark, name, data)
	}
	return out.Bytes(), nil
}

const mark = "-- "

func wanted(name string) bool {
	if strings.HasPrefix(name, "template/") {
		return !strings.HasSuffix(name, ".wasm")
	}
	return path.Ext(name) == ".go" && !strings.HasSuffix(name, "_test.go") || name == "go.mod"
}

// unpack undoes Pack.
func unpack(text string) map[string][]byte {
	out := map[string][]byte{}
	name := ""
	for line := range strings.Lines(text) {
		if rest, ok := strings.CutPrefix(line, mark); ok {
			name = strings.TrimSuffix(rest, " --\n")
			continue
		}
		out[name] = append(out[name], line...)
	}
	return out
}
