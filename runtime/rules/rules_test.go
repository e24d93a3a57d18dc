package rules

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/rego"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const admissionRules = `package muster.admission

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
	if err := os.WriteFile(filepath.Join(dir, "rules.rego"), []byte(admissionRules), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), dir, Options{Timeout: time.Minute})
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
	r, err := Open(t.Context(), filepath.Join(t.TempDir(), "absent"), Options{})
	if err == nil || r != nil {
		t.Fatalf("want an error, got %v", r)
	}
}

func TestRulesThatDoNotCompileNameTheirPlace(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "bad.rego"), []byte("package muster.admission\n\nallow if {\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Open(t.Context(), dir, Options{Timeout: time.Minute})
	if err == nil || !strings.Contains(err.Error(), "bad.rego:") {
		t.Fatalf("want the place in bad.rego, got %v", err)
	}
}

func TestAVerdictWithoutAMessageIsStillARefusal(t *testing.T) {
	if v := verdict(rego.Verdict{Code: rego.CodeUndefined}); v.Refused != rego.CodeUndefined {
		t.Fatalf("got %+v", v)
	}
}

func openText(t *testing.T, text string, opt Options) *Rules {
	t.Helper()
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "rules.rego"), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	r, err := Open(t.Context(), dir, opt)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func TestOneVerdictServesAllJobsThatRulesCanNotTellApart(t *testing.T) {
	r := open(t)
	jobs := make([]*spec.Job, 100)
	for i := range jobs {
		jobs[i] = job([]string{"ann", "bob", "mallory"}[i%3], 1)
		jobs[i].ID = fmt.Sprint("j", i)
	}
	got := r.Judge(t.Context(), jobs)
	for i, v := range got {
		if (v.Refused != "") != (i%3 == 2) || (v.Queue != nil) != (i%3 == 1) {
			t.Errorf("job %d: %+v", i, v)
		}
	}
	if r.Recalled() != 97 {
		t.Errorf("%d of 100 verdicts came from memory, want 97", r.Recalled())
	}
}

func TestTheMemoryOfVerdictsIsBounded(t *testing.T) {
	r := openText(t, admissionRules, Options{Timeout: time.Minute, Cache: 10})
	for i := range 35 {
		r.Judge(t.Context(), []*spec.Job{job(fmt.Sprint("u", i), 1)})
	}
	if len(r.kept) > 10 {
		t.Errorf("%d verdicts are kept, want 10 at most", len(r.kept))
	}
}

func TestAnAnswerThatCameTooLateIsNotKept(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := open(t)
	r.Judge(ctx, []*spec.Job{job("ann", 1)})
	if v := r.Judge(t.Context(), []*spec.Job{job("ann", 1)}); v[0].Refused != "" {
		t.Errorf("ann is refused: %s", v[0].Refused)
	}
}

func TestPlacementSeesTheJobAsAdmissionLeftIt(t *testing.T) {
	r := openText(t, "package muster.placement\ngpu_types contains \"L40S\" if input.job.queue == \"root.b\"\nnodes := {\"region\": {\"eu\"}}", Options{Timeout: time.Minute})
	if r.Protection() != nil || r.Guard() != nil || r.Admission() == nil {
		t.Error("placement rules decide about jobs and nothing else")
	}
	j := job("ann", 1)
	j.Queue = "root.b"
	v := r.Judge(t.Context(), []*spec.Job{j, job("bob", 1)})
	if !slices.Equal(v[0].GPUTypes, []string{"L40S"}) || !slices.Equal(v[0].NodeLabels["region"], []string{"eu"}) {
		t.Errorf("in root.b: %+v", v[0])
	}
	if v[1].GPUTypes == nil || len(v[1].GPUTypes) != 0 {
		t.Errorf("elsewhere no type is left, got %+v", v[1])
	}
}

func TestProtectionAnswersForEachCandidate(t *testing.T) {
	r := openText(t, "package muster.protection\nprotect[i] contains \"ann's\" if { some i, u in input.units; u.job.user == \"ann\" }", Options{Timeout: time.Minute})
	if r.Admission() != nil || r.Protection() == nil || !slices.Equal(r.Kinds(), []string{"protection"}) {
		t.Error("protection rules decide about victims and nothing else")
	}
	got := r.Protected(t.Context(), []cycle.Candidate{{Job: job("bob", 1)}, {Job: job("ann", 1)}})
	if !slices.Equal(got, []string{"", "ann's"}) {
		t.Errorf("got %q", got)
	}
}

func TestTheGuardSaysWhoMayNotLoadWhat(t *testing.T) {
	g := openText(t, "package muster.loading\ndefault allow := false\nallow if input.policy.by == \"ann\"", Options{Timeout: time.Minute}).Guard()
	if err := g(t.Context(), rego.LoadRequest{Name: "mine", By: "ann"}); err != nil {
		t.Error(err)
	}
	err := g(t.Context(), rego.LoadRequest{Name: "mine", By: "bob"})
	if err == nil || err.Error() != "policy mine may not be loaded: no loading rule allows this policy" {
		t.Errorf("got %v", err)
	}
}
