package kubetest

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// buildCommand is what a person runs to have the binary.
const buildCommand = "make .cache/bin/muster-cluster"

// exitNoModules is how tools/cluster.sh says that the modules can't be downloaded.
const exitNoModules = 75

// errUnavailable is why there can be no cluster on this machine; a reason to skip.
type errUnavailable struct{ reason string }

func (e errUnavailable) Error() string { return e.reason }

// build finds or builds the binary once for all tests of a process. What it says while
// it builds goes to standard error, as it takes minutes.
var build = sync.OnceValues(func() (string, error) {
	if runtime.GOOS != "linux" {
		return "", errUnavailable{"the test cluster needs Linux"}
	}
	root, err := repository()
	if err != nil {
		return "", err
	}
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(filepath.Join(root, "tools", "cluster.sh"))
	cmd.Dir, cmd.Stdout, cmd.Stderr = root, &stdout, io.MultiWriter(&stderr, os.Stderr)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true} // a test that times out doesn't waste the build
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) && exit.ExitCode() == exitNoModules {
		return "", errUnavailable{"muster-cluster can't be built: " + lastLines(stderr.String(), 3)}
	}
	if err != nil {
		return "", fmt.Errorf("building muster-cluster: %w\n%s", err, lastLines(stderr.String(), 30))
	}
	return strings.TrimSpace(stdout.String()), nil
})

// binary returns the path of muster-cluster, or ends the test.
func binary(t testing.TB) string {
	t.Helper()
	if testing.Short() {
		// Asked for, so CI allows it too: its race detector runs without clusters.
		t.Skipf("SKIPPED, NOT TESTED: this test needs a Kubernetes cluster, and -short was given")
		return ""
	}
	type result struct {
		path string
		err  error
	}
	done := make(chan result, 1)
	go func() {
		path, err := build()
		done <- result{path, err}
	}()
	ctx, cancel := beforeDeadline(t)
	defer cancel()
	select {
	case <-ctx.Done():
		t.Fatalf("muster-cluster is still being built and the test's time is nearly over\n  hint: build it before, by: %s", buildCommand)
	case r := <-done:
		var e errUnavailable
		if errors.As(r.err, &e) {
			unavailable(t, e.reason)
		}
		if r.err != nil {
			t.Fatal(r.err)
		}
		return r.path
	}
	return ""
}

// unavailable skips a test that needs a cluster, loudly; but a CI run that skipped it
// would be green for nothing.
func unavailable(t testing.TB, reason string) {
	t.Helper()
	if os.Getenv("CI") == "true" {
		t.Fatalf("this test needs a Kubernetes cluster, and with CI=true it may not be skipped: %s\n  hint: %s", reason, buildCommand)
		return
	}
	t.Skipf("SKIPPED, NOT TESTED: this test needs a Kubernetes cluster: %s\n  hint: run %s, and then this test", reason, buildCommand)
}

// beforeDeadline ends a little before go test would end the test with a panic.
func beforeDeadline(t testing.TB) (context.Context, context.CancelFunc) {
	if d, ok := t.(interface{ Deadline() (time.Time, bool) }); ok {
		if at, ok := d.Deadline(); ok {
			return context.WithDeadline(t.Context(), at.Add(-20*time.Second))
		}
	}
	return context.WithCancel(t.Context())
}

// repository finds the root of the project from the folder of a test.
func repository() (string, error) {
	dir, err := os.Getwd()
	if err != nil {
		return "", err
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "tools", "cluster.sh")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", errors.New("no folder above the test has tools/cluster.sh, which builds the test cluster")
		}
	}
}

// lastLines is the end of a text.
func lastLines(text string, n int) string {
	lines := strings.Split(strings.TrimRight(text, "\n"), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "\n")
}
