package cli

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/musterhq/muster/cmd/internal/shell"
	"github.com/musterhq/muster/cmd/muster-probe/internal/node"
	"github.com/musterhq/muster/gpuprobe/push"
)

type runFlags struct {
	node.Options
	schedulers          []string
	tokenFile           string
	ca, serverName      string
	insecure            bool
	report, spread      time.Duration
	gpuNode             bool
	kubeconfig          string
	listen              string
	debug               bool
	ignore              []uint
	logFormat, logLevel string
}

func (a *app) run() *cobra.Command {
	var f runFlags
	c := a.command("run", "measure this node and report to the scheduler", `
Measures the GPUs of this node until it is ended: a sweep over NVML every --interval, the
launches of idle processes by eBPF in between. What is missing (a driver, a capability, the
kubelet, the scheduler) takes away what it is needed for and no more, and is tried again.

It reports to the scheduler that leads, of all that the names in --scheduler stand for.
Beyond loopback that takes TLS: --tls-ca, or --tls-insecure where the scheduler's
certificate is one that it made itself.

/healthz says that the loop turns, whatever the driver does; /readyz that a sweep was done;
/metrics is for Prometheus.`, `
  muster-probe run --scheduler muster-probes.muster-system.svc:9071 --tls-insecure --gpunode
  muster-probe run --scheduler 127.0.0.1:9071 --ebpf=false --listen 127.0.0.1:9072`,
		"0 it was ended by a signal, 1 it failed, 2 it was called wrongly",
		func(ctx context.Context) error { return a.measure(ctx, f) })
	fl := c.Flags()
	machineFlags(fl, &f.Options)
	fl.StringVar(&f.Name, "node", "", "`NAME` of this node in the cluster (default: NODE_NAME, or the machine's name)")
	fl.StringSliceVar(&f.schedulers, "scheduler", nil, "`ADDRESSES` of schedulers, host:port or a URL; none: nothing is sent")
	fl.StringVar(&f.tokenFile, "token-file", "", "`FILE` with the token that proves which node this is")
	fl.StringVar(&f.ca, "tls-ca", "", "`FILE` with the certificate that the scheduler's is signed with")
	fl.StringVar(&f.serverName, "tls-server-name", "", "`NAME` in the scheduler's certificate (default: the host of the address)")
	fl.BoolVar(&f.insecure, "tls-insecure", false, "take any certificate of the scheduler")
	fl.DurationVar(&f.Interval, "interval", usualInterval, "time between two sweeps")
	fl.DurationVar(&f.report, "report-interval", 0, "time between two reports that nothing makes urgent (default: 10s, or what the scheduler asks for)")
	fl.DurationVar(&f.spread, "first-report-within", 30*time.Second, "a first report waits this long at most, by chance, so that not all nodes come at once (0: at once)")
	fl.DurationVar(&f.Duty, "duty", 0, "look for launches of busy processes for 1s once in this time, to find what hangs (0: never)")
	fl.UintSliceVar(&f.ignore, "ignore-xids", nil, "`XIDS` that make no GPU unhealthy")
	fl.BoolVar(&f.gpuNode, "gpunode", false, "keep this node's GPUNode object: inventory and health")
	fl.StringVar(&f.kubeconfig, "kubeconfig", "", "`FILE` that says how to reach the cluster, for --gpunode (default: the pod's own account)")
	fl.StringVar(&f.listen, "listen", "127.0.0.1:9072", "`ADDRESS` of /metrics, /healthz and /readyz, empty for none")
	fl.BoolVar(&f.debug, "debug-state", false, "serve /debug/state, all that is known, as JSON")
	fl.StringVar(&f.logFormat, "log-format", "text", "text or json, on stderr")
	fl.StringVar(&f.logLevel, "log-level", "info", "debug, info, warn or error")
	return c
}

// measure is the command.
func (a *app) measure(ctx context.Context, f runFlags) error {
	log, err := shell.Logger(a.err, f.logFormat, f.logLevel)
	if err != nil {
		return err
	}
	f.Log = log
	if f.Name == "" {
		f.Name = node.HostName()
	}
	if f.Name == "" {
		return misused("as in --node gpu-17, or set NODE_NAME", "--node is not given, and the machine has no name")
	}
	if f.Interval < 100*time.Millisecond {
		return misused("as in --interval 5s", "--interval %v is too short to measure anything", f.Interval)
	}
	for _, x := range f.ignore {
		f.IgnoreXIDs = append(f.IgnoreXIDs, uint64(x))
	}
	service := node.Service{Options: f.Options, GPUNode: f.gpuNode, Kubeconfig: f.kubeconfig, Listen: f.listen, Debug: f.debug}
	if len(f.schedulers) > 0 {
		p, err := f.pusher()
		if err != nil {
			return err
		}
		service.Push = &p
	}
	if err := service.Run(ctx); err != nil {
		return failed("the log above says what it was doing; `muster-probe check` tells what is missing", "%w", err)
	}
	return nil
}

// pusher is where to report to.
func (f *runFlags) pusher() (push.Options, error) {
	o := push.Options{Interval: f.report, Jitter: f.spread, Log: f.Log}
	if f.spread == 0 {
		o.Jitter = -1
	}
	for _, text := range f.schedulers {
		address, secure, err := parseAddress(text)
		if err != nil {
			return o, err
		}
		if secure && o.TLS == nil {
			o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
		}
		o.Addresses = append(o.Addresses, address)
	}
	if f.ca != "" || f.insecure || f.serverName != "" {
		o.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	}
	if o.TLS != nil {
		o.TLS.ServerName = f.serverName
		o.TLS.InsecureSkipVerify = f.insecure && f.ca == "" // asked for in words
	}
	if f.ca != "" {
		pem, err := os.ReadFile(f.ca)
		if err != nil {
			return o, misused("give the scheduler's ca.crt", "--tls-ca: %w", err)
		}
		o.TLS.RootCAs = x509.NewCertPool()
		if !o.TLS.RootCAs.AppendCertsFromPEM(pem) {
			return o, misused("give a file in PEM", "--tls-ca %s holds no certificate", f.ca)
		}
	}
	if f.tokenFile != "" {
		o.Token = func() (string, error) {
			text, err := os.ReadFile(f.tokenFile)
			return strings.TrimSpace(string(text)), err
		}
	}
	var wrong *push.Error
	if _, err := push.New(o); errors.As(err, &wrong) {
		return o, misused(wrong.Hint+", or --tls-insecure", "%s", wrong.Text)
	}
	return o, nil
}

// parseAddress reads host:port, http://host:port or https://host:port.
func parseAddress(text string) (address string, secure bool, err error) {
	address = text
	if strings.Contains(text, "://") {
		u, err := url.Parse(text)
		if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Path != "" && u.Path != "/" {
			return "", false, misused("as in --scheduler muster-probes.muster-system.svc:9071", "--scheduler %s is no address", text)
		}
		address, secure = u.Host, u.Scheme == "https"
	}
	if host, port, err := net.SplitHostPort(address); err != nil || host == "" || port == "" {
		return "", false, misused("as in --scheduler muster-probes.muster-system.svc:9071", "--scheduler %s: an address is host:port", text)
	}
	return address, secure, nil
}
