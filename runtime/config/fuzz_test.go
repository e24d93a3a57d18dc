package config

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// FuzzParse: no text makes Parse panic; either a file comes back or an error;
// every problem has a known code and a place; what is accepted is accepted again
// after it was rendered.
func FuzzParse(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, problems := Parse("fuzz.yaml", []byte(text))
		if (file == nil) != (problems.Err() != nil) {
			t.Fatalf("file %v, problems %v", file, problems)
		}
		for _, p := range problems {
			if !slices.Contains(allCodes, p.Code) || p.Line < 1 || p.Col < 1 || p.Message == "" {
				t.Fatalf("bad problem %#v", p)
			}
		}
		if problems.Error() == "" && len(problems) > 0 {
			t.Fatal("problems print as nothing")
		}
		if file == nil || strings.ContainsRune(text, shieldRune) {
			return
		}
		for _, p := range file.Partitions {
			rendered := Render(&p.Tree)
			again, problems := Parse("rendered.yaml", rendered)
			if err := problems.Err(); err != nil {
				t.Fatalf("rendered is refused: %v\n%s", err, rendered)
			}
			if diff := cmp.Diff(p.Tree, again.Partitions[0].Tree, cmpopts.EquateEmpty()); diff != "" {
				t.Fatalf("-first +rendered:\n%s\n%s", diff, rendered)
			}
		}
	})
}

// seeds are the documents of the corpus.
func seeds(tb testing.TB) []string {
	files, err := filepath.Glob("testdata/corpus/*.txt")
	if err != nil || len(files) == 0 {
		tb.Fatalf("no corpus: %v", err)
	}
	out := []string{everything, fiveErrors, "[[[[", "- - - -", "{a:b: 1}", "a: &a [*a]", "<<: *a", "? a\n: b", "a: !!str 1", "%YAML 1.2\n---\n"}
	for _, f := range files {
		text, err := os.ReadFile(f)
		if err != nil {
			tb.Fatal(err)
		}
		for c := range strings.SplitSeq(string(text), "\nparse") {
			if _, doc, ok := strings.Cut(c, "\n"); ok {
				doc, _, _ = strings.Cut(doc, "\n----\n")
				out = append(out, doc)
			}
		}
	}
	return out
}

// FuzzManifest: no manifest makes ParseManifest panic, and every place is in the text.
func FuzzManifest(f *testing.F) {
	for _, s := range seeds(f) {
		f.Add(s)
		f.Add(wrapped(s, manifestKey, "|"))
	}
	f.Fuzz(func(t *testing.T, text string) {
		file, _, problems := ParseManifest("m.yaml", []byte(text))
		if (file == nil) != (problems.Err() != nil) {
			t.Fatalf("file %v, problems %v", file, problems)
		}
		for _, p := range problems {
			if p.Line < 1 || p.Col < 1 || p.File == "m.yaml" && p.Line > strings.Count(text, "\n")+1 {
				t.Fatalf("bad place %#v", p)
			}
		}
	})
}
