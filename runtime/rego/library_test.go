package rego

import (
	"os"
	"slices"
	"testing"
	"time"

	"github.com/musterhq/muster/builtin/spec"
)

func library(t testing.TB) *Rules {
	t.Helper()
	src, err := ReadDir(os.DirFS("../../policies/library"), "admission")
	if err != nil {
		t.Fatal(err)
	}
	return load(t, src.Files, src.Data)
}

func TestTheShippedRules(t *testing.T) {
	tests := []struct {
		name     string
		change   func(*spec.Job)
		code     string
		messages []string
		queue    string
		priority int64
	}{
		{"a member submits to the team's queue", func(*spec.Job) {}, CodeAllowed, nil, "", 0},
		{"and below it", func(j *spec.Job) { j.Queue += ".nightly" }, CodeAllowed, nil, "", 0},
		{"but not elsewhere", func(j *spec.Job) { j.Queue = "root.platform" }, CodeNotAllowed, []string{"no admission rule allows this job"}, "", 0},
		{"nor to a queue whose name only begins like it", func(j *spec.Job) { j.Queue += "-2" }, CodeNotAllowed, []string{"no admission rule allows this job"}, "", 0},
		{"a job that names no queue goes to its user's first team", func(j *spec.Job) { j.Queue, j.Groups = "", []string{"vision", "llm"} }, CodeAllowed, nil, "root.research.llm", 0},
		{"a user without a team has nowhere to go", func(j *spec.Job) { j.Queue, j.Groups = "", nil; j.Tasks = nil }, CodeNotAllowed, []string{"no admission rule allows this job"}, "", 0},
		{"a suspended user", func(j *spec.Job) { j.User = "mallory" }, CodeDenied, []string{"user mallory is suspended"}, "", 0},
		{"too many GPUs for the queue", func(j *spec.Job) { j.Tasks[1].Size = 400 }, CodeDenied, []string{"600 GPUs asked for, at most 512 per job in root.research.llm"}, "", 0},
		{
			"the limit of all other queues, and a GPU type of another team",
			func(j *spec.Job) { j.Queue, j.Groups, j.Tasks[1].Size = "root.platform", []string{"platform"}, 50 }, CodeDenied,
			[]string{"75 GPUs asked for, at most 64 per job in root.platform", "GPU type H100 is for llm only"},
			"", 0,
		},
		{"a large job without a duration", func(j *spec.Job) { j.Tasks[1].Size, j.Duration = 8, 0 }, CodeDenied, []string{"a job of more than 8 GPUs declares its duration"}, "", 0},
		{"a non-preemptible job", func(j *spec.Job) { j.NonPreemptible = true }, CodeDenied, []string{"only services may be non-preemptible: set label kind to service"}, "", 0},
		{"a service may be non-preemptible", func(j *spec.Job) { j.NonPreemptible, j.Labels = true, map[string]string{"kind": "service"} }, CodeAllowed, nil, "", 0},
		{"a priority above the ceiling is cut", func(j *spec.Job) { j.Priority = 5000 }, CodeAllowed, nil, "", 1000},
		{"except for those on call", func(j *spec.Job) { j.Priority, j.Groups = 5000, append(j.Groups, "oncall") }, CodeAllowed, nil, "", 0},
	}
	a := library(t)
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			j := job()
			tt.change(j)
			v := decide(t, a, j)
			if v.Code != tt.code || !slices.Equal(v.Messages, tt.messages) {
				t.Errorf("got %s %q, want %s %q", v.Code, v.Messages, tt.code, tt.messages)
			}
			if (v.Queue != nil) != (tt.queue != "") || v.Queue != nil && *v.Queue != tt.queue {
				t.Errorf("queue %v, want %q", v.Queue, tt.queue)
			}
			if (v.Priority != nil) != (tt.priority != 0) || v.Priority != nil && *v.Priority != tt.priority {
				t.Errorf("priority %v, want %d", v.Priority, tt.priority)
			}
		})
	}
}

func BenchmarkDecide(b *testing.B) {
	a, j := library(b), job()
	b.ReportAllocs()
	for b.Loop() {
		if v, err := a.Decide(b.Context(), j); err != nil || !v.Allow {
			b.Fatal(v, err)
		}
	}
}

func BenchmarkLoad(b *testing.B) {
	src, err := ReadDir(os.DirFS("../../policies/library"), "admission")
	if err != nil {
		b.Fatal(err)
	}
	b.ReportAllocs()
	for b.Loop() {
		if _, err := Load(b.Context(), src, Options{}); err != nil {
			b.Fatal(err)
		}
	}
}

func TestEveryShippedFolderOfRulesLoadsAndPassesItsTests(t *testing.T) {
	for folder, decides := range map[string]Decision{"admission": Admission, "regions": Placement, "victim-guard": Protection, "load-guard": Loading} {
		src, err := ReadDir(os.DirFS("../../policies/library"), folder)
		if err != nil {
			t.Fatal(err)
		}
		r, err := Load(t.Context(), src, Options{})
		if err != nil {
			t.Fatalf("%s: %v", folder, err)
		}
		if !r.Decides(decides) {
			t.Errorf("%s does not decide %s", folder, decides.Package())
		}
		results, err := src.Test(t.Context(), time.Minute)
		if err != nil || len(results) < 5 {
			t.Fatalf("%s: %d tests, %v", folder, len(results), err)
		}
		for _, res := range results {
			if res.Outcome != "pass" {
				t.Errorf("%s: %s:%d: %s: %s", folder, res.File, res.Row, res.Name, res.Message)
			}
		}
	}
}
