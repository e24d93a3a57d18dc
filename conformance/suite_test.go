package conformance

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"github.com/musterhq/muster/builtin/order"
	"github.com/musterhq/muster/policies"
)

// hearing is a test that is listened to.
type hearing struct {
	ctx    context.Context
	errors []string
}

func (h *hearing) Helper()                  {}
func (h *hearing) Context() context.Context { return h.ctx }
func (h *hearing) Logf(string, ...any)      {}
func (h *hearing) Errorf(f string, a ...any) {
	h.errors = append(h.errors, fmt.Sprintf(f, a...))
}
func (h *hearing) Fatalf(f string, a ...any) { h.Errorf(f, a...) }

// lowFirst claims what it does not keep, and runs the least important job first.
type lowFirst struct{ policies.Unimplemented }

func (lowFirst) Info() policies.Info {
	return policies.Info{Name: "low-first", Kinds: policies.JobOrder, Digest: "builtin", Laws: []string{"monotone-wait"}}
}

func (lowFirst) ScoreJobs(_ context.Context, b *policies.JobBatch) error {
	b.NKeys = 1
	copy(b.Keys[0], b.Priority)
	return nil
}

func TestRunTellsATestWhatIsBroken(t *testing.T) {
	h := &hearing{ctx: t.Context()}
	Run(h, Subject{New: func() policies.Policy { return lowFirst{} }})
	if len(h.errors) != 1 || !strings.Contains(h.errors[0], "order/monotone-priority is broken: A job of higher priority") {
		t.Errorf("heard %q", h.errors)
	}
}

func TestABuiltInPolicyPassesRun(t *testing.T) {
	Run(t, Subject{New: func() policies.Policy {
		p, _ := order.Builtin("priority-fifo")
		return p
	}})
}
