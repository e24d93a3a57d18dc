//go:build linux && (amd64 || arm64)

package bpf

import (
	"bufio"
	"bytes"
	"debug/elf"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) {
	if task := os.Getenv("MUSTER_BPF_CHILD"); task != "" {
		os.Exit(child(task))
	}
	goleak.VerifyTestMain(m)
}

// missing skips a test for want of what it needs, loudly; it fails where all must be there.
func missing(t testing.TB, format string, a ...any) {
	t.Helper()
	what := fmt.Sprintf(format, a...)
	if os.Getenv("MUSTER_REQUIRE_EBPF") == "1" {
		t.Fatalf("MUSTER_REQUIRE_EBPF=1, and %s", what)
	}
	t.Skipf("NOT TESTED: eBPF probes: %s", what)
}

// needKernel ends the test where probes can't be.
func needKernel(t testing.TB) {
	t.Helper()
	if os.Getuid() != 0 {
		missing(t, "not root")
	}
	k := thisKernel()
	if reason, detail := k.refuse(); reason != "" {
		missing(t, "%s: %s", reason, detail)
	}
	if _, err := exec.LookPath("cc"); err != nil {
		missing(t, "no C compiler")
	}
}

const (
	plain = iota // whatever the compiler makes
	push
	endbrPush
	nop
	subRSP
	movPush
	jump
)

// variants of the fake driver are compiled once.
var variants sync.Map

// fakeDriver copies a fake libcuda.so.1 that begins its functions as told into a folder.
func fakeDriver(t testing.TB, folder string, prologue int, flags ...string) string {
	t.Helper()
	args := append([]string{"-shared", "-fPIC", "-O2", "-Wl,-soname,libcuda.so.1", fmt.Sprintf("-DPROLOGUE=%d", prologue)}, flags...)
	lib := filepath.Join(folder, soname)
	writeFile(t, lib, compiled(t, "testdata/fakecuda.c", args))
	return lib
}

func compiled(t testing.TB, source string, args []string) []byte {
	t.Helper()
	key := source + strings.Join(args, " ")
	if b, ok := variants.Load(key); ok {
		return b.([]byte)
	}
	out := filepath.Join(t.TempDir(), "out")
	args = append(append([]string{"-o", out, source}, args...), "-ldl")
	if b, err := exec.Command("cc", args...).CombinedOutput(); err != nil {
		t.Fatalf("cc %v: %v\n%s", args, err, b)
	}
	b, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	variants.Store(key, b)
	return b
}

func writeFile(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o755); err != nil {
		t.Fatal(err)
	}
}

// process is a caller (testdata/caller.c) that does as it is told.
type process struct {
	t    testing.TB
	pid  uint32
	cmd  *exec.Cmd
	in   io.WriteCloser
	out  *bufio.Reader
	lib  string
	done bool
}

// startCaller starts one that has a library open.
func startCaller(t testing.TB, lib string) *process {
	t.Helper()
	return startIn(t, lib, "")
}

// startIn starts it in a mount namespace of its own, after a script has run there.
func startIn(t testing.TB, lib, script string) *process {
	t.Helper()
	program := filepath.Join(t.TempDir(), "caller")
	writeFile(t, program, compiled(t, "testdata/caller.c", []string{"-O2", "-pthread"}))
	cmd := exec.Command(program, lib)
	if script != "" {
		cmd = exec.Command("sh", "-ec", script+`; exec "$0" "$1"`, program, lib)
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS}
	}
	return startProcess(t, cmd, lib)
}

func startProcess(t testing.TB, cmd *exec.Cmd, lib string) *process {
	t.Helper()
	p := &process{t: t, cmd: cmd, lib: lib}
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if p.in, err = cmd.StdinPipe(); err != nil {
		t.Fatal(err)
	}
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p.out = bufio.NewReader(out)
	t.Cleanup(p.exit)
	line := p.line()
	if _, err := fmt.Sscanf(line, "ready %d", &p.pid); err != nil {
		t.Fatalf("caller said %q %s", line, complaints.String())
	}
	return p
}

func (p *process) line() string {
	line, err := p.out.ReadString('\n')
	if err != nil && line == "" {
		return err.Error()
	}
	return strings.TrimSpace(line)
}

// tell has it do a line, and returns the number that it answers with.
func (p *process) tell(format string, a ...any) float64 {
	p.t.Helper()
	line := fmt.Sprintf(format, a...)
	if _, err := fmt.Fprintln(p.in, line); err != nil {
		p.t.Fatal(err)
	}
	var ns float64
	answer := p.line()
	if _, err := fmt.Sscanf(answer, "ok %f", &ns); err != nil {
		p.t.Fatalf("%s: %s", line, answer)
	}
	return ns
}

// launch calls cuLaunchKernel n times.
func (p *process) launch(n int) float64 {
	p.t.Helper()
	return p.tell("call cuLaunchKernel %d", n)
}

func (p *process) exit() {
	if p.done {
		return
	}
	p.done = true
	_ = p.in.Close()
	_ = p.cmd.Wait()
}

// code reads the first bytes of a function from the memory of the process.
func (p *process) code(function string) []byte {
	p.t.Helper()
	f, err := elf.Open(p.lib)
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	symbols, err := f.DynamicSymbols()
	if err != nil {
		p.t.Fatal(err)
	}
	memory, err := os.Open(fmt.Sprintf("/proc/%d/mem", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	defer func() { _ = memory.Close() }()
	for _, s := range symbols {
		if s.Name == function {
			code := make([]byte, 16)
			if _, err := memory.ReadAt(code, int64(p.base()+s.Value)); err != nil {
				p.t.Fatal(err)
			}
			return code
		}
	}
	p.t.Fatalf("%s has no %s", p.lib, function)
	return nil
}

// base is where the library is in memory.
func (p *process) base() uint64 {
	p.t.Helper()
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/maps", p.pid))
	if err != nil {
		p.t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		if strings.HasSuffix(strings.TrimSpace(line), "/"+soname) {
			start, _, _ := strings.Cut(line, "-")
			at, err := strconv.ParseUint(start, 16, 64)
			if err != nil {
				p.t.Fatal(err)
			}
			return at
		}
	}
	p.t.Fatal("the library is not mapped")
	return 0
}

// watch returns a Probe on libraries. Only an overrun of its own would disarm.
func watch(t testing.TB, o Options) *Probe {
	t.Helper()
	needKernel(t)
	if o.Overrun == 0 {
		o.Overrun = 1 << 30
	}
	if o.Refresh == 0 {
		o.Refresh = time.Hour // tests call refresh when they want it
	}
	w := New(o)
	p, ok := w.(*Probe)
	if !ok {
		missing(t, "%+v", w.Status())
	}
	t.Cleanup(func() { _ = p.Close() })
	return p
}

func mustArm(t testing.TB, w Watcher, pids ...uint32) {
	t.Helper()
	if err := w.Arm(pids); err != nil {
		t.Fatal(err)
	}
	for _, pid := range pids {
		if _, ok := w.Armed(pid); !ok {
			t.Fatalf("pid %d is not armed", pid)
		}
	}
}

func counted(t testing.TB, w Watcher, pid uint32) Count {
	t.Helper()
	counts, err := w.Counts()
	if err != nil {
		t.Fatal(err)
	}
	return counts[pid]
}

// wait returns the next event of a pid.
func wait(t testing.TB, w Watcher, pid uint32) Event {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for {
		select {
		case e := <-w.Events():
			if e.PID == pid {
				return e
			}
		case <-deadline:
			t.Fatalf("no event of pid %d", pid)
		}
	}
}

// quiet tells that no event of a pid is there. What happened before a launch elsewhere was
// told is in the ring before it.
func quiet(t testing.TB, w Watcher, pid uint32) {
	t.Helper()
	for {
		select {
		case e := <-w.Events():
			if e.PID == pid {
				t.Fatalf("unexpected %+v", e)
			}
		case <-time.After(100 * time.Millisecond):
			return
		}
	}
}

func eventually(t testing.TB, what string, f func() bool) {
	t.Helper()
	for end := time.Now().Add(20 * time.Second); !f(); runtime.Gosched() {
		if time.Now().After(end) {
			t.Fatalf("never: %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

// cgroup makes a control group below a hierarchy and returns a function that puts a
// process into it, and its id.
func cgroup(t testing.TB, hierarchy, name string) (enter func(*process), id uint64) {
	t.Helper()
	folder := filepath.Join(hierarchy, fmt.Sprintf("muster-test-%d-%s", os.Getpid(), name))
	if err := os.Mkdir(folder, 0o755); err != nil {
		missing(t, "can't make a cgroup: %v", err)
	}
	t.Cleanup(func() { _ = os.Remove(folder) }) // after those of its processes, which come later
	info, err := os.Stat(folder)
	if err != nil {
		t.Fatal(err)
	}
	return func(p *process) {
		t.Helper()
		if err := os.WriteFile(filepath.Join(folder, "cgroup.procs"), fmt.Append(nil, p.pid), 0o644); err != nil {
			t.Fatal(err)
		}
	}, info.Sys().(*syscall.Stat_t).Ino
}

// hierarchyOf finds where cgroups are mounted: of version 2, or of the v1 memory controller.
func hierarchyOf(t testing.TB, kind, option string) string {
	t.Helper()
	b, err := os.ReadFile("/proc/mounts")
	if err != nil {
		t.Fatal(err)
	}
	for line := range strings.Lines(string(b)) {
		f := strings.Fields(line)
		if f[2] == kind && strings.Contains(","+f[3]+",", option) {
			return f[1]
		}
	}
	missing(t, "no %s %s is mounted", kind, option)
	return ""
}
