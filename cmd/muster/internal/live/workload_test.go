package live

import (
	"testing"

	"github.com/musterhq/muster/builtin/spec"
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
