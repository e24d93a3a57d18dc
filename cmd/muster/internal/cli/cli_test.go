package cli

import (
	"bytes"
	"context"
	"io"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/spf13/cobra"
	"go.uber.org/goleak"

	"github.com/musterhq/muster/builtin/plan"
	"github.com/musterhq/muster/runtime/wasm/guests"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("os/signal.signal_recv"))
}

// everyCommand calls f for each command that people see.
func everyCommand(c *cobra.Command, f func(*cobra.Command)) {
	f(c)
	for _, sub := range c.Commands() {
		if !sub.Hidden {
			everyCommand(sub, f)
		}
	}
}

func testApp() *cobra.Command {
	return (&app{in: strings.NewReader(""), out: io.Discard, err: io.Discard}).root()
}

func TestEveryHelpBeginsWithTwoExamplesAndStatesTheExitCodes(t *testing.T) {
	everyCommand(testApp(), func(c *cobra.Command) {
		var out, errs bytes.Buffer
		if code := Run(append(strings.Fields(c.CommandPath())[1:], "--help"), strings.NewReader(""), &out, &errs); code != 0 {
			t.Errorf("%s --help: exit code %d, %s", c.CommandPath(), code, errs.String())
		}
		lines := strings.Split(out.String(), "\n")
		if len(lines) < 3 || lines[0] != "Examples:" || !strings.Contains(lines[1], "muster") || !strings.Contains(lines[2], "muster") {
			t.Errorf("%s --help begins with %q", c.CommandPath(), lines[:min(3, len(lines))])
		}
		if !strings.Contains(out.String(), "\nExit codes: 0 ") {
			t.Errorf("%s --help states no exit codes", c.CommandPath())
		}
	})
}

// The examples run as they are in a folder like the root of the repository, with the
// files that they name. Left out are those that go through a shell, ask a registry or a
// running scheduler, or take long: the scripts in testdata do all that.
func TestTheExamplesOfEveryHelpWork(t *testing.T) {
	if testing.Short() {
		t.Skip("plays several traces")
	}
	traces := repository(t)
	props(t)
	here, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	everyCommand(testApp(), func(c *cobra.Command) {
		for _, line := range strings.Split(c.Example, "\n") {
			line = strings.TrimSpace(line)
			if elsewhere(line) || !traces && strings.Contains(line, "../shared") {
				continue
			}
			t.Chdir(here)
			if strings.HasPrefix(line, "muster policy new ") {
				t.Chdir(t.TempDir())
			}
			if strings.Contains(line, "--new-key") { // it overwrites nothing
				if err := os.Remove("platform.key.pub"); err != nil {
					t.Error(err)
				}
			}
			var out, errs bytes.Buffer
			if code := Run(strings.Fields(line)[1:], strings.NewReader(""), &out, &errs); code != 0 || out.Len() == 0 {
				t.Errorf("%s: exit code %d, %s", line, code, errs.String())
			}
		}
	})
}

func elsewhere(line string) bool {
	if !strings.HasPrefix(line, "muster ") || strings.ContainsAny(line, "<>") || strings.Contains(line, "oci:") || strings.Contains(line, "--cluster") {
		return true
	}
	for _, c := range []string{"demo", "sim serve", "conformance run", "policy rollback", "policy promote", "policy reload", "get ", "explain ", "top", "doctor", "scheduler"} {
		if strings.HasPrefix(line, "muster "+c) {
			return true
		}
	}
	return false
}

// props are the files that the examples name.
func props(t *testing.T) {
	t.Helper()
	module, err := os.ReadFile(filepath.Join("bin", "policies", "aged-sjf.wasm"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"my-order.wasm", "policy.wasm", "their.wasm", "old.wasm", "new.wasm"} {
		if err := os.WriteFile(name, module, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	for _, line := range []string{
		"policy new my-order",
		"policy build my-order",
		"policy run my-order.wasm --rows 3 --save order-permutation.mbatch",
		"policy run my-order.wasm --rows 3 --save one.mbatch",
		"conformance run fifo --law totality/every-row --quiet --out conformance",
		"conformance run fifo --law totality/every-row --quiet --out .",
		"policy sign my-order.wasm --new-key a",
		"policy sign my-order.wasm --new-key b",
		"policy push my-order.wasm layout:bundles/my-order:1.0.0",
		"policy push my-order.wasm layout:bundles/order:1.4",
		"policy sign layout:bundles/order:1.4 --key a",
		"policy sign my-order.wasm --new-key platform.key",
		"policy sign layout:bundles/my-order:1.0.0 --key platform.key",
	} {
		var errs bytes.Buffer
		if code := Run(strings.Fields(line), strings.NewReader(""), io.Discard, &errs); code != 0 {
			t.Fatalf("%s: exit code %d, %s", line, code, errs.String())
		}
	}
	if err := os.Remove("platform.key"); err != nil { // an example makes it; its public half stays for the others
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join("my-order", "policy.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	status := `{"at": 1, "policies": [{"name": "my-order"}]}`
	for name, text := range map[string]string{"policy.yaml": string(text), "policies.status.json": status} {
		if err := os.WriteFile(name, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.MkdirAll("cluster", 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join("cluster", "policies.status.json"), []byte(status), 0o600); err != nil {
		t.Fatal(err)
	}
}

// repository makes a folder like the repository's root, with the traces beside it
// if this machine has them, and goes there.
func repository(t *testing.T) (traces bool) {
	t.Helper()
	policy, err := guests.Path("fifo")
	if err != nil {
		t.Fatal(err)
	}
	root := filepath.Dir(filepath.Dir(filepath.Dir(policy)))
	top := t.TempDir()
	here := filepath.Join(top, "repository")
	if err := os.Mkdir(here, 0o755); err != nil {
		t.Fatal(err)
	}
	// What examples write must not come into the real one.
	if err := os.Mkdir(filepath.Join(here, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(filepath.Join(root, "bin", "policies"), filepath.Join(here, "bin", "policies")); err != nil {
		t.Fatal(err)
	}
	if err := os.CopyFS(filepath.Join(here, "policies"), os.DirFS(filepath.Join(root, "policies"))); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{
		"queues.yaml": "partitions:\n  - name: default\n    queues:\n      - name: root\n        queues:\n          - name: a\n",
		"jobs.csv":    "job,queue,submit_s,gpus_per_worker,duration_s\nj,default,0,1,60\n",
		"nodes.csv":   "node,gpus\nn,8\n",
	}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(here, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	shared := filepath.Join(filepath.Dir(root), "shared")
	if _, err := os.Stat(filepath.Join(shared, "traces")); err == nil {
		traces = true
		if err := os.Symlink(shared, filepath.Join(top, "shared")); err != nil {
			t.Fatal(err)
		}
	} else {
		t.Log("the shared traces are not on this machine: examples that read them are left out")
	}
	t.Chdir(here)
	return traces
}

// interrupter sends the signal of Ctrl-C to this process at its first write.
type interrupter struct {
	text bytes.Buffer
	sent bool
}

func (w *interrupter) Write(b []byte) (int, error) {
	if !w.sent {
		w.sent = true
		if err := syscall.Kill(os.Getpid(), syscall.SIGINT); err != nil {
			return 0, err
		}
		time.Sleep(50 * time.Millisecond) // the signal reaches its listener in the background
	}
	return w.text.Write(b)
}

func TestCtrlCEndsARunAndWritesNothing(t *testing.T) {
	dir := t.TempDir()
	var out bytes.Buffer
	errs := &interrupter{}
	code := Run([]string{"sim", "run", "talk2", "--progress", "--html", filepath.Join(dir, "r.html")}, strings.NewReader(""), &out, errs)
	if code != exitInterrupted || out.Len() > 0 {
		t.Fatalf("exit code %d, stdout %q", code, out.String())
	}
	if !strings.HasSuffix(errs.text.String(), "muster: interrupted; nothing was written\n") {
		t.Fatalf("stderr ends with %q", errs.text.String())
	}
	if entries, err := os.ReadDir(dir); err != nil || len(entries) > 0 {
		t.Fatalf("files were left: %v %v", entries, err)
	}
}

// full is a disk that is.
type full struct{}

func (full) Write([]byte) (int, error) { return 0, syscall.ENOSPC }

func TestAnAnswerThatCanNotBeWrittenIsAFailure(t *testing.T) {
	for _, format := range []string{"text", "json"} {
		var errs bytes.Buffer
		if code := Run([]string{"sim", "run", "talk1", "-o", format}, strings.NewReader(""), full{}, &errs); code != exitFailed {
			t.Errorf("%s: exit code %d", format, code)
		}
		if !strings.Contains(errs.String(), syscall.ENOSPC.Error()) {
			t.Errorf("%s: %q", format, errs.String())
		}
	}
}

func TestAPolicyThatFailedInTheRunIsTold(t *testing.T) {
	var errs bytes.Buffer
	a := &app{err: &errs}
	a.tellFailures("", []plan.PolicyUse{
		{Kind: "job_order", Name: "mine", Version: "2", Calls: 10, Fallbacks: 3, Fallback: "fifo", Failure: "trap: unreachable"},
		{Kind: "queue_shares", Name: "fine", Calls: 10},
	})
	want := "muster: mine@2 failed in 3 of 10 calls, built-in fifo answered instead; the first time: trap: unreachable\n"
	if errs.String() != want {
		t.Fatalf("got %q", errs.String())
	}
}

func TestAnErrorOfWhateverKindEndsWithItsHint(t *testing.T) {
	for _, err := range []error{context.DeadlineExceeded, failed("do this", "it failed"), misused("do that", "it makes no sense")} {
		var errs bytes.Buffer
		if code := (&app{err: &errs, began: true}).report(err); code == exitOK {
			t.Errorf("%v: exit code 0", err)
		}
		lines := strings.Split(strings.TrimSpace(errs.String()), "\n")
		if !strings.HasPrefix(lines[len(lines)-1], "hint: ") {
			t.Errorf("%v: %q", err, errs.String())
		}
	}
}
