package scheduler

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/musterhq/muster/builtin/amount"
	"github.com/musterhq/muster/builtin/spec"
	"github.com/musterhq/muster/runtime/kube/objects/queue"
	"github.com/musterhq/muster/runtime/serve/view"
)

type queueSource = queue.Source

// openQueues opens where the tree of queues is kept.
func (p *process) openQueues() (queueSource, error) {
	kind, at, _ := strings.Cut(p.o.Queues, ":")
	switch kind {
	case "configmap":
		namespace, name, ok := strings.Cut(at, "/")
		if !ok {
			namespace, name = p.o.Namespace, at
		}
		if name == "" {
			return nil, fmt.Errorf("--queues %s: write configmap:NAMESPACE/NAME", p.o.Queues)
		}
		return queue.NewConfigMap(queue.ConfigMapOptions{
			Client: p.client, Namespace: namespace, Name: name, Events: p.events, Own: p.o.Namespace, Log: p.o.Log,
		})
	case "crd":
		return queue.NewObjects(queue.ObjectsOptions{
			Client: p.dynamic, Events: p.events,
			Failed: func(err error) { p.o.Log.Warn("the status of a Queue was not written", "error", err) },
		})
	case "file":
		return queue.NewFile(queue.FileOptions{Path: at, Problems: func(err error) { p.o.Log.Error("the queues have errors; what held before holds on", "error", err) }}), nil
	}
	return nil, fmt.Errorf("--queues %s: write configmap:NAMESPACE/NAME, crd or file:PATH", p.o.Queues)
}

// reporter takes what queues have: Queue objects show it.
type reporter interface {
	Report(use map[string]queue.Use)
}

// reportQueues keeps the status of Queue objects up to date while this replica leads.
func (p *process) reportQueues(ctx context.Context) error {
	to, ok := p.queues.(reporter)
	if !ok {
		return nil
	}
	tick := time.NewTicker(reportEvery)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		if s, err := p.seen.source.Snapshot(ctx); err == nil {
			to.Report(usesOf(s))
		}
	}
}

func usesOf(s *view.Snapshot) map[string]queue.Use {
	out := map[string]queue.Use{}
	for i := range s.Queues {
		q := &s.Queues[i]
		u := queue.Use{Running: q.RunningJobs, Waiting: int64(q.PendingJobs)}
		for _, r := range q.Resources {
			set(&u.Guaranteed, r.Resource, r.Guaranteed)
			set(&u.Max, r.Resource, r.Max)
			set(&u.Used, r.Resource, &r.Used)
			set(&u.Pending, r.Resource, &r.Pending)
		}
		out[q.Path] = u
	}
	return out
}

func set(rs *spec.Resources, name string, v *int64) {
	if v != nil {
		*rs = rs.Set(name, amount.Amount(*v))
	}
}
