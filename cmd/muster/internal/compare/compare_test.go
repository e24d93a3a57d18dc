package compare

import (
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/sim"
	"github.com/musterhq/muster/runtime/sim/trace"
)

func TestOnlyDecisionsCount(t *testing.T) {
	base := plan.Plan{Now: 5, Binds: []plan.Bind{{Job: "j", Node: "n"}}, Evictions: []plan.Eviction{{Job: "v", For: "j", Policy: "p", Cost: 1}}}
	same := base
	same.Cycle, same.Policies = 9, []plan.PolicyUse{{Name: "other"}}
	same.Pending = []plan.Pending{{Job: "w", Why: &plan.Why{Code: plan.NoRoom}}}
	same.Binds = []plan.Bind{{Job: "j", Node: "n", Borrowed: true}}
	same.Evictions = []plan.Eviction{{Job: "v", For: "j", Policy: "q", Cost: 7}}
	other := base
	other.Binds = []plan.Bind{{Job: "j", Node: "m"}}
	a, _ := Of(&base)
	b, _ := Of(&same)
	c, _ := Of(&other)
	if a != b {
		t.Error("who decided, why others wait and what it cost are no decisions")
	}
	if a == c {
		t.Error("another node is another decision")
	}
	if _, ok := Of(&plan.Plan{Now: 5, Pending: same.Pending}); ok {
		t.Error("a plan that does nothing decides nothing")
	}
}

func TestFirstFindsTheFirstDifferenceAlsoWhereOneRunEnds(t *testing.T) {
	d := func(times ...spec.Time) (out []Decision) {
		for _, at := range times {
			out = append(out, Decision{Now: at})
		}
		return out
	}
	for _, c := range []struct {
		a, b []Decision
		want int
	}{
		{nil, nil, -1}, {d(1, 2), d(1, 2), -1}, {d(1, 2), d(1, 3), 1}, {d(1), d(1, 2), 1}, {d(1, 2), nil, 0},
	} {
		if got := First(c.a, c.b); got != c.want {
			t.Errorf("%v and %v: want %d, got %d", c.a, c.b, c.want, got)
		}
	}
}

// record plays a trace and keeps its decisions.
func record(t *testing.T, tr *trace.Trace) ([]Decision, Player) {
	t.Helper()
	o := sim.Options{Set: cycle.Set{}, Until: tr.End - 1}
	var out []Decision
	o.Observe = func(s sim.Observation) {
		if d, ok := Of(s.Plan); ok {
			out = append(out, d)
		}
	}
	if _, err := sim.Run(t.Context(), tr, o); err != nil {
		t.Fatal(err)
	}
	return out, Again(tr, o)
}

func TestExplainNamesTheTimeAndBothLines(t *testing.T) {
	a, playA := record(t, trace.Talk1())
	later := trace.Talk1()
	for i := range later.Jobs {
		if later.Jobs[i].Queue == "root.b" {
			later.Jobs[i].Submit += 60 * spec.Second
		}
	}
	b, playB := record(t, later)
	k := First(a, b)
	if k < 1 {
		t.Fatalf("the first difference is %d", k)
	}
	l, err := Explain(t.Context(), k, a, b, playA, playB)
	if err != nil {
		t.Fatal(err)
	}
	if l.Now != 600*spec.Second || l.ATime != 600*spec.Second || l.BTime != 660*spec.Second {
		t.Errorf("times %+v", l)
	}
	if !strings.HasPrefix(l.A, "evict all 1 tasks of a") || l.A != l.B {
		t.Errorf("the same first line, a minute later: %q and %q", l.A, l.B)
	}
}

func TestExplainOfARunThatDecidesNoMore(t *testing.T) {
	a, playA := record(t, trace.Talk1())
	l, err := Explain(t.Context(), 2, a, a[:2], playA, playA)
	if err != nil || l.Now != a[2].Now || l.A == "" || l.B != "" {
		t.Fatalf("%+v, %v", l, err)
	}
}

func TestExplainNoticesARunThatIsNotTheSameAgain(t *testing.T) {
	a, playA := record(t, trace.Talk1())
	if _, err := Explain(t.Context(), len(a), append(a, Decision{Now: a[len(a)-1].Now}), a, playA, playA); err == nil {
		t.Fatal("no error")
	}
}
