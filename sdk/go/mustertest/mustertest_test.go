package mustertest_test

import (
	"errors"
	"slices"
	"testing"

	muster "github.com/musterhq/muster/sdk/go"
	"github.com/musterhq/muster/sdk/go/mustertest"
)

func TestOrderIsWhatTheHostWouldDo(t *testing.T) {
	b := muster.NewJobs(4, 0)
	copy(b.FloatKey(0), []float64{-1, 2, 2, -3})
	copy(b.Key1, []int64{0, 1, 2, 0})
	b.SetKeys(2)
	b.Descending(1)
	if got := mustertest.Order(b); !slices.Equal(got, []int{3, 0, 2, 1}) {
		t.Errorf("order %v", got)
	}
}

func TestCheapestLeavesOutWhatIsVetoed(t *testing.T) {
	b := muster.NewVictims(4, 0)
	copy(b.Cost, []int64{5, 1, 3, 3})
	b.Veto[1] = 1
	if got := mustertest.Cheapest(b); !slices.Equal(got, []int{2, 3, 0}) {
		t.Errorf("rows %v", got)
	}
}

// recorder is a testing.TB that notes a failure.
type recorder struct {
	testing.TB
	failed bool
}

func (r *recorder) Helper()               {}
func (r *recorder) Errorf(string, ...any) { r.failed = true }

var kept []byte

func TestAPolicyThatAllocatesIsFound(t *testing.T) {
	r := &recorder{TB: t}
	if err := mustertest.Call(r, func() error { kept = make([]byte, 100); return nil }); err != nil || !r.failed {
		t.Errorf("%v, %v", err, r.failed)
	}
	refuses := errors.New("no")
	r = &recorder{TB: t}
	if err := mustertest.Call(r, func() error { return refuses }); !errors.Is(err, refuses) || r.failed {
		t.Errorf("%v, %v", err, r.failed)
	}
}

func TestWhatIsSaidIsHeard(t *testing.T) {
	if got := mustertest.Said(func() { muster.Log(muster.Info, "a"); muster.Log(muster.Error, "b") }); !slices.Equal(got, []string{"a", "b"}) {
		t.Errorf("%q", got)
	}
}
