package arch

import (
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"maps"
	"slices"
	"strings"
)

// AnyOrder is the comment that permits a range over a map whose result does not
// depend on the order, with the reason behind it, on the line above the loop.
const AnyOrder = "//muster:anyorder "

// bannedImports of the core, with what to do instead.
var bannedImports = map[string]string{
	"math/rand":    "take chance from policies.Call.Seed",
	"math/rand/v2": "take chance from policies.Call.Seed",
	"crypto/rand":  "take chance from policies.Call.Seed",
	"sync":         "the core has one goroutine; lock in runtime, around the call",
	"sync/atomic":  "the core has one goroutine; count in runtime, around the call",
	"os":           "take what the file or the environment says as an argument",
	"net":          "talk to the world in runtime",
	"net/http":     "talk to the world in runtime",
	"log/slog":     "return it in the plan's trail; runtime logs it",
	"unsafe":       "use a slice",
}

// clockFuncs of package time read the clock or wait for it; its types are fine.
var clockFuncs = []string{"Now", "Since", "Until", "Sleep", "After", "AfterFunc", "Tick", "NewTimer", "NewTicker"}

// CheckPurity holds the non-test files below dir to what the core promises: no
// clock, no chance, no lock, no goroutine, and no order taken from a map.
func CheckPurity(t Tree, dir string) ([]Finding, error) {
	files, err := t.parse(parser.ParseComments | parser.SkipObjectResolution)
	if err != nil {
		return nil, err
	}
	l := &loader{tree: t, std: importer.Default(), packages: map[string]*checked{}}
	for _, f := range files {
		if !f.isTest() {
			l.sources = append(l.sources, f)
		}
	}
	var out []Finding
	for _, f := range l.sources {
		if !within(f.dir(), dir) {
			continue
		}
		pkg := l.load(f.dir())
		if pkg.err != nil {
			return nil, fmt.Errorf("type-checking %s: %w", f.dir(), pkg.err)
		}
		v := &purity{parsed: f, info: pkg.info, anyOrder: anyOrderLines(f)}
		v.check()
		out = append(out, v.found...)
	}
	return out, nil
}

// loader type-checks packages of the tree from source, and takes the standard
// library from the build cache.
type loader struct {
	tree     Tree
	std      types.Importer
	sources  []parsed
	packages map[string]*checked // by folder
}

type checked struct {
	pkg  *types.Package
	info *types.Info
	err  error
}

// Import resolves a package of the tree or of the standard library.
func (l *loader) Import(importPath string) (*types.Package, error) {
	own, ok := strings.CutPrefix(importPath, Module+"/")
	if !ok {
		return l.std.Import(importPath)
	}
	c := l.load(own)
	return c.pkg, c.err
}

func (l *loader) load(dir string) *checked {
	if c, ok := l.packages[dir]; ok {
		return c
	}
	c := &checked{info: &types.Info{
		Types: map[ast.Expr]types.TypeAndValue{},
		Uses:  map[*ast.Ident]types.Object{},
		Defs:  map[*ast.Ident]types.Object{},
	}}
	l.packages[dir] = c
	var files []*ast.File
	var fset *token.FileSet
	for _, s := range l.sources {
		if s.dir() == dir {
			files, fset = append(files, s.ast), s.fset
		}
	}
	if len(files) == 0 {
		c.err = fmt.Errorf("no Go files in %s", dir)
		return c
	}
	conf := types.Config{Importer: l}
	c.pkg, c.err = conf.Check(Module+"/"+dir, fset, files, c.info)
	return c
}

// anyOrderLines are the lines on which a comment AnyOrder with a reason ends.
func anyOrderLines(f parsed) map[int]bool {
	lines := map[int]bool{}
	for _, g := range f.ast.Comments {
		for _, c := range g.List {
			if strings.HasPrefix(c.Text, AnyOrder) { // gofmt leaves no space without a reason behind it
				lines[f.line(g.End())] = true
			}
		}
	}
	return lines
}

// purity checks one file.
type purity struct {
	parsed
	info     *types.Info
	anyOrder map[int]bool
	found    []Finding
}

func (v *purity) report(at ast.Node, what, remedy string) {
	v.found = append(v.found, Finding{v.file, v.line(at.Pos()), what, remedy})
}

func (v *purity) check() {
	for _, spec := range v.ast.Imports {
		name := strings.Trim(spec.Path.Value, `"`)
		if remedy, ok := bannedImports[name]; ok {
			v.report(spec, "the core has no use for "+name, remedy)
		}
	}
	sorted := v.sortedArguments()
	var stack []ast.Node
	ast.Inspect(v.ast, func(n ast.Node) bool {
		if n == nil {
			stack = stack[:len(stack)-1]
			return true
		}
		stack = append(stack, n)
		switch n := n.(type) {
		case *ast.GoStmt:
			v.report(n, "the core must not start a goroutine", "return the work as a value; runtime decides what runs beside it")
		case *ast.SelectStmt:
			v.report(n, "the core must not wait on channels", "take the value as an argument")
		case *ast.SelectorExpr:
			v.checkSelector(n, sorted)
		case *ast.RangeStmt:
			v.checkRange(n, enclosingBody(stack))
		}
		return true
	})
}

// sortedArguments are the calls that stand directly inside slices.Sorted and its
// like, where an unordered sequence is put into order at once.
func (v *purity) sortedArguments() map[ast.Expr]bool {
	out := map[ast.Expr]bool{}
	ast.Inspect(v.ast, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || len(call.Args) == 0 {
			return true
		}
		pkg, name := v.callee(call)
		if pkg == "slices" && slices.Contains([]string{"Sorted", "SortedFunc", "SortedStableFunc"}, name) {
			if inner, ok := call.Args[0].(*ast.CallExpr); ok {
				out[inner.Fun] = true
			}
		}
		return true
	})
	return out
}

func (v *purity) checkSelector(sel *ast.SelectorExpr, sorted map[ast.Expr]bool) {
	pkg, name := v.qualified(sel)
	switch {
	case pkg == "time" && slices.Contains(clockFuncs, name):
		v.report(sel, "the core must not read the clock (time."+name+")", "take now as an argument, in ns")
	case pkg == "maps" && slices.Contains([]string{"Keys", "Values", "All"}, name) && !sorted[sel] && !v.excused(sel):
		v.report(sel, "maps."+name+" gives a random order", "wrap it in slices.Sorted, or write "+AnyOrder+"REASON on the line above")
	}
}

// qualified splits pkg.Name where pkg is an imported package; it gives "" for
// fields and methods.
func (v *purity) qualified(sel *ast.SelectorExpr) (pkg, name string) {
	id, ok := sel.X.(*ast.Ident)
	if !ok {
		return "", ""
	}
	if p, ok := v.info.Uses[id].(*types.PkgName); ok {
		return p.Imported().Path(), sel.Sel.Name
	}
	return "", ""
}

func (v *purity) callee(call *ast.CallExpr) (pkg, name string) {
	fun := call.Fun
	if i, ok := fun.(*ast.IndexExpr); ok {
		fun = i.X
	}
	if sel, ok := fun.(*ast.SelectorExpr); ok {
		return v.qualified(sel)
	}
	return "", ""
}

func (v *purity) excused(n ast.Node) bool { return v.anyOrder[v.line(n.Pos())-1] }

// checkRange allows a range over a map only where its order can't be seen: the
// loop only collects into slices that are sorted afterwards in the same function,
// or deletes what it has come to; or the comment AnyOrder says why it does not
// matter.
func (v *purity) checkRange(loop *ast.RangeStmt, body *ast.BlockStmt) {
	tv, ok := v.info.Types[loop.X]
	if !ok || !isMap(tv.Type) || v.excused(loop) {
		return
	}
	c := collector{loop: loop, into: map[string]bool{}}
	if c.harmless(loop.Body.List) && body != nil && !v.unsorted(c.into, loop, body) {
		return
	}
	v.report(loop, "a range over a map has a random order",
		"collect the keys into a slice, sort it in the same function and range over that, or write "+AnyOrder+"REASON on the line above")
}

func isMap(t types.Type) bool {
	if tp, ok := t.(*types.TypeParam); ok {
		t = tp.Constraint()
		if i, ok := t.Underlying().(*types.Interface); ok && i.NumEmbeddeds() == 1 {
			t = i.EmbeddedType(0)
			if u, ok := t.(*types.Union); ok && u.Len() == 1 {
				t = u.Term(0).Type()
			}
		}
	}
	_, ok := t.Underlying().(*types.Map)
	return ok
}

// collector looks at the body of one loop over a map.
type collector struct {
	loop *ast.RangeStmt
	into map[string]bool // expressions of the slices that the loop appends to
}

// harmless says whether statements do nothing but append to slices and delete
// the loop's own key from the map, possibly under a condition.
func (c collector) harmless(list []ast.Stmt) bool {
	for _, s := range list {
		ok := false
		switch s := s.(type) {
		case *ast.AssignStmt:
			var target string
			if target, ok = appendTarget(s); ok {
				c.into[target] = true
			}
		case *ast.ExprStmt:
			ok = c.deletesKey(s.X)
		case *ast.IfStmt:
			ok = s.Init == nil && s.Else == nil && c.harmless(s.Body.List)
		case *ast.BranchStmt:
			ok = s.Tok == token.CONTINUE
		}
		if !ok {
			return false
		}
	}
	return true
}

func (c collector) deletesKey(e ast.Expr) bool {
	call, ok := e.(*ast.CallExpr)
	if !ok || len(call.Args) != 2 || c.loop.Key == nil {
		return false
	}
	fun, ok := call.Fun.(*ast.Ident)
	return ok && fun.Name == "delete" &&
		types.ExprString(call.Args[0]) == types.ExprString(c.loop.X) &&
		types.ExprString(call.Args[1]) == types.ExprString(c.loop.Key)
}

// appendTarget returns x of a statement x = append(x, …).
func appendTarget(s *ast.AssignStmt) (string, bool) {
	if len(s.Lhs) != 1 || len(s.Rhs) != 1 || s.Tok != token.ASSIGN {
		return "", false
	}
	call, ok := s.Rhs[0].(*ast.CallExpr)
	if !ok || len(call.Args) == 0 {
		return "", false
	}
	fun, ok := call.Fun.(*ast.Ident)
	target := types.ExprString(s.Lhs[0])
	if !ok || fun.Name != "append" || types.ExprString(call.Args[0]) != target {
		return "", false
	}
	return target, true
}

// unsorted says whether one of the slices is put into order by no call of sort or
// slices after the loop.
func (v *purity) unsorted(into map[string]bool, loop *ast.RangeStmt, body *ast.BlockStmt) bool {
	left := maps.Clone(into)
	ast.Inspect(body, func(n ast.Node) bool {
		call, ok := n.(*ast.CallExpr)
		if !ok || call.Pos() < loop.End() || len(call.Args) == 0 {
			return true
		}
		pkg, name := v.callee(call)
		if pkg == "slices" && strings.HasPrefix(name, "Sort") || pkg == "sort" && slices.Contains([]string{"Strings", "Ints", "Slice", "SliceStable", "Sort", "Stable"}, name) {
			delete(left, types.ExprString(call.Args[0]))
		}
		return true
	})
	return len(left) > 0
}

// enclosingBody is the body of the innermost function around the last node of a
// stack.
func enclosingBody(stack []ast.Node) *ast.BlockStmt {
	for _, n := range slices.Backward(stack) {
		switch f := n.(type) {
		case *ast.FuncDecl:
			return f.Body
		case *ast.FuncLit:
			return f.Body
		}
	}
	return nil
}
