package kubetest_test

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/musterhq/muster/runtime/kube/kubetest"
)

func TestNothingRunsOnceTheTestHasEnded(t *testing.T) {
	var dir string
	t.Run("the test", func(t *testing.T) {
		c := kubetest.Start(t, kubetest.Options{})
		dir = c.Dir
		c.Stop(kubetest.Kwok)
		c.Pause(kubetest.Etcd)
		if n := len(processes(t, dir)); n != 2 {
			t.Errorf("etcd and the API server are %d processes", n)
		}
	})
	if left := processes(t, dir); dir != "" && len(left) > 0 {
		t.Errorf("these still run: %q", left)
	}
	if _, err := os.Stat(dir); !os.IsNotExist(err) {
		t.Errorf("the state is still there: %v", err)
	}
}

// asVictim makes this test binary a test that starts a cluster and is then killed.
const asVictim = "KUBETEST_VICTIM"

func TestNothingRunsOnceTheTestWasKilled(t *testing.T) {
	if os.Getenv(asVictim) != "" {
		c := kubetest.Start(t, kubetest.Options{})
		c.Pause(kubetest.Etcd) // so that the others have to end it
		fmt.Printf("\nstate %s\n", c.Dir)
		select {}
	}
	dir, kill := victim(t)
	if n := len(processes(t, dir)); n != 3 {
		t.Errorf("etcd, the API server and kwok are %d processes", n)
	}
	kill()
	kubetest.Eventually(t, func(context.Context) error {
		if left := processes(t, dir); len(left) > 0 {
			return fmt.Errorf("these still run: %q", left)
		}
		if _, err := os.Stat(dir); !os.IsNotExist(err) {
			return fmt.Errorf("the state is still there: %w", err)
		}
		return nil
	})
}

// victim runs this test in another process until its cluster is up. It is skipped
// where clusters are.
func victim(t *testing.T) (dir string, kill func()) {
	t.Helper()
	cmd := exec.Command(os.Args[0], "-test.run=^TestNothingRunsOnceTheTestWasKilled$", "-test.v")
	cmd.Env = append(os.Environ(), asVictim+"=1", "TMPDIR="+t.TempDir())
	if testing.Short() {
		cmd.Args = append(cmd.Args, "-test.short")
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	kill = func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }
	t.Cleanup(kill)
	var said bytes.Buffer
	for lines := bufio.NewScanner(out); lines.Scan(); {
		if dir, ok := strings.CutPrefix(lines.Text(), "state "); ok {
			return dir, kill
		}
		fmt.Fprintln(&said, lines.Text())
	}
	if strings.Contains(said.String(), "--- SKIP") {
		t.Skip(said.String())
	}
	t.Fatalf("it ended without a cluster:\n%s", said.String())
	return "", nil
}

// processes returns the command lines of the components of a cluster.
func processes(t *testing.T, dir string) []string {
	t.Helper()
	files, err := filepath.Glob("/proc/[0-9]*/cmdline")
	if err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, file := range files {
		line, err := os.ReadFile(file)
		if err == nil && bytes.Contains(line, []byte("="+dir+"/")) {
			found = append(found, string(bytes.ReplaceAll(line, []byte{0}, []byte{' '})))
		}
	}
	return found
}
