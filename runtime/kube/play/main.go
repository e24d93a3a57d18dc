// Command play is `make cluster`: it puts Muster onto a test cluster that runs already,
// as its own service account with the rights of deploy/manifests and no others, and
// starts a few gangs to look at. `play down` ends the scheduler; `make cluster-down`
// calls it before it ends the cluster.
//
// usage: play up|down STATE
package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/discovery"
	"k8s.io/client-go/discovery/cached/memory"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/restmapper"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/deploy/crds"
	"github.com/musterhq/muster/runtime/clock"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute)
	err := errors.New("usage: play up|down STATE")
	if len(os.Args) == 3 {
		p := play{dir: os.Args[2]}
		switch os.Args[1] {
		case "up":
			err = p.up(ctx)
		case "down":
			err = p.down()
		}
	}
	cancel()
	if err != nil {
		fmt.Fprintln(os.Stderr, "play:", err)
		os.Exit(1)
	}
}

// play is Muster on the cluster whose state is in a folder.
type play struct{ dir string }

// What is run, relative to the root of the repository.
const (
	cluster = ".cache/bin/muster-cluster"
	muster  = "bin/muster"
	address = "127.0.0.1:9070"
)

func (p play) file(name string) string { return filepath.Join(p.dir, name) }

func (p play) up(ctx context.Context) error {
	if p.running() != 0 {
		return errors.New("a scheduler runs on this cluster already; `make cluster-down` ends both")
	}
	if err := p.install(ctx); err != nil {
		return err
	}
	kubeconfig := p.file("muster.kubeconfig")
	account := exec.CommandContext(ctx, cluster, "kubeconfig", "--dir", p.dir, "--service-account", deploy.Namespace+"/"+deploy.Account, "--out", kubeconfig)
	account.Stderr = os.Stderr
	if err := account.Run(); err != nil {
		return fmt.Errorf("the kubeconfig of Muster's account: %w", err)
	}
	if err := p.start(kubeconfig); err != nil {
		return err
	}
	if err := p.ready(ctx); err != nil {
		return err
	}
	if err := p.apply(ctx, gangs()); err != nil {
		return err
	}
	admin, err := filepath.Abs(p.file("admin.kubeconfig"))
	if err != nil {
		return err
	}
	fmt.Printf("\nMuster schedules on it. The page: http://%s/\n\n  export KUBECONFIG=%s\n  bin/muster get queues\n  bin/muster get jobs\n  bin/muster explain job team-b/yunikorn/big\n", address, admin)
	return nil
}

// install applies what a cluster's administrator would.
func (p play) install(ctx context.Context) error {
	files, err := fs.Glob(crds.Files, "*.yaml")
	if err != nil {
		return err
	}
	for _, f := range files {
		text, err := crds.Files.ReadFile(f)
		if err != nil {
			return err
		}
		if err := p.apply(ctx, text); err != nil {
			return err
		}
	}
	return p.apply(ctx, append(append(deploy.RBAC(), "\n---\n"...), queues...))
}

// start runs the scheduler in the background, in a session of its own.
func (p play) start(kubeconfig string) error {
	log, err := os.Create(p.file("muster.log"))
	if err != nil {
		return err
	}
	defer log.Close()                                                                                   //nolint:errcheck // the child has its own
	c := exec.Command(muster, "scheduler", "--kubeconfig", kubeconfig, "--namespace", deploy.Namespace, //nolint:noctx // it outlives this
		"--queues", "configmap:"+deploy.Namespace+"/"+deploy.QueuesConfigMap, "--scheduler-names", "muster,yunikorn,kai-scheduler,volcano,scheduler-plugins-scheduler",
		"--listen", address, "--lease-duration", "4s", "--renew-deadline", "3s", "--retry-period", "500ms")
	c.Stdout, c.Stderr = log, log
	c.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := c.Start(); err != nil {
		return err
	}
	return os.WriteFile(p.file("muster.pid"), []byte(strconv.Itoa(c.Process.Pid)), 0o600)
}

// ready waits until the scheduler says that it is.
func (p play) ready(ctx context.Context) error {
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", nil)
		if err != nil {
			return err
		}
		if a, err := http.DefaultClient.Do(r); err == nil {
			a.Body.Close() //nolint:errcheck,gosec // it was read or not
			if a.StatusCode == http.StatusOK {
				return nil
			}
		}
		if p.running() == 0 {
			text, _ := os.ReadFile(p.file("muster.log"))
			return fmt.Errorf("the scheduler ended:\n%s", text)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("the scheduler is not ready; its log is %s", p.file("muster.log"))
		case <-pause():
		}
	}
}

// pause fires after a moment.
func pause() <-chan int64 {
	var c clock.Real
	return c.Wake(c.Now() + int64(100*time.Millisecond))
}

// running is the pid of the scheduler that was started here, 0 if it has ended: a pid may
// be another process's by now.
func (p play) running() int {
	text, err := os.ReadFile(p.file("muster.pid"))
	if err != nil {
		return 0
	}
	pid, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0
	}
	line, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
	if err != nil || !bytes.Contains(line, []byte(p.file("muster.kubeconfig"))) {
		return 0
	}
	return pid
}

func (p play) down() error {
	pid := p.running()
	if pid == 0 {
		return nil
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		return fmt.Errorf("ending the scheduler, pid %d: %w", pid, err)
	}
	for range 200 {
		if p.running() == 0 {
			return nil
		}
		<-pause()
	}
	return fmt.Errorf("the scheduler, pid %d, does not end", pid)
}

// apply applies YAML documents from the server's side. Definitions are waited for: what
// they define may come in the same text.
func (p play) apply(ctx context.Context, text []byte) error {
	config, err := clientcmd.BuildConfigFromFlags("", p.file("admin.kubeconfig"))
	if err != nil {
		return err
	}
	d, err := discovery.NewDiscoveryClientForConfig(config)
	if err != nil {
		return err
	}
	client, err := dynamic.NewForConfig(config)
	if err != nil {
		return err
	}
	mapper := restmapper.NewDeferredDiscoveryRESTMapper(memory.NewMemCacheClient(d))
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096)
	for {
		o := &unstructured.Unstructured{}
		switch err := decoder.Decode(o); {
		case errors.Is(err, io.EOF):
			return nil
		case err != nil:
			return err
		case len(o.Object) == 0:
			continue
		}
		if err := applyOne(ctx, client, mapper, o); err != nil {
			return fmt.Errorf("%s %s: %w", o.GetKind(), o.GetName(), err)
		}
	}
}

func applyOne(ctx context.Context, client dynamic.Interface, mapper meta.RESTMapper, o *unstructured.Unstructured) error {
	kind := o.GroupVersionKind()
	m, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if err != nil {
		return err
	}
	var to dynamic.ResourceInterface = client.Resource(m.Resource)
	if m.Scope.Name() == meta.RESTScopeNameNamespace {
		to = client.Resource(m.Resource).Namespace(o.GetNamespace())
	}
	if o.GetName() == "" || kind.Kind == "Pod" { // a pod can't be applied again
		_, err = to.Create(ctx, o, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			err = nil
		}
		return err
	}
	_, err = to.Apply(ctx, o.GetName(), o, metav1.ApplyOptions{FieldManager: "play", Force: true})
	return err
}
