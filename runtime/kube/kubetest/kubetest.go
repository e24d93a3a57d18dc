package kubetest

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
)

// The components of a cluster.
const (
	Etcd              = "etcd"
	APIServer         = "kube-apiserver"
	ControllerManager = "kube-controller-manager" // with Options.Jobs
	Scheduler         = "kube-scheduler"          // with Options.Baseline
	Kwok              = "kwok"                    // without Options.NoKwok
)

// Annotations of pods that say how kwok plays them.
const (
	// RunFor is how long a pod runs before it completes: "3s". Without it, it runs
	// until it is deleted; a Job's pod completes at once.
	RunFor = "muster.dev/run-for"
	// ExitCode is what the pod's containers then return; with another than "0" it
	// fails.
	ExitCode = "muster.dev/exit-code"
	// CheckpointFor is how long the pod stays, Terminating, after it was deleted
	// while it ran: "4s".
	CheckpointFor = "muster.dev/checkpoint-for"
)

// Options is what a test asks of its cluster. The zero value is an API server with
// kwok and no nodes.
type Options struct {
	// Nodes is how many nodes there are, in the mix of Products: "H100=60,A100=40",
	// products with their weights, which are numbers of nodes if Nodes is 0. A node
	// has the product as label nvidia.com/gpu.product, 8 GPUs of it, and labels of
	// its zone and rack; product CPU has none. A mix of H100, A100 and L40S if empty.
	Nodes    int
	Products string
	// NodesFile describes nodes by a file instead, see package testcluster/nodes.
	NodesFile string

	// Jobs runs the controller manager: Jobs, Deployments, garbage collection,
	// namespaces that end. Baseline runs the stock scheduler. NoKwok leaves nodes
	// and pods to the test. NativeGangs serves scheduling.k8s.io/v1alpha2.
	Jobs, Baseline, NoKwok, NativeGangs bool

	// FeatureGates is added to those of all components: "A=true,B=false".
	FeatureGates string
	// Flags are further flags of components:
	// "kube-apiserver=--max-mutating-requests-inflight=5".
	Flags []string
	// Keep leaves the cluster up when the test has ended, and says how to reach it.
	Keep bool
}

// Cluster is the cluster of a test. Its methods end the test if they fail.
type Cluster struct {
	// Config is the way in as admin, without a limit of requests, by protobuf: copy
	// it to change it.
	Config *rest.Config
	// Client is made from Config.
	Client kubernetes.Interface
	// Kubeconfig is a file with the same way in.
	Kubeconfig string
	// Dir holds the state; its logs are in logs/.
	Dir string

	t   testing.TB
	bin string
}

// Start gives a test a cluster of its own, with all nodes Ready, and ends it with the
// test.
func Start(t testing.TB, o Options) *Cluster {
	t.Helper()
	c := &Cluster{t: t, bin: binary(t)}
	if o.Keep {
		c.Dir = keptFolder(t)
	} else {
		c.Dir = filepath.Join(t.TempDir(), "cluster")
	}
	c.Kubeconfig = filepath.Join(c.Dir, "admin.kubeconfig")
	t.Cleanup(func() { c.end(o.Keep) })
	c.do(append([]string{"up"}, o.flags()...)...)
	c.Config = c.load(c.Kubeconfig)
	client, err := kubernetes.NewForConfig(c.Config)
	if err != nil {
		t.Fatal(err)
	}
	c.Client = client
	return c
}

// flags are the arguments of muster-cluster up.
func (o Options) flags() []string {
	flags := []string{
		"--nodes=" + strconv.Itoa(o.Nodes),
		"--products=" + o.Products,
		"--nodes-file=" + o.NodesFile,
		"--jobs=" + strconv.FormatBool(o.Jobs),
		"--baseline=" + strconv.FormatBool(o.Baseline),
		"--no-kwok=" + strconv.FormatBool(o.NoKwok),
		"--native-gangs=" + strconv.FormatBool(o.NativeGangs),
		"--feature-gates=" + o.FeatureGates,
	}
	for _, f := range o.Flags {
		flags = append(flags, "--flag="+f)
	}
	if !o.Keep {
		flags = append(flags, "--with-parent="+strconv.Itoa(os.Getpid()))
	}
	return flags
}

// keptFolder is a folder that outlives the test.
func keptFolder(t testing.TB) string {
	dir, err := os.MkdirTemp("", "muster-cluster-") //nolint:usetesting // the test's own folder is removed with it
	if err != nil {
		t.Fatal(err)
	}
	return dir
}

// end shows the logs of a test that failed and ends its cluster.
func (c *Cluster) end(keep bool) {
	if c.t.Failed() {
		c.showLogs()
	}
	if keep {
		c.t.Logf("the cluster is still up:\n  export KUBECONFIG=%s\n  %s down --dir %s", c.Kubeconfig, c.bin, c.Dir)
		return
	}
	if err := c.run(context.Background(), "down"); err != nil {
		c.t.Errorf("ending the cluster: %v", err)
	}
}

// showLogs puts the ends of the components' logs into the output of the test.
func (c *Cluster) showLogs() {
	logs, _ := filepath.Glob(filepath.Join(c.Dir, "logs", "*.log"))
	for _, file := range logs {
		text, err := os.ReadFile(file)
		if err == nil {
			c.t.Logf("the end of %s:\n%s", filepath.Base(file), lastLines(string(text), 30))
		}
	}
}

// commandTime is how long a command of muster-cluster may take on a busy machine.
const commandTime = 5 * time.Minute

// run runs a command of muster-cluster on this cluster.
func (c *Cluster) run(ctx context.Context, args ...string) error {
	ctx, cancel := context.WithTimeout(ctx, commandTime)
	defer cancel()
	var output bytes.Buffer
	all := append([]string{args[0], "--dir", c.Dir}, args[1:]...)
	cmd := exec.CommandContext(ctx, c.bin, all...)
	cmd.Stdout, cmd.Stderr = &output, &output
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("muster-cluster %s: %w\n%s", strings.Join(all, " "), err, output.String())
	}
	return nil
}

// do runs a command, and ends the test if it fails.
func (c *Cluster) do(args ...string) {
	c.t.Helper()
	if err := c.run(context.WithoutCancel(c.t.Context()), args...); err != nil { // as it may be called in a cleanup
		c.t.Fatal(err)
	}
}

// load reads a kubeconfig file. Clients are limited to 5 requests a second by default;
// those of tests are not.
func (c *Cluster) load(file string) *rest.Config {
	c.t.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", file)
	if err != nil {
		c.t.Fatal(err)
	}
	config.QPS = -1
	config.ContentType = "application/vnd.kubernetes.protobuf"
	config.AcceptContentTypes = "application/vnd.kubernetes.protobuf,application/json"
	return config
}

// KubeconfigFor returns a kubeconfig file for a service account, "namespace/name". Both
// are made if they are not there, without any rights: those come from RBAC objects.
func (c *Cluster) KubeconfigFor(account string) string {
	c.t.Helper()
	file := filepath.Join(c.Dir, strings.ReplaceAll(account, "/", "_")+".account.kubeconfig")
	c.do("kubeconfig", "--service-account="+account, "--out="+file)
	return file
}

// ConfigFor is the way in as a service account, see KubeconfigFor.
func (c *Cluster) ConfigFor(account string) *rest.Config {
	c.t.Helper()
	return c.load(c.KubeconfigFor(account))
}

// AddNodes adds nodes, see Options, and returns when all that there are are Ready.
func (c *Cluster) AddNodes(n int, products string) {
	c.t.Helper()
	c.do("nodes", "--nodes="+strconv.Itoa(n), "--products="+products)
}

// Stop ends a component in peace; it keeps its port and its data.
func (c *Cluster) Stop(component string) { c.t.Helper(); c.do("stop", component) }

// Kill ends a component as a crash would.
func (c *Cluster) Kill(component string) { c.t.Helper(); c.do("kill", component) }

// Start starts a component that does not run, and returns when it is ready.
func (c *Cluster) Start(component string) { c.t.Helper(); c.do("start", component) }

// Restart is Stop and Start.
func (c *Cluster) Restart(component string) { c.t.Helper(); c.do("restart", component) }

// Pause freezes a component, whose connections stay open: a disk that hangs, a machine
// that swaps.
func (c *Cluster) Pause(component string) { c.t.Helper(); c.do("pause", component) }

// Resume lets a paused component go on.
func (c *Cluster) Resume(component string) { c.t.Helper(); c.do("resume", component) }

// Log is all that a component has said.
func (c *Cluster) Log(component string) string {
	c.t.Helper()
	text, err := os.ReadFile(filepath.Join(c.Dir, "logs", component+".log"))
	if err != nil {
		c.t.Fatal(err)
	}
	return string(text)
}

// generous is how long Eventually waits: no test should fail because a machine is busy.
const generous = 2 * time.Minute

// Eventually calls check again and again until it returns nil, and ends the test with
// its last error if that takes longer than 2 minutes.
func Eventually(t testing.TB, check func(context.Context) error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), generous)
	defer cancel()
	var last error
	err := wait.PollUntilContextCancel(ctx, 50*time.Millisecond, true, func(ctx context.Context) (bool, error) {
		if err := check(ctx); ctx.Err() == nil || last == nil {
			last = err
		}
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("still, after %s: %v", generous, last)
	}
}
