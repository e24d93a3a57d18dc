package e2e_test

import (
	"context"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/musterhq/muster/deploy"
	"github.com/musterhq/muster/deploy/crds"
	"github.com/musterhq/muster/runtime/kube/kubetest"
)

var prebuilt = flag.String("muster", "", "use this `binary` instead of building one")

// built is the folder of the binary, "" if no test needed it.
var built string

// binary builds muster once for all tests.
var binary = sync.OnceValues(func() (string, error) {
	if *prebuilt != "" {
		return filepath.Abs(*prebuilt)
	}
	var err error
	if built, err = os.MkdirTemp("", "muster-e2e-"); err != nil {
		return "", err
	}
	out := filepath.Join(built, "muster")
	cmd := exec.Command("go", "build", "-o", out, "github.com/musterhq/muster/cmd/muster")
	if text, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("building muster: %w\n%s", err, text)
	}
	return out, nil
})

func TestMain(m *testing.M) {
	code := m.Run()
	_ = os.RemoveAll(built)
	os.Exit(code)
}

// muster returns the binary.
func muster(t testing.TB) string {
	t.Helper()
	bin, err := binary()
	must(t, err)
	return bin
}

// install prepares the cluster as an administrator does: CRDs, the account and its
// rights as they are in deploy/, and the queues.
func (w *world) install(queues string) {
	w.t.Helper()
	files, err := crds.Files.ReadDir(".")
	must(w.t, err)
	for _, f := range files {
		text, err := crds.Files.ReadFile(f.Name())
		must(w.t, err)
		w.define(text)
	}
	w.apply(deploy.RBAC())
	w.queues(queues)
	w.kubeconfig = w.KubeconfigFor(deploy.Namespace + "/" + deploy.Account)
}

// scheduler is a running muster scheduler.
type scheduler struct {
	t      testing.TB
	name   string
	cmd    *exec.Cmd
	listen string
	log    string // file
	ended  chan struct{}
}

// Leases in tests are short, so that a takeover is.
const lease = 4 * time.Second

// scheduler starts a replica. It ends with the test; a test that failed shows its log.
func (w *world) scheduler(name string, flags ...string) *scheduler {
	w.t.Helper()
	s := &scheduler{t: w.t, name: name, listen: freeAddress(w.t), log: filepath.Join(w.t.TempDir(), name+".log"), ended: make(chan struct{})}
	args := append([]string{
		"scheduler", "--kubeconfig=" + w.kubeconfig, "--namespace=" + deploy.Namespace, "--identity=" + name,
		"--scheduler-names=muster,yunikorn", "--queues=configmap:" + deploy.Namespace + "/" + deploy.QueuesConfigMap,
		"--listen=" + s.listen, "--leader-elect=true",
		"--lease-duration=" + lease.String(), "--renew-deadline=3s", "--retry-period=500ms",
	}, flags...)
	s.cmd = exec.Command(muster(w.t), args...)
	log, err := os.Create(s.log)
	must(w.t, err)
	s.cmd.Stdout, s.cmd.Stderr = log, log
	must(w.t, s.start(log))
	w.t.Cleanup(func() { s.end(); s.show() })
	return s
}

// start starts the process from a thread that lives as long as it does: the process is
// killed when that thread ends, and so also when the test is.
func (s *scheduler) start(log *os.File) error {
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	started := make(chan error)
	go func() {
		runtime.LockOSThread()
		err := s.cmd.Start()
		started <- err
		if err == nil {
			_ = s.cmd.Wait()
		}
		_ = log.Close()
		close(s.ended)
	}()
	return <-started
}

func freeAddress(t testing.TB) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// end asks the scheduler to end, and insists if it does not.
func (s *scheduler) end() {
	s.t.Helper()
	_ = s.cmd.Process.Signal(syscall.SIGTERM)
	select {
	case <-s.ended:
	case <-time.After(30 * time.Second):
		s.t.Errorf("%s did not end within 30 s of being asked to", s.name)
		s.kill()
	}
}

// kill ends the scheduler as a crash would.
func (s *scheduler) kill() {
	_ = s.cmd.Process.Kill()
	<-s.ended
}

// running says whether the process is still there.
func (s *scheduler) running() bool {
	select {
	case <-s.ended:
		return false
	default:
		return true
	}
}

func (s *scheduler) show() {
	if text, err := os.ReadFile(s.log); err == nil && s.t.Failed() {
		lines := strings.Split(strings.TrimSpace(string(text)), "\n")
		s.t.Logf("the end of the log of %s:\n%s", s.name, strings.Join(lines[max(0, len(lines)-60):], "\n"))
	}
}

// get asks the scheduler over HTTP.
func (s *scheduler) get(ctx context.Context, path string) (int, string, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.listen+path, nil)
	if err != nil {
		return 0, "", err
	}
	answer, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, "", err
	}
	defer func() { _ = answer.Body.Close() }()
	text, err := io.ReadAll(answer.Body)
	return answer.StatusCode, string(text), err
}

// ready waits until the scheduler says that it is.
func (s *scheduler) ready() *scheduler {
	s.t.Helper()
	kubetest.Eventually(s.t, func(ctx context.Context) error {
		if !s.running() {
			s.t.Fatalf("%s has ended", s.name)
		}
		code, text, err := s.get(ctx, "/readyz")
		if err == nil && code != http.StatusOK {
			err = fmt.Errorf("%s is not ready: %d %s", s.name, code, text)
		}
		return err
	})
	return s
}

// leader waits until a replica holds the lease and returns its identity.
func (w *world) leader() string {
	w.t.Helper()
	holder := ""
	kubetest.Eventually(w.t, func(ctx context.Context) error {
		l, err := w.Client.CoordinationV1().Leases(deploy.Namespace).Get(ctx, "muster-scheduler", metav1.GetOptions{})
		if err != nil {
			return err
		}
		if l.Spec.HolderIdentity == nil || *l.Spec.HolderIdentity == "" {
			return fmt.Errorf("nobody holds the lease")
		}
		holder = *l.Spec.HolderIdentity
		return nil
	})
	return holder
}
