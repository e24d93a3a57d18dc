//go:build linux && (amd64 || arm64)

package bpf

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

func TestEveryLaunchOfEveryThreadCountsForItsProcessAndCgroup(t *testing.T) {
	for _, tt := range []struct{ object, kind, option string }{
		{"lite", "cgroup2", ""},
		{"v1", "cgroup", ",memory,"},
	} {
		t.Run(tt.object, func(t *testing.T) {
			needKernel(t)
			hierarchy := hierarchyOf(t, tt.kind, tt.option)
			joinA, a := cgroup(t, hierarchy, "a")
			joinB, b := cgroup(t, hierarchy, "b")
			lib := fakeDriver(t, t.TempDir(), endbrPush)
			p := watch(t, Options{Libraries: []string{lib}, object: tt.object})
			first, second, third := startCaller(t, lib), startCaller(t, lib), startCaller(t, lib)
			joinA(first)
			joinA(second)
			joinB(third)
			mustArm(t, p, first.pid, second.pid, third.pid)
			first.tell("call cuLaunchKernel 20000 4")
			second.launch(50_001)
			third.launch(7)
			for _, want := range []struct {
				p        *process
				launches uint64
				cgroup   uint64
			}{{first, 80_000, a}, {second, 50_001, a}, {third, 7, b}} {
				c := counted(t, p, want.p.pid)
				if c.Launches != want.launches || c.Cgroup != want.cgroup || c.Last.IsZero() {
					t.Errorf("pid %d: %+v, want %d launches in cgroup %d", want.p.pid, c, want.launches, want.cgroup)
				}
			}
			if p.Lost() != 0 {
				t.Errorf("lost %d", p.Lost())
			}
		})
	}
}

func TestEachLaunchFunctionCountsOnceAndNoOther(t *testing.T) {
	needKernel(t)
	for _, flags := range [][]string{nil, {"-DOLD_DRIVER"}} {
		lib := fakeDriver(t, t.TempDir(), push, flags...)
		p := watch(t, Options{Libraries: []string{lib}})
		c := startCaller(t, lib)
		mustArm(t, p, c.pid)
		want, functions := uint64(0), []string{
			"cuLaunchKernel", "cuLaunchKernel_ptsz", "cuLaunchCooperativeKernel",
			"cuGraphLaunch", "cuGraphLaunch_ptsz", // one function under two names
		}
		if flags == nil {
			functions = append(functions, "cuLaunchKernelEx", "cuLaunchKernelEx_ptsz", "cuLaunchCooperativeKernelMultiDevice",
				"cuLaunch", "cuLaunchGrid", "cuLaunchGridAsync")
		}
		for i, f := range functions {
			c.tell("call %s %d", f, 1000+i)
			want += uint64(1000 + i)
			if got := counted(t, p, c.pid).Launches; got != want {
				t.Fatalf("%v: after %s: %d, want %d", flags, f, got, want)
			}
		}
		c.tell("call cuMemAlloc_v2 500")
		if got := counted(t, p, c.pid).Launches; got != want {
			t.Errorf("an allocation counted: %d, want %d", got, want)
		}
	}
}

func TestWhoIsNotArmedRunsTheBytesThatTheDriverCameWith(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	armed, free := startCaller(t, lib), startCaller(t, lib)
	original := free.code("cuLaunchKernel")
	mustArm(t, p, armed.pid)
	late := startCaller(t, lib) // maps the library while there is a probe
	if bytes.Equal(armed.code("cuLaunchKernel"), original) {
		t.Error("the armed process has no probe in its memory")
	}
	for _, c := range []*process{free, late} {
		c.launch(100)
		if got := c.code("cuLaunchKernel"); !bytes.Equal(got, original) {
			t.Errorf("a process that is not armed has a probe: % x, was % x", got, original)
		}
		if n := counted(t, p, c.pid).Launches; n != 0 {
			t.Errorf("and %d launches", n)
		}
	}
	mustArm(t, p)
	if got := armed.code("cuLaunchKernel"); !bytes.Equal(got, original) {
		t.Errorf("disarmed, it still has a probe: % x, was % x", got, original)
	}
}

func TestArmReplacesTheSetAndCountsGoOn(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), plain)
	p := watch(t, Options{Libraries: []string{lib}})
	a, b := startCaller(t, lib), startCaller(t, lib)
	mustArm(t, p, a.pid)
	since, _ := p.Armed(a.pid)
	a.launch(100)
	b.launch(100)
	mustArm(t, p, a.pid, b.pid)
	if again, _ := p.Armed(a.pid); !again.Equal(since) {
		t.Error("arming it again made a gap of it")
	}
	a.launch(10)
	b.launch(10)
	mustArm(t, p, b.pid)
	if _, ok := p.Armed(a.pid); ok {
		t.Error("it is still armed")
	}
	a.launch(1000)
	b.launch(1)
	mustArm(t, p, a.pid)
	a.launch(5)
	if x, y := counted(t, p, a.pid).Launches, counted(t, p, b.pid).Launches; x != 115 || y != 11 {
		t.Errorf("counted %d and %d, want 115 and 11", x, y)
	}
	if again, _ := p.Armed(a.pid); !again.After(since) {
		t.Error("armed anew, and without a gap?")
	}
}

func TestWhereTheProbeGoes(t *testing.T) {
	needKernel(t)
	if os.Getenv("GOARCH") == "arm64" {
		t.Skip("x86 only")
	}
	for _, tt := range []struct {
		prologue int
		places   []string // the nop is cheap since 6.18 only
	}{
		{push, []string{"entry (push)"}},
		{endbrPush, []string{"entry+4 (push)"}},
		{nop, []string{"entry (nop)", "entry (single-stepped)"}},
		{subRSP, []string{"entry (single-stepped)"}},
		{movPush, []string{"entry+12 (push)"}},
		{jump, []string{"entry (jmp)"}},
	} {
		lib := fakeDriver(t, t.TempDir(), tt.prologue)
		p := watch(t, Options{Libraries: []string{lib}})
		got := p.Status().Libraries[0]
		if got.Place != tt.places[0] && got.Place != tt.places[len(tt.places)-1] || got.Symbols != 12 {
			t.Errorf("%+v, want %v", got, tt.places)
		}
		c := startCaller(t, lib)
		mustArm(t, p, c.pid)
		c.launch(3000)
		if n := counted(t, p, c.pid).Launches; n != 3000 {
			t.Errorf("%s: counted %d of 3000", got.Place, n)
		}
		_ = p.Close()
	}
}

func TestABindMountOfTheLibraryIsTheLibrary(t *testing.T) {
	needKernel(t)
	lib, elsewhere := fakeDriver(t, t.TempDir(), push), filepath.Join(t.TempDir(), soname)
	writeFile(t, elsewhere, nil)
	p := watch(t, Options{Libraries: []string{lib}})
	c := startIn(t, elsewhere, "mount --bind "+lib+" "+elsewhere)
	mustArm(t, p, c.pid)
	c.launch(321)
	if n := counted(t, p, c.pid).Launches; n != 321 {
		t.Errorf("counted %d of 321", n)
	}
	if libs := p.Status().Libraries; len(libs) != 1 {
		t.Errorf("one file: %+v", libs)
	}
}

func TestACopyThatAProcessBringsIsWatchedWhenItIsArmed(t *testing.T) {
	needKernel(t)
	lib, copied := fakeDriver(t, t.TempDir(), push), fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	c := startCaller(t, copied)
	mustArm(t, p, c.pid)
	c.launch(77)
	if n := counted(t, p, c.pid).Launches; n != 77 {
		t.Errorf("counted %d of 77", n)
	}
	if libs := p.Status().Libraries; len(libs) != 2 {
		t.Errorf("two files: %+v", libs)
	}
	c.exit()
	eventually(t, "the probes of a copy that nobody uses go", func() bool {
		p.tidy(p.refresh)
		return len(p.Status().Libraries) == 1
	})
}

func TestOneFileSeenThroughTwoOverlaysGetsItsProbesOnce(t *testing.T) {
	needKernel(t)
	image, mountpoint := t.TempDir(), t.TempDir()
	fakeDriver(t, image, push)
	script := "mount -t tmpfs none /mnt; mkdir /mnt/u /mnt/w; mount -t overlay none -o lowerdir=" + image +
		",upperdir=/mnt/u,workdir=/mnt/w " + mountpoint
	if err := sh("unshare -m sh -ec '" + script + "'"); err != nil {
		missing(t, "no overlay file system: %v", err)
	}
	p := watch(t, Options{Libraries: []string{filepath.Join(t.TempDir(), soname)}})
	a, b := startIn(t, filepath.Join(mountpoint, soname), script), startIn(t, filepath.Join(mountpoint, soname), script)
	for _, c := range []*process{a, b} {
		if err := p.Library(root(c.pid, filepath.Join(mountpoint, soname))); err != nil {
			t.Fatal(err)
		}
	}
	mustArm(t, p, a.pid, b.pid)
	a.launch(100)
	b.launch(200)
	if x, y := counted(t, p, a.pid).Launches, counted(t, p, b.pid).Launches; x != 100 || y != 200 {
		t.Errorf("counted %d and %d, want 100 and 200; %+v", x, y, p.Status().Libraries)
	}
	if libs := p.Status().Libraries; len(libs) != 1 {
		t.Errorf("one file: %+v", libs)
	}
}

func TestALibraryThatAppearsIsFound(t *testing.T) {
	needKernel(t)
	folder := t.TempDir()
	p := watch(t, Options{Libraries: []string{filepath.Join(folder, soname)}})
	if s := p.Status(); s.Up || s.Reason != NoLibrary {
		t.Fatalf("%+v", s)
	}
	if err := p.Arm([]uint32{uint32(os.Getpid())}); err != nil {
		t.Fatal(err)
	}
	if _, ok := p.Armed(uint32(os.Getpid())); ok {
		t.Error("armed without a library")
	}
	lib := fakeDriver(t, folder, push)
	p.tidy(p.refresh)
	if s := p.Status(); !s.Up || s.Reason != "" {
		t.Fatalf("%+v", s)
	}
	c := startCaller(t, lib)
	mustArm(t, p, c.pid)
	c.launch(9)
	if n := counted(t, p, c.pid).Launches; n != 9 {
		t.Errorf("counted %d of 9", n)
	}
}

func TestAReplacedLibraryIsWatchedAndTheOldOneStays(t *testing.T) {
	needKernel(t)
	folder := t.TempDir()
	lib := fakeDriver(t, folder, push)
	p := watch(t, Options{Libraries: []string{lib}})
	old := startCaller(t, lib)
	mustArm(t, p, old.pid)
	next := fakeDriver(t, t.TempDir(), nop)
	b, err := os.ReadFile(next)
	if err != nil {
		t.Fatal(err)
	}
	writeFile(t, lib+".new", b)
	if err := os.Rename(lib+".new", lib); err != nil {
		t.Fatal(err)
	}
	p.tidy(p.refresh)
	c := startCaller(t, lib)
	mustArm(t, p, old.pid, c.pid)
	old.launch(30)
	c.launch(40)
	if x, y := counted(t, p, old.pid).Launches, counted(t, p, c.pid).Launches; x != 30 || y != 40 {
		t.Errorf("counted %d and %d, want 30 and 40", x, y)
	}
	// Armed anew, it is known that its file is watched though no path leads to it.
	mustArm(t, p, c.pid)
	mustArm(t, p, old.pid)
}

func TestALibraryThatWasOverwrittenLosesItsProbes(t *testing.T) {
	needKernel(t)
	folder := t.TempDir()
	lib := fakeDriver(t, folder, push)
	p := watch(t, Options{Libraries: []string{lib}})
	c := startCaller(t, lib)
	mustArm(t, p, c.pid)
	c.exit()
	fakeDriver(t, folder, movPush) // into the same inode
	p.tidy(p.refresh)
	libs := p.Status().Libraries
	if len(libs) != 1 || libs[0].Place == "entry (push)" {
		t.Errorf("the probes are where the old file had its functions: %+v", libs)
	}
	c = startCaller(t, lib)
	mustArm(t, p, c.pid)
	c.launch(50)
	if n := counted(t, p, c.pid).Launches; n != 50 {
		t.Errorf("counted %d of 50", n)
	}
}

func TestWhatIsNoDriverIsNotWatched(t *testing.T) {
	needKernel(t)
	p := watch(t, Options{Libraries: []string{filepath.Join(t.TempDir(), soname)}})
	text := filepath.Join(t.TempDir(), soname)
	writeFile(t, text, []byte("not a library"))
	for _, path := range []string{text, "/proc/self/exe", filepath.Join(t.TempDir(), "nothing")} {
		if err := p.Library(path); err == nil {
			t.Errorf("%s was watched", path)
		}
	}
	if p.Status().Up {
		t.Error("up")
	}
	// One by which nothing can be launched that a probe sees: its users would look idle.
	if err := p.Library(fakeDriver(t, t.TempDir(), push, "-DNO_LAUNCHES")); !errors.Is(err, errNoLaunches) {
		t.Error(err)
	}
}

// Graphics and OpenCL need no libcuda: no launch of such a process is ever seen.
func TestAProcessWithoutLibcudaIsNotCalledWatched(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	p := watch(t, Options{Libraries: []string{lib}})
	c := startCaller(t, lib)
	cmd := exec.Command("sleep", "1000")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = cmd.Process.Kill(); _ = cmd.Wait() }()
	other := uint32(cmd.Process.Pid)
	eventually(t, "it is another program", func() bool {
		name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", other))
		return err == nil && string(name) == "sleep\n"
	})
	err := p.Arm([]uint32{other, c.pid})
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("pid %d: it has no libcuda", other)) {
		t.Error(err)
	}
	if _, ok := p.Armed(other); ok {
		t.Error("every launch of it would be seen, it says")
	}
	if _, ok := p.Armed(c.pid); !ok {
		t.Error("the other is not armed")
	}
}

// Before kernel 6.15 maps need CAP_SYS_PTRACE. Who may have a libcuda of its own is armed,
// as most have the host's, but not called watched.
func TestWhoseLibrariesCanNotBeToldIsNotCalledWatched(t *testing.T) {
	needKernel(t)
	lib := fakeDriver(t, t.TempDir(), push)
	before := startCaller(t, lib)
	before.tell("call cuInit 1")
	p := watch(t, Options{Libraries: []string{lib}})
	p.maps = func(uint32) ([]mapping, bool, error) { return nil, false, os.ErrPermission }
	seen, own := startCaller(t, lib), startCaller(t, fakeDriver(t, t.TempDir(), push))
	seen.tell("call cuInit 1")
	own.tell("call cuInit 1")
	if err := p.Arm([]uint32{before.pid, seen.pid, own.pid}); err != nil {
		t.Fatal(err)
	}
	for what, c := range map[string]struct {
		*process
		sure bool
	}{"started before": {before, false}, "started since": {seen, true}, "has a copy of its own": {own, false}} {
		if _, ok := p.Armed(c.pid); ok != c.sure {
			t.Errorf("%s: every launch of it would be seen, it says: %v", what, ok)
		}
	}
	for _, c := range []*process{before, seen} {
		c.launch(5)
		for wait(t, p, c.pid).Kind != Woke { // the start may come first
		}
		if n := counted(t, p, c.pid).Launches; n != 5 {
			t.Errorf("counted %d of 5", n)
		}
	}
	if d := p.Status().Detail; !strings.Contains(d, "CAP_SYS_PTRACE") {
		t.Error(d)
	}
}
