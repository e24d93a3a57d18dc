package conformance

import (
	"context"
	"flag"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/cockroachdb/datadriven"
	"go.uber.org/goleak"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/guests"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// twins are the modules of policies/library that decide like the built-in of the
// same name.
var twins = []string{"fifo", "priority-fifo", "fair", "guaranteed-fair", "least-lost-work", "idle-first"}

// A story is told twice: with the built-in policies, and with their Wasm twins.
// What happens must be the same to the letter.
func TestStories(t *testing.T) {
	wasmTwins := loadTwins(t)
	for _, path := range storyFiles(t) {
		name := strings.TrimSuffix(strings.TrimPrefix(filepath.ToSlash(path), "stories/"), ".txt")
		t.Run(name, func(t *testing.T) {
			t.Run("builtin", func(t *testing.T) { tellStory(t, path, nil) })
			if rewriting() {
				return // the file was written just now; the next run compares
			}
			t.Run("wasm", func(t *testing.T) {
				tale := tellStory(t, path, wasmTwins)
				checkTwinsDecided(t, tale)
			})
		})
	}
}

func rewriting() bool {
	f := flag.Lookup("rewrite")
	return f != nil && f.Value.String() == "true"
}

func storyFiles(t *testing.T) (files []string) {
	t.Helper()
	err := filepath.WalkDir("stories", func(path string, _ fs.DirEntry, err error) error {
		if strings.HasSuffix(path, ".txt") {
			files = append(files, path)
		}
		return err
	})
	if err != nil || len(files) == 0 {
		t.Fatalf("no stories: %v", err)
	}
	return files
}

func tellStory(t *testing.T, path string, named map[string]policies.Policy) *Tale {
	t.Helper()
	tale := NewTale(context.Background(), named)
	tale.Load = func(source string) (policies.Policy, error) { return loadPolicy(t, source) }
	tale.Module = moduleOf
	t.Cleanup(func() {
		if err := tale.Close(); err != nil {
			t.Error(err)
		}
	})
	datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
		text, err := tale.Play(linesOf(d))
		if err != nil {
			t.Fatalf("%s: %v", d.Pos, err)
		}
		return text
	})
	return tale
}

// linesOf turns a directive into lines of the language. "play" holds a line for
// each command; any other directive is a command, and its input the block below.
func linesOf(d *datadriven.TestData) []string {
	var input []string
	for _, l := range strings.Split(d.Input, "\n") {
		if text := strings.TrimSpace(l); text != "" && !strings.HasPrefix(text, "#") {
			input = append(input, l)
		}
	}
	if d.Cmd == "play" {
		return input
	}
	words := []string{d.Cmd}
	for _, a := range d.CmdArgs {
		words = append(words, a.String())
	}
	for i := range input {
		input[i] = " " + input[i]
	}
	return append([]string{strings.Join(words, " ")}, input...)
}

// checkTwinsDecided makes sure that the Wasm run was one: every policy asked was a
// module, and none but those that a story chose for their failures failed.
func checkTwinsDecided(t *testing.T, tale *Tale) {
	t.Helper()
	for _, u := range tale.allUses {
		if !strings.HasPrefix(u.Digest, "sha256:") {
			t.Errorf("%s was asked of %s (%s), which is no module", u.Kind, u.Name, u.Digest)
		}
		chosen := u.Kind == "protection" // rules, which a story chooses, too
		for _, p := range tale.chosen {
			chosen = chosen || p.Info().Digest == u.Digest
		}
		if u.Fallbacks > 0 && !chosen {
			t.Errorf("%s %s failed: %s", u.Kind, u.Name, u.Failure)
		}
	}
}

func loadTwins(t *testing.T) map[string]policies.Policy {
	t.Helper()
	named := map[string]policies.Policy{}
	for _, name := range twins {
		p, err := loadPolicy(t, "library/"+name)
		if err != nil {
			t.Fatal(err)
		}
		named[name] = p
	}
	return named
}

// broken are the modules for stories about policies that misbehave.
var broken = map[string]func() []byte{
	"trap": wasmtest.Trap, "nan": wasmtest.NaN, "loop": wasmtest.Loop, "memory-bomb": wasmtest.MemoryBomb,
	"five-keys": wasmtest.FiveKeys, "bad-length": wasmtest.BadLength,
	"no-module": func() []byte { return []byte("this is no module") },
}

// moduleOf is the module that stories call library/NAME or broken/NAME.
func moduleOf(source string) ([]byte, error) {
	kind, name, _ := strings.Cut(source, "/")
	switch kind {
	case "library":
		return guests.Build(name)
	case "broken":
		make, ok := broken[name]
		if !ok {
			return nil, fmt.Errorf("no broken policy %q", name)
		}
		return make(), nil
	default:
		return nil, fmt.Errorf("no policy %q; write library/NAME or broken/NAME", source)
	}
}

func loadPolicy(t *testing.T, source string) (policies.Policy, error) {
	kind, name, _ := strings.Cut(source, "/")
	if kind == "rogue" {
		return rogue{}, nil
	}
	opt := wasm.Options{Name: name, Timeout: wasm.NoTimeout}
	if kind == "broken" {
		opt.Timeout, opt.MemoryPages = 100*time.Millisecond, 64
	}
	source, setting, set := strings.Cut(source, "?")
	if set { // library/guaranteed-fair?count=measured
		key, value, _ := strings.Cut(setting, "=")
		opt.Params = map[string]any{key: value}
	}
	bin, err := moduleOf(source)
	if err != nil {
		return nil, err
	}
	p, err := wasm.Load(context.Background(), bin, opt)
	if err != nil {
		return nil, err
	}
	t.Cleanup(func() {
		if err := p.Close(); err != nil {
			t.Error(err)
		}
	})
	return p, nil
}

// rogue is a policy that wants everything for the queue "greedy", and for whom nobody
// else's work has a price.
type rogue struct{ policies.Unimplemented }

func (rogue) Info() policies.Info {
	return policies.Info{Name: "rogue", Digest: "sha256:rogue", Kinds: policies.QueueShares | policies.VictimCosts}
}

func (rogue) Entitle(_ context.Context, b *policies.QueueBatch) error {
	for q := range b.N {
		b.Rank[q] = 2
		copy(b.Entitled[q*b.R:][:b.R], b.Used[q*b.R:])
		if b.Parent[q] < 0 || b.Max[q*b.R] != policies.NoMax { // greedy has a max
			b.Rank[q] = 0
			copy(b.Entitled[q*b.R:][:b.R], b.Capacity)
		}
	}
	return nil
}

func (rogue) CostVictims(_ context.Context, b *policies.VictimBatch) error {
	clear(b.Cost) // guaranteed or not
	return nil
}

// The vocabulary in stories/README.md is that of the language.
func TestReadmeListsTheVocabulary(t *testing.T) {
	text, err := os.ReadFile("stories/README.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, help := range Vocabulary() {
		if !strings.Contains(string(text), "- `"+strings.Replace(help, ": ", "`: ", 1)) {
			t.Errorf("stories/README.md lacks the line\n- `%s", strings.Replace(help, ": ", "`: ", 1))
		}
	}
}
