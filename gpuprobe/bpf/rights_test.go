//go:build linux && (amd64 || arm64)

package bpf

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// What a child with fewer rights reports.
type report struct {
	Status  Status
	Armed   bool
	Count   Count
	Started bool
}

// child is this test binary run again: "LIBRARY PID" arms the pid, says so, waits for a
// line, and reports.
func child(task string) int {
	var lib string
	var pid uint32
	if _, err := fmt.Sscan(task, &lib, &pid); err != nil {
		fmt.Println(err)
		return 1
	}
	w := New(Options{Libraries: []string{lib}, Overrun: 1 << 30, object: os.Getenv("MUSTER_BPF_OBJECT")})
	defer func() { _ = w.Close() }()
	if err := w.Arm([]uint32{pid}); err != nil {
		fmt.Println(err)
		return 1
	}
	fmt.Println("armed")
	if _, err := bufio.NewReader(os.Stdin).ReadString('\n'); err != nil {
		return 1
	}
	counts, err := w.Counts()
	if err != nil {
		fmt.Println(err)
		return 1
	}
	r := report{Status: w.Status(), Count: counts[pid]}
	_, r.Armed = w.Armed(pid)
	deadline := time.After(10 * time.Second)
	for r.Status.Up && !r.Started {
		select {
		case e := <-w.Events():
			r.Started = e.PID == pid && e.Kind == Started
		case <-deadline:
			return 1
		}
	}
	_ = json.NewEncoder(os.Stdout).Encode(r)
	return 0
}

// watcher is a child that has a caller armed.
type watcher struct {
	cmd    *exec.Cmd
	in     io.Writer
	out    *bufio.Reader
	caller *process
}

func startWatcher(t *testing.T, attributes *syscall.SysProcAttr, script, object string) watcher {
	t.Helper()
	needKernel(t)
	folder := t.TempDir()
	if err := os.Chmod(filepath.Dir(folder), 0o755); err != nil { // for those who are not root
		t.Fatal(err)
	}
	lib := fakeDriver(t, folder, push)
	c := startCaller(t, lib)
	// Where the test binary is only root may look.
	program := filepath.Join(folder, "child")
	b, err := os.ReadFile("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, program, b)
	cmd := exec.Command(program)
	if script != "" {
		cmd = exec.Command("sh", "-ec", script+`; exec "$0"`, program)
	}
	cmd.SysProcAttr = attributes
	cmd.Env = append(os.Environ(), fmt.Sprintf("MUSTER_BPF_CHILD=%s %d", lib, c.pid), "MUSTER_BPF_OBJECT="+object)
	cmd.Stderr = os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(out)
	if line, err := lines.ReadString('\n'); line != "armed\n" {
		t.Fatalf("the child said %q %v", line, err)
	}
	return watcher{cmd, in, lines, c}
}

// asChild has a child watch while a process of root calls cuInit and launches 600 times.
func asChild(t *testing.T, attributes *syscall.SysProcAttr, script, object string) report {
	t.Helper()
	w := startWatcher(t, attributes, script, object)
	w.caller.tell("call cuInit 1")
	w.caller.launch(600)
	_, _ = fmt.Fprintln(w.in)
	answer, err := io.ReadAll(w.out)
	if err := w.cmd.Wait(); err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	var r report
	if err == nil {
		err = json.Unmarshal(answer, &r)
	}
	if err != nil {
		t.Fatalf("%v: %s", err, answer)
	}
	return r
}

func TestTwoCapabilitiesAreEnoughAndNoFewer(t *testing.T) {
	nobody := &syscall.Credential{Uid: 65534, Gid: 65534}
	for _, tt := range []struct {
		name         string
		capabilities []uintptr
		up           bool
	}{
		{"none", nil, false},
		{"CAP_BPF", []uintptr{capBPF}, false},
		{"CAP_PERFMON", []uintptr{capPerfmon}, false},
		{"CAP_BPF and CAP_PERFMON", []uintptr{capBPF, capPerfmon}, true},
		{"and CAP_SYS_PTRACE", []uintptr{capBPF, capPerfmon, capSysPtrace}, true},
		{"CAP_SYS_ADMIN", []uintptr{capSysAdmin}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			r := asChild(t, &syscall.SysProcAttr{Credential: nobody, AmbientCaps: tt.capabilities}, "", "")
			if !tt.up {
				if r.Status.Up || r.Status.Reason != NoCapability || r.Armed || r.Count.Launches != 0 {
					t.Errorf("%+v", r)
				}
				return
			}
			if !r.Status.Up || r.Count.Launches != 600 || !r.Started || !r.Armed || r.Count.Cgroup == 0 {
				t.Errorf("%+v", r)
			}
		})
	}
}

func TestWithoutBTFLaunchesAreSeenAllTheSame(t *testing.T) {
	hide := "mount -t tmpfs none /sys/kernel/btf"
	attributes := &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	r := asChild(t, attributes, hide, "lite")
	if !r.Status.Up || r.Count.Launches != 600 || r.Count.Cgroup == 0 {
		t.Errorf("lite: %+v", r)
	}
	r = asChild(t, attributes, hide, "v1")
	if !r.Status.Up || r.Count.Launches != 600 || r.Count.Cgroup != 0 || r.Status.CgroupV1 ||
		!strings.HasPrefix(r.Status.Detail, NoBTF) {
		t.Errorf("v1: %+v", r)
	}
}

func TestPidsOfANamespaceAreRefused(t *testing.T) {
	r := asChild(t, &syscall.SysProcAttr{Cloneflags: syscall.CLONE_NEWPID | syscall.CLONE_NEWNS},
		"mount -t proc none /proc", "")
	if r.Status.Up || r.Status.Reason != NoHostPID {
		t.Errorf("%+v", r)
	}
}

func TestAnAgentThatIsKilledLeavesNoProbes(t *testing.T) {
	w := startWatcher(t, nil, "", "")
	armed := w.caller.code("cuLaunchKernel")
	_ = w.cmd.Process.Kill()
	_ = w.cmd.Wait()
	eventually(t, "the kernel takes the probes off", func() bool {
		return !bytes.Equal(w.caller.code("cuLaunchKernel"), armed)
	})
}
