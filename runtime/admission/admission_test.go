package admission

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/rego"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const rules = `package muster.admission

default allow := false

allow if input.job.user != ""

deny contains "mallory is banned" if input.job.user == "mallory"

deny contains "nobody takes more than 8 GPUs" if input.job.gpus > 8

queue := "root.b" if input.job.user == "bob"

priority := 7 if input.job.user == "bob"
`

func open(t *testing.T) *Rules {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.rego"), []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), dir)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func job(user string, gpus int64) *spec.Job {
	return &spec.Job{ID: user, User: user, Queue: "root.a", Tasks: []spec.TaskGroup{{Min: 1, Size: 1, Request: spec.GPUs(gpus)}}}
}

func TestEachJobGetsItsOwnVerdict(t *testing.T) {
	got := open(t).Judge(t.Context(), []*spec.Job{job("ann", 1), job("mallory", 16), job("bob", 1), job("", 1)})
	if got[0].Refused != "" || got[0].Queue != nil || got[0].Priority != nil {
		t.Errorf("ann is admitted as she is, got %+v", got[0])
	}
	if want := "mallory is banned; nobody takes more than 8 GPUs"; got[1].Refused != want {
		t.Errorf("mallory: want %q, got %q", want, got[1].Refused)
	}
	if v := got[2]; v.Refused != "" || v.Queue == nil || *v.Queue != "root.b" || v.Priority == nil || *v.Priority != 7 {
		t.Errorf("bob moves to root.b with priority 7, got %+v", v)
	}
	if got[3].Refused == "" {
		t.Error("a job that allow does not know is refused")
	}
}

func TestWhenTheContextHasEndedNobodyIsAdmitted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for i, v := range open(t).Judge(ctx, []*spec.Job{job("ann", 1), job("bob", 1)}) {
		if v.Refused == "" {
			t.Errorf("job %d was admitted without an answer", i)
		}
	}
}

func TestTheDigestIsThatOfTheRules(t *testing.T) {
	if d := open(t).Digest(); !strings.HasPrefix(d, "sha256:") || d != open(t).Digest() {
		t.Errorf("digest %q", d)
	}
}

func TestAFolderThatIsNotThereIsAnErrorAndNoRules(t *testing.T) {
	r, err := Open(t.Context(), filepath.Join(t.TempDir(), "absent"))
	if err == nil || r != nil {
		t.Fatalf("want an error, got %v", r)
	}
}

func TestRulesThatDoNotCompileNameTheirPlace(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bad.rego"), []byte("package muster.admission\n\nallow if {\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), dir)
	if err == nil || !strings.Contains(err.Error(), "bad.rego:") {
		t.Fatalf("want the place in bad.rego, got %v", err)
	}
}

func TestAVerdictWithoutAMessageIsStillARefusal(t *testing.T) {
	if v := verdict(rego.Verdict{Code: rego.CodeUndefined}); v.Refused != rego.CodeUndefined {
		t.Fatalf("got %+v", v)
	}
}
