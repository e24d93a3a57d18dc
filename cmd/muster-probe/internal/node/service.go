package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
	"golang.org/x/sync/errgroup"

	"github.com/musterhq/muster/gpuprobe/agent"
	"github.com/musterhq/muster/gpuprobe/crd"
	"github.com/musterhq/muster/gpuprobe/metrics"
	"github.com/musterhq/muster/gpuprobe/push"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
)

// Service is the probe of a node as it runs for ever.
type Service struct {
	Options
	Push       *push.Options // nil: nothing is sent
	GPUNode    bool
	Kubeconfig string
	Listen     string
	Debug      bool
	// Listening, if any, is told the address that is listened on.
	Listening func(net.Addr)

	node   *Node
	push   *push.Client
	writer *crd.Writer
	past   atomic.Pointer[api.GPUNodeStatus] // as an earlier probe left it, nil before it was read
}

// Run measures, reports and serves until the context ends.
func (s *Service) Run(ctx context.Context) error {
	s.Sink, s.Recall = s.take, s.GPUNode
	var err error
	if s.node, err = New(s.Options); err != nil {
		return err
	}
	if err = s.prepare(); err == nil {
		err = s.together(ctx)
	}
	return errors.Join(err, s.node.Close())
}

// prepare makes those who are told.
func (s *Service) prepare() error {
	if s.Push != nil {
		o := *s.Push
		o.Clock, o.Now, o.Watch = s.node.Clock, s.node.Clock.Time, s.node.Agent.Watch
		client, err := push.New(o)
		if err != nil {
			return err
		}
		s.push = client
	}
	if !s.GPUNode {
		s.Log.Info("which GPUs failed before this start is not known: no GPUNode is kept")
		return nil
	}
	client, err := crd.Connect(s.Kubeconfig)
	if err != nil {
		return fmt.Errorf("to keep the GPUNode: %w", err)
	}
	token, _ := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/token") // without, the object outlives the node
	_, uid := crd.NodeOf(string(token))
	s.writer = crd.New(crd.Options{
		Client: client, Node: s.Name, NodeUID: uid, Create: true, Changed: s.obey, Log: s.Log,
		Found: s.recall,
	})
	return nil
}

// together runs all parts until one fails or the context ends.
func (s *Service) together(ctx context.Context) error {
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.node.Run(ctx) })
	if s.push != nil {
		g.Go(func() error { return s.push.Run(ctx) })
	}
	if s.writer != nil {
		g.Go(func() error { return s.writer.Run(ctx) })
	}
	if s.Listen != "" {
		g.Go(func() error { return s.serve(ctx) })
	}
	if err := g.Wait(); !errors.Is(err, context.Canceled) {
		return err
	}
	return nil
}

// take hands a State on; it does not block.
func (s *Service) take(st *agent.State) {
	if s.push != nil {
		s.push.Report(st, st.Edge)
	}
	if s.writer != nil && !st.Recalling { // it would write over what is to be recalled
		if status, ok := Status(st); ok {
			if past := s.past.Load(); past != nil && st.System == (agent.System{}) {
				keep(&status, past)
			}
			s.writer.Report(status)
		}
	}
}

// recall is told what an earlier probe left.
func (s *Service) recall(status api.GPUNodeStatus, err error) {
	s.past.Store(&status)
	s.node.Agent.Recall(Past(status, err))
}

// obey does what the GPUNode's spec says.
func (s *Service) obey(spec api.GPUNodeSpec) {
	o := agent.Orders{Repaired: map[string]time.Time{}}
	for _, x := range spec.IgnoredXIDs {
		o.IgnoreXIDs = append(o.IgnoreXIDs, uint64(x))
	}
	for _, uuid := range spec.CordonedGPUs {
		o.Cordoned = append(o.Cordoned, string(uuid))
	}
	for _, g := range spec.RepairedGPUs {
		o.Repaired[string(g.UUID)] = g.At.Time
	}
	s.node.Agent.Follow(o)
}

// turnsWithin is how long the loop may stand still: it turns once an interval at least.
const turnsWithin = 6

func (s *Service) serve(ctx context.Context) error {
	l, err := net.Listen("tcp", s.Listen)
	if err != nil {
		return err
	}
	if s.Listening != nil {
		s.Listening(l.Addr())
	}
	s.Log.Info("serving", "address", l.Addr().String())
	server := &http.Server{
		Handler: s.Handler(), ReadHeaderTimeout: 5 * time.Second, WriteTimeout: 30 * time.Second, IdleTimeout: time.Minute,
		ErrorLog: slog.NewLogLogger(s.Log.Handler(), slog.LevelDebug),
	}
	context.AfterFunc(ctx, func() { _ = server.Close() })
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// Handler serves metrics and health.
func (s *Service) Handler() http.Handler {
	a, now := s.node.Agent, s.node.Clock.Time
	r := prometheus.NewRegistry()
	r.MustRegister(metrics.New(a.State, now), collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	if s.push != nil {
		r.MustRegister(pushMetrics{s.push})
	}
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(r, promhttp.HandlerOpts{}))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		still := now().Sub(a.Alive())
		answer(w, still <= max(turnsWithin*s.Interval, time.Minute), "the loop has stood still for "+still.Round(time.Second).String())
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		answer(w, a.State().Sweep > 0, "the first sweep is not done")
	})
	if s.Debug {
		mux.HandleFunc("GET /debug/state", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", "application/json")
			_ = json.NewEncoder(w).Encode(a.State()) // who asked is gone, or gets it
		})
	}
	return mux
}

func answer(w http.ResponseWriter, ok bool, why string) {
	if !ok {
		http.Error(w, why, http.StatusServiceUnavailable)
		return
	}
	fmt.Fprintln(w, "ok")
}

// pushMetrics are how reporting does.
type pushMetrics struct{ client *push.Client }

var (
	connected = prometheus.NewDesc("muster_probe_scheduler_up", "Whether a scheduler takes this node's reports.", []string{"reason"}, nil)
	reports   = prometheus.NewDesc("muster_probe_reports_total", "Reports that were sent.", []string{"kind"}, nil)
)

// Describe lists them.
func (p pushMetrics) Describe(to chan<- *prometheus.Desc) { to <- connected; to <- reports }

// Collect asks the client.
func (p pushMetrics) Collect(to chan<- prometheus.Metric) {
	s := p.client.Status()
	up := 0.0
	if s.Connected {
		up = 1
	}
	to <- prometheus.MustNewConstMetric(connected, prometheus.GaugeValue, up, s.Reason)
	for kind, n := range map[string]uint64{"full": s.Full, "delta": s.Reports - s.Full} {
		to <- prometheus.MustNewConstMetric(reports, prometheus.CounterValue, float64(n), kind)
	}
}
