package kube

import (
	"errors"
	"fmt"
	"log/slog"
	"reflect"
	"slices"
	"testing"
	"time"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/config/grow"
	"github.com/musterhq/muster/runtime/kube/route"
)

func sown(t *testing.T, most int, paths ...string) *garden {
	t.Helper()
	g := newGarden(most, 10*time.Second, slog.New(slog.DiscardHandler))
	for _, path := range paths {
		g.want(route.Place{Path: path, Below: "root"}, "ns")
	}
	leaves := g.plan(nil, noQuota)
	g.planted(leaves, leaves)
	return g
}

func noQuota(string) (grow.Quota, bool) { return grow.Quota{}, false }

func at(seconds int64) spec.Time { return (1000 + seconds) * spec.Second }

func TestAQueueGoesWhenNoJobWasInItForLongEnough(t *testing.T) {
	g := sown(t, 0, "root.a", "root.b")
	busy := map[string][]string{"root.b": {"ns"}}
	for _, step := range []struct {
		at      int64
		tenants map[string][]string
		want    []string
	}{
		{0, busy, nil},
		{9, busy, nil},
		{10, busy, []string{"root.a"}},
		{11, nil, []string{"root.a"}}, // of which nothing came yet
		{12, map[string][]string{"root.a": {"ns"}, "root.b": {"ns"}}, nil},
		{30, map[string][]string{"root.b": {"ns"}}, nil}, // a job comes and goes: it does not flap
		{39, nil, nil},
		{40, nil, []string{"root.a"}},
		{49, nil, []string{"root.a", "root.b"}},
	} {
		if got := g.survey(at(step.at), step.tenants); !slices.Equal(got, step.want) {
			t.Errorf("after %d s %v is to go, want %v", step.at, got, step.want)
		}
	}
}

func TestAQueueThatIsWantedAgainStays(t *testing.T) {
	g := sown(t, 0, "root.a")
	g.survey(at(0), nil)
	g.want(route.Place{Path: "root.a", Below: "root"}, "ns")
	if got := g.survey(at(60), nil); got != nil {
		t.Errorf("%v is to go", got)
	}
	if leaves := g.plan(nil, noQuota); !g.planted(leaves, leaves) {
		t.Error("nobody is said to want it")
	}
	if leaves := g.plan(nil, noQuota); len(leaves) != 1 || g.planted(leaves, leaves) {
		t.Errorf("it is still wanted: %v", leaves)
	}
}

func TestThereAreNotMoreQueuesThanThereMayBe(t *testing.T) {
	g := sown(t, 2, "root.a", "root.b", "root.c")
	if g.count() != 2 {
		t.Fatalf("there are %d", g.count())
	}
	p := g.want(route.Place{Path: "root.c", Below: "root"}, "ns")
	if p.Code != "too-many-queues" || !p.Fatal {
		t.Errorf("the third is told %+v", p)
	}
	if p := g.want(route.Place{Path: "root.a", Below: "root"}, "ns"); p.Code != "too-many-queues" {
		t.Log("a queue that is there is not asked for:", p.Code)
	}
	g.planted(nil, g.plan([]string{"root.a"}, noQuota))
	if p := g.want(route.Place{Path: "root.c", Below: "root"}, "ns"); p.Code != "queue-being-created" || p.Fatal {
		t.Errorf("when one has gone it is told %+v", p)
	}
}

func TestTheFirstNamespaceThatSaysSomethingGivesTheQuota(t *testing.T) {
	g := sown(t, 0)
	for _, ns := range []string{"c", "a", "b", "c"} {
		g.want(route.Place{Path: "root.x", Below: "root"}, ns)
	}
	quota := func(ns string) (grow.Quota, bool) { return grow.Quota{MaxApps: int64(ns[0])}, ns > "a" }
	if got := g.plan(nil, quota); len(got) != 1 || got[0].Quota.MaxApps != 'b' {
		t.Errorf("%+v", got)
	}
}

func TestWhatANamespaceSaysIsReadOrTold(t *testing.T) {
	const p = "yunikorn.apache.org/namespace."
	cpu := func(n int64) spec.Resources { return spec.Resources{}.Set("cpu", 0).Set("cpu", amountOf(n)) }
	for _, c := range []struct {
		name  string
		says  map[string]string
		want  grow.Quota
		wrong int
	}{
		{"nothing", nil, grow.Quota{}, 0},
		{"a quota", map[string]string{p + "quota": `{"cpu": "64", "nvidia.com/gpu": 8}`}, grow.Quota{Max: spec.GPUs(8).Set("cpu", amountOf(64000))}, 0},
		{"a guarantee", map[string]string{p + "guaranteed": `{"cpu": "500m"}`}, grow.Quota{Guaranteed: cpu(500)}, 0},
		{"applications", map[string]string{p + "maxApps": "20"}, grow.Quota{MaxApps: 20}, 0},
		{"the old words", map[string]string{p + "max.cpu": "2", p + "max.memory": "1Ki"}, grow.Quota{Max: cpu(2000).Set("memory", 1024)}, 0},
		{"the old words beside the new", map[string]string{p + "max.cpu": "2", p + "quota": `{"cpu": 1}`}, grow.Quota{Max: cpu(1000)}, 0},
		{"no JSON", map[string]string{p + "quota": "64"}, grow.Quota{}, 1},
		{"no amount", map[string]string{p + "quota": `{"cpu": "many", "memory": "1Gi"}`}, grow.Quota{}, 1},
		{"less than nothing", map[string]string{p + "quota": `{"cpu": "-1"}`}, grow.Quota{}, 1},
		{"no number", map[string]string{p + "maxApps": "many", p + "max.cpu": "x", p + "guaranteed": "[]"}, grow.Quota{}, 3},
		{"something good, something bad", map[string]string{p + "maxApps": "-1", p + "quota": `{"cpu": 1}`}, grow.Quota{Max: cpu(1000)}, 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			got, has, problems := quotaIn(c.says)
			if !reflect.DeepEqual(got, c.want) || has != !reflect.DeepEqual(c.want, grow.Quota{}) || len(problems) != c.wrong {
				t.Errorf("got %+v, %v, %q; want %+v and %d problems", got, has, problems, c.want, c.wrong)
			}
			if again := fmt.Sprint(quotaIn(c.says)); again != fmt.Sprint(got, has, problems) {
				t.Errorf("then %s", again)
			}
		})
	}
}

func FuzzWhatANamespaceSays(f *testing.F) {
	for _, text := range []string{`{"cpu": "64"}`, `{"cpu": 1e3}`, `{"cpu": "1e999999999"}`, `{"": ""}`, `[]`, `{"pods": "-1"}`, `{"cpu": null}`, "20", "-1"} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		said := map[string]string{nsMax: text, nsGuaranteed: text, nsApps: text, nsMaxCPU: text}
		q, has, problems := quotaIn(said)
		if has != !reflect.DeepEqual(q, grow.Quota{}) && q.MaxApps != 0 {
			t.Errorf("%q gives %+v, and is said to give something: %v", text, q, has)
		}
		if err := errors.Join(q.Max.Validate("max"), q.Guaranteed.Validate("guaranteed")); err != nil {
			t.Errorf("%q gives amounts that make no sense: %v", text, err)
		}
		if text != "" && q.Max == nil && len(problems) == 0 {
			t.Errorf("%q gives nothing, and nobody is told", text)
		}
	})
}
