//go:build linux && (amd64 || arm64)

package main

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"
)

func must(t testing.TB, errs ...error) {
	t.Helper()
	if err := errors.Join(errs...); err != nil {
		t.Fatal(err)
	}
}

// missing skips a test for want of what it needs, loudly; it fails where all must be there.
func missing(t testing.TB, format string, a ...any) {
	t.Helper()
	what := fmt.Sprintf(format, a...)
	if os.Getenv("MUSTER_REQUIRE_EBPF") == "1" {
		t.Fatalf("MUSTER_REQUIRE_EBPF=1, and %s", what)
	}
	t.Skipf("NOT TESTED: the whole probe: %s", what)
}

// machine has the driver's libraries, in C and without GPUs.
type machine struct {
	t            testing.TB
	root         string // as --host-root
	nvml, caller string
	told         *os.File // what NVML says, see struct told in fakenvml.c
	gpus         [8]toldGPU
}

type toldGPU struct {
	Busy, N   uint32
	Processes [64]struct{ PID, SM uint32 }
	XID, Mute uint32
}

func newMachine(t testing.TB) *machine {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "not root")
	}
	if _, err := exec.LookPath("cc"); err != nil {
		missing(t, "no C compiler")
	}
	root := t.TempDir()
	m := &machine{t: t, root: root, nvml: filepath.Join(root, "libnvidia-ml.so.1"), caller: filepath.Join(root, "caller")}
	must(t, os.MkdirAll(filepath.Dir(m.cuda()), 0o755), os.Symlink("/proc", filepath.Join(root, "proc")))
	parts := "../../gpuprobe/"
	cc(t, m.nvml, parts+"nvml/testdata/fakenvml.c", "-shared", "-fPIC", "-pthread")
	cc(t, m.cuda(), parts+"bpf/testdata/fakecuda.c", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-DPROLOGUE=1")
	cc(t, m.caller, parts+"bpf/testdata/caller.c", "-pthread", "-ldl")
	var err error
	m.told, err = os.Create(filepath.Join(root, "told"))
	must(t, err)
	t.Cleanup(func() { _ = m.told.Close() })
	m.tell()
	return m
}

// cuda is where the probe looks below the host's root.
func (m *machine) cuda() string { return filepath.Join(m.root, "usr/lib64/libcuda.so.1") }

func cc(t testing.TB, to, source string, flags ...string) {
	t.Helper()
	args := append([]string{"-O1", "-o", to, source}, flags...)
	if b, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		t.Fatalf("cc %v: %v\n%s", args, err, b)
	}
}

// tell has NVML say what is in gpus.
func (m *machine) tell() {
	m.t.Helper()
	var b bytes.Buffer
	must(m.t, binary.Write(&b, binary.NativeEndian, &m.gpus))
	_, err := m.told.WriteAt(b.Bytes(), 0)
	must(m.t, err)
}

// add puts a process on a GPU, with what it uses in percent of the SMs.
func (m *machine) add(gpu int, pid, sm uint32) {
	g := &m.gpus[gpu]
	g.Processes[g.N].PID, g.Processes[g.N].SM = pid, sm
	g.N++
	g.Busy += sm
}

// program is one that was started, and is ended with the test.
type program struct {
	t   testing.TB
	pid int
	in  io.WriteCloser
	out *bufio.Reader
}

func start(t testing.TB, cmd *exec.Cmd) *program {
	t.Helper()
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	must(t, err)
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	t.Cleanup(func() {
		_, _ = cmd.Process.Signal(syscall.SIGTERM), in.Close()
		_ = cmd.Wait()
	})
	return &program{t, cmd.Process.Pid, in, bufio.NewReader(out)}
}

// pod is a process that has libcuda open, in a control group like that of a pod.
type pod struct {
	*program
	uid string
}

func (m *machine) pod(n int) *pod {
	m.t.Helper()
	p := &pod{uid: fmt.Sprintf("%08x-0000-4000-8000-%012x", os.Getpid(), n)}
	folder := filepath.Join(hierarchy(m.t), "kubepods-pod"+strings.ReplaceAll(p.uid, "-", "_")+".slice")
	if err := os.Mkdir(folder, 0o755); err != nil {
		missing(m.t, "no cgroup can be made: %v", err)
	}
	m.t.Cleanup(func() { _ = os.Remove(folder) }) // after its process has ended
	p.program = start(m.t, exec.Command(m.caller, m.cuda()))
	if line := p.line(); line != fmt.Sprint("ready ", p.pid) {
		m.t.Fatal(line)
	}
	if err := os.WriteFile(filepath.Join(folder, "cgroup.procs"), fmt.Append(nil, p.pid), 0o644); err != nil {
		missing(m.t, "no process can be moved: %v", err)
	}
	return p
}

// hierarchy of cgroups: v2 if it is mounted, also beside v1.
func hierarchy(t testing.TB) string {
	t.Helper()
	for _, folder := range []string{"/sys/fs/cgroup", "/sys/fs/cgroup/unified", "/sys/fs/cgroup/memory"} {
		if _, err := os.Stat(filepath.Join(folder, "cgroup.procs")); err == nil {
			return folder
		}
	}
	missing(t, "no cgroups are mounted")
	return ""
}

func (p *program) line() string {
	line, err := p.out.ReadString('\n')
	if err != nil && line == "" {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

// launch calls cuLaunchKernel once, and returns when that was about to happen.
func (p *pod) launch() time.Time {
	p.t.Helper()
	before := time.Now()
	_, err := fmt.Fprintln(p.in, "call cuLaunchKernel 1")
	must(p.t, err)
	if line := p.line(); !strings.HasPrefix(line, "ok") {
		p.t.Fatal(line)
	}
	return before
}

// taken is what a process has taken so far: CPU in seconds, memory in MiB.
type taken struct{ cpu, rss, anonymous float64 }

// takenBy reads /proc (proc(5)).
func takenBy(t testing.TB, pid int) taken {
	t.Helper()
	read := func(file string) string {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", pid, file))
		must(t, err)
		return string(b)
	}
	number := func(text string) float64 { n, _ := strconv.ParseFloat(text, 64); return n }
	_, stat, _ := strings.Cut(read("stat"), ") ")
	fields := strings.Fields(stat)
	u := taken{cpu: (number(fields[11]) + number(fields[12])) / 100}
	for line := range strings.Lines(read("status")) {
		key, value, _ := strings.Cut(line, ":")
		switch mib := number(strings.Fields(value + " 0")[0]) / 1024; key {
		case "VmRSS":
			u.rss = mib
		case "RssAnon":
			u.anonymous = mib
		}
	}
	return u
}

func eventually(t testing.TB, what string, within time.Duration, f func() bool) {
	t.Helper()
	for end := time.Now().Add(within); !f(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(20 * time.Millisecond)
	}
}
