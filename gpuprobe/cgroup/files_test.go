package cgroup

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/musterhq/muster/runtime/clock"
)

// node is a /proc and a cgroup hierarchy made of plain files.
type node struct {
	testing.TB
	proc, hierarchy string
	clock           *clock.Virtual
}

func newNode(t testing.TB) *node {
	n := &node{t, inMemory(t), t.TempDir(), clock.NewVirtual(int64(time.Hour))}
	n.write(filepath.Join(n.proc, "self", "stat"), stat(1, "probe", 1))
	return n
}

// inMemory is a folder in memory, as /proc is, where there is such a place.
func inMemory(t testing.TB) string {
	dir, err := os.MkdirTemp("/dev/shm", "cgroup-") //nolint:usetesting // the test's own folder is on a disk
	if err != nil {
		return t.TempDir()
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	return dir
}

func (n *node) files(o Options) *Files {
	o.Proc, o.Clock = n.proc, n.clock
	if o.Hierarchy == "" {
		o.Hierarchy = n.hierarchy
	}
	return New(o)
}

func (n *node) write(file, text string) {
	n.Helper()
	if err := os.MkdirAll(filepath.Dir(file), 0o755); err != nil {
		n.Fatal(err)
	}
	if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
		n.Fatal(err)
	}
}

func stat(pid uint32, comm string, start uint64) string {
	return fmt.Sprintf("%d (%s) S 1 %d %d 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 %d 1000 200 18446744073709551615 1 1 0\n", pid, comm, pid, pid, start)
}

func (n *node) file(pid uint32, file string) string { return filepath.Join(n.proc, name(pid), file) }

// run starts a process of a pod, as the node's files show it.
func (n *node) run(pid uint32, start uint64, path string) {
	n.Helper()
	n.write(n.file(pid, "stat"), stat(pid, "python", start))
	n.write(n.file(pid, "cgroup"), "0::"+path+"\n")
}

func (n *node) end(pid uint32) {
	n.Helper()
	if err := os.RemoveAll(filepath.Join(n.proc, name(pid))); err != nil {
		n.Fatal(err)
	}
}

// mkdir makes a cgroup and returns its id.
func (n *node) mkdir(path string) uint64 {
	n.Helper()
	dir := filepath.Join(n.hierarchy, path)
	if err := os.MkdirAll(dir, 0o755); err != nil {
		n.Fatal(err)
	}
	info, err := os.Stat(dir)
	if err != nil {
		n.Fatal(err)
	}
	return inodeOf(info)
}

func (n *node) pass(d time.Duration) { n.clock.Advance(n.clock.Now() + int64(d)) }

func podPath(i int) (uid, path string) {
	uid = fmt.Sprintf("%08x-0000-1111-2222-333333333333", i)
	return uid, fmt.Sprintf("/kubepods/burstable/pod%s/%064x", uid, i)
}

func TestAProcessIsFoundAndItsFilesAreReadOnce(t *testing.T) {
	n := newNode(t)
	f := n.files(Options{})
	first, path := podPath(1)
	second, moved := podPath(2)
	n.run(7, 500, path)
	want := Owner{Pod: first, Container: fmt.Sprintf("%064x", 1), Start: 500}
	if got, err := f.Owner(7); err != nil || got != want {
		t.Fatalf("%+v, %v", got, err)
	}
	n.write(n.file(7, "cgroup"), "0::"+moved+"\n")
	if got, _ := f.Owner(7); got.Pod != first {
		t.Errorf("a known process was read again: %+v", got)
	}
	n.pass(2 * time.Minute) // a runtime may move its child before it starts it
	if got, _ := f.Owner(7); got.Pod != second {
		t.Errorf("after two minutes it still is %+v", got)
	}
}

func TestAPidThatIsUsedAgainHasAnotherOwner(t *testing.T) {
	n := newNode(t)
	f := n.files(Options{})
	first, path := podPath(1)
	second, path2 := podPath(2)
	n.run(7, 500, path)
	if got, err := f.Owner(7); err != nil || got.Pod != first {
		t.Fatal(got, err)
	}
	n.run(7, 501, path2)
	if got, err := f.Owner(7); err != nil || got.Pod != second || got.Start != 501 {
		t.Error(got, err)
	}
}

// A fifo for a file holds its reader up until the test has done what comes between.
func TestAPidThatIsUsedAgainWhileItIsLookedAtIsNobodys(t *testing.T) {
	n := newNode(t)
	f := n.files(Options{})
	_, path := podPath(1)
	n.run(7, 500, path)
	fifo := n.file(7, "cgroup")
	if err := errors.Join(os.Remove(fifo), syscall.Mkfifo(fifo, 0o600)); err != nil {
		t.Fatal(err)
	}
	done := make(chan error, 1)
	go func() {
		_, err := f.Owner(7)
		done <- err
	}()
	w, err := os.OpenFile(fifo, os.O_WRONLY, 0) // returns when the reader is there
	if err != nil {
		t.Fatal(err)
	}
	n.write(n.file(7, "stat"), stat(7, "another", 900))
	if _, err := w.WriteString("0::" + path + "\n"); err != nil {
		t.Fatal(err)
	}
	w.Close() //nolint:errcheck // a fifo
	if err := <-done; !errors.Is(err, ErrGone) {
		t.Errorf("it has an owner: %v", err)
	}
	if len(f.processes) != 0 {
		t.Error("what was read of two processes is remembered")
	}
}

func TestAProcessMayVanishAtEveryStep(t *testing.T) {
	n := newNode(t)
	f := n.files(Options{})
	if _, err := f.Owner(7); !errors.Is(err, ErrGone) {
		t.Error("before all:", err)
	}
	n.write(n.file(7, "stat"), stat(7, "a", 1))
	if _, err := f.Owner(7); !errors.Is(err, ErrGone) {
		t.Error("before its cgroup was read:", err)
	}
	if _, err := f.Maps(8); !errors.Is(err, ErrGone) {
		t.Error("before its maps were read:", err)
	}
	if s := f.State(); !s.Up {
		t.Errorf("it is no fault if processes end: %+v", s)
	}
	_, path := podPath(1)
	n.run(7, 1, path)
	if _, err := f.Owner(7); err != nil {
		t.Fatal(err)
	}
	n.end(7)
	if _, err := f.Owner(7); !errors.Is(err, ErrGone) || len(f.processes) != 0 {
		t.Error("after it was known:", err)
	}
}

func TestARealProcessIsGoneWhenItEnded(t *testing.T) {
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Skip("SKIPPED, NOT TESTED: no sleep on this machine:", err)
	}
	f := New(Options{})
	pid := uint32(cmd.Process.Pid)
	o, err := f.Owner(pid)
	if err != nil || o.Start == 0 || o.Name() == "host:" {
		t.Errorf("%+v, %v", o, err)
	}
	if s := f.State(); !s.Up {
		t.Errorf("%+v", s)
	}
	if err := errors.Join(cmd.Process.Kill(), ignoreExit(cmd.Wait())); err != nil {
		t.Fatal(err)
	}
	if _, err := f.Owner(pid); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

func ignoreExit(err error) error {
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return nil
	}
	return err
}

func TestTheStartTimeIsFoundBehindEveryName(t *testing.T) {
	for _, comm := range []string{"sh", "a b", "a) S 1 1", "((", "))", ") 1 2 3 (", "", "line\nfeed", strings.Repeat(")", 15)} {
		if got, ok := startOf(stat(7, comm, 12345)); !ok || got != 12345 {
			t.Errorf("%q: %d %t", comm, got, ok)
		}
	}
	for _, text := range []string{"", "7", "7 (a", "7 (a)", "7 (a) S 1 2 3", strings.Replace(stat(7, "a", 12345), "12345", "-1", 1), strings.Replace(stat(7, "a", 12345), "12345", "x", 1)} {
		if got, ok := startOf(text); ok {
			t.Errorf("%q: %d", text, got)
		}
	}
}

func TestWhatCannotBeReadIsTold(t *testing.T) {
	n := newNode(t)
	f := n.files(Options{})
	n.write(n.file(7, "stat"), "no stat at all")
	if _, err := f.Owner(7); err == nil || errors.Is(err, ErrGone) {
		t.Error(err)
	}
	n.write(n.file(7, "stat"), stat(7, "a", 1))
	n.write(n.file(7, "cgroup"), "nonsense")
	if _, err := f.Owner(7); !errors.Is(err, ErrMalformed) || !strings.Contains(err.Error(), "process 7") {
		t.Error(err)
	}
	if s := f.State(); s.Up || s.Reason != "NotReadable" {
		t.Errorf("%+v", s)
	}
	_ = f.note(7, fmt.Errorf("open: %w", os.ErrPermission))
	if s := f.State(); s.Up || s.Reason != "NotAllowed" || !strings.Contains(s.Detail, "CAP_SYS_PTRACE") {
		t.Errorf("%+v", s)
	}
	n.run(7, 1, "/system.slice")
	if _, err := f.Owner(7); err != nil || !f.State().Up {
		t.Errorf("it does not recover: %v, %+v", err, f.State())
	}
	if s := New(Options{Proc: t.TempDir()}).State(); s.Up || s.Reason != "NoProc" {
		t.Errorf("%+v", s)
	}
}

func TestTheOwnerOfACgroupIsFoundAfterItsProcessEnded(t *testing.T) {
	n := newNode(t)
	f := n.files(Options{Keep: 5 * time.Minute})
	uid, path := podPath(1)
	id := n.mkdir(path)
	n.run(7, 500, path)
	if _, err := f.Owner(7); err != nil {
		t.Fatal(err)
	}
	n.end(7)
	f.Exited(7)
	if err := os.RemoveAll(filepath.Join(n.hierarchy, "kubepods")); err != nil {
		t.Fatal(err)
	}
	if o, ok := f.OfCgroup(id); !ok || o.Pod != uid || o.Start != 0 {
		t.Errorf("%+v, %t", o, ok)
	}
	n.pass(6 * time.Minute)
	if o, ok := f.OfCgroup(id); ok {
		t.Errorf("six minutes later it still is %+v", o)
	}
}

func TestACgroupThatNobodySawIsFoundByAWalk(t *testing.T) {
	n := newNode(t)
	f := n.files(Options{})
	uid, path := podPath(1)
	id, host := n.mkdir(path), n.mkdir("/system.slice/sshd.service")
	if o, ok := f.OfCgroup(id); !ok || o.Pod != uid {
		t.Errorf("%+v, %t", o, ok)
	}
	if o, ok := f.OfCgroup(host); !ok || o.Name() != "host:/system.slice/sshd.service" {
		t.Errorf("%+v, %t", o, ok)
	}
	uid, path = podPath(2)
	id = n.mkdir(path)
	if o, ok := f.OfCgroup(id); ok {
		t.Errorf("it walked again at once and found %+v", o)
	}
	n.pass(6 * time.Second)
	if o, ok := f.OfCgroup(id); !ok || o.Pod != uid {
		t.Errorf("%+v, %t", o, ok)
	}
	if _, ok := f.OfCgroup(0); ok {
		t.Error("0 is no cgroup")
	}
}

func TestAWalkIsBounded(t *testing.T) {
	n := newNode(t)
	for i := range 40 {
		_, path := podPath(i)
		n.mkdir(path)
	}
	deep := n.mkdir(strings.Repeat("/a", deepest+3))
	f := n.files(Options{MostFolders: 20})
	f.walk()
	if len(f.cgroups) > 20 {
		t.Errorf("%d cgroups were looked at", len(f.cgroups))
	}
	f = n.files(Options{})
	if pods := f.walk(); len(pods) != 40 {
		t.Errorf("%d pods", len(pods))
	}
	if _, ok := f.OfCgroup(deep); ok {
		t.Error("it went too deep")
	}
}

func TestWhereTheHierarchyIsHiddenTheKernelsWordIsEnough(t *testing.T) {
	n := newNode(t)
	f := n.files(Options{})
	uid, path := podPath(1)
	n.run(7, 1, "/../.."+path[len("/kubepods/burstable"):])
	if o, err := f.Saw(4711, 7); err != nil || o.Pod != uid {
		t.Fatal(o, err)
	}
	if o, ok := f.OfCgroup(4711); !ok || o.Pod != uid {
		t.Errorf("%+v, %t", o, ok)
	}
	// Another process does not take the id over.
	second, path2 := podPath(2)
	n.run(8, 1, "/../.."+path2[len("/kubepods/burstable"):])
	if o, err := f.Saw(4711, 8); err != nil || o.Pod != second {
		t.Fatal(o, err)
	}
	if o, _ := f.OfCgroup(4711); o.Pod != uid {
		t.Errorf("the id went over to %+v", o)
	}
	if _, err := f.Saw(4712, 9); !errors.Is(err, ErrGone) {
		t.Error(err)
	}
}

func TestAnIdOfAnotherProcessWithTheSamePidIsNotBelieved(t *testing.T) {
	n := newNode(t)
	f := n.files(Options{})
	_, path := podPath(1)
	id := n.mkdir(path)
	n.run(7, 1, path)
	if _, err := f.Saw(id+1_000_000, 7); err != nil { // the event was of pid 7's predecessor
		t.Fatal(err)
	}
	if o, ok := f.OfCgroup(id + 1_000_000); ok {
		t.Errorf("it is %+v", o)
	}
	if _, ok := f.OfCgroup(id); !ok {
		t.Error("its own cgroup is not known")
	}
}

func TestPodsWithALiveCgroupAreListed(t *testing.T) {
	n := newNode(t)
	var want []string
	for i := range 5 {
		uid, path := podPath(i)
		n.run(uint32(100+i), 1, path)
		want = append(want, uid)
	}
	n.run(99, 1, "/system.slice")
	n.write(filepath.Join(n.proc, "0123", "cgroup"), "0::"+"/kubepods/pod"+other+"\n")
	f := n.files(Options{})
	got, err := f.Pods() // the hierarchy has no pod: by the processes
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
	uid, path := podPath(77)
	n.mkdir(path)
	if got, _ = f.Pods(); !slices.Equal(got, want) {
		t.Errorf("it looked again at once: %v", got)
	}
	n.pass(6 * time.Second)
	if got, err = f.Pods(); err != nil || !slices.Equal(got, []string{uid}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := New(Options{Proc: filepath.Join(n.proc, "nowhere"), Hierarchy: n.hierarchy + "x"}).Pods(); err == nil {
		t.Error("no /proc, and no error")
	}
}

func TestCopiesOfLibcudaAreFoundInMaps(t *testing.T) {
	n := newNode(t)
	f := n.files(Options{})
	n.write(n.file(7, "maps"), strings.Join([]string{
		"55d0c0000000-55d0c0001000 r-xp 00000000 08:01 77                         /usr/bin/python3",
		"7f31c8a00000-7f31c8c00000 r--p 00000000 08:01 1234                       /usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05",
		"7f31c8c00000-7f31c8d00000 r-xp 00200000 08:01 1234                       /usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05",
		"7f31c9000000-7f31c9100000 r-xp 00000000 103:10a 99                       /usr/local/cuda 13/compat/libcuda.so.1",
		"7f31c9200000-7f31c9300000 r-xp 00000000 00:2b 5                          /opt/old/libcuda.so.1 (deleted)",
		"7f31c9400000-7f31c9500000 r-xp 00000000 08:01 6                          /usr/lib/libcudart.so.12",
		"7f31c9400000-7f31c9500000 r-xp 00000000 08:01 6                          /usr/lib/libcuda.so.1.d/other.so",
		"7f31c9600000-7f31c9700000 rw-p 00000000 00:00 0 ",
		"7ffc00000000-7ffc00021000 rw-p 00000000 00:00 0                          [stack]",
		"nonsense /libcuda.so.1",
		"7f31c9700000-7f31c9800000 r-xp 00000000 zz:01 6                          /libcuda.so.1",
		"",
	}, "\n"))
	got, err := f.Maps(7)
	want := []Library{
		{0x2b, 5, "/opt/old/libcuda.so.1", ""},
		{0x801, 1234, "/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05", n.proc + "/7/root/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05"},
		{0x11030a, 99, "/usr/local/cuda 13/compat/libcuda.so.1", n.proc + "/7/root/usr/local/cuda 13/compat/libcuda.so.1"},
	}
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Error(err, diff)
	}
}

func TestALibraryThatThisProcessMapsIsFound(t *testing.T) {
	file := filepath.Join(t.TempDir(), "libcuda.so.1")
	if err := os.WriteFile(file, make([]byte, 4096), 0o600); err != nil {
		t.Fatal(err)
	}
	fd, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer fd.Close() //nolint:errcheck // nothing was written
	mapped, err := syscall.Mmap(int(fd.Fd()), 0, 4096, syscall.PROT_READ, syscall.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	defer syscall.Munmap(mapped) //nolint:errcheck // the test ends
	all, err := New(Options{}).Maps(uint32(os.Getpid()))
	at := slices.IndexFunc(all, func(l Library) bool { return l.Path == file })
	if err != nil || at < 0 {
		t.Fatalf("%+v, %v", all, err)
	}
	info, err := os.Stat(all[at].Root)
	if err != nil || inodeOf(info) != all[at].Inode {
		t.Errorf("%+v does not lead to it: %v", all[at], err)
	}
}

// TestTenThousandProcesses looks at all processes of a large node twice.
func TestTenThousandProcesses(t *testing.T) {
	const many, most = 10_000, 4_000
	n := newNode(t)
	for i := range many {
		_, path := podPath(i / 10)
		n.run(uint32(i+1), uint64(i), path)
	}
	all := n.files(Options{})
	before := heap()
	sweep(t, all, many)
	perProcess := (heap() - before) / many
	t.Logf("%d bytes of memory a process", perProcess)
	if perProcess > 2_000 {
		t.Errorf("a process takes %d bytes", perProcess)
	}
	runtime.KeepAlive(all)

	few := n.files(Options{Most: most})
	for range 2 {
		sweep(t, few, many)
		if len(few.processes) > most || len(few.cgroups) > most {
			t.Fatalf("%d processes and %d cgroups are remembered", len(few.processes), len(few.cgroups))
		}
	}

	// The second look opens one file of each: those of their cgroups are not there.
	for i := range many {
		if err := os.Remove(n.file(uint32(i+1), "cgroup")); err != nil {
			t.Fatal(err)
		}
	}
	sweep(t, all, many)

	// Those that nobody asks for any more are forgotten, whether or not they ended.
	n.pass(10 * time.Minute)
	n.run(1, 99_999, "/system.slice")
	if _, err := all.Owner(1); err != nil || len(all.processes) != 1 {
		t.Errorf("%v, %d are remembered", err, len(all.processes))
	}
}

func sweep(t *testing.T, f *Files, many int) {
	t.Helper()
	for i := range many {
		want, _ := podPath(i / 10)
		if o, err := f.Owner(uint32(i + 1)); err != nil || o.Pod != want {
			t.Fatal(i+1, o, err)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

func TestManyMayAskAtOnce(t *testing.T) {
	n := newNode(t)
	for i := range 50 {
		_, path := podPath(i)
		n.mkdir(path)
		n.run(uint32(i+1), 1, path)
	}
	f := n.files(Options{Most: 20, WalkEvery: 1})
	var all sync.WaitGroup
	for g := range 8 {
		all.Go(func() {
			for i := range 200 {
				pid := uint32((i+g)%50 + 1)
				want, _ := podPath(int(pid) - 1)
				if o, err := f.Owner(pid); err != nil || o.Pod != want {
					t.Errorf("%d: %+v, %v", pid, o, err)
				}
				switch i % 20 {
				case 3:
					f.Exited(pid)
				case 7:
					f.OfCgroup(uint64(i))
				case 11:
					if _, err := f.Pods(); err != nil {
						t.Error(err)
					}
				case 13:
					f.State()
				}
				n.clock.Advance(n.clock.Now() + 1)
			}
		})
	}
	all.Wait()
}

func FuzzMaps(f *testing.F) {
	f.Add("7f31c8a00000-7f31c8c00000 r--p 00000000 08:01 1234  /usr/lib/libcuda.so.1")
	f.Add("7f31c8a00000-7f31c8c00000 r--p 00000000 08:01 1234  /a b/libcuda.so.1 (deleted)")
	f.Fuzz(func(t *testing.T, row string) {
		if l, ok := readMapping([]byte(row)); ok && (l.Inode == 0 || !strings.Contains(l.Path, "libcuda.so") || l.Path[0] != '/') {
			t.Errorf("%+v", l)
		}
		startOf(row)
	})
}

func BenchmarkSweepOf10000(b *testing.B) {
	n := newNode(b)
	for i := range 10_000 {
		_, path := podPath(i / 10)
		n.run(uint32(i+1), uint64(i), path)
	}
	look := func(b *testing.B, f *Files) {
		for i := range 10_000 {
			if _, err := f.Owner(uint32(i + 1)); err != nil {
				b.Fatal(err)
			}
		}
	}
	b.Run("unknown", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			look(b, n.files(Options{Hierarchy: b.TempDir()}))
		}
	})
	b.Run("known", func(b *testing.B) {
		f := n.files(Options{})
		look(b, f)
		b.ReportAllocs()
		for b.Loop() {
			look(b, f)
		}
	})
}

// BenchmarkRealOwner is of this machine's /proc, which is slower than plain files.
func BenchmarkRealOwner(b *testing.B) {
	pid := uint32(os.Getpid())
	b.Run("unknown", func(b *testing.B) {
		b.ReportAllocs()
		for b.Loop() {
			f := &Files{proc: proc{"/proc"}, o: Options{Most: 9, Clock: clock.Real{}}, processes: map[uint32]*process{}, cgroups: map[uint64]*seen{}}
			if _, err := f.Owner(pid); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("known", func(b *testing.B) {
		f := New(Options{})
		b.ReportAllocs()
		for b.Loop() {
			if _, err := f.Owner(pid); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func BenchmarkWalkOf1000Pods(b *testing.B) {
	n := newNode(b)
	for i := range 1000 {
		_, path := podPath(i)
		n.mkdir(path)
	}
	f := n.files(Options{})
	b.ReportAllocs()
	for b.Loop() {
		if len(f.walk()) != 1000 {
			b.Fatal("not all were found")
		}
	}
}
