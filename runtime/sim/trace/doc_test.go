package trace

import (
	"os"
	"slices"
	"strings"
	"testing"
)

// The documentation's example must be what the reader reads, and its tables
// must name every column and code.
func TestTheDocumentationIsTrue(t *testing.T) {
	raw, err := os.ReadFile("../../../docs/trace-format.md")
	if err != nil {
		t.Fatal(err)
	}
	doc := string(raw)
	_, rest, _ := strings.Cut(doc, "```yaml\n")
	example, _, ok := strings.Cut(rest, "```")
	if !ok {
		t.Fatal("no YAML example")
	}
	tr := fromYAML(t, []byte(example))
	if len(tr.Nodes) != 25 || tr.Nodes[24].Name != "n24" || len(tr.Jobs) != 161 || len(tr.Leaves()) != 3 {
		t.Errorf("%d nodes, %d jobs, %v", len(tr.Nodes), len(tr.Jobs), tr.Leaves())
	}
	if q := tr.Jobs[0].Queue; q != "root.research.llm" {
		t.Errorf("the first job is in %s", q)
	}
	words := slices.Concat(jobColumns, nodeColumns, queueColumns, idleKeys)
	for _, f := range Formats() {
		words = append(words, "`"+f.Name+"`")
	}
	for _, code := range []string{
		CodeFile, CodeTruncated, CodeFormat, CodeSyntax, CodeColumns, CodeColumn, CodeNumber, CodeNegative,
		CodeOverflow, CodeValue, CodeEmpty, CodeDuplicate, CodeUnknownQueue, CodeNotLeaf, CodeCycle, CodePattern, CodeDuration,
	} {
		words = append(words, "`"+code+"`")
	}
	for _, w := range words {
		if !strings.Contains(doc, w) {
			t.Errorf("the document does not mention %s", w)
		}
	}
}
