package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"path"
	"slices"
	"strings"
)

// MaxLines is the hard ceiling of a Go file that was written by hand. Files of
// about 150 lines are at home here.
const MaxLines = 700

// CheckPackageDocs finds packages that no file introduces with a comment.
func CheckPackageDocs(t Tree) ([]Finding, error) {
	files, err := t.parse(parser.PackageClauseOnly | parser.ParseComments)
	if err != nil {
		return nil, err
	}
	documented := map[string]bool{}
	for _, f := range files {
		if f.isTest() {
			continue
		}
		text := strings.TrimSpace(f.ast.Doc.Text())
		introduced := text != "" && (f.ast.Name.Name == "main" || strings.HasPrefix(text, "Package "+f.ast.Name.Name))
		documented[f.dir()] = documented[f.dir()] || introduced
	}
	var out []Finding
	for _, dir := range slices.Sorted(maps.Keys(documented)) {
		if !documented[dir] {
			out = append(out, Finding{
				dir, 0, "the package has no doc comment, so a newcomer can't tell what it is for",
				"begin one file with: // Package " + path.Base(dir) + " …",
			})
		}
	}
	return out, nil
}

// CheckLayout finds Go files that are too long, and packages that would be named
// like Go's own runtime and builtin.
func CheckLayout(t Tree) ([]Finding, error) {
	files, err := t.Files(".go", false)
	if err != nil {
		return nil, err
	}
	var out []Finding
	for _, f := range files {
		src, err := t.Read(f)
		if err != nil {
			return nil, err
		}
		if n := bytes.Count(src, []byte("\n")); n > MaxLines && !generated(f, src) {
			out = append(out, Finding{
				f, 0, fmt.Sprintf("%d lines are more than %d", n, MaxLines),
				"find the second thing that the file is about and give it its own",
			})
		}
		if slices.Contains([]string{"builtin", "runtime"}, path.Dir(f)) {
			out = append(out, Finding{
				f, 0, "a package here would be named like Go's own",
				"put the code into a sub-package",
			})
		}
	}
	return out, nil
}

func generated(file string, src []byte) bool {
	tree, err := parser.ParseFile(token.NewFileSet(), file, src, parser.PackageClauseOnly|parser.ParseComments)
	return err == nil && ast.IsGenerated(tree)
}
