package config

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// The corpus in testdata/corpus has one document per rule. A case names the codes
// it expects in its first line, written from YuniKorn's rules before the program
// ran; the expected output adds place and wording. "show" adds the trees.
func TestCorpusOfAcceptedAndRefusedDocuments(t *testing.T) {
	datadriven.Walk(t, "testdata/corpus", func(t *testing.T, path string) {
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			file, problems := Parse("queues.yaml", []byte(d.Input+"\n"))
			checkCodes(t, d, problems)
			checkAgainstRender(t, file)
			return describe(file, problems, d.HasArg("show"))
		})
	})
}

func checkCodes(t *testing.T, d *datadriven.TestData, problems Problems) {
	t.Helper()
	for _, severity := range []Severity{Error, Warning} {
		var want, got []string
		for _, arg := range d.CmdArgs {
			if arg.Key == string(severity)+"s" {
				want = append(want, arg.Vals...)
			}
		}
		for _, p := range problems {
			if p.Severity == severity {
				got = append(got, p.Code)
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got, cmpopts.EquateEmpty()); diff != "" {
			d.Fatalf(t, "%s codes (-want +got):\n%s\n%v", severity, diff, problems)
		}
	}
}

// checkAgainstRender: every accepted document survives being written and read.
func checkAgainstRender(t *testing.T, file *File) {
	t.Helper()
	if file == nil {
		return
	}
	for _, p := range file.Partitions {
		text := Render(&p.Tree)
		again, problems := Parse("rendered.yaml", text)
		if err := problems.Err(); err != nil {
			t.Fatalf("rendered document is refused: %v\n%s", err, text)
		}
		if diff := cmp.Diff(p.Tree, again.Partitions[0].Tree, cmpopts.EquateEmpty()); diff != "" {
			t.Errorf("rendered document differs (-first +second):\n%s\n%s", diff, text)
		}
	}
}

func describe(file *File, problems Problems, show bool) string {
	var b strings.Builder
	for _, p := range problems {
		fmt.Fprintf(&b, "%d:%d %s[%s]: %s\n", p.Line, p.Col, p.Severity, p.Code, p.Message)
	}
	if file == nil {
		return b.String() + "refused\n"
	}
	names := make([]string, len(file.Partitions))
	for i, p := range file.Partitions {
		names[i] = p.Name
	}
	fmt.Fprintf(&b, "accepted %s\n", names)
	for _, p := range file.Partitions {
		if show {
			b.Write(Render(&p.Tree))
		}
	}
	return b.String()
}

// generated are the cases that are too large to be written down.
var generated = []struct {
	name, code string
	at         pos
	text       func() []byte
}{
	{"a file above the size limit", CodeTooLarge, pos{1, 1}, func() []byte {
		return []byte(strings.Repeat("# filler\n", MaxBytes/9+1))
	}},
	{"65 levels of queues", CodeTooDeep, pos{131, 133}, func() []byte { return nested(MaxDepth + 1) }},
	{"500 levels of queues", CodeTooDeep, pos{201, 201}, func() []byte { return nested(500) }},
	{"brackets without end", CodeTooDeep, pos{1, 1}, func() []byte { return []byte(strings.Repeat("[", 1_000_000)) }},
	{"300 brackets", CodeTooDeep, pos{1, maxNest + 1}, func() []byte { return []byte(strings.Repeat("[", 300)) }},
	{"dashes without end", CodeTooDeep, pos{1, 2*maxNest + 1}, func() []byte { return []byte(strings.Repeat("- ", 100_000)) }},
	{"a hundred thousand queues and one, by aliases", CodeTooManyQueues, pos{14, 7}, func() []byte {
		var kids, rest strings.Builder
		for i := range 1000 {
			if i < 100 {
				fmt.Fprintf(&kids, "    - {name: k%d}\n", i)
			}
			fmt.Fprintf(&rest, "  - {name: q%d, queues: *kids}\n", i)
		}
		return []byte("partitions:\n- queues:\n  - name: first\n    queues: &kids\n" + kids.String() + rest.String())
	}},
	{"a mapping of ten thousand keys and one", CodeTooLarge, pos{maxKeys + 1, 2}, func() []byte {
		return []byte(strings.Repeat("a: b\n", 2*maxMarks))
	}},
	{"empty entries without end", CodeTooLarge, pos{maxMarks + 2, 1}, func() []byte { return []byte(strings.Repeat("-\n", 2*maxMarks)) }},
	{"empty values without end", CodeTooLarge, pos{maxMarks + 2, 1}, func() []byte { return []byte(strings.Repeat("- a:\n", 2*maxMarks)) }},
	{"keys without a colon, without end", CodeTooLarge, pos{maxMarks + 1, 5}, func() []byte { return []byte(strings.Repeat("- {a}\n", 2*maxMarks)) }},
	{"tags without end", CodeTooLarge, pos{maxMarks + 1, 3}, func() []byte { return []byte(strings.Repeat("- !x\n", 2*maxMarks)) }},
	{"bytes that are not UTF-8", CodeNotText, pos{2, 3}, func() []byte { return []byte("a: 1\nb:\xff") }},
	{"a control character", CodeNotText, pos{1, 4}, func() []byte { return []byte("a: \x00") }},
	{"a flow mapping of ten thousand keys and more", CodeTooLarge, pos{1, 2*maxKeys + 3}, func() []byte {
		return []byte("{" + strings.Repeat("a,", 2*maxKeys) + "}")
	}},
	{"an endless list of problems", CodeTooManyProblems, pos{maxProblems + 503, 1}, func() []byte {
		return []byte("partitions:\n" + strings.Repeat("- {x: 1}\n", maxProblems+501))
	}},
}

func nested(levels int) []byte {
	var b strings.Builder
	b.WriteString("partitions:\n- queues:\n")
	for i := range levels {
		indent := strings.Repeat("  ", i+1)
		fmt.Fprintf(&b, "%s- name: q\n%s  queues:\n", indent, indent)
	}
	return []byte(b.String())
}

func TestGeneratedDocumentsAreRefused(t *testing.T) {
	for _, g := range generated {
		t.Run(g.name, func(t *testing.T) {
			file, problems := Parse("queues.yaml", g.text())
			if file != nil || problems.Err() == nil {
				t.Fatal("accepted")
			}
			i := slices.IndexFunc(problems, func(p Problem) bool { return p.Code == g.code })
			if i < 0 {
				t.Fatalf("no problem has code %s: %v", g.code, problems[0])
			}
			if got := (pos{problems[i].Line, problems[i].Col}); got != g.at {
				t.Errorf("at %v, want %v: %s", got, g.at, problems[i].Message)
			}
		})
	}
}

func TestEveryCodeHasACase(t *testing.T) {
	seen := map[string]bool{}
	for _, g := range generated {
		seen[g.code] = true
	}
	files, err := filepath.Glob("testdata/corpus/*.txt")
	if err != nil || len(files) == 0 {
		t.Fatalf("no corpus: %v", err)
	}
	coded := regexp.MustCompile(`(?m)^\d+:\d+ (?:error|warning)\[([a-z-]+)\]: `)
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		for _, m := range coded.FindAllStringSubmatch(string(text), -1) {
			seen[m[1]] = true
		}
	}
	for _, c := range Codes() {
		if !seen[c] {
			t.Errorf("code %s has no case in testdata/corpus", c)
		}
		delete(seen, c)
	}
	for c := range seen {
		t.Errorf("code %s is not in Codes()", c)
	}
}
