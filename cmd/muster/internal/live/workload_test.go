package live

import (
	"testing"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/sim"
)

// More than the pool can do would let the waiting jobs grow for as long as the cluster
// runs; much less would leave nothing to decide.
func TestTheWorkloadHasNoEndAndFitsThePool(t *testing.T) {
	tr, more := Workload()
	pool := float64(tr.MilliGPUs()) * float64(round)
	seen := map[string]bool{}
	jobs, last := tr.Jobs, spec.Time(0)
	for n := range 8 {
		var asked float64
		for _, j := range jobs {
			if seen[j.ID] || j.Submit < last {
				t.Fatalf("round %d: job %s at %d, after %d", n, j.ID, j.Submit, last)
			}
			seen[j.ID], last = true, j.Submit
			asked += float64(j.MilliGPUs()) * float64(j.Run)
		}
		if part := asked / pool; n > 0 && (part < 0.6 || part > 1.05) {
			t.Errorf("round %d asks for %.2f of the pool", n, part)
		}
		jobs = more(last)
	}
}

// What GPUs do is told by simulated probes: some fall asleep, and a table says how many.
func TestSomeJobsOfTheWorkloadFallAsleepAndTheProbesSaySo(t *testing.T) {
	tr, _ := Workload()
	if !tr.Measured() {
		t.Fatal("of no job it is known what it does")
	}
	var l *loop.Loop
	most, told := amount.Amount(0), 0
	_, err := sim.Run(t.Context(), tr, sim.Options{
		Until: 3600 * spec.Second,
		Began: func(of *loop.Loop) error { l = of; return nil },
		Live: sim.Live{Pace: func(at spec.Time) {
			told++
			sum := amount.Amount(0)
			for _, n := range idleGPUs(l.Ledger().World(), at) {
				sum += n
			}
			if at < 10*60*spec.Second && sum > 0 {
				t.Fatalf("%s GPUs are idle for five minutes after %d s", gpus(sum), at/spec.Second)
			}
			most = max(most, sum)
		}},
	})
	if err != nil {
		t.Fatal(err)
	}
	if pool := tr.MilliGPUs(); most < pool/10 || most > pool/2 {
		t.Errorf("at most %s of %s GPUs were idle, in %d instants", gpus(most), gpus(pool), told)
	}
}
