package cli

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/musterhq/muster/cmd/internal/shell"
	"github.com/musterhq/muster/cmd/muster-probe/internal/cluster"
	"github.com/musterhq/muster/gpuprobe/simulate"
)

type simulateFlags struct {
	runFlags
	account string
	use     string
	jitter  time.Duration
}

func (a *app) simulate() *cobra.Command {
	var f simulateFlags
	c := a.command("simulate", "play the probes of a cluster whose nodes have no GPUs", `
Plays the probes of all nodes of a cluster that offer nvidia.com/gpu, as those of the test
cluster do without having any. Each reports what its pods do by their annotation
`+cluster.UseAnnotation+`, from their start on; one that is changed counts from then on:

  busy, busy=0.4, idle        all the time
  duty=2ms/20s                for 2 ms in every 20 s
  train=0.9/1m                steps of a minute, of which 90 % compute
  hang                        a kernel that never ends
  busy for 5m, idle           one after the other; ", repeat" begins again

Faults of a node are in its annotation `+cluster.FaultAnnotation+`, from the start of the
simulation on: "xid=79 gpu 0 at 30s; hang gpu 3 at 1m for 20s". There are hang, gpu-lost,
xid=NUMBER, driver-gone, podresources-gone, ebpf-gone, lie=NODE and garbage.

Every probe has a token of its own that the API server binds to its node: the kubeconfig
must be allowed to make tokens for --account.`, `
  muster-probe simulate --kubeconfig .cache/cluster/kubeconfig --scheduler 127.0.0.1:9071
  muster-probe simulate --scheduler 127.0.0.1:9071 --use "train=0.9/1m for 20m, idle for 5m, repeat"`,
		"0 it was ended by a signal, 1 it failed, 2 it was called wrongly",
		func(ctx context.Context) error { return a.playProbes(ctx, f) })
	fl := c.Flags()
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", "`FILE` that says how to reach the cluster (default: KUBECONFIG)")
	fl.StringSliceVar(&f.schedulers, "scheduler", nil, "`ADDRESSES` of schedulers, host:port or a URL")
	fl.StringVar(&f.ca, "tls-ca", "", "`FILE` with the certificate that the scheduler's is signed with")
	fl.StringVar(&f.serverName, "tls-server-name", "", "`NAME` in the scheduler's certificate (default: the host of the address)")
	fl.BoolVar(&f.insecure, "tls-insecure", false, "take any certificate of the scheduler")
	fl.StringVar(&f.account, "account", "muster-system/muster-probe", "`NAMESPACE/NAME` of the account whose tokens the probes have")
	fl.StringVar(&f.use, "use", "busy", "`PATTERN` of pods that have no annotation")
	fl.DurationVar(&f.report, "interval", 0, "time between two reports of a node (default: 10s)")
	fl.DurationVar(&f.jitter, "jitter", time.Second, "within what time the probes begin (negative: at once)")
	fl.StringVar(&f.logFormat, "log-format", "text", "text or json, on stderr")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

// playProbes is the command.
func (a *app) playProbes(ctx context.Context, f simulateFlags) error {
	o, err := f.options(a)
	if err != nil {
		return err
	}
	c, err := cluster.New(ctx, o)
	if err != nil {
		return failed("the kubeconfig may name another cluster than you think", "%w", err)
	}
	go a.watchProbes(ctx, c)
	if err := c.Run(ctx); err != nil && !errors.Is(err, context.Canceled) {
		return failed("the log above says what it was doing", "%w", err)
	}
	return nil
}

func (f *simulateFlags) options(a *app) (o cluster.Options, err error) {
	if o.Log, err = shell.Logger(a.err, f.logFormat, f.logLevel); err != nil {
		return o, err
	}
	if len(f.schedulers) == 0 {
		return o, misused("as in --scheduler 127.0.0.1:9071, which is --probe-listen of the scheduler", "--scheduler is not given")
	}
	namespace, name, ok := strings.Cut(f.account, "/")
	if !ok {
		return o, misused("as in --account muster-system/muster-probe", "--account %q is not NAMESPACE/NAME", f.account)
	}
	if o.Use, err = simulate.ParsePattern(f.use); err != nil {
		return o, misused("`muster-probe simulate --help` has examples", "--use: %w", err)
	}
	f.Log = o.Log
	p, err := f.pusher()
	if err != nil {
		return o, err
	}
	o.Addresses, o.TLS, o.Interval, o.Jitter = p.Addresses, p.TLS, p.Interval, f.jitter
	o.Account = types.NamespacedName{Namespace: namespace, Name: name}
	rules := clientcmd.NewDefaultClientConfigLoadingRules()
	rules.ExplicitPath = f.kubeconfig
	config, err := clientcmd.NewNonInteractiveDeferredLoadingClientConfig(rules, nil).ClientConfig()
	if err != nil {
		return o, misused("give --kubeconfig, or set KUBECONFIG", "%w", err)
	}
	config.QPS = -1
	o.API, err = cluster.Connect(config)
	return o, err
}

// watchProbes says how many are connected, when that has changed.
func (a *app) watchProbes(ctx context.Context, c *cluster.Cluster) {
	tick := time.NewTicker(time.Second)
	defer tick.Stop()
	was := ""
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		s := c.Status()
		now := fmt.Sprintf("%d of %d probes are connected", s.Connected, s.Nodes)
		for reason, n := range s.Reasons {
			if reason == "Starting" {
				continue
			}
			now += fmt.Sprintf(", %d not: %s", n, reason)
		}
		if why := c.Trouble(); why != "" {
			now += " (" + why + ")"
		}
		if now != was {
			fmt.Fprintln(a.err, now)
			was = now
		}
	}
}
