package main

import (
	_ "embed"
	"fmt"
	"maps"
	"strings"
	"unicode"

	"github.com/musterhq/muster/hostabi/schema"
)

// The bindings of the SDKs in languages other than Go are templates in files of their
// own, so that they read like the language that they are written in.
var (
	//go:embed guests/muster.h.tmpl
	cText string
	//go:embed guests/muster_test.h.tmpl
	cTestText string
	//go:embed guests/columns.rs.tmpl
	rustText string
	//go:embed guests/testing.rs.tmpl
	rustTestText string
	//go:embed guests/columns.ts.tmpl
	assemblyScriptText string
	//go:embed guests/columns.mjs.tmpl
	nodeText string
)

// guestOutputs are the bindings of the SDKs in languages other than Go.
var guestOutputs = []output{
	{"sdk/c/muster.h", cText},
	{"sdk/c/muster_test.h", cTestText},
	{"sdk/rust/src/columns.rs", rustText},
	{"sdk/rust/src/testing.rs", rustTestText},
	{"sdk/assemblyscript/assembly/columns.ts", assemblyScriptText},
	{"sdk/assemblyscript/testing/columns.mjs", nodeText},
}

func init() {
	maps.Copy(funcs, map[string]any{
		"snake":      snake,
		"rust":       rustName,
		"camel":      camel,
		"ctype":      func(c schema.Column) string { return cTypes[c.Type] },
		"rusttype":   func(c schema.Column) string { return rustTypes[c.Type] },
		"viewclass":  func(c schema.Column) string { return strings.ToUpper(elementType(c)) + "s" },
		"element":    elementType,
		"typenumber": func(c schema.Column) int { return typeNumbers[c.Type] },
		"rustshape":  func(c schema.Column) string { return rustShapes[c.Shape] },
		"shapename":  func(c schema.Column) string { return strings.ToUpper(c.Shape) },
		"wrap":       wrap,
		"guestdoc":   guestDoc,
		"scalar":     func(c schema.Column) bool { return c.Shape == "batch" && !c.Output },
	})
}

var (
	cTypes = map[string]string{
		"i64": "int64_t", "f64": "double", "u32": "uint32_t", "i32": "int32_t", "u8": "uint8_t", "dict32": "uint32_t",
	}
	rustTypes  = map[string]string{"i64": "i64", "f64": "f64", "u32": "u32", "i32": "i32", "u8": "u8", "dict32": "u32"}
	rustShapes = map[string]string{"row": "Row", "matrix": "Matrix", "res": "Resource", "batch": "Batch"}
	// typeNumbers are the types as descriptors say them (hostabi.Type).
	typeNumbers = map[string]int{"i64": 1, "f64": 2, "u32": 3, "dict32": 4, "u8": 5, "i32": 6}
)

// elementType is the type of an element once texts have become indices.
func elementType(c schema.Column) string { return rustTypes[c.Type] }

// snake is the name on the wire without its kind: since_checkpoint.
func snake(c schema.Column) string {
	_, name, _ := strings.Cut(c.Name, ".")
	return name
}

// rustName keeps clear of the keywords of Rust.
func rustName(c schema.Column) string {
	if name := snake(c); name != "use" {
		return name
	}
	return "in_use"
}

// camel is the name as TypeScript writes it: sinceCheckpoint.
func camel(c schema.Column) string {
	var b strings.Builder
	up := false
	for _, r := range snake(c) {
		switch {
		case r == '_':
			up = true
		case up:
			b.WriteRune(unicode.ToUpper(r))
			up = false
		default:
			b.WriteRune(r)
		}
	}
	return b.String()
}

// wrap sets a text in lines of a comment: start stands before the first, next before
// the others.
func wrap(start, next, text string) string {
	const width = 96
	var lines []string
	line, empty := start, true
	for _, word := range strings.Fields(text) {
		if !empty && len(line)+1+len(word) > width {
			lines = append(lines, line)
			line = next
		}
		line += " " + word
		empty = false
	}
	return strings.Join(append(lines, line), "\n")
}

// guestDoc is the comment of a guest's field; it names the column on the wire too.
func guestDoc(c schema.Column) string { return fmt.Sprintf("%s On the wire: %s.", doc(c), c.Name) }
