package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/musterhq/muster/runtime/kube/testcluster"
	"github.com/musterhq/muster/runtime/kube/testcluster/nodes"
)

// call is a command as it was given.
type call struct {
	dir    string
	args   []string // what is left after the flags
	stdout io.Writer
	stderr io.Writer
}

// command is one of muster-cluster's commands.
type command struct {
	name, args, help string
	// define declares the command's flags and returns what runs once they are known.
	define func(*flag.FlagSet) func(context.Context, call) error
}

var commands = []command{
	{"up", "", "start a cluster, and print how to reach it", defineUp},
	{"down", "", "end it and remove its state", defineDown},
	{"status", "", "print its components", defineStatus},
	{"wait", "", "wait until it answers, and nodes are Ready", defineWait},
	{"nodes", "", "add nodes", defineNodes},
	{"kubeconfig", "", "print the kubeconfig of admin or of a service account", defineKubeconfig},
	{"start", "[COMPONENT…]", "start components that do not run", named(testcluster.Start)},
	{"stop", "[COMPONENT…]", "end components; they keep ports and data", named(testcluster.Stop)},
	{"restart", "[COMPONENT…]", "stop and start components", named(restart)},
	{"kill", "[COMPONENT…]", "end components as a crash would", named(testcluster.Kill)},
	{"pause", "[COMPONENT…]", "freeze components", named(testcluster.Pause)},
	{"resume", "[COMPONENT…]", "let paused components go on", named(testcluster.Resume)},
}

func usage() string {
	var b strings.Builder
	b.WriteString("usage: muster-cluster COMMAND --dir STATE [flags]\n\n")
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, c := range commands {
		fmt.Fprintf(w, "  %s\t%s\t%s\n", c.name, c.args, c.help)
	}
	_ = w.Flush()
	b.WriteString("\nmuster-cluster COMMAND -h lists the flags of a command. Its components are commands, too:\n" +
		strings.Join([]string{testcluster.Etcd, testcluster.APIServer, testcluster.ControllerManager, testcluster.Scheduler, testcluster.Kwok}, ", ") + ".\n")
	return b.String()
}

// main parses the flags of a command and runs it.
func (c command) main(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	flags := flag.NewFlagSet(c.name, flag.ContinueOnError)
	flags.SetOutput(stderr)
	dir := flags.String("dir", "", "`folder` with the state of the cluster")
	do := c.define(flags)
	switch err := flags.Parse(args); {
	case errors.Is(err, flag.ErrHelp):
		return 0
	case err != nil:
		return 2
	case *dir == "":
		fmt.Fprintf(stderr, "muster-cluster %s: --dir is missing\n", c.name)
		return 2
	case flags.NArg() > 0 && c.args == "":
		fmt.Fprintf(stderr, "muster-cluster %s: %q is too much\n", c.name, flags.Args())
		return 2
	}
	if err := do(ctx, call{*dir, flags.Args(), stdout, stderr}); err != nil {
		fmt.Fprintf(stderr, "muster-cluster %s: %v\n", c.name, err)
		return 1
	}
	return 0
}

// nodeFlags are the flags that say what nodes there are.
func nodeFlags(flags *flag.FlagSet, o *testcluster.Options) {
	flags.IntVar(&o.Nodes, "nodes", 0, "`number` of nodes")
	flags.StringVar(&o.Products, "products", "", "mix of `products` with their weights, as in "+nodes.DefaultMix+" (the default); without --nodes, with their numbers")
	flags.StringVar(&o.NodesFile, "nodes-file", "", "`file` that says what nodes there are")
}

func defineUp(flags *flag.FlagSet) func(context.Context, call) error {
	o := testcluster.Defaults()
	nodeFlags(flags, &o)
	flags.BoolVar(&o.Jobs, "jobs", false, "run the controller manager: Jobs, Deployments, garbage collection")
	flags.BoolVar(&o.Baseline, "baseline", false, "run the stock scheduler")
	flags.BoolVar(&o.NoKwok, "no-kwok", false, "run no kubelets: nodes don't become Ready, pods don't run")
	flags.BoolVar(&o.NativeGangs, "native-gangs", false, "serve Workload and PodGroup of scheduling.k8s.io/v1alpha2")
	flags.StringVar(&o.FeatureGates, "feature-gates", "", "feature `gates` for Kubernetes' components")
	flags.StringVar(&o.RuntimeConfig, "runtime-config", "", "API `versions` to serve, or not")
	flags.IntVar(&o.LeaseSeconds, "lease-seconds", o.LeaseSeconds, "how many `seconds` a node's lease lasts; 0 is no leases")
	flags.IntVar(&o.GOGC, "gogc", o.GOGC, "garbage collection `percentage` of the components")
	flags.IntVar(&o.Parent, "with-parent", 0, "end the cluster when the process with this `pid` ends")
	flags.Func("flag", "a further `flag` for a component, as in kube-apiserver=--v=4; may be repeated", func(f string) error {
		o.Flags = append(o.Flags, f)
		return nil
	})
	return func(ctx context.Context, call call) error {
		elapsed := stopwatch()
		c, err := testcluster.Up(ctx, call.dir, o)
		if err != nil {
			return err
		}
		fmt.Fprintf(call.stderr, "the cluster is up after %s; end it by: muster-cluster down --dir %s\n", elapsed(), call.dir)
		fmt.Fprintf(call.stdout, "export KUBECONFIG=%s\n", c.Kubeconfig(testcluster.AdminUser))
		return nil
	}
}

func defineDown(flags *flag.FlagSet) func(context.Context, call) error {
	keep := flags.Bool("keep", false, "keep the state, to be read or started again")
	return func(ctx context.Context, call call) error {
		err := testcluster.Down(ctx, call.dir, *keep)
		var e *testcluster.Error
		if errors.As(err, &e) && e.Code == testcluster.CodeNone {
			fmt.Fprintf(call.stderr, "there is no cluster in %s\n", call.dir)
			return nil
		}
		return err
	}
}

func defineStatus(flags *flag.FlagSet) func(context.Context, call) error {
	asJSON := flags.Bool("json", false, "print JSON")
	return func(_ context.Context, call call) error {
		c, err := testcluster.Open(call.dir)
		if err != nil {
			return err
		}
		if *asJSON {
			return json.NewEncoder(call.stdout).Encode(c.Status())
		}
		w := tabwriter.NewWriter(call.stdout, 0, 0, 2, ' ', 0)
		fmt.Fprintln(w, "COMPONENT\tSTATE\tPID\tPORT\tMEMORY\tLOG")
		for _, s := range c.Status() {
			fmt.Fprintf(w, "%s\t%s\t%d\t%d\t%d MiB\t%s\n", s.Component, s.State, s.PID, s.Port, s.RSS>>20, s.Log)
		}
		return w.Flush()
	}
}

func defineWait(flags *flag.FlagSet) func(context.Context, call) error {
	n := flags.Int("nodes", 0, "`number` of nodes that have to be Ready")
	timeout := flags.Duration("timeout", 2*time.Minute, "how long to wait")
	return func(ctx context.Context, call call) error {
		c, err := testcluster.Open(call.dir)
		if err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(ctx, *timeout)
		defer cancel()
		return c.WaitReady(ctx, *n)
	}
}

func defineNodes(flags *flag.FlagSet) func(context.Context, call) error {
	var o testcluster.Options
	nodeFlags(flags, &o)
	return func(ctx context.Context, call call) error {
		c, err := testcluster.Open(call.dir)
		if err != nil {
			return err
		}
		n, err := c.AddNodes(ctx, o)
		if err == nil {
			fmt.Fprintf(call.stdout, "%d nodes were added\n", n)
		}
		return err
	}
}

func defineKubeconfig(flags *flag.FlagSet) func(context.Context, call) error {
	account := flags.String("service-account", "", "`namespace/name` of an account; made if it is not there. Admin if empty")
	lifetime := flags.Duration("lifetime", 24*time.Hour, "how long the account's token is valid")
	out := flags.String("out", "", "`file` to write; standard output if empty")
	return func(ctx context.Context, call call) error {
		c, err := testcluster.Open(call.dir)
		if err != nil {
			return err
		}
		var text []byte
		if *account == "" {
			text, err = os.ReadFile(c.Kubeconfig(testcluster.AdminUser))
		} else {
			text, err = c.AccountKubeconfig(ctx, *account, *lifetime)
		}
		if err != nil {
			return err
		}
		if *out != "" {
			return os.WriteFile(*out, text, 0o600)
		}
		_, err = call.stdout.Write(text)
		return err
	}
}

// named is a command that takes names of components.
func named(do func(ctx context.Context, dir string, names ...string) error) func(*flag.FlagSet) func(context.Context, call) error {
	return func(*flag.FlagSet) func(context.Context, call) error {
		return func(ctx context.Context, call call) error { return do(ctx, call.dir, call.args...) }
	}
}

func restart(ctx context.Context, dir string, names ...string) error {
	if err := testcluster.Stop(ctx, dir, names...); err != nil {
		return err
	}
	return testcluster.Start(ctx, dir, names...)
}

// stopwatch returns a function that says how much time has passed.
func stopwatch() func() time.Duration {
	start := time.Now()                                                                   //nolint:forbidigo // it is printed and decides nothing
	return func() time.Duration { return time.Since(start).Round(10 * time.Millisecond) } //nolint:forbidigo // as above
}
