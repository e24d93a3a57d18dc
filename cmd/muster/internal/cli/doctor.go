package cli

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/cmd/muster/internal/doctor"
	"github.com/musterhq/muster/cmd/muster/internal/output"
	"github.com/musterhq/muster/cmd/muster/internal/scheduler"
)

type doctorFlags struct {
	readerFlags
	doctor.Installation
	kubeconfig string
	noCluster  bool
}

func (a *app) doctor() *cobra.Command {
	var f doctorFlags
	c := a.command("doctor", "look for what is wrong with a running installation", `
Asks the scheduler (does it answer, decide, and act; do its policies, and do they and it
speak one ABI; do clocks agree; of which nodes do probes tell what their GPUs do) and, with
a kubeconfig, the cluster (CRDs, the lease, the queues, the versions of Muster's pods, the rights of
the scheduler's account). A line for each check: ok, warn, fail,
or skip for what could not be asked; -o json has all names that a line leaves out.`, `
  muster doctor
  muster doctor --server https://muster.example:9070 --ca ca.pem --no-cluster -o json`,
		"0 all is well, 1 a check failed, 2 it was called wrongly, 3 there are warnings, 130 it was interrupted", cobra.NoArgs,
		func(ctx context.Context, _ []string) error { return a.diagnose(ctx, f) })
	f.add(c)
	formatFlag(c, &f.format)
	fl := c.Flags()
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", "`FILE` that says how to reach the cluster (default: KUBECONFIG, or the pod's own account)")
	fl.BoolVar(&f.noCluster, "no-cluster", false, "ask the scheduler only")
	fl.StringVar(&f.Namespace, "namespace", "muster-system", "`NAMESPACE` of the scheduler")
	fl.StringVar(&f.Account, "account", "muster", "`NAME` of its service account")
	fl.StringVar(&f.Queues, "queues", "", "where the queues are, as the scheduler's --`QUEUES` has it (default: what its pods say)")
	fl.StringVar(&f.Lease, "lease-name", "muster-scheduler", "`NAME` of its Lease object")
	return c
}

func (a *app) diagnose(ctx context.Context, f doctorFlags) error {
	if f.format != "text" && f.format != "json" && f.format != "yaml" {
		return misused("formats are text, json and yaml", "unknown output format %q", f.format)
	}
	c, err := f.open()
	if err != nil {
		return err
	}
	defer c.Close()
	checks, err := doctor.Scheduler(ctx, c, time.Now)
	if err != nil {
		return err
	}
	if !f.noCluster {
		more, err := clusterChecks(ctx, f)
		if err != nil {
			return err
		}
		checks = append(checks, more...)
	}
	if err := a.tellChecks(f.format, checks); err != nil {
		return err
	}
	switch doctor.Worst(checks) {
	case doctor.Failure:
		return silent(exitFailed)
	case doctor.Warning:
		return silent(exitNotable)
	}
	return nil
}

// clusterChecks asks the cluster, if there is a way to one.
func clusterChecks(ctx context.Context, f doctorFlags) ([]doctor.Check, error) {
	config, err := scheduler.Config(f.kubeconfig)
	if err != nil {
		if f.kubeconfig != "" {
			return nil, failed("is that the right --kubeconfig?", "%w", err)
		}
		return []doctor.Check{{Name: "cluster", State: doctor.Skipped, Text: "there is no kubeconfig", Hint: "--kubeconfig FILE, or --no-cluster"}}, nil
	}
	config.Timeout, config.UserAgent = 10*time.Second, "muster-doctor"
	first, err := doctor.Clock(ctx, config, time.Now)
	if err != nil || first.Name == "cluster" && first.State == doctor.Failure {
		return []doctor.Check{first}, err
	}
	api, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, failed("is that the right --kubeconfig?", "a client for the API server: %w", err)
	}
	more, err := doctor.Cluster(ctx, api, f.Installation, time.Now)
	return append([]doctor.Check{first}, more...), err
}

func (a *app) tellChecks(format string, checks []doctor.Check) error {
	switch format {
	case "json":
		return output.JSON(a.out, checks)
	case "yaml":
		return output.YAML(a.out, checks)
	}
	width := 0
	for _, c := range checks {
		width = max(width, len(c.Name))
	}
	for _, c := range checks {
		fmt.Fprintf(a.out, "%-4s  %-*s  %s\n", c.State, width, c.Name, safe(c.Text))
		if c.Hint != "" {
			fmt.Fprintf(a.out, "      %-*s  hint: %s\n", width, "", a.say(safe(c.Hint)))
		}
	}
	return nil
}
