package suite

import (
	"testing"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/policies"
)

func newBuiltin(name string) func() policies.Policy {
	return func() policies.Policy {
		p, ok := order.Builtin(name)
		if !ok {
			panic(name)
		}
		return p
	}
}

func results(t testing.TB, s Subject, opt Options) []Result {
	t.Helper()
	r, err := start(t.Context(), s, opt)
	if err != nil {
		t.Fatal(err)
	}
	defer r.close()
	out, err := r.laws(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestTheBuiltInPoliciesKeepTheirLaws(t *testing.T) {
	for _, name := range order.Names(policies.JobOrder | policies.QueueShares | policies.VictimCosts) {
		t.Run(name, func(t *testing.T) {
			for _, r := range results(t, Subject{New: newBuiltin(name)}, Options{}) {
				if r.Outcome == Broken {
					t.Logf("%s (%s): %s\n%d rows, case %d", r.Law.ID, r.Law.Severity, r.Failure.What, r.Failure.Batch.N(), r.Failure.Case)
				}
			}
		})
	}
}
