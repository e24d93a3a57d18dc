package testcluster

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"k8s.io/client-go/tools/clientcmd"

	"github.com/musterhq/muster/runtime/kube/testcluster/process"
)

// wantCode checks that an error is ours, and has all of its parts.
func wantCode(t *testing.T, err error, code string) {
	t.Helper()
	var e *Error
	if !errors.As(err, &e) || e.Code != code {
		t.Fatalf("got %v, want an error with code %s", err, code)
	}
	if e.Where == "" || e.Problem == "" || !strings.Contains(e.Error(), code) {
		t.Errorf("a part is missing: %#v", e)
	}
}

// made is a cluster with a state that nothing runs for.
func made(t *testing.T, o Options) *Cluster {
	t.Helper()
	c, err := claim(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	c.Options = o
	if err := c.prepare(); err != nil {
		t.Fatal(err)
	}
	return c
}

func TestOptionsThatCannotWorkAreFoundBeforeAnythingStarts(t *testing.T) {
	file := filepath.Join(t.TempDir(), "nodes.yaml")
	if err := os.WriteFile(file, []byte("nodes: [{count: 1, product: Z80}]"), 0o600); err != nil {
		t.Fatal(err)
	}
	for name, o := range map[string]Options{
		"--nodes":         {Nodes: -1},
		"--lease-seconds": {LeaseSeconds: -1},
		"--gogc":          {GOGC: -1},
		"--products":      {Products: "H100"},
		"--nodes-file":    {NodesFile: file},
		"--flag":          {Flags: []string{"etcd"}},
		"--with-parent":   {Parent: 1 << 30},
	} {
		dir := filepath.Join(t.TempDir(), "state")
		_, err := Up(t.Context(), dir, o)
		wantCode(t, err, CodeOption)
		if !strings.HasPrefix(err.Error(), name+": ") {
			t.Errorf("the error of %s names another option: %v", name, err)
		}
		if _, err := os.Stat(dir); err == nil {
			t.Errorf("%s: a state folder was made", name)
		}
	}
	for _, bad := range []Options{{NodesFile: file, Nodes: 1}, {NodesFile: "none"}, {Flags: []string{"kubelet=--v=4"}}, {Flags: []string{"kwok=v"}}} {
		wantCode(t, bad.validate(), CodeOption)
	}
}

func TestAFolderWithOtherThingsIsNeverTouched(t *testing.T) {
	dir := t.TempDir()
	precious := filepath.Join(dir, "thesis.tex")
	if err := os.WriteFile(precious, []byte("…"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := Up(t.Context(), dir, Defaults())
	wantCode(t, err, CodeFolder)
	wantCode(t, Down(t.Context(), dir, false), CodeNone)
	wantCode(t, (&Cluster{Dir: dir}).clear(), CodeFolder)
	if _, err := os.Stat(precious); err != nil {
		t.Fatal(err)
	}
	wantCode(t, Down(t.Context(), filepath.Join(dir, "none"), false), CodeNone)
}

func TestAStateIsFoundAgainAndRemoved(t *testing.T) {
	c := made(t, Options{Jobs: true, Flags: []string{"etcd=--log-level=info"}})
	got, err := Open(c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	if !got.Options.Jobs || got.Ports[APIServer] != c.Ports[APIServer] || got.URL() != c.URL() {
		t.Errorf("saved %+v, found %+v", c, got)
	}
	for _, s := range got.Status() {
		if s.State != process.Gone || s.PID != 0 {
			t.Errorf("nothing was started, but %s is %s", s.Component, s.State)
		}
	}
	if again, err := claim(c.Dir); err != nil || again.up() {
		t.Errorf("the state of a cluster that is not up is in the way: %v", err)
	}
	c = made(t, Options{})
	if err := Down(t.Context(), c.Dir, false); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(c.Dir); !os.IsNotExist(err) {
		t.Errorf("the folder is still there: %v", err)
	}
	damaged := made(t, Options{})
	if err := os.WriteFile(damaged.path(marker), []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err = Open(damaged.Dir)
	wantCode(t, err, CodeNone)
}

// standIn makes a process that is no etcd play one, as seen from the state.
func standIn(t *testing.T, c *Cluster) *process.Child {
	t.Helper()
	child, err := process.Spawn(process.Spec{Path: "/bin/sleep", Args: []string{"600"}, Log: c.Log(Etcd)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = child.Kill(context.Background()); <-child.Exited })
	if err := child.Save(c.pidFile(Etcd)); err != nil {
		t.Fatal(err)
	}
	return child
}

func TestOnlyProcessesOfTheClusterAreEnded(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := made(t, Options{})
	mine, stranger := standIn(t, c), standIn(t, made(t, Options{}))
	reused := process.ID{PID: stranger.PID, Start: stranger.Start - 1} // a pid from before, which now is another's
	if err := reused.Save(c.pidFile(APIServer)); err != nil {
		t.Fatal(err)
	}
	_, err := claim(c.Dir)
	wantCode(t, err, CodeRunning)
	if err := Pause(ctx, c.Dir, Etcd); err != nil {
		t.Fatal(err)
	}
	wantCode(t, Pause(ctx, c.Dir, APIServer), CodeComponent)
	wantCode(t, Stop(ctx, c.Dir, "kubelet"), CodeComponent)
	wantCode(t, Stop(ctx, c.Dir, Scheduler), CodeComponent) // known, but not in this cluster
	if err := Down(ctx, c.Dir, false); err != nil {
		t.Fatal(err)
	}
	if mine.State() != process.Gone || stranger.State() != process.Running {
		t.Errorf("the cluster's own process is %s, another's is %s", mine.State(), stranger.State())
	}
}

func TestStopKeepsTheState(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	c := made(t, Options{})
	child := standIn(t, c)
	if err := Down(ctx, c.Dir, true); err != nil {
		t.Fatal(err)
	}
	if again, err := Open(c.Dir); err != nil || child.State() != process.Gone || again.Ports[Etcd] != c.Ports[Etcd] {
		t.Errorf("%v, %s", err, child.State())
	}
}

func TestTwoCommandsTakeTurns(t *testing.T) {
	c := made(t, Options{})
	unlock, err := lock(t.Context(), c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if _, err := lock(ctx, c.Dir); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the second command got %v", err)
	}
	unlock()
	unlock, err = lock(t.Context(), c.Dir)
	if err != nil {
		t.Fatal(err)
	}
	unlock()
}

func TestPortsAreFreeAndNotTheKernels(t *testing.T) {
	low, high := portRange()
	names := []string{"a", "b", "c", "d", "e", "f"}
	ports, err := pickPorts(names)
	if err != nil {
		t.Fatal(err)
	}
	seen := map[int]bool{}
	for _, n := range names {
		p := ports[n]
		if seen[p] || p < low || p >= high {
			t.Errorf("port %d of %s is taken twice or not from %d to %d", p, n, low, high)
		}
		seen[p] = true
		l, err := net.Listen("tcp", address(p))
		if err != nil {
			t.Errorf("port %d is not free: %v", p, err)
			continue
		}
		_ = l.Close()
	}
}

func TestATakenPortIsRecognised(t *testing.T) {
	c := made(t, Options{})
	if c.portWasTaken() {
		t.Error("there are no logs yet")
	}
	text := "starting\nlisten tcp 127.0.0.1:1: bind: address already in use\nbye\n"
	if err := os.WriteFile(c.Log(APIServer), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if !c.portWasTaken() || c.tail(APIServer, 1) != "bye" {
		t.Errorf("not seen in %q", c.tail(APIServer, 9))
	}
}

func TestKubeconfigsVerifyTheServer(t *testing.T) {
	c := made(t, Options{})
	tokens, err := os.ReadFile(c.path(fileTokens))
	if err != nil {
		t.Fatal(err)
	}
	for _, u := range users {
		config, err := clientcmd.BuildConfigFromFlags("", c.Kubeconfig(u.file))
		if err != nil {
			t.Fatal(err)
		}
		if config.Insecure || config.Host != c.URL() || !strings.Contains(string(tokens), config.BearerToken+","+u.name+",") {
			t.Errorf("the way in for %s is wrong: %+v", u.name, config)
		}
		if !x509.NewCertPool().AppendCertsFromPEM(config.CAData) {
			t.Errorf("%s trusts nothing", u.name)
		}
		if info, err := os.Stat(c.Kubeconfig(u.file)); err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("others can read the token of %s", u.name)
		}
	}
}

func TestWhatIsAskedForIsInTheCommandLines(t *testing.T) {
	o := Options{
		Jobs: true, NativeGangs: true, FeatureGates: "X=true", RuntimeConfig: "api/all=true", LeaseSeconds: 7,
		Flags: []string{"kube-apiserver=--max-requests-inflight=5", "etcd=--log-level=info"},
	}
	c := &Cluster{Dir: "state", Options: o, Ports: map[string]int{Etcd: 1, APIServer: 2, ControllerManager: 3}}
	if want := []string{Etcd, APIServer, ControllerManager, Kwok}; !slices.Equal(c.Components(), want) {
		t.Errorf("components are %v, want %v", c.Components(), want)
	}
	for component, flags := range map[string][]string{
		Etcd: {"--listen-client-urls=http://127.0.0.1:1", "--log-level=info"},
		APIServer: {
			"--etcd-servers=http://127.0.0.1:1", "--secure-port=2", "--disable-admission-plugins=TaintNodesByCondition",
			"--feature-gates=GenericWorkload=true,GangScheduling=true,X=true",
			"--runtime-config=scheduling.k8s.io/v1alpha2=true,api/all=true",
		},
		ControllerManager: {"--secure-port=3", "--kubeconfig=state/kube-controller-manager.kubeconfig"},
		Kwok:              {"--node-lease-duration-seconds=7", "--config=state/kwok.yaml"},
	} {
		k, _ := find(component)
		args := c.command(k)
		if args[0] != component {
			t.Errorf("%s is started as %s", component, args[0])
		}
		for _, f := range flags {
			if !slices.Contains(args, f) {
				t.Errorf("%s lacks %s: %q", component, f, args)
			}
		}
	}
	server, _ := find(APIServer)
	if args := c.command(server); args[len(args)-1] != "--max-requests-inflight=5" {
		t.Errorf("what was asked for doesn't come last: %q", args)
	}
	c.Options = Options{}
	if args := c.command(server); !slices.Contains(args, "--disable-admission-plugins=ServiceAccount,TaintNodesByCondition") {
		t.Errorf("nobody makes service accounts, but pods need them: %q", args)
	}
}

func TestWhoseEndToFollow(t *testing.T) {
	c := &Cluster{Dir: "state"}
	if env := c.followEnv(); env != nil {
		t.Errorf("nobody is to be followed, but %q", env)
	}
	if err := Follow(t.Context()); err != nil {
		t.Errorf("without an environment: %v", err)
	}
	t.Setenv(envDir, "state")
	t.Setenv(envParent, "not a pid")
	wantCode(t, Follow(t.Context()), CodeOption)
}
