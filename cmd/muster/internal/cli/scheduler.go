package cli

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/internal/shell"
	"github.com/musterhq/muster/cmd/muster/internal/scheduler"
	"github.com/musterhq/muster/runtime/kube/pods"
	"github.com/musterhq/muster/runtime/usage"
)

type schedulerFlags struct {
	scheduler.Options
	logFormat, logLevel string
	gpuLabels, perNode  []string
	gates               []string
	evictFromFailed     bool
}

func (a *app) scheduler() *cobra.Command {
	var f schedulerFlags
	c := a.command("scheduler", "schedule the pods of a Kubernetes cluster", `
Schedules pods whose spec.schedulerName is one of --scheduler-names, and no others. Name
yunikorn, kai-scheduler, volcano or scheduler-plugins-scheduler there as well to take
over from those without a change to workloads.

Queues come from YuniKorn's queues.yaml in a ConfigMap, from Queue objects, or from a
file. Of several replicas one decides, by a Lease; the others stand by with warm caches
and rebuild everything from the API when they take over.

Probes of nodes (muster-probe) report to the replica that decides, on --probe-listen, with
the same certificate. What they say is believed about their own node and nothing else.

The API, the metrics and the page are on --listen. Beyond loopback they need a token of
the cluster (TokenReview, SubjectAccessReview) and TLS, which is self-signed unless files
are given.`, `
  muster scheduler --kubeconfig ~/.kube/config --queues configmap:muster-system/muster-queues
  muster scheduler --queues crd --scheduler-names muster,yunikorn --leader-elect=false`,
		"0 it was ended by a signal, 1 it failed or lost the lease, 2 it was called wrongly", cobra.NoArgs,
		func(ctx context.Context, _ []string) error { return a.schedule(ctx, f) })
	f.add(c)
	return c
}

func (f *schedulerFlags) add(c *cobra.Command) {
	fl := c.Flags()
	fl.StringVar(&f.Kubeconfig, "kubeconfig", "", "`FILE` that says how to reach the cluster (default: KUBECONFIG, or the pod's own account)")
	fl.StringSliceVar(&f.Schedulers, "scheduler-names", []string{"muster"}, "`NAMES` in spec.schedulerName to answer to")
	fl.StringVar(&f.Queues, "queues", "configmap:muster-queues", "where queues are: configmap:NAMESPACE/NAME, crd or file:PATH")
	fl.StringVar(&f.Namespace, "namespace", "", "`NAMESPACE` of leases and records (default: POD_NAMESPACE, or the pod's own)")
	fl.StringVar(&f.Identity, "identity", "", "`NAME` of this replica (default: host name and process)")
	fl.BoolVar(&f.Lease.Elect, "leader-elect", true, "let one of several replicas decide")
	fl.StringVar(&f.Lease.Name, "lease-name", "muster-scheduler", "`NAME` of the Lease object")
	fl.DurationVar(&f.Lease.Duration, "lease-duration", 15*time.Second, "how long a silent leader is waited for")
	fl.DurationVar(&f.Lease.Renew, "renew-deadline", 10*time.Second, "within what time the leader must be heard")
	fl.DurationVar(&f.Lease.Retry, "retry-period", 2*time.Second, "how often it says something")
	fl.IntVar(&f.BindWorkers, "bind-workers", 16, "binds in flight at most")
	fl.Float64Var(&f.BindQPS, "bind-qps", 0, "binds per second at most (0: as fast as the API server)")
	fl.BoolVar(&f.RespectBudgets, "respect-budgets", false, "never evict against a PodDisruptionBudget, not even for a guarantee")
	fl.StringVar(&f.Policies, "policies", "", "`FILE` policies.yaml to follow, instead of Policy objects")
	fl.StringVar(&f.Guard, "guard", "", "`DIR` of rules that say who may load what")
	fl.StringVar(&f.Listen.Address, "listen", "127.0.0.1:9070", "`ADDRESS` of API, metrics and page")
	fl.StringVar(&f.Listen.CertFile, "tls-cert", "", "`FILE` with the certificate to serve with")
	fl.StringVar(&f.Listen.KeyFile, "tls-key", "", "`FILE` with its key")
	fl.BoolVar(&f.Guarded, "require-token", false, "ask for a token on loopback, too")
	fl.BoolVar(&f.Pprof, "pprof", false, "serve /debug/pprof as well")
	fl.StringVar(&f.ProbeListen, "probe-listen", "", "`ADDRESS` where the probes of nodes report, as in :9071 (default: nowhere)")
	fl.StringVar(&f.ProbeAccount, "probe-account", "muster-probe", "`ACCOUNT` of the probes: NAMESPACE/NAME, or a name in this namespace")
	fl.DurationVar(&f.ProbeStreamAge, "probe-stream-age", usage.DefaultStreamAge, "after how long at most a probe proves anew whose it is (0: never)")
	fl.BoolVar(&f.evictFromFailed, "evict-from-failed-gpus", true, "evict pods from GPUs that a probe says have failed")
	fl.StringSliceVar(&f.gpuLabels, "gpu-labels", nil, "`LABELS` of nodes that name the GPU product (default: those of NVIDIA, AMD, GKE, Karpenter)")
	fl.StringSliceVar(&f.perNode, "per-node-labels", nil, "`LABELS` that no two nodes share, besides kubernetes.io/hostname")
	fl.StringSliceVar(&f.gates, "node-gates", nil, "`GATES` that must be open before a node takes pods: condition:T, label:K=V, annotation:K=V, no-taint:K")
	fl.DurationVar(&f.Waits.Complete, "gang-timeout", time.Minute, "how long a gang may be bound in part before it is taken off whole")
	fl.DurationVar(&f.Waits.Lost, "replacement-timeout", time.Minute, "how long the place of a gang's dead pod is kept")
	fl.IntVar(&f.MaxCreated, "max-created-queues", 10_000, "queues that placement rules may create")
	fl.DurationVar(&f.IdleCreated, "created-queue-idle", 10*time.Second, "how long a queue that a placement rule has created stays without a job")
	fl.StringVar(&f.logFormat, "log-format", "text", "text or json, on stderr")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
}

func (a *app) schedule(ctx context.Context, f schedulerFlags) error {
	log, err := shell.Logger(a.err, f.logFormat, f.logLevel)
	if err != nil {
		return err
	}
	o, err := f.options()
	if err != nil {
		return err
	}
	o.Log = log
	err = scheduler.Run(ctx, o)
	var none *scheduler.NoCluster
	switch {
	case errors.As(err, &none):
		return failed("name a kubeconfig that `kubectl --kubeconfig FILE get nodes` works with; `muster sim serve` needs no cluster", "%w", err)
	case err != nil:
		return failed("the log above says what it was doing", "%w", err)
	}
	return nil
}

// options checks what was asked for.
func (f *schedulerFlags) options() (scheduler.Options, error) {
	o := f.Options
	if len(o.Schedulers) == 0 || slices.Contains(o.Schedulers, "") {
		return o, misused("as in --scheduler-names muster,yunikorn", "--scheduler-names must name at least one scheduler")
	}
	if slices.Contains(o.Schedulers, "default-scheduler") {
		return o, misused("leave default-scheduler to Kubernetes", "--scheduler-names can't hold default-scheduler: two schedulers would bind the same pods")
	}
	if l := o.Lease; l.Elect && (l.Duration <= l.Renew || l.Renew <= l.Retry) {
		return o, misused("as in --lease-duration 15s --renew-deadline 10s --retry-period 2s", "--lease-duration must be longer than --renew-deadline, and that longer than --retry-period")
	}
	kind, at, _ := strings.Cut(o.Queues, ":")
	switch {
	case o.Queues != "crd" && (kind != "configmap" && kind != "file" || at == ""):
		return o, misused("write configmap:NAMESPACE/NAME, crd or file:PATH", "--queues %s is no place for queues", o.Queues)
	case o.MaxCreated < 1:
		return o, misused("a rule without `create: true` creates none", "--max-created-queues must be at least 1")
	case o.IdleCreated < time.Second:
		return o, misused("as in --created-queue-idle 10s", "--created-queue-idle must be at least 1s")
	case o.ProbeStreamAge < 0 || o.ProbeStreamAge > 0 && o.ProbeStreamAge < time.Minute:
		return o, misused("as in --probe-stream-age 30m", "--probe-stream-age must be 0, which is never, or at least 1m")
	case o.ProbeStreamAge == 0:
		o.ProbeStreamAge = -1
	}
	o.StayOnFailedGPUs = !f.evictFromFailed
	o.Pods = pods.Options{GPULabels: f.gpuLabels, PerNode: f.perNode}
	for _, text := range f.gates {
		g, err := pods.ParseGate(text)
		if err != nil {
			return o, misused("as in --node-gates condition:Warm,no-taint:example.com/warming", "--node-gates %s: %s", text, err)
		}
		o.Pods.Gates = append(o.Pods.Gates, g)
	}
	v := builtFrom()
	o.Version, o.Revision = v.Version, v.Revision
	return o, nil
}
