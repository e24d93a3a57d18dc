package scheduler

import (
	"context"
	"errors"
	"path/filepath"
	"sync"
	"time"

	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/cmd/muster/internal/operator"
	"github.com/musterhq/muster/runtime/kube"
	"github.com/musterhq/muster/runtime/kube/objects/policy"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/rules"
)

// policies is the life cycle of this replica's policies. It begins when the replica
// leads: one that stands by compiles nothing. Policies come from Policy objects, or from
// a policies.yaml where one is named.
type policies struct {
	p    *process
	life reload.Options
	work sync.WaitGroup

	mu         sync.Mutex
	tree       *spec.Tree
	manager    *reload.Manager    // nil while the replica stands by
	controller *policy.Controller // nil then, and with a policies.yaml
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
	if o.p.o.Policies != "" {
		return o.follow(ctx, life)
	}
	c, err := policy.New(policy.Options{
		Client: o.p.dynamic, Core: o.p.client, Namespace: o.p.o.Namespace, Life: life, Events: o.p.events,
		Failed: func(err error) { o.p.o.Log.Warn("the status of a Policy was not written", "error", err) },
	})
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.manager, o.controller = c.Manager(), c
	tree := o.tree
	o.mu.Unlock()
	c.SetQueues(tree)
	o.work.Go(func() {
		if err := c.Run(ctx); err != nil && !errors.Is(err, ctx.Err()) {
			o.p.o.Log.Error("the policies are not followed any more", "error", err)
		}
	})
	o.await(ctx, c)
	return nil
}

// patience is how long the first decision waits for policies: longer than it takes to
// load some, and not for ever, since built-ins can decide.
const patience = 10 * time.Second

// await waits until the policies that are there were loaded or refused.
func (o *policies) await(ctx context.Context, c *policy.Controller) {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for c.Ready() != nil {
		select {
		case <-ctx.Done():
			o.p.o.Log.Warn("built-ins decide until the policies are there", "why", c.Ready())
			return
		case <-time.After(20 * time.Millisecond):
		}
	}
}

// follow keeps to a policies.yaml.
func (o *policies) follow(ctx context.Context, life reload.Options) error {
	m, err := reload.New(life)
	if err != nil {
		return err
	}
	o.mu.Lock()
	o.manager = m
	o.mu.Unlock()
	o.work.Go(func() {
		_ = m.Run(ctx, o.p.o.Policies)
		if err := m.Close(); err != nil {
			o.p.o.Log.Warn("closing the policies", "error", err)
		}
	})
	return nil
}

// setTree says which queues name policies.
func (o *policies) setTree(t *spec.Tree) {
	o.mu.Lock()
	o.tree = t
	c := o.controller
	o.mu.Unlock()
	if c != nil {
		c.SetQueues(t)
	}
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

// close waits until everything is out of use.
func (o *policies) close() { o.work.Wait() }
