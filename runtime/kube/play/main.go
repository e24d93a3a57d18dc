// Command play is `make cluster`: it puts Muster onto a test cluster that runs already,
// as its own service account with the rights of deploy/manifests and no others, plays the
// probes of its nodes, and starts a few gangs to look at. `play start` starts a scheduler
// and probes that have ended, `play down` ends them; `make cluster-down` calls it before it
// ends the cluster.
//
// usage: play up|start|down|reclaim STATE
package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/deploy/crds"
)

func main() {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	err := errors.New("usage: play up|start|down|reclaim STATE")
	if len(os.Args) == 3 {
		p := play{dir: os.Args[2]}
		switch os.Args[1] {
		case "up":
			err = p.up(ctx)
		case "start":
			err = p.restart(ctx)
		case "down":
			err = p.down()
		case "reclaim":
			err = p.reclaim(ctx)
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

// What is run, and the rights of the probes, relative to the root of the repository.
const (
	cluster     = ".cache/bin/muster-cluster"
	muster      = "bin/muster"
	probe       = "bin/muster-probe"
	probeRights = "deploy/manifests/40-probe.yaml"
	address     = "127.0.0.1:9070"
)

func (p play) file(name string) string { return filepath.Join(p.dir, name) }

func (p play) scheduler() process {
	return process{dir: p.dir, name: "muster", command: []string{muster, "scheduler", "--kubeconfig", p.file("muster.kubeconfig")}}
}

// probes plays those of all nodes. It makes their tokens, so it is the administrator.
func (p play) probes() process {
	return process{dir: p.dir, name: "probes", command: []string{probe, "simulate", "--kubeconfig", p.file("admin.kubeconfig")}}
}

func (p play) up(ctx context.Context) error {
	if p.scheduler().running() != 0 || p.probes().running() != 0 {
		return errors.New("a scheduler or its probes run on this cluster already; `make cluster-down` ends all")
	}
	places, err := p.places(ctx)
	if err != nil {
		return err
	}
	s := storyOf(places)
	for _, step := range []func() error{
		func() error { return p.install(ctx, s) },
		func() error { return p.account(ctx) },
		func() error { return p.start(ctx) },
		func() error { return p.fill(ctx, s) },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	return p.tell(os.Stdout, s)
}

// restart starts the scheduler that has ended, and probes that know where it listens now.
func (p play) restart(ctx context.Context) error {
	if p.scheduler().running() != 0 {
		return errors.New("the scheduler runs")
	}
	if err := p.probes().end(); err != nil {
		return err
	}
	return p.start(ctx)
}

// reclaim starts what `up` has written for later.
func (p play) reclaim(ctx context.Context) error {
	text, err := os.ReadFile(p.file("reclaim.yaml"))
	if err != nil {
		return err
	}
	return p.apply(ctx, text)
}

// down ends the probes first, as they would complain of the scheduler's end.
func (p play) down() error {
	return errors.Join(p.probes().end(), p.scheduler().end())
}

// install applies what a cluster's administrator would.
func (p play) install(ctx context.Context, s story) error {
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
	if err := p.apply(ctx, append(append(deploy.RBAC(), "\n---\n"...), s.queues()...)); err != nil {
		return err
	}
	text, err := os.ReadFile(probeRights)
	if err != nil {
		return err
	}
	return p.apply(ctx, text, "DaemonSet") // nodes of air run no probes
}

// account writes the kubeconfig of Muster's account.
func (p play) account(ctx context.Context) error {
	c := exec.CommandContext(ctx, cluster, "kubeconfig", "--dir", p.dir, "--service-account", deploy.Namespace+"/"+deploy.Account, "--out", p.file("muster.kubeconfig"))
	c.Stderr = os.Stderr
	if err := c.Run(); err != nil {
		return fmt.Errorf("the kubeconfig of Muster's account: %w", err)
	}
	return nil
}

// start runs the scheduler, and the probes of all nodes that report to it.
func (p play) start(ctx context.Context) error {
	report, err := freeAddress(ctx)
	if err != nil {
		return err
	}
	err = p.scheduler().start("--namespace", deploy.Namespace, "--queues", "configmap:"+deploy.Namespace+"/"+deploy.QueuesConfigMap,
		"--scheduler-names", "muster,yunikorn,kai-scheduler,volcano,scheduler-plugins-scheduler",
		"--listen", address, "--probe-listen", report, "--lease-duration", "4s", "--renew-deadline", "3s", "--retry-period", "500ms")
	if err != nil {
		return err
	}
	if err := p.wait(ctx, p.scheduler(), "/readyz", ok); err != nil {
		return err
	}
	if err := p.probes().start("--scheduler", report, "--account", deploy.Namespace+"/muster-probe"); err != nil {
		return err
	}
	if err := p.wait(ctx, p.probes(), "/api/v1/probes?state=none&limit=1", none); err != nil {
		return err
	}
	return p.scheduler().ended() // it may have been another's that answered
}

// freeAddress on loopback. Another process may take it before it is used; then the
// scheduler says so and ends.
func freeAddress(ctx context.Context) (string, error) {
	l, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// wait asks the scheduler until the answer is as wanted, or a process has ended.
func (p play) wait(ctx context.Context, of process, path string, wanted func(*http.Response) bool) error {
	for {
		r, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+path, nil)
		if err != nil {
			return err
		}
		if a, err := http.DefaultClient.Do(r); err == nil {
			good := wanted(a)
			a.Body.Close() //nolint:errcheck,gosec // it was read or not
			if good {
				return nil
			}
		}
		if err := of.ended(); err != nil {
			return err
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s is not ready; its log is %s", of.command[0], of.log())
		case <-pause():
		}
	}
}

func ok(a *http.Response) bool { return a.StatusCode == http.StatusOK }

// none says that a list is empty.
func none(a *http.Response) bool {
	var list struct{ Total *int }
	return ok(a) && json.NewDecoder(a.Body).Decode(&list) == nil && list.Total != nil && *list.Total == 0
}
