package meter_test

import (
	"testing"

	"github.com/musterhq/muster/runtime/wasm/meter"
)

func TestJumpsAheadAreBranchesAndJumpsBackAreTurns(t *testing.T) {
	bin := read(t, "testdata/jumps.wasm")
	_, report, err := meter.Instrument(bin, meter.Config{})
	// Ahead: 0 to 2, 1 to the last place, 2 to 3; in "odd" 0 to 1.
	if err != nil || report.Shortened != 4 {
		t.Fatalf("%d jumps were shortened, %v", report.Shortened, err)
	}
	e := newEngine(t, false)
	plain, g := e.start(t, bin), e.start(t, instrument(t, bin))
	var fuel []int64
	for n := range uint64(60) {
		want, _, err := plain.call(0, "sum", n+1)
		if err != nil {
			t.Fatal(err)
		}
		got, used, err := g.call(1<<30, "sum", n+1)
		if err != nil || got[0] != want[0] {
			t.Errorf("sum(%d): got %v, %v, want %v", n+1, got, err, want)
		}
		fuel = append(fuel, used)
		if want, _, _ = plain.call(0, "odd", n); n < 20 {
			if got, _, err = g.call(1<<30, "odd", n); err != nil || got[0] != want[0] {
				t.Errorf("odd(%d): got %v, %v, want %v", n, got, err, want)
			}
		}
	}
	for n := 2; n < len(fuel); n++ {
		if turn := fuel[n] - fuel[n-1]; turn != fuel[1]-fuel[0] || turn <= 0 {
			t.Errorf("turn %d costs %d units, the first one %d", n, turn, fuel[1]-fuel[0])
		}
	}
}

func TestAGuestOfGoHasItsJumpsShortened(t *testing.T) {
	_, report, err := meter.Instrument(goGuest(t), meter.Config{})
	if err != nil || report.Shortened < 1000 {
		t.Errorf("%d jumps were shortened, %v", report.Shortened, err)
	}
}
