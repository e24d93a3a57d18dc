package scheduler

import (
	"context"
	"sync"

	"github.com/musterhq/muster/builtin/world"
	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/kube"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/auth"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/loop"
	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/metrics"
	"github.com/musterhq/muster/runtime/serve/view"
	"github.com/musterhq/muster/runtime/usage"
)

// seen is what others see of the process: API, metrics, page.
type seen struct {
	p      *process
	source *view.Source

	mu     sync.Mutex
	leader *kube.Leader // nil while the replica stands by
}

func newSeen(p *process) *seen {
	s := &seen{p: p}
	s.source = view.NewSource(s, view.NewRecorder(clock.Real{}), view.Options{
		Leader: s.leadership, Paused: s.paused, Policies: p.policy.status, Extra: s, Outside: s.waiting,
		Usage: p.probes.usage(), Pods: s.jobOf, Created: s.created, Stays: int64(p.o.IdleCreated),
	})
	p.events.quiet = func() bool {
		l := s.leadership()
		return !l.Leading && l.Holder != ""
	}
	return s
}

// leading is called when the replica has come to lead.
func (p *process) leading(ctx context.Context, l kube.Leader) error {
	p.seen.mu.Lock()
	p.seen.leader = &l
	p.seen.mu.Unlock()
	l.Loop.Listen(func(t loop.Turn) { p.seen.source.Recorder.Turned(t) })
	status := groups.NewStatus(groups.StatusOptions{Dynamic: p.dynamic, Served: p.watch.Served, Log: p.o.Log})
	p.status.Store(status)
	p.policy.work.Go(func() { _ = status.Run(ctx) })
	p.probes.lead(ctx)
	return p.policy.begin(ctx, l)
}

// authorizer asks the API server who may read.
type authorizer struct{ of *auth.Authorizer }

func (a authorizer) Authorize(ctx context.Context, token, verb, path string) (serve.Decision, error) {
	user, allowed, why, err := a.of.Authorize(ctx, token, verb, path)
	return serve.Decision{Allowed: allowed, User: user, Reason: why}, err
}

// jobOf says which job a pod belongs to.
func (s *seen) jobOf(uid, namespace, name string) (string, bool) {
	s.mu.Lock()
	l := s.leader
	s.mu.Unlock()
	if l == nil {
		return "", false
	}
	return l.Mirror.JobOf(usage.PodRef{UID: uid, Namespace: namespace, Name: name})
}

// created are the queues that placement rules have created.
func (s *seen) created() (out []view.Created) {
	for _, l := range s.p.kube.Created() {
		out = append(out, view.Created{Path: l.Path, Below: l.Below})
	}
	return out
}

// Visit passes a visit on to the loop; a replica that stands by has none.
func (s *seen) Visit(f func(*world.World)) {
	s.mu.Lock()
	l := s.leader
	s.mu.Unlock()
	if l != nil {
		l.Loop.Visit(f)
	}
}

func (s *seen) leadership() view.Leadership {
	holder, _ := s.p.kube.Leader()
	s.mu.Lock()
	defer s.mu.Unlock()
	return view.Leadership{Identity: s.p.o.Identity, Holder: holder, Leading: s.leader != nil}
}

func (s *seen) paused() string {
	if _, paused := s.p.kube.Leader(); paused {
		return "the API server does not answer"
	}
	return ""
}

// Extra has what the adapter knows about a job.
func (s *seen) Extra(id string) (out []view.Reason) {
	s.mu.Lock()
	l := s.leader
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	for _, r := range l.Mirror.Explain(id) {
		out = append(out, view.Reason{Code: r.Code, Text: r.Text})
	}
	return out
}

// waiting lists the jobs whose pods are bound nowhere, a job perhaps several times.
func (s *seen) waiting() (ids []string) {
	s.mu.Lock()
	l := s.leader
	s.mu.Unlock()
	if l == nil {
		return nil
	}
	for _, uid := range l.Mirror.Unbound() {
		if id, ok := l.Mirror.JobOf(usage.PodRef{UID: string(uid)}); ok {
			ids = append(ids, id)
		}
	}
	return ids
}

func (s *seen) open() (*serve.Server, error) {
	registry := metrics.New(s.source, metrics.Options{
		Version: s.p.o.Version, Revision: s.p.o.Revision, Acted: s.acted, Probed: s.p.probes.stats(), Used: s.p.probes.used(),
	})
	c := serve.Config{Source: s.source, Metrics: metrics.Handler(registry), Ready: s.p.kube.Ready, Pprof: s.p.o.Pprof}
	listen := s.p.o.Listen
	if s.p.o.Guarded || !serve.IsLocal(listen.Address) {
		c.Auth = authorizer{auth.New(s.p.client, auth.Options{})}
		listen.Guarded, listen.SelfSigned = true, listen.CertFile == ""
	}
	return serve.Open(listen, serve.Handler(c))
}

// acted are the actor's totals.
func (s *seen) acted() metrics.Acted {
	s.mu.Lock()
	l := s.leader
	s.mu.Unlock()
	if l == nil {
		return metrics.Acted{}
	}
	return actedOf(l.Actor.Stats())
}

func actedOf(s act.Stats) metrics.Acted {
	out := metrics.Acted{
		Binds: s.Bound, BindFailures: s.BindFailed, Evictions: s.Evicted, EvictFailures: s.EvictFailed, Notices: s.Noticed,
		Waiting:     s.QueuedBinds + s.QueuedEvicts,
		BindSeconds: metrics.Histogram{Count: s.BindWait.Count, Sum: s.BindWait.Sum, Buckets: map[float64]uint64{}},
	}
	below := uint64(0)
	for i, bound := range s.BindWait.Bounds {
		below += s.BindWait.Counts[i]
		out.BindSeconds.Buckets[bound] = below
	}
	return out
}
