package wasm_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/policies"
)

func builtin(t testing.TB, name string) policies.Policy {
	t.Helper()
	p, ok := order.Builtin(name)
	if !ok {
		t.Fatalf("there is no built-in %q", name)
	}
	return p
}

func TestAJobOrderInWasmGivesTheSameBitsAsItsBuiltInTwin(t *testing.T) {
	for _, name := range []string{"fifo", "priority-fifo", "fair"} {
		t.Run(name, func(t *testing.T) {
			guest, native := library(t, name, trusted), builtin(t, name)
			rapid.Check(t, func(rt *rapid.T) {
				b := drawJobs(rt)
				want := *b
				for i := range want.Keys {
					want.Keys[i] = make([]int64, b.N)
				}
				wantErr, err := native.ScoreJobs(t.Context(), &want), guest.ScoreJobs(t.Context(), b)
				if sameRefusal(rt, wantErr, err) {
					return
				}
				if want.NKeys != b.NKeys {
					rt.Fatalf("%d keys, the built-in has %d", b.NKeys, want.NKeys)
				}
				same(rt, "keys", want.Keys[:want.NKeys], b.Keys[:b.NKeys])
			})
		})
	}
}

func TestFairnessInWasmGivesTheSameBitsAsItsBuiltInTwin(t *testing.T) {
	for _, count := range []string{"allocated", "measured"} {
		t.Run(count, func(t *testing.T) { fairnessTwins(t, count) })
	}
}

func fairnessTwins(t *testing.T, count string) {
	params := map[string]any{"count": count}
	opt := trusted
	opt.Params = params
	native, err := order.Configured("guaranteed-fair", params)
	if err != nil {
		t.Fatal(err)
	}
	guest := library(t, "guaranteed-fair", opt)
	rapid.Check(t, func(rt *rapid.T) {
		b := drawQueues(rt)
		b.Use = column(rt, b.N, "use")
		want := *b
		want.Entitled, want.Rank = make([]int64, b.N*b.R), make([]int64, b.N)
		wantErr, err := native.Entitle(t.Context(), &want), guest.Entitle(t.Context(), b)
		if sameRefusal(rt, wantErr, err) {
			return
		}
		same(rt, "entitled", want.Entitled, b.Entitled)
		same(rt, "rank", want.Rank, b.Rank)
	})
}

func TestVictimCostsInWasmGiveTheSameBitsAsTheirBuiltInTwin(t *testing.T) {
	guest, native := library(t, "least-lost-work", trusted), builtin(t, "least-lost-work")
	rapid.Check(t, func(rt *rapid.T) {
		b := drawVictims(rt)
		want := *b
		want.Cost, want.Veto = make([]int64, b.N), make([]uint8, b.N)
		wantErr, err := native.CostVictims(t.Context(), &want), guest.CostVictims(t.Context(), b)
		if sameRefusal(rt, wantErr, err) {
			return
		}
		same(rt, "cost", want.Cost, b.Cost)
		same(rt, "veto", want.Veto, b.Veto)
	})
}

// sameRefusal says whether both refused, for the same reason.
func sameRefusal(t *rapid.T, want, got error) bool {
	if (want == nil) != (got == nil) {
		t.Fatalf("built-in: %v, Wasm: %v", want, got)
	}
	if want != nil && policies.CodeOf(want) != policies.CodeOf(got) {
		t.Fatalf("built-in: %v, Wasm: %v", want, got)
	}
	return want != nil
}

func same(t *rapid.T, what string, want, got any) {
	if d := cmp.Diff(want, got); d != "" {
		t.Fatalf("%s differ (-built-in +Wasm):\n%s", what, d)
	}
}

func TestNewestFirstTurnsAQueueAround(t *testing.T) {
	m := library(t, "fifo-reversed", limited)
	b := &policies.JobBatch{N: 4, Submit: []int64{1, 5, 5, 9}}
	if err := m.ScoreJobs(t.Context(), b); err != nil {
		t.Fatal(err)
	}
	for i := 1; i < b.N; i++ {
		if b.Keys[0][i] >= b.Keys[0][i-1] {
			t.Fatalf("job %d (key %d) does not come before job %d (key %d)", i, b.Keys[0][i], i-1, b.Keys[0][i-1])
		}
	}
}
