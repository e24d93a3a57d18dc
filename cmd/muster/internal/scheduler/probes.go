package scheduler

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"strings"
	"sync"

	"github.com/musterhq/muster/runtime/kube"
	"github.com/musterhq/muster/runtime/kube/auth"
	"github.com/musterhq/muster/runtime/serve"
	"github.com/musterhq/muster/runtime/serve/metrics"
	"github.com/musterhq/muster/runtime/usage"
)

// probes is where the probes of nodes report. Only the replica that leads listens: a
// probe that asks another is refused the connection, and tries the next address at once.
type probes struct {
	p      *process
	server *usage.Server // nil if nobody is listened to
	work   sync.WaitGroup
}

func newProbes(p *process) *probes { return &probes{p: p} }

// open makes the server, which tells the sink; it listens when this replica leads.
func (s *probes) open(sink usage.Sink) error {
	o := s.p.o
	if o.ProbeListen == "" {
		return nil
	}
	listen := serve.Listen{Address: o.ProbeListen, CertFile: o.Listen.CertFile, KeyFile: o.Listen.KeyFile}
	listen.SelfSigned = listen.CertFile == "" && !serve.IsLocal(listen.Address)
	config, err := listen.TLS()
	if err != nil {
		return fmt.Errorf("--probe-listen: %w", err)
	}
	s.server, err = usage.NewServer(s.options(sink, config))
	return err
}

func (s *probes) options(sink usage.Sink, config *tls.Config) usage.Options {
	o := s.p.o
	namespace, account, ok := strings.Cut(o.ProbeAccount, "/")
	if !ok {
		namespace, account = o.Namespace, o.ProbeAccount
	}
	return usage.Options{
		Sink: sink, TLS: config, MaxStreamAge: o.ProbeStreamAge, Log: o.Log,
		Identify: auth.Probes{API: s.p.client, Namespace: namespace, Account: account}.Identify,
	}
}

// lead listens until ctx ends. A replica that can't hear its probes schedules without
// them.
func (s *probes) lead(ctx context.Context) {
	if s.server == nil {
		return
	}
	l, err := net.Listen("tcp", s.p.o.ProbeListen)
	if err != nil {
		s.p.o.Log.Error("probes can't report: what GPUs do is not known", "error", err)
		return
	}
	s.p.o.Log.Info("listening to probes", "address", l.Addr().String())
	s.server.SetLeading(true)
	s.work.Go(func() {
		if err := s.server.Serve(ctx, l); err != nil && ctx.Err() == nil {
			s.p.o.Log.Error("probes are not heard any more: what GPUs do is not known", "error", err)
		}
	})
}

// close waits until all streams have ended.
func (s *probes) close() { s.work.Wait() }

// usage is what probes said last, nil if nobody is listened to.
func (s *probes) usage() func() []usage.Node {
	if s.server == nil {
		return nil
	}
	return s.server.Table().Snapshot
}

// otherPod counts, beside the reports that the server refused, what nodes said of pods
// that are not theirs.
const otherPod = "other-nodes-pod"

func (s *probes) stats() func() usage.Stats {
	if s.server == nil {
		return nil
	}
	return func() usage.Stats {
		out := s.server.Stats()
		if n := s.p.kube.UseStats().Elsewhere; n > 0 {
			if out.Refused == nil {
				out.Refused = map[string]uint64{}
			}
			out.Refused[otherPod] += n
		}
		return out
	}
}

// used is what came of it, nil if nobody is listened to.
func (s *probes) used() func() metrics.Used {
	if s.server == nil {
		return nil
	}
	return func() metrics.Used {
		n := s.p.kube.UseStats()
		return metrics.Used{
			Measured: n.Measured, Strangers: n.Strangers, Unrequested: n.Unrequested, Evicted: n.Evicted, HandedOut: n.HandedOut,
		}
	}
}

// asked is what the scheduler asks of probes, nil if nobody is listened to.
func (s *probes) asked() kube.Probes {
	if s.p.o.ProbeListen == "" {
		return nil
	}
	return s
}

// Watch says whose wake-ups on a node are waited for.
func (s *probes) Watch(node string, owners []string) { s.server.Watch(node, owners) }

// Forget drops what was heard of a node that is no more.
func (s *probes) Forget(node string) { s.server.Table().Forget(node) }
