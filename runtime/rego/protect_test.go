package rego

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/builtin/spec"
)

const guard = `package muster.protection

import data.muster.lists

protect[i] contains "it serves users" if {
	some i, unit in input.units
	unit.job.labels.kind == "service"
}

protect[i] contains sprintf("%s is on the list", [unit.job.user]) if {
	some i, unit in input.units
	unit.job.user in lists.users
}

protect[i] contains "it was preempted three times" if {
	some i, unit in input.units
	unit.evicted >= 3
}

protect[i] contains "nearly done" if {
	some i, unit in input.units
	unit.job.duration_s > 0
	unit.running_s > unit.job.duration_s * 0.9
}
`

func guardRules(t testing.TB) *Rules {
	return load(t, map[string]string{"guard.rego": guard}, map[string]any{"muster": map[string]any{"lists": map[string]any{"users": []string{"ann"}}}})
}

func units(n int) []Unit {
	out := make([]Unit, n)
	for i := range out {
		out[i] = Unit{
			Job:   &spec.Job{ID: fmt.Sprint("j", i), User: "bob", Groups: []string{"g"}, Queue: "root.a", Duration: 1000 * spec.Second, Labels: map[string]string{"kind": "train"}},
			Queue: "root.a", Tasks: 8, GPUMilli: 8000, Running: int64(i%800) * spec.Second, Lost: 1 << 20, Use: -1, Idle: -1,
		}
	}
	return out
}

func TestProtectedUnitsAreNamedWithAllTheirReasons(t *testing.T) {
	us := units(6)
	us[1].Job.Labels["kind"] = "service"
	us[2].Job.User = "ann"
	us[2].Evicted = 3
	us[4].Running = 950 * spec.Second
	us[5].Job.Labels = nil // a label that is not there protects nobody
	got, err := guardRules(t).Protect(t.Context(), 0, us)
	want := []string{"", "it serves users", "ann is on the list; it was preempted three times", "", "nearly done", ""}
	if err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
}

func TestUnknownUseIsBusy(t *testing.T) {
	r := load(t, map[string]string{"a.rego": `package muster.protection
protect[i] contains "busy" if { some i, u in input.units; u.use > 0.5 }
protect[i] contains "idle for long" if { some i, u in input.units; u.idle_s > 60 }`}, nil)
	us := units(4)
	us[1].Use, us[1].Idle = 1<<30, 0 // a quarter busy
	us[2].Use, us[2].Idle = 0, 90*spec.Second
	us[3].Use, us[3].Idle = -1, 90*spec.Second // half known is not known
	got, err := r.Protect(t.Context(), 0, us)
	if want := []string{"busy", "", "idle for long", "busy"}; err != nil || !slices.Equal(got, want) {
		t.Errorf("got %q (%v), want %q", got, err, want)
	}
}

func TestRulesThatFailProtectEverything(t *testing.T) {
	for name, c := range map[string]struct{ rules, says string }{
		"a call that fails":         {`protect[i] contains "x" if { some i, u in input.units; to_number(u.queue) > 1 }`, "failed"},
		"a unit that is not there":  {`protect[i] contains "x" if { i := 17 }`, "there is no such unit among 2"},
		"no object":                 {`protect := ["x"]`, "not an object"},
		"reasons that are no texts": {`protect[i] contains 1 if { some i, u in input.units }`, "not a set of reasons"},
	} {
		r := load(t, map[string]string{"a.rego": "package muster.protection\n" + c.rules}, nil)
		got, err := r.Protect(t.Context(), 0, units(2))
		if err == nil || len(got) != 2 || got[0] == "" || got[0] != got[1] || !strings.Contains(got[0], c.says) {
			t.Errorf("%s: got %q (%v)", name, got, err)
		}
	}
}

func TestASlowProtectionProtectsEverythingInTime(t *testing.T) {
	r, err := Load(t.Context(), Source{Files: map[string]string{"a.rego": `package muster.protection
protect[i] contains "x" if { some i, u in input.units; count([1 | some a in numbers.range(1, 3000); some b in numbers.range(1, 3000); a == b]) > 1 }`}}, Options{Timeout: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	start := time.Now()
	got, err := r.Protect(t.Context(), 0, units(3))
	if err == nil || got[2] == "" || time.Since(start) > 5*time.Second {
		t.Errorf("got %q (%v) after %s", got, err, time.Since(start))
	}
}

func TestNoUnitsNeedNoEvaluation(t *testing.T) {
	if got, err := guardRules(t).Protect(t.Context(), 0, nil); err != nil || len(got) != 0 {
		t.Errorf("got %q, %v", got, err)
	}
}

// BenchmarkProtect compares one evaluation over all candidates with one each.
func BenchmarkProtect(b *testing.B) {
	r := guardRules(b)
	for _, n := range []int{10, 100, 1000} {
		us := units(n)
		b.Run(fmt.Sprintf("together/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := r.Protect(b.Context(), 0, us); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/unit")
		})
		b.Run(fmt.Sprintf("each/%d", n), func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				for i := range us {
					if _, err := r.Protect(b.Context(), 0, us[i:i+1]); err != nil {
						b.Fatal(err)
					}
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N*n), "ns/unit")
		})
	}
}
