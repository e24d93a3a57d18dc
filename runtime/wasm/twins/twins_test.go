// Package twins holds the shipped policies that have settings to the bits of their
// built-in twins: on random batches with extremes, with settings other than the defaults.
package twins

import (
	"math"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
	"github.com/musterhq/muster/runtime/wasm/guests"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(closing{m}) }

// modules are loaded once and given new settings between tests.
var modules = map[string]*wasm.Module{}

// closing closes the modules after the tests and before goroutines are counted.
type closing struct{ m *testing.M }

func (c closing) Run() int {
	code := c.m.Run()
	for _, m := range modules {
		if err := m.Close(); err != nil {
			code = 1
		}
	}
	return code
}

// pair is a guest and its built-in twin, each with the same settings.
type pair struct {
	guest, native string
	settings      map[string]any
}

var pairs = map[policies.Kind][]pair{
	policies.JobOrder: {
		{"shortest-first", "shortest-first", nil},
		{"aged-sjf", "sjf-aged", nil},
		{"aged-sjf", "sjf-aged", map[string]any{"aging": 0.1, "unknown_duration": "7m"}},
		{"aged-sjf", "sjf-aged", map[string]any{"aging": 1000, "unknown_duration": 0}},
		{"deadline-first", "deadline-first", nil},
		{"deadline-first", "deadline-first", map[string]any{"late_last": false, "unknown_duration": "1ns"}},
		{"deadline-first", "deadline-first", map[string]any{"margin": "26h"}},
	},
	policies.QueueShares: {
		{"decayed-fair", "decayed-fair", nil},
		{"decayed-fair", "decayed-fair", map[string]any{"strength": 0}},
		{"decayed-fair", "decayed-fair", map[string]any{"strength": 33.3}},
		{"kai-proportion", "kai-proportion", nil},
		{"kai-proportion", "kai-proportion", map[string]any{"k": 0}},
		{"kai-proportion", "kai-proportion", map[string]any{"k": 1000}},
	},
	policies.VictimCosts: {
		{"checkpoint-aware", "checkpoint-aware", nil},
		{"checkpoint-aware", "checkpoint-aware", map[string]any{"interval": "10m", "notice": "9m", "trust": 0.9}},
		{"checkpoint-aware", "checkpoint-aware", map[string]any{"trust": 1}},
		{"idle-first", "idle-first", nil},
		{"idle-first", "idle-first", map[string]any{"threshold": 0}},
	},
}

// load returns both, with the same settings.
func load(t testing.TB, p pair) (guest *wasm.Module, native policies.Policy) {
	t.Helper()
	native, err := order.Configured(p.native, p.settings)
	if err != nil {
		t.Fatal(err)
	}
	if modules[p.guest] == nil {
		bin, err := guests.Build(p.guest)
		if err != nil {
			t.Fatal(err)
		}
		m, err := wasm.Load(t.Context(), bin, wasm.Options{Name: p.guest, Timeout: wasm.NoTimeout})
		if err != nil {
			t.Fatal(err)
		}
		modules[p.guest] = m
	}
	if err := modules[p.guest].Configure(p.settings); err != nil {
		t.Fatal(err)
	}
	return modules[p.guest], native
}

func TestATwinSaysTheSameOfItself(t *testing.T) {
	for kind, all := range pairs {
		for _, p := range all {
			guest, native := load(t, p)
			g, n := guest.Info(), native.Info()
			if g.Kinds != kind || n.Kinds != kind {
				t.Errorf("%s: kinds %s and %s", p.guest, g.Kinds, n.Kinds)
			}
			for what, d := range map[string]string{
				"settings": cmp.Diff(values(n.Params), values(g.Params)),
				"columns":  cmp.Diff(sorted(n.Columns), sorted(g.Columns)),
				"laws":     cmp.Diff(sorted(n.Laws), sorted(g.Laws)),
				"reasons":  cmp.Diff(n.Reasons, g.Reasons),
			} {
				if d != "" {
					t.Errorf("%s: %s differ (-built-in +Wasm):\n%s", p.guest, what, d)
				}
			}
		}
	}
}

func values(params []policies.Param) map[string]any {
	out := map[string]any{}
	for _, p := range params {
		out[p.Name] = p.Value
	}
	return out
}

func sorted(s []string) []string { return slices.Sorted(slices.Values(s)) }

func TestAJobOrderWithSettingsGivesTheBitsOfItsTwin(t *testing.T) {
	for _, p := range pairs[policies.JobOrder] {
		t.Run(p.guest, func(t *testing.T) {
			guest, native := load(t, p)
			rapid.Check(t, func(rt *rapid.T) {
				b := drawJobs(rt)
				want := *b
				want.Reason = make([]uint32, b.N)
				for i := range want.Keys {
					want.Keys[i] = make([]int64, b.N)
				}
				check(rt, native.ScoreJobs(t.Context(), &want), guest.ScoreJobs(t.Context(), b))
				if want.NKeys != b.NKeys {
					rt.Fatalf("%d keys, the built-in has %d", b.NKeys, want.NKeys)
				}
				same(rt, "keys", want.Keys[:want.NKeys], b.Keys[:b.NKeys])
				same(rt, "reasons", want.Reason, b.Reason)
			})
		})
	}
}

func TestFairnessWithSettingsGivesTheBitsOfItsTwin(t *testing.T) {
	for _, p := range pairs[policies.QueueShares] {
		t.Run(p.guest, func(t *testing.T) {
			guest, native := load(t, p)
			rapid.Check(t, func(rt *rapid.T) {
				b := drawQueues(rt)
				want := *b
				want.Entitled, want.Rank = make([]int64, b.N*b.R), make([]int64, b.N)
				check(rt, native.Entitle(t.Context(), &want), guest.Entitle(t.Context(), b))
				same(rt, "entitled", want.Entitled, b.Entitled)
				same(rt, "rank", want.Rank, b.Rank)
			})
		})
	}
}

func TestVictimCostsWithSettingsGiveTheBitsOfTheirTwin(t *testing.T) {
	for _, p := range pairs[policies.VictimCosts] {
		t.Run(p.guest, func(t *testing.T) {
			guest, native := load(t, p)
			rapid.Check(t, func(rt *rapid.T) {
				b := drawVictims(rt)
				want := *b
				want.Cost, want.Veto, want.Reason = make([]int64, b.N), make([]uint8, b.N), make([]uint32, b.N)
				check(rt, native.CostVictims(t.Context(), &want), guest.CostVictims(t.Context(), b))
				same(rt, "cost", want.Cost, b.Cost)
				same(rt, "veto", want.Veto, b.Veto)
				same(rt, "reasons", want.Reason, b.Reason)
			})
		})
	}
}

func check(t *rapid.T, native, guest error) {
	if native != nil || guest != nil {
		t.Fatalf("built-in: %v, Wasm: %v", native, guest)
	}
}

func same(t *rapid.T, what string, want, got any) {
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s differ (-built-in +Wasm):\n%s", what, d)
	}
}

// amounts draws columns: mostly small numbers, so that ties are common, times of hours,
// and now and then what breaks arithmetic.
var amounts = rapid.OneOf(
	rapid.Int64Range(0, 3),
	rapid.Int64Range(0, 1<<44),
	rapid.SampledFrom([]int64{-1, 0, 1, math.MaxInt64, math.MaxInt64 - 1, math.MinInt64, 1 << 32, 1000, 60e9, 600e9, 1<<53 + 1}),
)

func column(t *rapid.T, n int, name string) []int64 {
	return rapid.SliceOfN(amounts, n, n).Draw(t, name)
}

// measured draws a nullable column whose unknown elements are Unset.
func measured(t *rapid.T, n int, name string) []int64 {
	known := rapid.OneOf(rapid.Just(policies.Unset), rapid.Int64Range(0, 1<<33), rapid.Int64Range(0, math.MaxInt64))
	return rapid.SliceOfN(known, n, n).Draw(t, name)
}

func flags(t *rapid.T, n int, name string) []uint8 {
	return rapid.SliceOfN(rapid.Uint8Range(0, 1), n, n).Draw(t, name)
}

func drawJobs(t *rapid.T) *policies.JobBatch {
	n := rapid.IntRange(0, 50).Draw(t, "jobs")
	b := &policies.JobBatch{
		Call: policies.Call{Now: amounts.Draw(t, "now")}, N: n, Queue: "root.a",
		Wait: column(t, n, "wait"), Duration: column(t, n, "duration"), Deadline: column(t, n, "deadline"),
		Reason: make([]uint32, n),
	}
	for i := range b.Keys {
		b.Keys[i] = column(t, n, "old key")
	}
	return b
}

// drawQueues draws a tree; half of them are small enough for queues to compete.
func drawQueues(t *rapid.T) *policies.QueueBatch {
	names := []string{"cpu", "memory", "nvidia.com/gpu", "nvidia.com/gpu:H100"}
	n, r := rapid.IntRange(1, 16).Draw(t, "queues"), rapid.IntRange(1, len(names)).Draw(t, "resources")
	draw, halfLife := column, amounts.Draw(t, "half-life")
	past := column(t, n, "decayed")
	if rapid.Bool().Draw(t, "competing") {
		halfLife = rapid.SampledFrom([]int64{1e9, 604_800e9}).Draw(t, "half-life")
		past = rapid.SliceOfN(rapid.Int64Range(0, halfLife/10_000), n, n).Draw(t, "decayed")
		draw = func(t *rapid.T, n int, name string) []int64 {
			return rapid.SliceOfN(rapid.OneOf(rapid.Int64Range(-1, 40), rapid.Int64Range(0, 60_000)), n, n).Draw(t, name)
		}
	}
	b := &policies.QueueBatch{
		N: n, R: r, Resources: names[:r], Capacity: draw(t, r, "capacity"), Parent: make([]int32, n),
		Depth: make([]int64, n), Leaf: flags(t, n, "leaf"), Weight: draw(t, n, "weight"),
		Priority:   rapid.SliceOfN(rapid.Int64Range(-1, 1), n, n).Draw(t, "priority"),
		Guaranteed: draw(t, n*r, "guaranteed"), Max: column(t, n*r, "max"),
		Demand: draw(t, n*r, "demand"), Used: draw(t, n*r, "used"), Decayed: past,
		HalfLife: halfLife, Use: make([]int64, n),
		Entitled: column(t, n*r, "old entitled"), Rank: make([]int64, n),
	}
	b.Parent[0] = -1
	for i := 1; i < n; i++ {
		b.Parent[i] = rapid.Int32Range(0, int32(min(i-1, 2))).Draw(t, "parent")
	}
	return b
}

func drawVictims(t *rapid.T) *policies.VictimBatch {
	n := rapid.IntRange(0, 40).Draw(t, "victims")
	return &policies.VictimBatch{
		N: n, Priority: column(t, n, "priority"), Running: column(t, n, "running"),
		SinceCheckpoint: column(t, n, "since checkpoint"), Lost: column(t, n, "lost"), RestartCost: column(t, n, "restart"),
		Leader: flags(t, n, "leader"), Use: measured(t, n, "use"), Idle: measured(t, n, "idle"),
		Cost: column(t, n, "old cost"), Veto: flags(t, n, "old veto"), Reason: make([]uint32, n),
	}
}
