package testcluster

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The components, which are also the first arguments by which the binary becomes one.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager"
	Scheduler         = "kube-scheduler"
	Kwok              = "kwok"
)

// component is how one of them is run in a cluster.
type component struct {
	name   string
	wanted func(Options) bool
	ports  []string
	args   func(*Cluster) []string
	// ready returns nil once the component does its work; it is asked again and
	// again. Its being alive is checked elsewhere.
	ready func(context.Context, *Cluster) error
	// grace is how long it may take to finish by itself.
	grace time.Duration
}

// How long components may take to finish. The API server says at once to its clients
// that it goes, and then waits for their watches, which never end.
const (
	grace          = 15 * time.Second
	graceAPIServer = 2 * time.Second
)

// components in the order in which they are started.
var components = []component{
	{Etcd, always, []string{Etcd, portEtcdPeer}, etcdArgs, etcdReady, grace},
	{APIServer, always, []string{APIServer}, apiServerArgs, healthy(APIServer, "/readyz"), graceAPIServer},
	{ControllerManager, func(o Options) bool { return o.Jobs }, []string{ControllerManager}, managerArgs, healthy(ControllerManager, "/healthz"), grace},
	{Scheduler, func(o Options) bool { return o.Baseline }, []string{Scheduler}, schedulerArgs, healthy(Scheduler, "/healthz"), grace},
	{Kwok, func(o Options) bool { return !o.NoKwok }, nil, kwokArgs, func(context.Context, *Cluster) error { return nil }, grace},
}

func always(Options) bool { return true }

// find returns a component by its name.
func find(name string) (component, bool) {
	i := slices.IndexFunc(components, func(k component) bool { return k.name == name })
	if i < 0 {
		return component{}, false
	}
	return components[i], true
}

// Components are the names of the cluster's components, in the order of their start.
func (c *Cluster) Components() []string {
	var names []string
	for _, k := range components {
		if k.wanted(c.Options) {
			names = append(names, k.name)
		}
	}
	return names
}

// choose returns the components that are named, in the order of their start; all if
// none is named.
func (c *Cluster) choose(names []string) ([]component, error) {
	have := c.Components()
	for _, n := range names {
		if !slices.Contains(have, n) {
			return nil, &Error{Code: CodeComponent, Where: c.Dir, Problem: fmt.Sprintf("the cluster has no %q", n), Hint: "it has " + strings.Join(have, ", ")}
		}
	}
	if len(names) == 0 {
		names = have
	}
	return slices.DeleteFunc(slices.Clone(components), func(k component) bool { return !slices.Contains(names, k.name) }), nil
}

// command is what the component's process is started with. Flags of the options come
// last, so that they win.
func (c *Cluster) command(k component) []string {
	args := append([]string{k.name}, k.args(c)...)
	for _, f := range c.Options.Flags {
		if name, flag, _ := strings.Cut(f, "="); name == k.name {
			args = append(args, flag)
		}
	}
	return args
}

func (c *Cluster) etcdURL() string { return "http://" + address(c.Ports[Etcd]) }

// etcdArgs: data that a crash of the machine may lose is written twice as fast.
func etcdArgs(c *Cluster) []string {
	peer := "http://" + address(c.Ports[portEtcdPeer])
	return []string{
		"--name=etcd",
		"--data-dir=" + c.path("etcd"),
		"--listen-client-urls=" + c.etcdURL(),
		"--advertise-client-urls=" + c.etcdURL(),
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=etcd=" + peer,
		"--unsafe-no-fsync",
		"--quota-backend-bytes=" + strconv.Itoa(8<<30),
		"--log-level=warn",
	}
}

// apiServerArgs: admission that waits for a controller is off where that controller
// is: service accounts without the manager, taints of new nodes always.
func apiServerArgs(c *Cluster) []string {
	disabled := "TaintNodesByCondition"
	if !c.Options.Jobs {
		disabled = "ServiceAccount," + disabled
	}
	args := []string{
		"--etcd-servers=" + c.etcdURL(),
		"--bind-address=" + host,
		"--advertise-address=" + host,
		"--secure-port=" + strconv.Itoa(c.Ports[APIServer]),
		"--tls-cert-file=" + c.path(fileCert),
		"--tls-private-key-file=" + c.path(fileCertKey),
		"--cert-dir=" + c.path("pki"),
		"--token-auth-file=" + c.path(fileTokens),
		"--authorization-mode=RBAC",
		"--service-cluster-ip-range=10.0.0.0/16",
		"--endpoint-reconciler-type=none",
		"--service-account-issuer=https://kubernetes.default.svc",
		"--service-account-key-file=" + c.path(fileSAPub),
		"--service-account-signing-key-file=" + c.path(fileSAKey),
		"--disable-admission-plugins=" + disabled,
		"--allow-privileged=true",
		"--enable-priority-and-fairness=false",
		"--max-requests-inflight=4000",
		"--max-mutating-requests-inflight=2000",
	}
	runtime := c.Options.RuntimeConfig
	if c.Options.NativeGangs {
		runtime = join("scheduling.k8s.io/v1alpha2=true", runtime)
	}
	if runtime != "" {
		args = append(args, "--runtime-config="+runtime)
	}
	return append(args, c.gates()...)
}

// gates are the feature gates, which are the same for all of Kubernetes' components.
func (c *Cluster) gates() []string {
	gates := c.Options.FeatureGates
	if c.Options.NativeGangs {
		gates = join("GenericWorkload=true,GangScheduling=true", gates)
	}
	if gates == "" {
		return nil
	}
	return []string{"--feature-gates=" + gates}
}

// join appends to a list with commas; what comes last wins.
func join(list, more string) string {
	if more == "" {
		return list
	}
	return cmp.Or(list+","+more, more)
}

func managerArgs(c *Cluster) []string {
	return append(c.clientArgs(ControllerManager),
		"--root-ca-file="+c.path(fileCert),
		"--service-account-private-key-file="+c.path(fileSAKey),
		"--use-service-account-credentials=false",
		"--controllers=*,-node-lifecycle-controller",
		"--kube-api-qps=2000",
		"--kube-api-burst=4000",
	)
}

func schedulerArgs(c *Cluster) []string {
	return append(c.clientArgs(Scheduler), "--kube-api-qps=5000", "--kube-api-burst=5000")
}

// clientArgs are shared by the manager and the scheduler.
func (c *Cluster) clientArgs(name string) []string {
	kubeconfig := c.Kubeconfig(name)
	return append([]string{
		"--kubeconfig=" + kubeconfig,
		"--authentication-kubeconfig=" + kubeconfig,
		"--authorization-kubeconfig=" + kubeconfig,
		"--bind-address=" + host,
		"--secure-port=" + strconv.Itoa(c.Ports[name]),
		"--tls-cert-file=" + c.path(fileCert),
		"--tls-private-key-file=" + c.path(fileCertKey),
		"--leader-elect=false",
	}, c.gates()...)
}

func kwokArgs(c *Cluster) []string {
	return []string{
		"--kubeconfig=" + c.Kubeconfig(Kwok),
		"--config=" + c.path(fileKwok),
		"--node-lease-duration-seconds=" + strconv.Itoa(c.Options.LeaseSeconds),
		"-v=WARN",
	}
}
