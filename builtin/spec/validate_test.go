package spec_test

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
)

func goodJob() *spec.Job {
	return &spec.Job{ID: "train", Queue: "root.ml", Tasks: []spec.TaskGroup{{Name: "worker", Min: 2, Size: 4, Request: spec.GPUs(1)}}}
}

// codes lists the codes of all problems, sorted.
func codes(t testing.TB, err error) []string {
	t.Helper()
	if err == nil {
		return nil
	}
	var ps spec.Problems
	if !errors.As(err, &ps) {
		t.Fatalf("%T is not Problems", err)
	}
	var out []string
	for _, p := range ps {
		if p.Path == "" || p.Message == "" || !strings.Contains(p.String(), p.Code) {
			t.Errorf("problem %+v does not say where or what", p)
		}
		out = append(out, p.Code)
	}
	slices.Sort(out)
	return out
}

func TestAJobWithOneFaultIsToldThatFault(t *testing.T) {
	for _, c := range []struct {
		name  string
		spoil func(*spec.Job)
		want  string
	}{
		{"no id", func(j *spec.Job) { j.ID = "" }, "no-id"},
		{"no queue", func(j *spec.Job) { j.Queue = "" }, "no-queue"},
		{"no task groups", func(j *spec.Job) { j.Tasks = nil }, "no-tasks"},
		{"a negative run time", func(j *spec.Job) { j.Duration = -1 }, "negative-duration"},
		{"a negative notice", func(j *spec.Job) { j.Notice = -1 }, "negative-duration"},
		{"a negative checkpoint interval", func(j *spec.Job) { j.CheckpointEvery = -1 }, "negative-duration"},
		{"a negative restart cost", func(j *spec.Job) { j.RestartCost = -1 }, "negative-duration"},
		{"a min above the size", func(j *spec.Job) { j.Tasks[0].Min = 5 }, "min-out-of-range"},
		{"a negative min", func(j *spec.Job) { j.Tasks[0].Min = -1 }, "min-out-of-range"},
		{"more tasks than a group may have", func(j *spec.Job) { j.Tasks[0].Size = spec.MaxTasks + 1 }, "too-many-tasks"},
		{"a negative amount", func(j *spec.Job) { j.Tasks[0].Request = spec.Resources{{Name: "cpu", Amount: -1}} }, "negative-amount"},
		{"an amount above the limit", func(j *spec.Job) { j.Tasks[0].Request = spec.Resources{{Name: "cpu", Amount: amount.Limit + 1}} }, "overflow"},
		{"one and a half GPUs", func(j *spec.Job) { j.Tasks[0].Request = spec.Resources{{Name: amount.GPUName, Amount: 1500}} }, "gpu-fraction"},
		{"GPUs by their typed name", func(j *spec.Job) {
			j.Tasks[0].Request = spec.Resources{{Name: amount.TypedGPU("H100"), Amount: 1000}}
		}, "typed-request"},
		{"a resource named twice", func(j *spec.Job) {
			j.Tasks[0].Request = spec.Resources{{Name: "cpu", Amount: 1}, {Name: "cpu", Amount: 2}}
		}, "unsorted"},
		{"a term that it counts for twice", func(j *spec.Job) { j.Tasks[0].Near.Counts = []string{"a", "a"} }, "unsorted-terms"},
		{"terms out of order", func(j *spec.Job) { j.Tasks[0].Near.Counts = []string{"b", "a"} }, "unsorted-terms"},
		{"a spread without any skew", func(j *spec.Job) { j.Tasks[0].Near.Spread = []spec.Spread{{Term: spec.Term{ID: "a"}}} }, "skew-out-of-range"},
		{"groups that are too many only together", func(j *spec.Job) {
			g := j.Tasks[0]
			g.Size = spec.MaxTasks
			j.Tasks = []spec.TaskGroup{g, g}
		}, "too-many-tasks"},
	} {
		t.Run(c.name, func(t *testing.T) {
			j := goodJob()
			if err := j.Validate(); err != nil {
				t.Fatalf("the job is good before: %v", err)
			}
			c.spoil(j)
			if got := codes(t, j.Validate()); !slices.Equal(got, []string{c.want}) {
				t.Errorf("got %v, want only %s", got, c.want)
			}
		})
	}
}

func TestAJobWithManyFaultsIsToldAllAtOnce(t *testing.T) {
	j := &spec.Job{Notice: -1, Tasks: []spec.TaskGroup{
		{Name: "bad", Min: 3, Size: 0, Request: spec.Resources{{Name: "memory", Amount: -1}, {Name: "cpu", Amount: amount.Limit + 1}}},
		{Name: "worse", Size: spec.MaxTasks + 1, Request: spec.Resources{{Name: amount.GPUName, Amount: 2500}}},
	}}
	err := j.Validate()
	want := []string{"gpu-fraction", "min-out-of-range", "negative-amount", "negative-duration", "no-id", "no-queue", "no-size", "overflow", "too-many-tasks", "unsorted"}
	if got := codes(t, err); !slices.Equal(got, want) {
		t.Fatalf("got  %v\nwant %v", got, want)
	}
	if lines := strings.Split(err.Error(), "\n"); len(lines) != len(want) {
		t.Errorf("%d problems on %d lines", len(want), len(lines))
	}
	if !strings.Contains(err.Error(), `group 1 "worse"`) {
		t.Errorf("the error does not name the group: %v", err)
	}
}

func TestAFractionOfOneDeviceIsAllowed(t *testing.T) {
	j := goodJob()
	j.Tasks[0].Request = spec.Resources{{Name: amount.GPUName, Amount: 250}}
	if err := j.Validate(); err != nil {
		t.Error(err)
	}
}

func TestNodesAreToldAllTheirFaults(t *testing.T) {
	for _, c := range []struct {
		name string
		node spec.Node
		want []string
	}{
		{"a good node", spec.Node{Name: "n", Capacity: spec.GPUs(8)}, nil},
		{"a node with nothing", spec.Node{Name: "n"}, nil},
		{"the most GPUs that a node may have", spec.Node{Name: "n", Capacity: spec.GPUs(spec.MaxDevices)}, nil},
		{"one more", spec.Node{Name: "n", Capacity: spec.GPUs(spec.MaxDevices + 1)}, []string{"too-many-gpus"}},
		{"a broken GPU", spec.Node{Name: "n", Capacity: spec.Resources{{Name: amount.GPUName, Amount: 7500}}}, []string{"gpu-fraction"}},
		{
			"everything wrong",
			spec.Node{Capacity: spec.Resources{{Name: "cpu", Amount: -4}, {Name: amount.GPUName, Amount: amount.Limit + 1}}},
			[]string{"gpu-fraction", "negative-amount", "no-name", "overflow", "too-many-gpus"},
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			if got := codes(t, c.node.Validate()); !slices.Equal(got, c.want) {
				t.Errorf("got %v, want %v", got, c.want)
			}
		})
	}
}

func TestNoProblemsAreNoError(t *testing.T) {
	if err := (spec.Problems{}).AsError(); err != nil {
		t.Errorf("an empty list is the error %v", err)
	}
}

func TestResourcesStaySortedWhateverTheOrderInWhichTheyAreSet(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var r spec.Resources
		want := map[string]amount.Amount{}
		for i, name := range rapid.SliceOf(rapid.SampledFrom([]string{"z", "cpu", "vcore", "memory", "a", "b"})).Draw(t, "names") {
			r = r.Set(name, amount.Amount(i))
			want[amount.Canonical(name)] = amount.Amount(i)
		}
		if len(r) != len(want) || !slices.IsSortedFunc(r, func(a, b spec.Resource) int { return strings.Compare(a.Name, b.Name) }) {
			t.Fatalf("%v for %v", r, want)
		}
		for name, a := range want {
			if got, ok := r.Get(name); !ok || got != a {
				t.Fatalf("%s is %d, %v, want %d", name, got, ok, a)
			}
		}
		if _, ok := r.Get("absent"); ok {
			t.Fatal("an absent resource was found")
		}
	})
}

func TestGPUsAsksForWholeDevicesAndNothingElse(t *testing.T) {
	r := spec.GPUs(3)
	if a, ok := r.Get(amount.GPUName); !ok || a != 3000 || len(r) != 1 {
		t.Errorf("GPUs(3) is %v", r)
	}
}
