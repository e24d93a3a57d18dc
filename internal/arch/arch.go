// Package arch holds the repository to its own rules: which folder may import
// which, what the core must not know, and what every text file promises. The
// rules are plain data and functions over a directory tree, so that each is
// tested to bite on a small tree of violations in testdata.
package arch

import (
	"bytes"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
)

// Module is the import path of the repository's root.
const Module = "github.com/musterhq/muster"

// Finding is one broken rule: where, what and why, and what to do instead.
type Finding struct {
	File   string // slash-separated, relative to the root of the tree
	Line   int    // 0 when the finding is about the whole file or folder
	What   string
	Remedy string
}

func (f Finding) String() string {
	where := f.File
	if f.Line > 0 {
		where = fmt.Sprintf("%s:%d", f.File, f.Line)
	}
	return fmt.Sprintf("%s: %s\n\tinstead: %s", where, f.What, f.Remedy)
}

// Tree is a repository on disk. Paths in it are relative and slash-separated.
type Tree struct{ Root string }

// FindRoot walks up from the working directory to the folder that holds the
// main module.
func FindRoot() (Tree, error) {
	dir, err := os.Getwd()
	if err != nil {
		return Tree{}, fmt.Errorf("finding the repository: %w", err)
	}
	for ; ; dir = filepath.Dir(dir) {
		mod, err := os.ReadFile(filepath.Join(dir, "go.mod"))
		if err == nil && bytes.HasPrefix(mod, []byte("module "+Module+"\n")) {
			return Tree{dir}, nil
		}
		if dir == filepath.Dir(dir) {
			return Tree{}, fmt.Errorf("finding the repository: no folder above has the module %s", Module)
		}
	}
}

// skipped folders are never part of the source: version control and build
// outputs. They are the folders that .gitignore names, and .git.
var skipped = []string{".git", "bin", ".cache", "node_modules"}

// Files lists the tree's files whose name ends in suffix, sorted. Folders named
// testdata are left out unless all is set.
func (t Tree) Files(suffix string, all bool) ([]string, error) {
	var files []string
	err := filepath.WalkDir(t.Root, func(p string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && p != t.Root && (slices.Contains(skipped, d.Name()) || !all && d.Name() == "testdata") {
			return fs.SkipDir
		}
		if d.Type().IsRegular() && strings.HasSuffix(d.Name(), suffix) {
			rel, err := filepath.Rel(t.Root, p)
			if err != nil {
				return err
			}
			files = append(files, filepath.ToSlash(rel))
		}
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("listing %s: %w", t.Root, err)
	}
	slices.Sort(files)
	return files, nil
}

// Read returns the text of a file of the tree.
func (t Tree) Read(file string) ([]byte, error) {
	return os.ReadFile(filepath.Join(t.Root, filepath.FromSlash(file)))
}

// parsed is one Go file of the tree.
type parsed struct {
	file string
	fset *token.FileSet
	ast  *ast.File
}

func (p parsed) line(pos token.Pos) int { return p.fset.Position(pos).Line }

func (p parsed) isTest() bool { return strings.HasSuffix(p.file, "_test.go") }

func (p parsed) dir() string { return path.Dir(p.file) }

// parse reads every Go file of the tree in the given mode.
func (t Tree) parse(mode parser.Mode) ([]parsed, error) {
	files, err := t.Files(".go", false)
	if err != nil {
		return nil, err
	}
	fset := token.NewFileSet()
	out := make([]parsed, 0, len(files))
	for _, f := range files {
		src, err := t.Read(f)
		if err != nil {
			return nil, err
		}
		tree, err := parser.ParseFile(fset, f, src, mode)
		if err != nil {
			return nil, fmt.Errorf("parsing: %w", err)
		}
		out = append(out, parsed{f, fset, tree})
	}
	return out, nil
}

// within says whether a slash path is dir or lies below it.
func within(p, dir string) bool {
	return p == dir || strings.HasPrefix(p, dir+"/")
}

// withinAny says whether a slash path is one of the folders or lies below one.
func withinAny(p string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(d string) bool { return within(p, d) })
}
