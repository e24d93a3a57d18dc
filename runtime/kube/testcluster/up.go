package testcluster

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"

	"github.com/musterhq/muster/runtime/kube/testcluster/kwok"
	"github.com/musterhq/muster/runtime/kube/testcluster/nodes"
	"github.com/musterhq/muster/runtime/kube/testcluster/process"
)

// attempts is how often Up begins again when somebody took a port.
const attempts = 5

// Up makes a cluster in a folder and returns when it is ready: the API server answers,
// the nodes are there and, with kwok, Ready. If it fails it leaves nothing running,
// and the logs in the folder.
func Up(ctx context.Context, dir string, o Options) (*Cluster, error) {
	if err := o.validate(); err != nil {
		return nil, err
	}
	parent, err := o.parent()
	if err != nil {
		return nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, dir)
	if err != nil {
		return nil, err
	}
	defer unlock()
	c, err := claim(dir)
	if err != nil {
		return nil, err
	}
	c.Options, c.Parent = o, parent
	if err := c.bringUp(ctx); err != nil {
		return nil, errors.Join(err, c.killAll(context.WithoutCancel(ctx)))
	}
	return c, nil
}

func (c *Cluster) bringUp(ctx context.Context) error {
	if err := c.startOnFreePorts(ctx); err != nil {
		return err
	}
	client, err := c.Client()
	if err != nil {
		return err
	}
	if _, err := c.AddNodes(ctx, c.Options); err != nil {
		return err
	}
	return c.waitServiceAccount(ctx, client)
}

// AddNodes makes the nodes that the options name, beside those that are there, and
// returns how many, once all are Ready; without kwok nobody makes them so.
func (c *Cluster) AddNodes(ctx context.Context, o Options) (int, error) {
	groups, err := o.groups()
	if err != nil {
		return 0, err
	}
	client, err := c.Client()
	if err != nil {
		return 0, err
	}
	made, err := nodes.Create(ctx, client, groups)
	if err != nil || c.Options.NoKwok {
		return made, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return made, c.WaitReady(ctx, AllNodes)
}

// startOnFreePorts starts all components, with other ports if one was taken between
// finding it and listening on it.
func (c *Cluster) startOnFreePorts(ctx context.Context) error {
	var err error
	for range attempts {
		if err = c.prepare(); err != nil {
			return err
		}
		err = c.start(ctx, components)
		if err == nil || !c.portWasTaken() {
			return err
		}
		if err := c.killAll(ctx); err != nil {
			return err
		}
		if err := c.forget("logs", "etcd"); err != nil {
			return err
		}
	}
	return &Error{Code: CodePort, Where: "loopback", Problem: fmt.Sprintf("in %d attempts a free port was taken by another process", attempts), Err: err}
}

// prepare writes everything that the components read.
func (c *Cluster) prepare() error {
	var names []string
	for _, k := range components {
		if k.wanted(c.Options) {
			names = append(names, k.ports...)
		}
	}
	ports, err := pickPorts(names)
	if err != nil {
		return err
	}
	c.Ports = ports
	if err := c.save(); err != nil {
		return err
	}
	if err := os.WriteFile(c.path(fileKwok), []byte(kwok.DefaultConfig.YAML()), 0o600); err != nil {
		return err
	}
	return c.writeCredentials()
}

// start spawns components, of which those that the cluster doesn't want are left out,
// and waits until they are ready. etcd and the API server come up at the same time, as
// the latter is patient.
func (c *Cluster) start(ctx context.Context, list []component) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for _, k := range list {
		if !k.wanted(c.Options) {
			continue
		}
		child, err := c.spawn(k)
		if err != nil {
			return err
		}
		if k.name == Etcd && slices.ContainsFunc(list, isAPIServer) {
			continue // the API server is not ready without it
		}
		if err := c.await(ctx, k, child); err != nil {
			return err
		}
	}
	return nil
}

// spawn starts this binary as a component. It sees none of the caller's environment,
// where variables steer etcd, kwok and client-go.
func (c *Cluster) spawn(k component) (*process.Child, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	child, err := process.Spawn(process.Spec{
		Path: self,
		Args: c.command(k),
		Dir:  c.Dir,
		Log:  c.Log(k.name),
		Env: append(c.followEnv(),
			"PATH="+os.Getenv("PATH"),
			"HOME="+c.Dir,
			"KWOK_WORKDIR="+c.path("kwok"),
			"TMPDIR="+os.TempDir(),
			"GOGC="+gogc(c.Options.GOGC)),
	})
	if err != nil {
		return nil, err
	}
	return child, child.Save(c.pidFile(k.name))
}

func isAPIServer(k component) bool { return k.name == APIServer }

func gogc(n int) string {
	if n == 0 {
		return "100"
	}
	return strconv.Itoa(n)
}

// await returns when a component is ready, or has ended.
func (c *Cluster) await(ctx context.Context, k component, child *process.Child) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	go func() {
		select {
		case <-child.Exited:
			cancel()
		case <-ctx.Done():
		}
	}()
	err := ask(ctx, func(ctx context.Context) error { return k.ready(ctx, c) })
	select {
	case <-child.Exited:
		return &Error{Code: CodeEnded, Where: k.name, Problem: "ended at its start, with\n" + c.tail(k.name, 5)}
	default:
	}
	if err != nil {
		return &Error{Code: CodeNotReady, Where: k.name, Problem: "is not ready, its last words are\n" + c.tail(k.name, 5), Err: err}
	}
	return nil
}

// portWasTaken looks for the kernel's complaint in the logs.
func (c *Cluster) portWasTaken() bool {
	for _, name := range c.Components() {
		if strings.Contains(c.tail(name, 50), "address already in use") {
			return true
		}
	}
	return false
}

// forget empties folders of the state.
func (c *Cluster) forget(folders ...string) error {
	for _, f := range folders {
		files, err := filepath.Glob(c.path(f, "*"))
		if err != nil {
			return err
		}
		for _, file := range files {
			if err := os.RemoveAll(file); err != nil {
				return err
			}
		}
	}
	return nil
}

// waitServiceAccount waits for the account that pods of the default namespace run as.
// The controller manager makes it; where there is none it is made here.
func (c *Cluster) waitServiceAccount(ctx context.Context, client kubernetes.Interface) error {
	accounts := client.CoreV1().ServiceAccounts(metav1.NamespaceDefault)
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return ask(ctx, func(ctx context.Context) error {
		if c.Options.Jobs {
			_, err := accounts.Get(ctx, "default", metav1.GetOptions{})
			return err
		}
		_, err := accounts.Create(ctx, &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Name: "default"}}, metav1.CreateOptions{})
		if apierrors.IsAlreadyExists(err) {
			return nil
		}
		return err
	})
}
