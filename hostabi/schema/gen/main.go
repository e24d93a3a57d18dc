// Command gen writes the bindings of the ABI's columns: for the host, for the Wasm
// runtime, for the SDKs of all languages, and the table for readers. Run it by `go generate ./hostabi`; the only
// argument, optional, is the directory that stands for the repository root.
package main

import (
	"bytes"
	"fmt"
	"go/format"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"text/template"

	"github.com/musterhq/muster/hostabi/schema"
)

func main() {
	root := ".."
	if len(os.Args) > 1 {
		root = os.Args[1]
	}
	if err := run(root); err != nil {
		fmt.Fprintln(os.Stderr, "gen:", err)
		os.Exit(1)
	}
}

func run(root string) error {
	groups, err := schema.Load()
	if err != nil {
		return err
	}
	for _, o := range slices.Concat(outputs, guestOutputs) {
		src, err := render(o.text, groups, strings.HasSuffix(o.path, ".go"))
		if err != nil {
			return fmt.Errorf("%s: %w", o.path, err)
		}
		path := filepath.Join(root, filepath.FromSlash(o.path))
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		if err := os.WriteFile(path, src, 0o644); err != nil {
			return err
		}
	}
	return nil
}

func render(text string, groups []schema.Group, isGo bool) ([]byte, error) {
	t, err := template.New("").Funcs(funcs).Parse(text)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	if err := t.Execute(&b, groups); err != nil {
		return nil, err
	}
	if !isGo {
		return b.Bytes(), nil
	}
	return format.Source(b.Bytes())
}

var funcs = template.FuncMap{
	"lower":    strings.ToLower,
	"singular": func(s string) string { return strings.TrimSuffix(s, "s") },
	"const":    constName,
	"type":     func(c schema.Column) string { return strings.ToUpper(c.Type[:1]) + c.Type[1:] },
	"shape": func(c schema.Column) string {
		return map[string]string{"row": "ShapeRow", "matrix": "ShapeMatrix", "res": "ShapeResource", "batch": "ShapeBatch"}[c.Shape]
	},
	"gotype":  goType,
	"field":   fieldName,
	"view":    viewName,
	"doc":     doc,
	"dict":    func(c schema.Column) bool { return c.Type == "dict32" },
	"inc":     func(i int) int { return i + 1 },
	"unknown": unknownOf, "unknowndoc": unknownDoc,
}

// constName is the host's constant: Job + Priority.
func constName(g schema.Group, c schema.Column) string {
	return strings.TrimSuffix(g.Name, "s") + c.Field
}

// fieldName hides what the SDK wraps in methods: outputs of one element.
func fieldName(c schema.Column) string {
	if c.Output && c.Shape == "batch" {
		return strings.ToLower(c.Field[:1]) + c.Field[1:]
	}
	return c.Field
}

func goType(c schema.Column) string {
	t := map[string]string{
		"i64": "int64", "f64": "float64", "u32": "uint32", "i32": "int32", "u8": "uint8", "dict32": "string",
	}[c.Type]
	if c.Type == "dict32" && c.Shape == "row" {
		return "[]uint32" // ids: a policy compares them, and reads the few it needs
	}
	if c.Shape == "batch" && !c.Output {
		return t
	}
	return "[]" + t
}

// unknownDoc says in a comment of the Go SDK how not known looks.
func unknownDoc(c schema.Column) string {
	return map[string]string{"Unset": " Unset where it is not known.", "NoText": " Id of a text, NoText if there is none."}[unknownOf(c)]
}

// unknownOf is the SDK's constant for an element that is not known, empty if there is
// none.
func unknownOf(c schema.Column) string {
	switch {
	case c.Nullable:
		return "Unset"
	case c.Type == "dict32" && c.Shape == "row":
		return "NoText"
	}
	return ""
}

func viewName(c schema.Column) string {
	switch {
	case c.Type == "dict32" && c.Shape == "batch":
		return "text"
	case c.Type == "dict32" && c.Shape == "row":
		return "u32s"
	case c.Type == "dict32":
		return "texts"
	case c.Shape == "batch" && !c.Output:
		return c.Type // the element itself
	}
	return c.Type + "s"
}

// doc is the comment of a field: meaning, unit, shape, name on the wire.
func doc(c schema.Column) string {
	var notes []string
	if text := units[c.Unit]; text != "" {
		notes = append(notes, "in "+text)
	}
	switch c.Shape {
	case "matrix":
		notes = append(notes, "row i has elements i*R to (i+1)*R")
	case "res":
		notes = append(notes, "R elements")
	}
	if c.Output {
		notes = append(notes, "output")
	}
	s := strings.ToUpper(c.Doc[:1]) + c.Doc[1:]
	if len(notes) > 0 {
		s += " (" + strings.Join(notes, "; ") + ")"
	}
	return s + "."
}

// units are the units worth saying next to a meaning; the rest is in its words.
var units = map[string]string{
	"ns": "ns", "milli-GPU": "milli-GPU", "GPU-ms": "GPU-milliseconds",
	"share": "fixed point, 2^32 being the whole", "base": "base units of the resource",
}
