// Package policyset finds the policies that a command line names: built-in ones by
// name, Wasm modules and folders of Rego rules by path. A module is tried on a
// small batch before it is used, so that one that can't work is refused at once.
package policyset

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/builtin/pack"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/cmd/muster/internal/operator"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/wanted"
	"github.com/musterhq/muster/runtime/rules"
	"github.com/musterhq/muster/runtime/wasm"
)

// Names are policies as people name them; an empty one is what the queues say,
// and the built-in default where they say nothing.
type Names struct {
	JobOrder, Fairness, Victims string // built-in name or file.wasm
	Placement                   string // fragmentation, binpack or spread
	Admission                   string // folder or bundle of Rego rules
	Policies                    string // policies.yaml
}

// String names what was chosen, for reports.
func (n Names) String() string {
	var chosen []string
	for _, c := range [][2]string{
		{"job order", n.JobOrder},
		{"fairness", n.Fairness},
		{"victims", n.Victims},
		{"placement", n.Placement},
		{"admission", n.Admission},
		{"policies of", n.Policies},
	} {
		if c[1] != "" {
			chosen = append(chosen, c[0]+" "+c[1])
		}
	}
	if len(chosen) == 0 {
		return "as the queues say"
	}
	return strings.Join(chosen, ", ")
}

// Loader loads modules, each file once. Close frees them.
type Loader struct {
	modules  map[string]*wasm.Module
	managers []*reload.Manager // of policies.yaml files
	// Log gets what policies log; nil drops it.
	Log func(policy, line string)
}

// Close frees all modules.
func (l *Loader) Close() error {
	var errs []error
	for _, m := range l.modules {
		errs = append(errs, m.Close())
	}
	for _, m := range l.managers {
		errs = append(errs, m.Close())
	}
	l.modules, l.managers = nil, nil
	return errors.Join(errs...)
}

// Error is a policy that can't be used.
type Error struct {
	Problem string
	Hint    string
}

func (e *Error) Error() string { return e.Problem }

// FileError is a module, or a folder of rules, that can't be used: a
// *wasm.LoadError, a *ProbeError, rego.Errors or an error of the file system.
type FileError struct {
	Path string
	Err  error
}

func (e *FileError) Error() string { return e.Err.Error() }

// Unwrap is the error without the path.
func (e *FileError) Unwrap() error { return e.Err }

// Set finds the policies and gives a tree whose queues use them.
func (l *Loader) Set(ctx context.Context, n Names, tree spec.Tree) (cycle.Set, spec.Tree, error) {
	set, err := l.applied(ctx, n.Policies)
	if err != nil {
		return cycle.Set{}, tree, err
	}
	for _, k := range []struct {
		kind policies.Kind
		name string
		flag string
	}{{policies.JobOrder, n.JobOrder, "job-order"}, {policies.QueueShares, n.Fairness, "fairness"}, {policies.VictimCosts, n.Victims, "victims"}} {
		if k.name == "" {
			continue
		}
		if err := l.add(ctx, set.Named, k.kind, k.name, k.flag); err != nil {
			return cycle.Set{}, tree, err
		}
	}
	if set.Placement, err = placement(n.Placement, tree); err != nil {
		return cycle.Set{}, tree, err
	}
	if n.Admission != "" {
		r, err := rules.Open(ctx, n.Admission, rules.Options{})
		if err != nil {
			return cycle.Set{}, tree, &FileError{n.Admission, err}
		}
		set.Admission, set.Protection = r.Admission(), r.Protection()
	}
	if tree.Root != nil {
		tree.Root = named(tree.Root, n)
	}
	return set, tree, nil
}

// applied is the set that a scheduler with this policies.yaml would begin with: its
// active policies, taken through all their steps. Shadows are left out.
func (l *Loader) applied(ctx context.Context, file string) (cycle.Set, error) {
	set := cycle.Set{Named: map[string]policies.Policy{}}
	if file == "" {
		return set, nil
	}
	if _, err := os.Stat(file); err != nil {
		return set, &Error{"cannot read " + file + ": " + reason(err), "`muster policy load X.wasm --at " + file + "` writes one"}
	}
	want, _, err := operator.Read(file)
	if err != nil {
		return set, err
	}
	want.Policies = slices.DeleteFunc(want.Policies, func(s wanted.Spec) bool { return s.Mode == wanted.Shadow })
	opt := operator.Options(filepath.Dir(file), nil)
	opt.Swap = reload.Into(func(s cycle.Set) <-chan struct{} {
		set = s
		done := make(chan struct{})
		close(done)
		return done
	}, cycle.Set{})
	m, err := reload.New(opt)
	if err != nil {
		return set, err
	}
	if err := m.Apply(ctx, want); err != nil {
		return set, errors.Join(err, m.Close())
	}
	l.managers = append(l.managers, m)
	return set, nil
}

func (l *Loader) add(ctx context.Context, to map[string]policies.Policy, kind policies.Kind, name, flag string) error {
	if p, ok := to[name]; ok && p.Info().Kinds&kind != 0 {
		return nil // of policies.yaml
	}
	if !IsModule(name) {
		p, ok := order.Builtin(name)
		if !ok || p.Info().Kinds&kind == 0 {
			return &Error{
				fmt.Sprintf("%s: there is no built-in policy %q that decides %s", flag, name, kind),
				"built in are " + strings.Join(order.Names(kind), ", ") + loadedToo(to, kind) + "; a module is named by its path, as in policies/mine.wasm",
			}
		}
		return nil // the cycle finds it by its name
	}
	m, err := l.Load(ctx, name)
	if err != nil {
		return err
	}
	if m.Info().Kinds&kind == 0 {
		return &Error{
			fmt.Sprintf("%s: %s does not decide %s", flag, name, kind),
			"it decides " + strings.Join(Kinds(m.Info().Kinds), ", ") + "; a module exports one function for each kind",
		}
	}
	to[name] = m
	return nil
}

// loadedToo lists the policies of policies.yaml that decide a kind.
func loadedToo(set map[string]policies.Policy, kind policies.Kind) string {
	var out []string
	for _, name := range slices.Sorted(maps.Keys(set)) {
		if set[name].Info().Kinds&kind != 0 {
			out = append(out, name)
		}
	}
	if len(out) == 0 {
		return ""
	}
	return "; loaded are " + strings.Join(out, ", ")
}

func placement(name string, tree spec.Tree) (pack.Strategy, error) {
	if name == "" {
		name = tree.Placement
	}
	s, err := pack.ParseStrategy(name)
	if err != nil {
		return 0, &Error{"placement: " + err.Error(), "fragmentation keeps whole nodes free for large gangs and is the default"}
	}
	return s, nil
}

// IsModule says whether a policy's name is a path.
func IsModule(name string) bool {
	return strings.HasSuffix(name, ".wasm") || strings.ContainsRune(name, '/') || strings.ContainsRune(name, filepath.Separator)
}

// Kinds lists the names of a set of kinds.
func Kinds(k policies.Kind) []string {
	var out []string
	for _, one := range []policies.Kind{policies.JobOrder, policies.QueueShares, policies.VictimCosts} {
		if k&one != 0 {
			out = append(out, one.String())
		}
	}
	return out
}

// backstop ends a call that fuel should have ended long before: only a bug of the
// meter meets it.
const backstop = 2 * time.Minute

// Load loads a module and tries each of its kinds.
func (l *Loader) Load(ctx context.Context, path string) (*wasm.Module, error) {
	if m := l.modules[path]; m != nil {
		return m, nil
	}
	bin, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{"cannot read policy " + path + ": " + reason(err), "`make guests` builds the shipped policies into bin/policies"}
	}
	// Fuel bounds every call, the same on every machine. A limit by the clock that a call
	// can meet would make what a simulation decides depend on what else the machine does.
	opt := wasm.Options{Name: strings.TrimSuffix(filepath.Base(path), ".wasm"), Timeout: backstop}
	if l.Log != nil {
		opt.Log = func(_ wasm.Level, line string) { l.Log(path, line) }
	}
	m, err := wasm.Load(ctx, bin, opt)
	if err != nil {
		return nil, &FileError{path, err}
	}
	if err := Probe(ctx, m); err != nil {
		return nil, &FileError{path, errors.Join(err, m.Close())}
	}
	if l.modules == nil {
		l.modules = map[string]*wasm.Module{}
	}
	l.modules[path] = m
	return m, nil
}

// reason is an error of the file system without the path, which is said already.
func reason(err error) string {
	var p *os.PathError
	if errors.As(err, &p) {
		return p.Err.Error()
	}
	return err.Error()
}

// named is the queues with the named policies in every one of them.
func named(q *spec.Queue, n Names) *spec.Queue {
	c := *q
	for _, set := range []struct {
		to   *string
		name string
	}{{&c.JobOrder, n.JobOrder}, {&c.Fairness, n.Fairness}, {&c.Victims, n.Victims}} {
		if set.name != "" {
			*set.to = set.name
		}
	}
	c.Children = make([]*spec.Queue, len(q.Children))
	for i, child := range q.Children {
		c.Children[i] = named(child, n)
	}
	return &c
}

// Fixed gives a set of policies that are there already, and a tree whose queues name
// them.
func Fixed(tree spec.Tree, n Names, known map[string]policies.Policy) (cycle.Set, spec.Tree) {
	if tree.Root != nil {
		tree.Root = named(tree.Root, n)
	}
	return cycle.Set{Named: known}, tree
}
