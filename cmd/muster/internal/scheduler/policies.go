package scheduler

import (
	"context"
	"path/filepath"
	"sync"

	"github.com/musterhq/muster/cmd/muster/internal/operator"
	"github.com/musterhq/muster/runtime/kube"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/rules"
)

// policies is the life cycle of this replica's policies. It begins when the replica
// leads: one that stands by compiles nothing.
type policies struct {
	p    *process
	life reload.Options

	mu      sync.Mutex
	manager *reload.Manager
	work    sync.WaitGroup
}

func (p *process) openPolicies() (*policies, error) {
	var guard *rules.Rules
	if p.o.Guard != "" {
		var err error
		if guard, err = rules.Open(context.Background(), p.o.Guard, rules.Options{}); err != nil {
			return nil, err
		}
	}
	life := operator.Options(filepath.Dir(p.o.Policies), guard)
	if p.o.Policies != "" {
		life.StatusFile = operator.StatusFile(p.o.Policies)
	}
	return &policies{p: p, life: life}, nil
}

// begin loads what is wanted into a loop that is about to run, and goes on doing so.
func (o *policies) begin(ctx context.Context, l kube.Leader) error {
	life := o.life
	life.Swap = l.Swap
	life.Log = func(e reload.Event) {
		o.p.o.Log.Info("policy", "name", e.Policy, "version", e.Version.Number, "step", e.Step.State, "code", e.Step.Code, "text", e.Step.Text)
	}
	m, err := reload.New(life)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.manager = m
	o.mu.Unlock()
	if o.p.o.Policies != "" {
		o.work.Go(func() { _ = m.Run(ctx, o.p.o.Policies) })
	}
	return nil
}

// status is the life cycle's, empty on a replica that stands by.
func (o *policies) status() reload.Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.manager == nil {
		return reload.Status{}
	}
	return o.manager.Status()
}

func (o *policies) close() {
	o.work.Wait()
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.manager != nil {
		if err := o.manager.Close(); err != nil {
			o.p.o.Log.Warn("closing the policies", "error", err)
		}
	}
}
