package sdktest

import (
	"testing"

	"github.com/musterhq/muster/runtime/wasm"
)

// A guest in C, Rust or AssemblyScript needs some 40 units for a row of this policy; a
// hundred would mean that a loop is not the compiler's best any more, or that a call
// came into it. Standard Go's count is many times too high (abi.md, section 6).
func TestARowOfTheExampleCostsLittleFuel(t *testing.T) {
	each(t, func(t *testing.T, language string, m *wasm.Module) {
		used := func(n int) int64 {
			if err := m.ScoreJobs(t.Context(), jobs(n)); err != nil {
				t.Fatal(err)
			}
			return m.LastFuel()
		}
		base, row := used(0), (used(10_000)-used(0))/10_000
		t.Logf("%s: %d units for a call, %d for a row", language, base, row)
		limit := int64(100)
		if language == "go" {
			limit = 2000
		}
		if row > limit || base > 1_000_000 {
			t.Errorf("%d units for a call and %d for a row, want at most 1,000,000 and %d", base, row, limit)
		}
	})
}
