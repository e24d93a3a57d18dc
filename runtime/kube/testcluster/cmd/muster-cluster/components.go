package main

import (
	"os"

	"github.com/spf13/pflag"
	"go.etcd.io/etcd/server/v3/etcdmain"
	"k8s.io/component-base/cli"
	_ "k8s.io/component-base/logs/json/register"          // the log format that flags may ask for
	_ "k8s.io/component-base/metrics/prometheus/clientgo" // client-go's metrics
	_ "k8s.io/component-base/metrics/prometheus/version"  // the version metric
	apiserver "k8s.io/kubernetes/cmd/kube-apiserver/app"
	manager "k8s.io/kubernetes/cmd/kube-controller-manager/app"
	scheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	kwokconfig "sigs.k8s.io/kwok/pkg/config"
	kwok "sigs.k8s.io/kwok/pkg/kwok/cmd"
	kwoklog "sigs.k8s.io/kwok/pkg/log"
	kwoksignals "sigs.k8s.io/kwok/pkg/utils/signals"

	"github.com/musterhq/muster/runtime/kube/testcluster"
)

// components are the programs in this binary. Each reads os.Args, whose first element
// is the component's name by then, and returns its exit status.
var components = map[string]func() int{
	testcluster.Etcd:              func() int { etcdmain.Main(os.Args); return 0 },
	testcluster.APIServer:         func() int { return cli.Run(apiserver.NewAPIServerCommand()) },
	testcluster.ControllerManager: func() int { return cli.Run(manager.NewControllerManagerCommand()) },
	testcluster.Scheduler:         func() int { return cli.Run(scheduler.NewSchedulerCommand()) },
	testcluster.Kwok:              runKwok,
}

// runKwok is the main function of kwok. Cobra adds the flags of pflag.CommandLine to
// every command, and Kubernetes has put a --version of another kind there, on which
// cobra panics: so kwok gets an empty one.
func runKwok() int {
	pflag.CommandLine = pflag.NewFlagSet(testcluster.Kwok, pflag.ContinueOnError)
	flags := pflag.NewFlagSet("global", pflag.ContinueOnError)
	flags.ParseErrorsAllowlist.UnknownFlags = true
	flags.Usage = func() {}
	ctx, logger := kwoklog.InitFlags(kwoksignals.SetupSignalContext(), flags)
	ctx, err := kwokconfig.InitFlags(ctx, flags)
	if err != nil {
		logger.Error("reading the configuration", "err", err)
		return 1
	}
	command := kwok.NewCommand(ctx)
	command.PersistentFlags().AddFlagSet(flags)
	if err := command.ExecuteContext(ctx); err != nil {
		logger.Error("kwok ended", "err", err)
		return 1
	}
	return 0
}
