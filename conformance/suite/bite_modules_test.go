package suite

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/hostabi"
	"github.com/musterhq/muster/hostabi/wasmbin"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

// guestOf is a module of testdata, hand-written and wrong in one way, with the given
// metadata.
func guestOf(name, metadata string) Subject {
	bin, err := os.ReadFile(filepath.Join("testdata", name+".wasm"))
	if err != nil {
		panic(err)
	}
	if metadata != "" {
		if bin, err = wasmbin.SetCustom(bin, hostabi.SectionName, []byte(metadata)); err != nil {
			panic(err)
		}
	}
	return Subject{Module: bin, Name: name}
}

func badModules() []bad {
	return []bad{
		{
			law: "purity/interpreter", subject: Subject{Module: wasmtest.Good(), Name: "good"}, also: goodToo,
			prepare: func(r *run) {
				r.opened.interpreted = func(context.Context) (policies.Policy, error) {
					return byRow("slow", nil, func(*policies.JobBatch, int) int64 { return 1 }).New(), nil
				}
			},
		},
		{law: "purity/other-address", subject: guestOf("other-address", "")},
		{law: "totality/absent-optional", subject: guestOf("absent-optional", `{"columns": {"optional": ["job.deadline"]}}`)},
		{law: "totality/unknown-columns", subject: guestOf("unknown-columns", "")},
		{law: "totality/longer-strides", subject: guestOf("longer-strides", "")},
		{law: "bounds/inputs-untouched", subject: guestOf("inputs-untouched", "")},
		{law: "bounds/fuel-linear", subject: guestOf("fuel-linear", "")},
		{law: "bounds/fuel-claim", subject: Subject{Module: wasmtest.GoodWithMetadata(`{"fuel": {"base": 1}}`), Name: "greedy"}, also: goodToo},
		{law: "bounds/memory", subject: guestOf("memory", "")},
		{law: lawTwin, subject: Subject{New: func() policies.Policy {
			return &ordered{info: policies.Info{Name: "priority-fifo", Kinds: policies.JobOrder}, keys: fifo}
		}}},
	}
}

// The modules of testdata are what their texts say, where wat2wasm (package wabt) is
// there to tell.
func TestTheHandWrittenModulesAreCurrent(t *testing.T) {
	tool, err := exec.LookPath("wat2wasm")
	if err != nil {
		t.Skip("wat2wasm of the package wabt is not installed: the modules of testdata are not compared with their texts")
	}
	texts, err := filepath.Glob(filepath.Join("testdata", "*.wat"))
	if err != nil || len(texts) == 0 {
		t.Fatal("no texts", err)
	}
	for _, text := range texts {
		made := filepath.Join(t.TempDir(), "out.wasm")
		if out, err := exec.CommandContext(t.Context(), tool, "--debug-names", text, "-o", made).CombinedOutput(); err != nil {
			t.Fatalf("%s: %v\n%s", text, err, out)
		}
		want, err := os.ReadFile(made)
		if err != nil {
			t.Fatal(err)
		}
		kept, err := os.ReadFile(strings.TrimSuffix(text, ".wat") + ".wasm")
		if err != nil || !bytes.Equal(kept, want) {
			t.Errorf("%s: run tools/wat.sh (%v)", text, err)
		}
	}
}

// goodToo are the laws that wasmtest's good guest breaks: it answers 0 to everything, and
// that is no fair share.
var goodToo = []string{"fairness/guarantee-first", "fairness/rank-owed"}
