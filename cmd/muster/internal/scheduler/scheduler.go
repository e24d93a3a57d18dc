// Package scheduler is `muster scheduler`: it joins the scheduler of a Kubernetes
// cluster with the policies' life cycle, the API and the page.
package scheduler

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/musterhq/muster/builtin/cycle"
	"github.com/musterhq/muster/runtime/kube"
	"github.com/musterhq/muster/runtime/kube/act"
	"github.com/musterhq/muster/runtime/kube/groups"
	"github.com/musterhq/muster/runtime/kube/mirror"
	"github.com/musterhq/muster/runtime/kube/pods"
	"github.com/musterhq/muster/runtime/serve"
)

// Options of one replica.
type Options struct {
	Kubeconfig          string // "" is the cluster that the process runs in
	Schedulers          []string
	Queues              string // configmap:NAMESPACE/NAME, crd or file:PATH
	Namespace, Identity string
	Lease               kube.Lease
	BindWorkers         int
	BindQPS             float64
	RespectBudgets      bool
	Policies            string // policies.yaml, "" for none
	Guard               string
	Listen              serve.Listen
	Guarded             bool // the API asks who reads, on loopback too
	Pprof               bool
	// ProbeListen is where probes report, "" for nowhere; ProbeAccount their
	// ServiceAccount, NAMESPACE/NAME or a name in our own namespace.
	ProbeListen, ProbeAccount string
	// ProbeStreamAge is after how long at most a probe proves anew whose it is; less than 0
	// is never.
	ProbeStreamAge time.Duration
	// MaxCreated is how many queues placement rules may create, IdleCreated how long such a
	// queue stays that no job is in.
	MaxCreated  int
	IdleCreated time.Duration
	// StayOnFailedGPUs leaves pods on GPUs that failed.
	StayOnFailedGPUs  bool
	Version, Revision string
	Waits             mirror.Waits
	Pods              pods.Options
	Log               *slog.Logger
}

// Run schedules until ctx ends.
func Run(ctx context.Context, o Options) error {
	config, err := Config(o.Kubeconfig)
	if err != nil {
		return err
	}
	if o.Namespace == "" {
		o.Namespace = ownNamespace()
	}
	if o.Identity == "" {
		host, err := os.Hostname()
		if err != nil {
			return fmt.Errorf("finding a name for this replica (or set --identity): %w", err)
		}
		o.Identity = fmt.Sprintf("%s_%d", host, os.Getpid())
	}
	klog.SetSlogLogger(o.Log.With("from", "client-go"))
	p := &process{o: o}
	if err := p.connect(config); err != nil {
		return err
	}
	return p.run(ctx)
}

// NoCluster says that it is not known how to reach one.
type NoCluster struct{ Err error }

func (e *NoCluster) Error() string {
	return fmt.Sprintf("no way to the cluster (set --kubeconfig, KUBECONFIG, or run as a pod): %v", e.Err)
}

func (e *NoCluster) Unwrap() error { return e.Err }

// Config is how to reach the cluster: without the client's own limits, which would be
// the slowest part, and in the encoding that costs the API server least.
func Config(kubeconfig string) (*rest.Config, error) {
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	if kubeconfig != "" {
		rules.ExplicitPath = kubeconfig
	}
	c, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, &clientcmd.ConfigOverrides{}).ClientConfig()
	if err != nil {
		return nil, &NoCluster{err}
	}
	c.QPS, c.Burst = -1, -1
	c.UserAgent = "muster-scheduler"
	return c, nil
}

// ownNamespace is where the process runs.
func ownNamespace() string {
	if ns := os.Getenv("POD_NAMESPACE"); ns != "" {
		return ns
	}
	b, err := os.ReadFile("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
	return cmp.Or(strings.TrimSpace(string(b)), map[bool]string{true: "muster-system"}[err != nil], "muster-system")
}

// process is one run.
type process struct {
	o       Options
	client  kubernetes.Interface
	dynamic dynamic.Interface
	queues  queueSource
	events  *eventSink
	kube    *kube.Scheduler
	policy  *policies
	probes  *probes
	seen    *seen
	watch   *groups.Watch
	status  atomic.Pointer[groups.Status] // of group objects; nil while the replica stands by
}

func (p *process) connect(config *rest.Config) error {
	typed := rest.CopyConfig(config)
	typed.ContentType = runtime.ContentTypeProtobuf
	typed.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	var err error
	if p.client, err = kubernetes.NewForConfig(typed); err != nil {
		return fmt.Errorf("a client for the API server: %w", err)
	}
	if p.dynamic, err = dynamic.NewForConfig(config); err != nil {
		return fmt.Errorf("a client for the API server: %w", err)
	}
	p.events = newEventSink(p.client, p.o.Log)
	if p.queues, err = p.openQueues(); err != nil {
		return err
	}
	if p.policy, err = p.openPolicies(); err != nil {
		return err
	}
	p.probes = newProbes(p)
	if p.kube, err = kube.New(p.kubeOptions()); err != nil {
		return err
	}
	if err := p.probes.open(p.kube); err != nil {
		return err
	}
	p.seen = newSeen(p)
	return nil
}

// kubeOptions joins what was asked for with the parts that are open.
func (p *process) kubeOptions() kube.Options {
	return kube.Options{
		Client: p.client, Schedulers: p.o.Schedulers, Namespace: p.o.Namespace, Identity: p.o.Identity,
		Lease: p.o.Lease, Queues: p.queues, Base: cycle.Set{}, Waits: p.o.Waits, Pods: p.o.Pods, Log: p.o.Log,
		Act: act.Options{Workers: p.o.BindWorkers, QPS: p.o.BindQPS, RespectBudgets: p.o.RespectBudgets},
		Groups: func(changed func(groups.Key)) kube.Groups {
			p.watch = groups.NewWatch(groups.WatchOptions{
				Client: p.client, Dynamic: p.dynamic, Discovery: p.client.Discovery(), Log: p.o.Log,
				OnChange: func(k groups.Key, g *groups.PodGroup) {
					if s := p.status.Load(); s != nil && g == nil {
						s.Forget(k)
					}
					changed(k)
				},
			})
			return p.watch
		},
		Group: func(k groups.Key, state groups.State) {
			if s := p.status.Load(); s != nil {
				s.Set(k, state)
			}
		},
		Tree: p.policy.setTree, Leading: p.leading, StayOnFailedGPUs: p.o.StayOnFailedGPUs, Probes: p.probes.asked(),
		MaxCreated: p.o.MaxCreated, IdleCreated: p.o.IdleCreated,
	}
}

// run runs everything until ctx ends, or until one part can't go on.
func (p *process) run(ctx context.Context) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	server, err := p.seen.open()
	if err != nil {
		return err
	}
	p.o.Log.Info("serving", "url", server.URL())
	var all sync.WaitGroup
	part := func(what string, f func(context.Context) error) {
		all.Go(func() {
			if err := f(ctx); err != nil && ctx.Err() == nil {
				cancel(fmt.Errorf("%s: %w", what, err))
			}
		})
	}
	part("serving", server.Serve)
	part("sampling", p.seen.source.Run)
	part("events", p.events.run)
	part("reporting queues", p.reportQueues)
	err = p.kube.Run(ctx)
	cause := context.Cause(ctx)
	cancel(nil)
	all.Wait()
	p.policy.close()
	p.probes.close()
	if err == nil && cause != nil && !errors.Is(cause, context.Canceled) {
		err = cause
	}
	return err
}

// reportEvery is how often the status of Queue objects is brought up to date.
const reportEvery = 5 * time.Second
