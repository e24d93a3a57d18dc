package rego

import (
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/open-policy-agent/opa/v1/ast"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

// job is a gang of 2 to 4 tasks of one and a half GPUs with a head.
func job() *spec.Job {
	return &spec.Job{
		ID: "j1", Queue: "root.research.llm", User: "ada", Groups: []string{"llm", "staff"}, Priority: 7,
		Duration: 90*spec.Second + spec.Second/2, Labels: map[string]string{"kind": "train"},
		Tasks: []spec.TaskGroup{
			{Name: "head", Min: 1, Size: 1, Request: spec.Resources{{Name: amount.CPUName, Amount: 500}, {Name: amount.MemoryName, Amount: 1 << 30}}},
			{Name: "work", Min: 2, Size: 4, Request: spec.Resources{{Name: amount.CPUName, Amount: 2000}, {Name: amount.GPUName, Amount: 1500}}, GPUTypes: []string{"H100", "A100"}},
		},
	}
}

func decide(t testing.TB, a *Rules, j *spec.Job) Verdict {
	t.Helper()
	v, err := a.Decide(t.Context(), j)
	if err != nil {
		t.Fatal(err)
	}
	if v.Allow != (v.Code == CodeAllowed) || v.Allow != (len(v.Messages) == 0) {
		t.Fatalf("contradiction: %+v", v)
	}
	return v
}

func TestDecide(t *testing.T) {
	tests := []struct {
		name, rules string
		code        string
		messages    []string // each contained in the one at its place
	}{
		{"allow true admits", "allow := true", CodeAllowed, nil},
		{"allow false refuses", "default allow := false", CodeNotAllowed, []string{"no admission rule allows"}},
		{"an empty deny set does not admit", "default allow := false\ndeny contains \"x\" if false", CodeNotAllowed, []string{""}},
		{"deny refuses although allow is true, with all messages, sorted", "allow := true\ndeny contains \"zebra\" if true\ndeny contains \"ant\" if true", CodeDenied, []string{"ant", "zebra"}},
		{"a list of messages is as good as a set, and is sorted too", "allow := true\ndeny := [\"zebra\", \"ant\"]", CodeDenied, []string{"ant", "zebra"}},
		{"deny has its say although allow is undefined", "allow if input.job.user == \"eve\"\ndeny contains \"no\" if true", CodeDenied, []string{"no"}},
		{"an undefined allow refuses, naming what did not hold", "allow if {\n  input.job.gpus > 1\n  input.job.labels.team == \"x\"\n}", CodeUndefined, []string{"data.muster.admission.allow is undefined for this job: undefined or false is a.rego:4:3: input.job.labels.team == \"x\""}},
		{"each of several rules for allow is named", "allow if input.job.user == \"eve\"\nallow if not input.job.preemptible", CodeUndefined, []string{"a.rego:2:10: input.job.user == \"eve\"; a.rego:3:10: not input.job.preemptible"}},
		{"an allow that is no boolean", "allow := \"yes\"", CodeBadDocument, []string{"allow is yes"}},
		{"a deny that is no set", "allow := true\ndeny := true", CodeBadDocument, []string{"deny is true"}},
		{"a deny set of other things", "allow := true\ndeny contains 7 if true", CodeBadDocument, []string{"deny contains 7"}},
		{"a queue that is no text", "allow := true\nqueue := 3", CodeBadDocument, []string{"queue is 3"}},
		{"an empty queue", "allow := true\nqueue := \"\"", CodeBadDocument, []string{"queue is"}},
		{"a priority that is no number", "allow := true\npriority := \"high\"", CodeBadDocument, []string{"priority is high"}},
		{"a priority in fractions", "allow := true\npriority := 1.5", CodeBadDocument, []string{"priority is 1.5"}},
		{"a priority beyond 64 bits", "allow := true\npriority := 9223372036854775808", CodeBadDocument, []string{"priority is 9223372036854775808"}},
		{"a call that fails refuses, where its rule would have vanished", "allow := true\ndeny contains \"no\" if to_number(input.job.user) > 1", CodeEvalError, []string{"a.rego:3:"}},
		{"two rules that contradict each other", "allow := true\nallow := false if input.job.gpus > 1", CodeEvalError, []string{"eval_conflict_error"}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			v := decide(t, load(t, rules(tt.rules), nil), job())
			if v.Code != tt.code || len(v.Messages) != len(tt.messages) {
				t.Fatalf("got %+v, want %s %q", v, tt.code, tt.messages)
			}
			for i, m := range tt.messages {
				if !strings.Contains(v.Messages[i], m) {
					t.Errorf("message %d is %q, want %q in it", i, v.Messages[i], m)
				}
			}
			if v.Queue != nil || v.Priority != nil {
				t.Errorf("overrides without a rule: %+v", v)
			}
		})
	}
}

// The trap: with the limits document missing, the argument of sprintf is
// undefined, the deny rule vanishes, and everything is admitted.
func TestSprintfOverAMissingDocumentIsRefusedAtLoad(t *testing.T) {
	trap := rules("default allow := true\ndeny contains sprintf(\"at most %v GPUs\", [data.limits.gpus]) if input.job.gpus > 1")
	_, err := Load(t.Context(), Source{Files: trap}, Options{})
	var e *Error
	if !errors.As(err, &e) || e.Code != ErrCodeMissingData || !strings.Contains(e.Message, "data.limits,") {
		t.Fatalf("got %v, want data.limits named", err)
	}
	v := decide(t, load(t, trap, map[string]any{"limits": map[string]any{"gpus": 4}}), job())
	if v.Code != CodeDenied || v.Messages[0] != "at most 4 GPUs" {
		t.Errorf("with the document: %+v", v)
	}
}

func TestOverrides(t *testing.T) {
	a := load(t, rules("allow := true\nqueue := \"root.b\" if input.job.user == \"ada\"\npriority := -3 if input.job.user == \"ada\""), nil)
	v := decide(t, a, job())
	if v.Queue == nil || *v.Queue != "root.b" || v.Priority == nil || *v.Priority != -3 {
		t.Errorf("got %+v", v)
	}
	other := job()
	other.User = "bob"
	if v := decide(t, a, other); !v.Allow || v.Queue != nil || v.Priority != nil {
		t.Errorf("undefined overrides change something: %+v", v)
	}
}

func TestOverridesOfARefusedJobAreNotGiven(t *testing.T) {
	a := load(t, rules("allow := true\ndeny contains \"no\" if true\nqueue := \"root.b\"\npriority := 1"), nil)
	if v := decide(t, a, job()); v.Queue != nil || v.Priority != nil {
		t.Errorf("got %+v", v)
	}
}

func TestInputDocument(t *testing.T) {
	want := `{"job": {"duration_s": 90.5, "gpu_types": ["A100", "H100"], "gpus": 6, "groups": ["llm", "staff"], "id": "j1",` +
		` "labels": {"kind": "train"}, "min": 3, "preemptible": true, "priority": 7, "queue": "root.research.llm",` +
		` "resources": {"cpu": 8.5, "memory": 1073741824, "nvidia.com/gpu": 6}, "size": 5, "user": "ada"}}`
	if got := inputOf(job()); got.Compare(ast.MustParseTerm(want).Value) != 0 {
		t.Errorf("input\n%v\nwant\n%v", got, want)
	}
	empty := `{"job": {"duration_s": 0, "gpu_types": [], "gpus": 0, "groups": [], "id": "", "labels": {}, "min": 0, "preemptible": false,` +
		` "priority": -9223372036854775808, "queue": "", "resources": {}, "size": 0, "user": ""}}`
	bare := &spec.Job{Priority: math.MinInt64, NonPreemptible: true, Duration: -5}
	if got := inputOf(bare); got.Compare(ast.MustParseTerm(empty).Value) != 0 {
		t.Errorf("input\n%v\nwant\n%v", got, empty)
	}
}

func TestInputAmountsSaturateAndStayExact(t *testing.T) {
	j := &spec.Job{Tasks: []spec.TaskGroup{{Size: math.MaxInt64, Min: math.MaxInt64, Request: spec.Resources{{Name: amount.GPUName, Amount: amount.Max}}}, {Size: 5, Min: 5}}}
	a := load(t, rules("default allow := false\nallow if { input.job.gpus == 9223372036854775.807; input.job.size == 9223372036854775807; input.job.min > 0 }"), nil)
	if v := decide(t, a, j); !v.Allow {
		t.Errorf("got %+v, input %v", v, inputOf(j))
	}
	for v, want := range map[int64]string{1: "0.001", 10: "0.01", 1500: "1.5", 2000: "2", -7: "0", 0: "0"} {
		if got := decimal(v, 1000).String(); got != want {
			t.Errorf("%d milli is %s, want %s", v, got, want)
		}
	}
}

func TestAHeavyRuleIsCutAtItsDeadline(t *testing.T) {
	heavy := rules("default allow := true\ndeny contains \"no\" if count([1 | some i in numbers.range(1, 20000); some j in numbers.range(1, 20000); i * j == -1]) > 0")
	a, err := Load(t.Context(), Source{Files: heavy}, Options{Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	v := decide(t, a, job())
	if v.Code != CodeTimeout || !strings.Contains(v.Messages[0], "20ms") {
		t.Errorf("got %+v", v)
	}
	if took := time.Since(start); took > 20*time.Second { // uncut it takes minutes
		t.Errorf("cut after %s", took)
	}
}

func TestTheDefaultTimeoutHolds(t *testing.T) {
	a, err := Load(t.Context(), Source{Files: rules("allow := true")}, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if a.timeout != DefaultTimeout {
		t.Errorf("timeout %s", a.timeout)
	}
}

func TestAWithdrawnQuestionIsAnErrorAndARefusal(t *testing.T) {
	a := load(t, rules("allow := true"), nil)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	v, err := a.Decide(ctx, job())
	if !errors.Is(err, context.Canceled) || v.Allow || len(v.Messages) == 0 {
		t.Errorf("got %+v, %v", v, err)
	}
	all, err := a.DecideAll(ctx, []*spec.Job{job(), job()})
	if !errors.Is(err, context.Canceled) || len(all) != 2 || all[0].Allow || all[1].Allow {
		t.Errorf("got %+v, %v", all, err)
	}
}

func TestDecideAllAnswersInTheOrderOfTheJobs(t *testing.T) {
	a := load(t, rules("default allow := false\nallow if input.job.user == \"ada\""), nil)
	jobs := []*spec.Job{job(), job(), job()}
	jobs[1].User = "eve"
	got, err := a.DecideAll(t.Context(), jobs)
	if err != nil {
		t.Fatal(err)
	}
	codes := []string{got[0].Code, got[1].Code, got[2].Code}
	if want := []string{CodeAllowed, CodeNotAllowed, CodeAllowed}; !slices.Equal(codes, want) {
		t.Errorf("codes %v, want %v", codes, want)
	}
}

func TestManyMayAskAtOnce(t *testing.T) {
	a := load(t, rules("default allow := false\nallow if input.job.user == \"ada\""), nil)
	var wg sync.WaitGroup
	for i := range 8 {
		wg.Go(func() {
			j := job()
			if i%2 == 1 {
				j.User = "eve"
			}
			for range 50 {
				if v, err := a.Decide(t.Context(), j); err != nil || v.Allow != (i%2 == 0) {
					t.Errorf("%s: %+v, %v", j.User, v, err)
				}
			}
		})
	}
	wg.Wait()
}

func TestDataCannotBeChangedAfterLoad(t *testing.T) {
	users := map[string]any{"ada": true}
	a := load(t, rules("default allow := false\nallow if data.users[input.job.user]"), map[string]any{"users": users})
	delete(users, "ada")
	if v := decide(t, a, job()); !v.Allow {
		t.Errorf("got %+v", v)
	}
}
