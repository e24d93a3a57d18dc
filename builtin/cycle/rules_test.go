package cycle_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/builtin/world"
)

// verdicts is an admission that answers by user, and remembers what it saw.
type verdicts struct {
	digest string
	of     map[string]cycle.Verdict
	short  bool // it answers for no job
	seen   []string
}

func (v *verdicts) Digest() string { return v.digest }

func (v *verdicts) Judge(_ context.Context, jobs []*spec.Job) (out []cycle.Verdict) {
	for _, j := range jobs {
		v.seen = append(v.seen, fmt.Sprintf("%s %s %d", j.ID, j.Queue, j.Priority))
		if !v.short {
			out = append(out, v.of[j.ID])
		}
	}
	return out
}

func to[T any](v T) *T { return &v }

func why(w *world.World, id string) string {
	y, ok := w.Job(id).Notes.(*plan.Why)
	if !ok {
		return ""
	}
	return y.Sentence()
}

func TestALaterVerdictThatSaysLessRestoresWhatTheJobSays(t *testing.T) {
	w := pool(t, "")
	submit(w, "root.a", 1, "j")
	own := w.Job("j").Spec
	first := &verdicts{digest: "1", of: map[string]cycle.Verdict{"j": {Refused: "", Queue: to("root.b"), Priority: to(int64(9)), GPUTypes: []string{"H100"}}}}
	step(w, cycle.Set{Generation: 1, Admission: first}, 10)
	j := w.Job("j")
	if path := w.Quota.Queues[j.Queue].Path; path != "root.b" || j.Spec.Priority != 9 || j.Only == nil || j.Placed != 0 {
		t.Fatalf("in %s with priority %d, only %v", path, j.Spec.Priority, j.Only)
	}
	second := &verdicts{digest: "2", of: map[string]cycle.Verdict{"j": {Refused: "no"}}}
	step(w, cycle.Set{Generation: 2, Admission: second}, 20)
	if path := w.Quota.Queues[j.Queue].Path; path != "root.a" || j.Spec != own || j.Only != nil || j.Refused != "no" {
		t.Errorf("refused: in %s with priority %d, only %v", path, j.Spec.Priority, j.Only)
	}
	if p := step(w, cycle.Set{Generation: 3}, 30); len(p.Binds) != 1 || j.Refused != "" || j.Spec != own {
		t.Errorf("without rules nobody is refused: %s", p.JSON())
	}
	if !slices.Equal(first.seen, second.seen) {
		t.Errorf("the second rules saw what the first had made of the job: %v, %v", first.seen, second.seen)
	}
	if own.Priority != 0 || own.Queue != "root.a" {
		t.Errorf("the caller's spec changed: %+v", own)
	}
}

func TestRulesThatGiveNoAnswerRefuse(t *testing.T) {
	w := pool(t, "")
	submit(w, "root.a", 1, "j")
	p := step(w, cycle.Set{Admission: &verdicts{digest: "1", short: true}}, 10)
	if len(p.Binds) != 0 || !strings.Contains(why(w, "j"), "no answer from the rules") {
		t.Errorf("%s", p.JSON())
	}
}

func TestAJobThatRunsKeepsItsVerdictUntilItHoldsNothing(t *testing.T) {
	w := pool(t, "")
	submit(w, "root.a", 1, "j")
	step(w, cycle.Set{}, 10)
	later := &verdicts{digest: "2", of: map[string]cycle.Verdict{"j": {Refused: "no"}}}
	w.Epoch++
	step(w, cycle.Set{Generation: 1, Admission: later}, 20)
	j := w.Job("j")
	if len(later.seen) != 0 || j.Placed != 1 {
		t.Fatalf("judged while it runs: %v", later.seen)
	}
	w.Release(&j.Tasks[0])
	w.Epoch++
	if p := step(w, cycle.Set{Generation: 1, Admission: later}, 30); len(p.Binds) != 0 || j.Refused != "no" {
		t.Errorf("judged when it waits again: %s", p.JSON())
	}
}

// A job that was evicted, and part of which is still leaving, does not start under
// rules that have not judged it.
func TestAJobOnItsWayOutWaitsForItsVerdict(t *testing.T) {
	w := pool(t, "")
	q, _ := w.Quota.Lookup("root.a")
	j := w.AddJob(&spec.Job{ID: "e", Queue: "root.a", User: "u", Submit: 1, Tasks: []spec.TaskGroup{{Size: 2, Request: spec.GPUs(1)}}}, q)
	step(w, cycle.Set{}, 10)
	w.Evict(&j.Tasks[0])
	w.Evict(&j.Tasks[1])
	w.Release(&j.Tasks[1])
	w.Epoch++
	set := cycle.Set{Generation: 1, Admission: &verdicts{digest: "2", of: map[string]cycle.Verdict{"e": {Refused: "no"}}}}
	if p := step(w, set, 20); len(p.Binds) != 0 || j.Judged != "" {
		t.Errorf("judged by %q: %s", j.Judged, p.JSON())
	}
	w.Release(&j.Tasks[0])
	w.Epoch++
	if p := step(w, set, 30); len(p.Binds) != 0 || j.Refused != "no" {
		t.Errorf("judged by %q: %s", j.Judged, p.JSON())
	}
}

// typed is a pool with a node of each type, and sites.
func typed(t *testing.T) *world.World {
	w := pool(t, "")
	for i, typ := range []string{"A100", "H100", "H100"} {
		w.AddNode(spec.Node{
			Name: fmt.Sprintf("x%d", i), GPUType: typ, Capacity: spec.GPUs(4),
			Labels: map[string]string{"site": []string{"eu", "us", "eu"}[i]},
		})
	}
	w.Quota.Rescale()
	return w
}

func TestAVerdictNarrowsWhereAJobRunsAndSaysSo(t *testing.T) {
	for _, tc := range []struct {
		name    string
		own     []string
		verdict cycle.Verdict
		node    string // "" none
		told    string
	}{
		{name: "nothing", own: []string{"A100"}, node: "x0"},
		{name: "a type", verdict: cycle.Verdict{GPUTypes: []string{"A100"}}, node: "x0"},
		{name: "a site", own: []string{"H100"}, verdict: cycle.Verdict{NodeLabels: map[string][]string{"site": {"us", "asia"}}}, node: "x1"},
		{name: "a type and a site", verdict: cycle.Verdict{GPUTypes: []string{"H100", "V100"}, NodeLabels: map[string][]string{"site": {"eu"}}}, node: "x2"},
		{
			name: "not what the job accepts", own: []string{"H100"}, verdict: cycle.Verdict{GPUTypes: []string{"A100"}, Rule: "rule old-only"},
			told: "gang-exceeds-pool: 5 nodes looked at, 3 wrong GPU type, 2 kept off by rules: rule old-only: only GPU type A100; preemption: no legal victims",
		},
		{
			name: "no type", verdict: cycle.Verdict{GPUTypes: []string{}},
			told: "gang-exceeds-pool: 5 nodes looked at, 5 kept off by rules: the rules: no GPUs; preemption: no legal victims",
		},
		{
			name: "a site that is not", verdict: cycle.Verdict{NodeLabels: map[string][]string{"site": {"mars"}}},
			told: "gang-exceeds-pool: 5 nodes looked at, 5 kept off by rules: the rules: only nodes with site mars; preemption: no legal victims",
		},
	} {
		w := typed(t)
		q, _ := w.Quota.Lookup("root.a")
		own := &spec.Job{ID: "j", Queue: "root.a", User: "u", Submit: 1, Tasks: []spec.TaskGroup{{Min: 1, Size: 1, Request: spec.GPUs(1), GPUTypes: tc.own}}}
		w.AddJob(own, q)
		p := step(w, cycle.Set{Admission: &verdicts{digest: "1", of: map[string]cycle.Verdict{"j": tc.verdict}}}, 10)
		switch {
		case tc.node == "" && (len(p.Binds) != 0 || why(w, "j") != tc.told):
			t.Errorf("%s: %q, want %q", tc.name, why(w, "j"), tc.told)
		case tc.node != "" && (len(p.Binds) != 1 || p.Binds[0].Node != tc.node):
			t.Errorf("%s: %s, want %s", tc.name, p.JSON(), tc.node)
		}
		if !slices.Equal(own.Tasks[0].GPUTypes, tc.own) {
			t.Errorf("%s: the job's own spec changed", tc.name)
		}
	}
}

func TestAWhatIfTakesItsVerdictsBack(t *testing.T) {
	w := typed(t)
	submit(w, "root.a", 1, "j", "k")
	before := w.Digest()
	m := w.Mark()
	shadow := &verdicts{digest: "9", of: map[string]cycle.Verdict{
		"j": {Queue: to("root.b"), Priority: to(int64(4)), GPUTypes: []string{"A100"}}, "k": {Refused: "no"},
	}}
	if p := cycle.Step(t.Context(), w, cycle.Set{Admission: shadow}, 10); len(p.Binds) != 1 || p.Binds[0].Node != "x0" {
		t.Fatalf("the what-if decided %s", p.JSON())
	}
	w.Rollback(m)
	cycle.Withdraw(w)
	cycle.Forget(w)
	if after := w.Digest(); after != before {
		t.Errorf("before\n%s\nafter\n%s", before, after)
	}
	if p := step(w, cycle.Set{}, 10); len(p.Binds) != 2 {
		t.Errorf("without rules both start: %s", p.JSON())
	}
}

// guard protects the jobs that it names.
type guard struct {
	of    map[string]string
	calls []string
	err   error
	short bool
}

func (g *guard) Digest() string { return "sha256:guard" }

func (g *guard) Protected(_ context.Context, units []cycle.Candidate) []string {
	var ids []string
	out := make([]string, len(units))
	for i, u := range units {
		ids = append(ids, u.Job.ID)
		out[i] = g.of[u.Job.ID]
	}
	g.calls = append(g.calls, units[0].Queue+" "+strings.Join(ids, ","))
	if g.short {
		return out[1:]
	}
	return out
}

// checked is a guard that tells its errors.
type checked struct{ *guard }

func (g checked) Protect(ctx context.Context, units []cycle.Candidate) ([]string, error) {
	return g.Protected(ctx, units), g.err
}

// reclaiming is a pool where b is owed what a has borrowed.
func reclaiming(t *testing.T, b ...string) *world.World {
	w := pool(t, "")
	submit(w, "root.a", 1, "a1", "a2", "a3", "a4", "a5", "a6", "a7", "a8")
	step(w, cycle.Set{}, 10)
	submit(w, "root.b", 20, b...)
	return w
}

func protection(p *plan.Plan) plan.PolicyUse {
	i := slices.IndexFunc(p.Policies, func(u plan.PolicyUse) bool { return u.Kind == "protection" })
	if i < 0 {
		return plan.PolicyUse{}
	}
	return p.Policies[i]
}

func TestAProtectedUnitIsNeverTakenAndTheTrailSaysSo(t *testing.T) {
	w := reclaiming(t, "b1", "b2")
	g := &guard{of: map[string]string{}}
	for i := 1; i <= 7; i++ {
		g.of[fmt.Sprintf("a%d", i)] = "serves customers"
	}
	p := step(w, cycle.Set{Protection: g}, 30)
	if len(p.Evictions) != 1 || p.Evictions[0].Job != "a8" || p.Evictions[0].Protected != 7 {
		t.Fatalf("%s", p.JSON())
	}
	if len(g.calls) != 1 || g.calls[0] != "root.a a1,a2,a3,a4,a5,a6,a7,a8" {
		t.Errorf("asked %q, want once about all", g.calls)
	}
	if use := protection(p); use.Calls != 1 || use.Rows != 8 || use.Protected != 7 || use.Digest != "sha256:guard" {
		t.Errorf("trail %+v", use)
	}
	if got := why(w, "b2"); !strings.Contains(got, "no legal victims; 7 are protected: serves customers") {
		t.Errorf("b2 waits: %s", got)
	}
}

func TestProtectionThatFailsProtectsEverything(t *testing.T) {
	for _, p := range []cycle.Protection{&guard{short: true}, checked{&guard{err: errors.New("division by zero")}}} {
		w := reclaiming(t, "b1")
		out := step(w, cycle.Set{Protection: p}, 30)
		if len(out.Evictions) != 0 || len(out.Events) != 1 || out.Events[0].Code != plan.EventProtectionFailed {
			t.Errorf("%s", out.JSON())
		}
		if use := protection(out); use.Fallbacks != 1 || use.Failure == "" || use.Protected != use.Rows {
			t.Errorf("trail %+v", use)
		}
		if got := why(w, "b1"); !strings.Contains(got, "8 are protected: the protection rules failed: ") {
			t.Errorf("b1 waits: %s", got)
		}
	}
	w := reclaiming(t, "b1")
	if p := step(w, cycle.Set{Protection: checked{&guard{}}}, 30); len(p.Evictions) != 1 {
		t.Errorf("rules without fault protect nobody: %s", p.JSON())
	}
}

func TestNobodyAsksTheRulesWhileNobodyIsToBeEvicted(t *testing.T) {
	w := pool(t, "")
	submit(w, "root.a", 1, "a1", "a2")
	g := &guard{}
	if p := step(w, cycle.Set{Protection: g}, 10); len(g.calls) != 0 || len(p.Binds) != 2 {
		t.Errorf("asked %q", g.calls)
	}
}
