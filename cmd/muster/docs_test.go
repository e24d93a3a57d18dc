package main

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/musterhq/muster/runtime/reload/wanted"
)

// block is a piece of code in a document: a file if its title is a path, else commands.
type block struct {
	line  int
	lang  string
	attrs map[string]string
	text  string
}

var (
	fence = regexp.MustCompile("(?ms)^```([a-z]+)([^\n]*)\n(.*?)^```$")
	attr  = regexp.MustCompile(`([a-z]+)="([^"]*)"`)
)

func blocksOf(text string) (out []block) {
	for _, m := range fence.FindAllStringSubmatchIndex(text, -1) {
		b := block{line: 1 + strings.Count(text[:m[0]], "\n"), lang: text[m[2]:m[3]], attrs: map[string]string{}, text: text[m[6]:m[7]]}
		for _, a := range attr.FindAllStringSubmatch(text[m[4]:m[5]], -1) {
			b.attrs[a[1]] = a[2]
		}
		out = append(out, b)
	}
	return out
}

const otherTerminal = "in another terminal"

// reader does what a document says, in an empty folder with the shipped policies in
// bin/policies.
type reader struct {
	t     *testing.T
	dir   string
	other []*exec.Cmd
	seen  *os.File // what the other terminal shows
}

func follow(t *testing.T, doc string) *reader {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", doc))
	if err != nil {
		t.Fatal(err)
	}
	r := &reader{t: t, dir: t.TempDir()}
	if err := os.Mkdir(filepath.Join(r.dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(shipped(t), filepath.Join(r.dir, "bin", "policies")); err != nil {
		t.Fatal(err)
	}
	if r.seen, err = os.Create(filepath.Join(t.TempDir(), "other.txt")); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.ctrlC)
	for _, b := range blocksOf(string(text)) {
		switch title := b.attrs["title"]; {
		case b.lang == "sh" && title == otherTerminal:
			r.start(b)
		case b.lang == "sh":
			r.run(doc, b)
		case title != "":
			r.write(title, b.text)
		}
	}
	return r
}

func (r *reader) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, filepath.FromSlash(name))
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		r.t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
}

// run runs the commands of a block as a shell does that stops at the first failure.
func (r *reader) run(doc string, b block) {
	r.t.Helper()
	if needs := b.attrs["needs"]; needs != "" && !r.has(needs) {
		r.t.Logf("docs/%s:%d: skipped, %s is not on this machine", doc, b.line, needs)
		return
	}
	ctx, cancel := context.WithTimeout(r.t.Context(), 5*time.Minute)
	defer cancel()
	began := time.Now()
	out, err := r.shell(ctx, b.text).CombinedOutput()
	if err != nil {
		r.t.Fatalf("docs/%s:%d: %v\n%s\nthe other terminal:\n%s", doc, b.line, err, out, r.terminal())
	}
	r.t.Logf("docs/%s:%d: %.1f s\n%s", doc, b.line, time.Since(began).Seconds(), out)
}

func (r *reader) shell(ctx context.Context, text string) *exec.Cmd {
	cmd := exec.CommandContext(ctx, "bash", "-euxc", text)
	cmd.Dir = r.dir
	cmd.Env = append(os.Environ(), "GOPROXY=off", "GOFLAGS=-mod=mod", "GOWORK=off")
	return cmd
}

// start runs a command that goes on, and waits until it says that it does.
func (r *reader) start(b block) {
	r.t.Helper()
	r.ctrlC() // the document has ended the one before
	cmd := r.shell(context.Background(), "exec "+strings.TrimSpace(b.text))
	cmd.Stdout, cmd.Stderr = r.seen, r.seen
	if err := cmd.Start(); err != nil {
		r.t.Fatal(err)
	}
	r.other = append(r.other, cmd)
	for deadline := time.Now().Add(time.Minute); !strings.Contains(r.terminal(), "Ctrl-C ends it"); time.Sleep(20 * time.Millisecond) {
		if time.Now().After(deadline) {
			r.t.Fatalf("line %d: it does not begin:\n%s", b.line, r.terminal())
		}
	}
}

// ctrlC ends what runs in the other terminal; it must end well.
func (r *reader) ctrlC() {
	for _, cmd := range r.other {
		if err := cmd.Process.Signal(syscall.SIGINT); err != nil {
			r.t.Error(err)
		}
		if err := cmd.Wait(); err != nil {
			r.t.Errorf("%v\n%s", err, r.terminal())
		}
	}
	r.other = nil
}

func (r *reader) terminal() string {
	text, err := os.ReadFile(r.seen.Name())
	if err != nil {
		r.t.Fatal(err)
	}
	return string(text)
}

// has says whether a toolchain is there, and lends the AssemblyScript compiler of the
// repository to a project that would fetch it.
func (r *reader) has(tool string) bool {
	switch tool {
	case "clang":
		return slices.ContainsFunc([]string{"clang", "clang-19", "clang-18", "clang-17", "clang-16"}, onPath) && onPath("make") && onPath("cc")
	case "rustc":
		return onPath("make") && hasTarget()
	case "asc":
		modules, err := filepath.Abs(filepath.Join("..", "..", "sdk", "assemblyscript", "node_modules"))
		if _, e := os.Stat(filepath.Join(modules, ".bin", "asc")); err != nil || e != nil || !onPath("npm") {
			return false
		}
		// npm finds packages in the folders above a project.
		err = os.Symlink(modules, filepath.Join(r.dir, "node_modules"))
		return err == nil || errors.Is(err, os.ErrExist)
	}
	return onPath(tool)
}

func onPath(name string) bool { _, err := exec.LookPath(name); return err == nil }

func hasTarget() bool {
	for _, rustc := range []string{"rustc", "/usr/bin/rustc"} {
		root, err := exec.Command(rustc, "--print", "sysroot").Output()
		if err != nil {
			continue
		}
		if _, err := os.Stat(filepath.Join(strings.TrimSpace(string(root)), "lib", "rustlib", "wasm32-unknown-unknown", "lib")); err == nil {
			return true
		}
	}
	return false
}

// The page for authors is followed to the letter, by somebody with no network.
func TestThePageForAuthorsWorksAsItIsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("builds policies and runs the conformance suite")
	}
	r := follow(t, "policy-authors.md")
	r.ctrlC()
	for _, want := range []string{
		": fetched file:my-order/my-order.wasm", ": checked ", "my-order (my-order 0.1.0 ", ": active",
		"my-order (my-order 0.2.0 ", "active [rolled-back] in place of my-order 0.2.0", "0 events refused",
	} {
		if !strings.Contains(r.terminal(), want) {
			t.Errorf("the cluster never said %q:\n%s", want, r.terminal())
		}
	}
}

// The page for operators, too: load, shadow, promote and roll back in a cluster that
// runs, sign, push and pull.
func TestThePageForOperatorsWorksAsItIsWritten(t *testing.T) {
	if testing.Short() {
		t.Skip("runs a cluster")
	}
	r := follow(t, "policy-operators.md")
	r.ctrlC()
	for _, want := range []string{
		"order (fair 1.0.0 ", "active [rolled-back] in place of fair", "candidate beside order (shortest-first 1.0.0 ",
		": shadow beside priority-fifo", "active [promoted] in place of priority-fifo", "0 events refused",
	} {
		if !strings.Contains(r.terminal(), want) {
			t.Errorf("the cluster never said %q:\n%s", want, r.terminal())
		}
	}
	text, err := os.ReadFile(filepath.Join(r.dir, "full", "policies.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	if _, problems := wanted.Parse("policies.yaml", text); len(problems) > 0 {
		t.Errorf("the policies.yaml with every key: %v", problems)
	}
	for _, key := range []string{
		"name", "source", "file", "folder", "oci", "layout", "plainHTTP", "digest", "signedBy", "signatures", "params", "limits",
		"fuelBase", "fuelPerRow", "memory", "timeout", "mode", "beside", "kinds", "shadowFor", "trust", "keys", "id", "pem", "sources", "match", "unsigned",
	} {
		if !regexp.MustCompile(`\b` + key + `:`).Match(text) {
			t.Errorf("the policies.yaml with every key has no %s", key)
		}
	}
}

// Every code is explained, and no code is explained that there is not.
func TestEveryCodeOfALifeCycleIsExplainedToOperators(t *testing.T) {
	text, err := os.ReadFile(filepath.Join("..", "..", "docs", "policy-operators.md"))
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string][]string{} // codes in the first column, by the table's title
	title := ""
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		switch {
		case len(cells) < 3:
			title = ""
		case strings.HasPrefix(strings.TrimSpace(cells[1]), "code of "):
			title = strings.TrimSpace(cells[1])
		case title != "":
			for _, c := range regexp.MustCompile("`([a-z-]+)`").FindAllStringSubmatch(cells[1], -1) {
				tables[title] = append(tables[title], c[1])
			}
		}
	}
	steps, refusals, found := strings.Cut(constants(t, "reload/reason/reason.go"), "// Why a policy is in the state")
	if !found {
		t.Fatal("runtime/reload/reason/reason.go has changed its shape")
	}
	steps, refusals = refusals, steps
	for title, want := range map[string][]string{
		"code of a refusal":                    slices.Concat(codesIn(refusals), codesIn(constants(t, "wasm/errors.go"))),
		"code of another step":                 codesIn(steps),
		"code of a fault, and of a quarantine": codesIn(constants(t, "../policies/errors.go")),
		"code of a problem in policies.yaml":   wanted.Codes(),
	} {
		got := tables[title]
		for _, c := range want {
			if !slices.Contains(got, c) && !explained(tables, c) {
				t.Errorf("%q does not explain %s", title, c)
			}
		}
		for _, c := range got {
			if !slices.Contains(want, c) {
				t.Errorf("%q explains %s, which is no code", title, c)
			}
		}
	}
}

// explained says whether any table has a code: some mean the same everywhere.
func explained(tables map[string][]string, code string) bool {
	for _, t := range tables {
		if slices.Contains(t, code) {
			return true
		}
	}
	return false
}

func constants(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("..", "..", "runtime", filepath.FromSlash(file)))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// codesIn finds constants such as: NotFound Code = "not-found".
func codesIn(source string) (out []string) {
	for _, m := range regexp.MustCompile(`(?m)^\t[A-Z]\w+ +(?:Load)?Code *= "([a-z-]+)"`).FindAllStringSubmatch(source, -1) {
		out = append(out, m[1])
	}
	return out
}

// A block that is not closed, or is of a language that is not known, would not be run.
func TestEveryCommandOfThePagesForPoliciesIsInABlockThatIsRun(t *testing.T) {
	for _, doc := range []string{"policy-authors.md", "policy-operators.md"} {
		f, err := os.Open(filepath.Join("..", "..", "docs", doc))
		if err != nil {
			t.Fatal(err)
		}
		text, err := io.ReadAll(f)
		if err := errors.Join(err, f.Close()); err != nil {
			t.Fatal(err)
		}
		inBlocks := 0
		for _, b := range blocksOf(string(text)) {
			if b.lang == "sh" {
				inBlocks += commandsIn(b.text)
			}
		}
		if all := commandsIn(string(text)); all != inBlocks || all == 0 {
			t.Errorf("docs/%s: %d lines begin with muster, %d of them are in sh blocks", doc, all, inBlocks)
		}
	}
}

func commandsIn(text string) (n int) {
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "muster ") {
			n++
		}
	}
	return n
}
