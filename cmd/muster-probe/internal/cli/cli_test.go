package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/musterhq/muster/cmd/internal/shell"
)

// call runs the program and returns what it printed and its exit code.
func call(ctx context.Context, args ...string) (stdout, stderr string, code int) {
	var out, errs bytes.Buffer
	code = execute(ctx, args, strings.NewReader(""), &out, &errs)
	return out.String(), errs.String(), code
}

// nothing is a machine without driver, kubelet and eBPF.
func nothing(t *testing.T) []string {
	dir := t.TempDir()
	return []string{"--nvml", filepath.Join(dir, "libnvidia-ml.so.1"), "--kubelet-socket", filepath.Join(dir, "kubelet.sock"), "--ebpf=false"}
}

func TestWhatIsWrongWithACallIsTold(t *testing.T) {
	missing := filepath.Join(t.TempDir(), "ca.crt")
	for _, c := range []struct {
		args []string
		code int
		want string
	}{
		{[]string{"dumb"}, 2, "did you mean `muster-probe dump`?"},
		{[]string{"check", "here"}, 2, "it only takes flags"},
		{[]string{"check", "-o", "xml"}, 2, "formats are text and json"},
		{[]string{"dump", "--sweeps", "0"}, 2, "--sweeps must be at least 1"},
		{[]string{"dump", "--no-such-flag"}, 2, "lists the flags"},
		{[]string{"run", "--node", "n", "--scheduler", "scheduler"}, 2, "an address is host:port"},
		{[]string{"run", "--node", "n", "--scheduler", "ftp://scheduler:1"}, 2, "is no address"},
		{[]string{"run", "--node", "n", "--scheduler", "scheduler:1"}, 2, "is not on loopback"},
		{[]string{"run", "--node", "n", "--scheduler", "http://10.0.0.1:1", "--token-file", "t"}, 2, "must not be sent in the clear"},
		{[]string{"run", "--node", "n", "--scheduler", "scheduler:1", "--tls-ca", missing}, 2, "--tls-ca"},
		{[]string{"run", "--node", "n", "--interval", "1ms"}, 2, "too short"},
		{[]string{"run", "--node", "n", "--log-level", "loud"}, 2, "is no level"},
		{[]string{"run", "--node", "n", "--gpunode", "--kubeconfig", missing, "--listen", "", "--ebpf=false"}, 1, "GPUNode"},
		{[]string{"run", "--node", "n", "--listen", "nowhere", "--ebpf=false"}, 1, "nowhere"},
	} {
		out, errs, code := call(t.Context(), c.args...)
		if code != c.code || !strings.Contains(errs, c.want) || out != "" {
			t.Errorf("%v: code %d, printed %q\n%s", c.args, code, out, errs)
		}
		lines := strings.Split(strings.TrimSpace(errs), "\n")
		if !strings.HasPrefix(lines[len(lines)-1], "hint: ") {
			t.Errorf("%v: the last line is no hint: %q", c.args, errs)
		}
	}
}

func TestHelpBeginsWithTwoExamplesAndEndsWithExitCodes(t *testing.T) {
	for _, args := range [][]string{{"--help"}, {"run", "--help"}, {"check", "--help"}, {"dump", "--help"}} {
		out, _, code := call(t.Context(), args...)
		head, _, _ := strings.Cut(out, "\n\n")
		if code != 0 || strings.Count(head, "\n  muster-probe ") != 2 || !strings.Contains(out, "\nExit codes: 0 ") {
			t.Errorf("%v: code %d\n%s", args, code, out)
		}
	}
}

func TestCheckOnAMachineWithNothing(t *testing.T) {
	out, errs, code := call(t.Context(), append([]string{"check"}, nothing(t)...)...)
	if code != 2 || errs != "" {
		t.Fatalf("code %d: %s", code, errs)
	}
	for _, want := range []string{"nvml", "MISSING", "is there a driver", "no GPU is measured", "podresources", "NoSocket", "verdict: no GPU can be measured here"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in\n%s", want, out)
		}
	}
	out, _, code = call(t.Context(), append([]string{"check", "-o", "json"}, nothing(t)...)...)
	var got struct {
		Checks   []verdict `json:"checks"`
		ExitCode int       `json:"exit_code"`
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 2 || got.ExitCode != 2 || got.Checks[0].Name != "nvml" || got.Checks[0].OK {
		t.Fatalf("code %d, %v\n%s", code, err, out)
	}
}

// Whatever this machine has: each line is told, and nothing is left behind.
func TestCheckLooksAtTheKernel(t *testing.T) {
	out, _, _ := call(t.Context(), "check")
	for _, want := range []string{"nvml", "processes", "podresources", "kernel", "capabilities", "uprobe_multi", "btf", "libcuda.so.1", "probes"} {
		if !strings.Contains(out, "\n"+want+" ") && !strings.HasPrefix(out, want+" ") {
			t.Errorf("no line of %s in\n%s", want, out)
		}
	}
}

func TestVerdictsMakeTheExitCode(t *testing.T) {
	for _, c := range []struct {
		list []verdict
		want shell.Silent
	}{
		{[]verdict{{OK: true, vital: true}, {OK: true}}, 0},
		{[]verdict{{OK: true, vital: true}, {}}, 1},
		{[]verdict{{}, {vital: true}}, 2},
	} {
		if got := codeOf(c.list); got != c.want {
			t.Errorf("%+v: %d", c.list, got)
		}
	}
}

func TestDumpOnAMachineWithNothing(t *testing.T) {
	args := append([]string{"dump", "--interval", "100ms"}, nothing(t)...)
	out, errs, code := call(t.Context(), args...)
	if code != 0 || errs != "" || !strings.Contains(out, "LibraryNotFound") || !strings.Contains(out, "TurnedOff") || !strings.Contains(out, "NoSocket") {
		t.Fatalf("code %d: %s\n%s", code, errs, out)
	}
	out, _, code = call(t.Context(), append(args, "-o", "json")...)
	var got struct {
		Node    string           `json:"node"`
		Sweep   int              `json:"sweep"`
		GPUs    []map[string]any `json:"gpus"`
		Sources []struct {
			Name, Reason string
			Up           bool
		}
	}
	if err := json.Unmarshal([]byte(out), &got); err != nil || code != 0 || got.Sweep < 2 || got.Node == "" || got.GPUs == nil || len(got.Sources) != 4 {
		t.Fatalf("code %d, %v\n%s", code, err, out)
	}
}

func TestDumpThatIsInterruptedEnds(t *testing.T) {
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	_, errs, code := call(ctx, append([]string{"dump", "--sweeps", "1000"}, nothing(t)...)...)
	if code != 1 || !strings.Contains(errs, "interrupted") {
		t.Fatalf("code %d: %s", code, errs)
	}
}
