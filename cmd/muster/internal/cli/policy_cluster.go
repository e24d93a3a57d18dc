package cli

import (
	"context"
	"fmt"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/muster/internal/operator"
	"github.com/musterhq/muster/cmd/muster/internal/scheduler"
	api "github.com/musterhq/muster/runtime/kube/api/v1alpha1"
	"github.com/musterhq/muster/runtime/reload"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// whereFlags say which scheduler is meant: one that runs with a policies.yaml, or that of a
// Kubernetes cluster, which follows Policy objects.
type whereFlags struct {
	at, kubeconfig, namespace string
	cluster                   bool
	given                     func(flag string) bool
}

// noFile is what to do where no scheduler has written beside a policies.yaml.
const noFile = "a scheduler writes it beside its policies.yaml: name that with --at; one on Kubernetes follows Policy objects: ask it with --cluster"

func (f *whereFlags) add(a *app, c *cobra.Command, does string) {
	fl := c.Flags()
	fl.StringVar(&f.at, "at", policiesFile, "`policies.yaml` "+does)
	fl.BoolVar(&f.cluster, "cluster", a.plugin(), "the scheduler of a Kubernetes cluster is meant, and its Policy objects")
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", "`FILE` that says how to reach the cluster, for --cluster (default: KUBECONFIG, or the pod's own account)")
	f.given = fl.Changed
}

// clusterOf reaches the cluster that is meant; it is nil if a policies.yaml is. A cluster
// is never guessed: whoever is in the wrong folder does not mean production.
func (a *app) clusterOf(f whereFlags) (*operator.Cluster, error) {
	asked := f.given("cluster") && f.cluster || f.kubeconfig != ""
	switch {
	case asked && f.given("at"):
		return nil, misused("leave one of them out", "--at is for a scheduler that follows a policies.yaml, --cluster for one that follows Policy objects")
	case !asked && (!f.cluster || f.given("at")):
		return nil, nil
	case a.cluster != nil:
		return a.cluster, nil
	}
	config, err := scheduler.Config(f.kubeconfig)
	if err != nil {
		return nil, failed("--kubeconfig FILE names it", "%w", err)
	}
	config.Timeout, config.UserAgent = 10*time.Second, "muster-policy"
	c, err := operator.Connect(config, f.namespace)
	if err != nil {
		return nil, failed("is that the right --kubeconfig?", "a client for the API server: %w", err)
	}
	return c, nil
}

func (a *app) askCluster(ctx context.Context, c *operator.Cluster, r reload.Request, wait time.Duration, format string) error {
	before, after, err := c.Ask(ctx, r.Op, r.Name, wait)
	if err != nil {
		return err
	}
	if err := a.tellTook(format, took{operator.Slot(after), r.Op, decider(operator.Decides(after)), decider(operator.Decides(before))}); err != nil {
		return err
	}
	switch r.Op {
	case reload.OpRollback:
		a.remark("it lasts until the Policy object %s or its source changes, or the scheduler starts anew", after.Name)
	case reload.OpPromote:
		if slot := operator.Slot(after); slot != after.Name {
			a.remark("to make it last, `muster policy load --cluster --name %s` what the Policy object %s loads", slot, after.Name)
		} else {
			a.remark("to make it last: kubectl patch policies.muster.dev %s --type merge -p '{\"spec\": {\"mode\": \"active\"}}'", slot)
		}
	}
	return nil
}

// loadInto has a cluster load what was tried here.
func (a *app) loadInto(ctx context.Context, c *operator.Cluster, s wanted.Spec, v reload.Version, f loadFlags) error {
	artifact, err := operator.Fetch(ctx, s.Source)
	if err != nil {
		return err
	}
	before, after, err := c.Put(ctx, s, artifact)
	if err != nil {
		return err
	}
	if err := a.print(f.format, v, func() error { a.loadedText(v, f, "Policy "+after.Name); return nil }); err != nil {
		return err
	}
	if f.wait <= 0 {
		return nil
	}
	now, err := c.AwaitLoad(ctx, before, after, v.Digest, f.wait)
	if err != nil {
		return err
	}
	a.remark("the scheduler has it: it is %s", stateText(now.Status.State))
	return nil
}

func (a *app) clusterStatus(ctx context.Context, c *operator.Cluster, args []string, format string) error {
	if len(args) == 1 {
		p, err := c.Get(ctx, args[0])
		if err != nil {
			return err
		}
		return a.print(format, p, func() error { a.objectText(p); return nil })
	}
	list, err := c.List(ctx)
	if err != nil {
		return err
	}
	return a.print(format, list, func() error { return a.objectsText(list) })
}

func (a *app) objectsText(list []api.Policy) error {
	if len(list) == 0 {
		fmt.Fprintln(a.out, "there are no Policy objects: built-ins decide")
		return nil
	}
	w := tabwriter.NewWriter(a.out, 0, 4, 2, ' ', 0)
	fmt.Fprintln(w, "NAME\tSTATE\tVERSION\tDIGEST\tDECIDES\tQUEUES\tCALLS\tFAULTS\tWHY")
	for i := range list {
		p := &list[i]
		s := &p.Status
		calls, faults, queues := "-", "-", "-"
		if s.Calls != nil {
			calls, faults = fmt.Sprint(s.Calls.Calls), fmt.Sprint(s.Calls.Faults)
		}
		if s.QueueCount != nil {
			queues = fmt.Sprint(*s.QueueCount)
		}
		state := or(stateText(s.State), "not taken")
		fmt.Fprintf(w, "%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\t%s\n", p.Name, state, or(s.Version, "-"), short(s.Digest), strings.Join(s.Kinds, ","), queues, calls, faults, safe(s.Message))
	}
	return w.Flush()
}

// stateText is a state as people say it: RolledBack is rolled back.
func stateText(state string) string {
	if state == "RolledBack" {
		return "rolled back"
	}
	return strings.ToLower(state)
}

// objectText tells of one object what its conditions say, step by step.
func (a *app) objectText(p *api.Policy) {
	s := &p.Status
	fmt.Fprintf(a.out, "%s: %s\n", identity(or(s.PolicyName, p.Name), s.Version), or(stateText(s.State), "no scheduler has taken it yet"))
	row := func(name, text string) {
		if text != "" {
			fmt.Fprintf(a.out, "  %-11s %s\n", name, safe(text))
		}
	}
	row("why", s.Message)
	row("digest", s.Digest)
	row("from", s.Origin)
	row("signed by", strings.Join(s.Signers, ", "))
	if s.Active != nil {
		row("decides", identity(s.Active.Name, s.Active.Version)+" "+s.Active.Digest)
	}
	if s.Standby != nil {
		row("rollback to", identity(s.Standby.Name, s.Standby.Version)+" "+s.Standby.Digest)
	}
	if c := s.Calls; c != nil {
		row("calls", fmt.Sprintf("%d, of which %d failed, %d were declined; %d were not made, in a quarantine", c.Calls, c.Faults, c.Declined, c.Skipped))
		row("last fault", strings.Trim(c.LastCode+": "+c.LastText, ": "))
	}
	if h := s.Shadow; h != nil {
		row("shadow", fmt.Sprintf("beside %s: %d of %d batches differ, %d failures", h.Beside, h.Differs, h.Compared, h.Failures))
		row("example", h.Example)
	}
	row("queues", strings.Join(s.Queues, ", "))
	for _, c := range s.Conditions {
		row(c.Type, strings.TrimSpace(fmt.Sprintf("%s %s  %s", c.Status, c.Reason, c.Message)))
	}
}
