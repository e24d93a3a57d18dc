package sdktest

import (
	"math"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/policies"
	"github.com/musterhq/muster/runtime/wasm"
)

// times draws what a batch may hold: real times, and what breaks arithmetic.
var times = rapid.OneOf(
	rapid.Int64Range(0, 1<<50),
	rapid.SampledFrom([]int64{-1, 0, 1, 1<<53 + 1, math.MaxInt64, math.MaxInt64 - 1, math.MinInt64, math.MinInt64 + 1, -1 << 53}),
	rapid.Int64(),
)

// settings draws params within their bounds.
func settings(t *rapid.T) map[string]any {
	aging := rapid.OneOf(rapid.Float64Range(0, 1000), rapid.SampledFrom([]float64{0, 1000, 0.1, math.SmallestNonzeroFloat64, 1.0 / 3})).Draw(t, "aging")
	unknown := rapid.OneOf(rapid.Int64Range(0, 1<<50), rapid.SampledFrom([]int64{0, math.MaxInt64})).Draw(t, "unknown duration")
	return map[string]any{"aging": aging, "unknown_duration": unknown}
}

func draw(t *rapid.T) *policies.JobBatch {
	n := rapid.IntRange(0, 70).Draw(t, "jobs")
	b := blank(n)
	b.Wait, b.Duration = rapid.SliceOfN(times, n, n).Draw(t, "wait"), rapid.SliceOfN(times, n, n).Draw(t, "duration")
	return b
}

func TestTheExampleInEachLanguageGivesTheSameBitsAsNativeGo(t *testing.T) {
	each(t, func(t *testing.T, _ string, m *wasm.Module) {
		rapid.Check(t, func(rt *rapid.T) {
			params, b := settings(rt), draw(rt)
			if err := m.Configure(params); err != nil {
				rt.Fatal(err)
			}
			want := twin(b)
			if err := native(t, params).ScoreJobs(t.Context(), want); err != nil {
				rt.Fatal(err)
			}
			if err := m.ScoreJobs(t.Context(), b); err != nil {
				rt.Fatal(err)
			}
			if want.NKeys != b.NKeys {
				rt.Fatalf("%d keys, native Go has %d", b.NKeys, want.NKeys)
			}
			if d := cmp.Diff(want.Keys[0], b.Keys[0]); d != "" {
				rt.Fatalf("keys (-native +Wasm):\n%s", d)
			}
		})
	})
}

func TestWithoutParamsEachLanguageHasTheSameDefaults(t *testing.T) {
	each(t, func(t *testing.T, _ string, m *wasm.Module) {
		b := blank(3)
		b.Duration, b.Wait = []int64{-1, 7, 1 << 60}, []int64{11, -5, 1 << 40}
		want := twin(b)
		if err := native(t, nil).ScoreJobs(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		if err := m.ScoreJobs(t.Context(), b); err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(want.Keys[0], b.Keys[0]); d != "" {
			t.Errorf("keys (-native +Wasm):\n%s", d)
		}
	})
}

// The modules say of themselves what the built-in says, so that operators can put one in
// the place of the other.
func TestTheParamsOfEachLanguageAreThoseOfTheBuiltIn(t *testing.T) {
	want := native(t, nil).Info().Params
	each(t, func(t *testing.T, _ string, m *wasm.Module) {
		got := m.Info().Params
		if len(got) != len(want) {
			t.Fatalf("%d params, the built-in has %d", len(got), len(want))
		}
		for i := range want {
			if got[i].Name != want[i].Name || got[i].Type != want[i].Type || got[i].Value != want[i].Value {
				t.Errorf("param %d is %s %s = %v, of the built-in %s %s = %v", i,
					got[i].Type, got[i].Name, got[i].Value, want[i].Type, want[i].Name, want[i].Value)
			}
		}
	})
}

func TestTheAnswerInEachLanguageDoesNotDependOnThePlaceOfTheBatch(t *testing.T) {
	each(t, func(t *testing.T, _ string, m *wasm.Module) {
		b := jobs(300)
		want := twin(b)
		if err := native(t, nil).ScoreJobs(t.Context(), want); err != nil {
			t.Fatal(err)
		}
		for range 5 {
			if err := m.MoveArena(t.Context()); err != nil {
				t.Fatal(err)
			}
			if err := m.ScoreJobs(t.Context(), b); err != nil {
				t.Fatal(err)
			}
			if d := cmp.Diff(want.Keys[0], b.Keys[0]); d != "" {
				t.Fatalf("keys (-native +Wasm):\n%s", d)
			}
		}
	})
}
