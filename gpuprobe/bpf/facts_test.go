//go:build linux && (amd64 || arm64)

package bpf

import (
	"strings"
	"testing"
	"testing/fstest"
	"unsafe"
)

func TestWhatSpeaksAgainstProbes(t *testing.T) {
	const bpfAndPerfmon = "CapEff:\t000000c000000000\n"
	for _, tt := range []struct {
		name, release, status string
		hostPID               bool
		reason                string
	}{
		{"all is there", "6.18.44-fc-v595\n", bpfAndPerfmon, true, ""},
		{"the first that has it", "6.6.33", bpfAndPerfmon, true, ""},
		{"an old one", "6.5.13-generic", bpfAndPerfmon, true, KernelTooOld},
		{"an older one", "5.15.0-1064-azure", bpfAndPerfmon, true, KernelTooOld},
		{"the next great one", "7.0-rc1", bpfAndPerfmon, true, ""},
		{"one capability", "6.18.0", "CapEff:\t0000008000000000\n", true, NoCapability},
		{"the one that was split", "6.18.0", "CapEff:\t0000000000200000\n", true, ""},
		{"a pid namespace", "6.18.0", bpfAndPerfmon, false, NoHostPID},
		{"nothing can be read", "", "", true, KernelTooOld},
	} {
		k := readKernel(fstest.MapFS{
			"proc/sys/kernel/osrelease": {Data: []byte(tt.release)},
			"proc/self/status":          {Data: []byte("Name:\tx\n" + tt.status)},
		})
		k.hostPID = tt.hostPID
		if reason, detail := k.refuse(); reason != tt.reason || (reason == "") != (detail == "") {
			t.Errorf("%s: %s %s, want %s", tt.name, reason, detail, tt.reason)
		}
	}
}

func TestWhichVersionOfCgroupsHasThePods(t *testing.T) {
	const head = "#subsys_name\thierarchy\tnum_cgroups\tenabled\ncpu\t3\t1\t1\n"
	for table, v1 := range map[string]bool{
		head + "memory\t4\t70\t1\n": true,
		head + "memory\t0\t70\t1\n": false,
		head + "memory\t4\t70\t0\n": false,
		head:                        false,
		"":                          false,
	} {
		if k := readKernel(fstest.MapFS{"proc/cgroups": {Data: []byte(table)}}); k.cgroupV1 != v1 || k.btf {
			t.Errorf("%q: %+v", table, k)
		}
	}
}

const mapsFile = `5581c0-5581d0 r-xp 00000000 fe:00 100    /usr/bin/python3
7f0000-7f1000 r--p 00000000 fe:00 1234   /usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05
7f1000-7f2000 r-xp 00001000 fe:00 1234   /usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05
7f3000-7f4000 r-xp 00000000 00:2f 77     /usr/local/cuda 13/compat/libcuda.so.1
7f5000-7f6000 r-xp 00000000 fe:00 99     /old/libcuda.so.1 (deleted)
7f7000-7f8000 r-xp 00000000 fe:00 55     /usr/lib/libcudart.so.13
7f9000-7fa000 rw-p 00000000 00:00 0
7fb000-7fc000 rw-p 00000000 00:00 0      [heap]
`

func TestMapsOfAProcess(t *testing.T) {
	got, lines, err := parseMaps(strings.NewReader(mapsFile))
	want := []mapping{
		{"/usr/lib/x86_64-linux-gnu/libcuda.so.580.95.05", 1234, false},
		{"/usr/local/cuda 13/compat/libcuda.so.1", 77, false},
		{"/old/libcuda.so.1", 99, true},
	}
	if err != nil || lines != 8 || len(got) != len(want) {
		t.Fatalf("%v %d %v", got, lines, err)
	}
	for i, m := range want {
		if got[i] != m {
			t.Errorf("%+v, want %+v", got[i], m)
		}
	}
}

func FuzzMaps(f *testing.F) {
	f.Add(mapsFile)
	f.Add(" /libcuda.so\n")
	f.Fuzz(func(t *testing.T, in string) {
		found, _, _ := parseMaps(strings.NewReader(in))
		for _, m := range found {
			if !strings.HasPrefix(m.path, "/") || strings.Contains(m.path, "\n") {
				t.Errorf("%+v", m)
			}
		}
	})
}

func TestThePidInAPath(t *testing.T) {
	for path, pid := range map[string]uint32{
		"/proc/12/root/usr/lib/libcuda.so.1": 12,
		"/proc/12/root":                      0,
		"/proc/self/root/x":                  0,
		"/usr/lib/libcuda.so.1":              0,
		"/proc/12/../1/root/x":               1,
	} {
		if got := pidOf(path); got != pid {
			t.Errorf("%s: %d, want %d", path, got, pid)
		}
	}
}

func TestFilesAreToldApart(t *testing.T) {
	a := signature{device: 1, inode: 2, size: 3}
	otherDevice, otherInode, otherTime := a, a, a
	otherDevice.device, otherInode.inode = 9, 9
	otherTime.device, otherTime.changed.Nsec = 9, 1
	bigger := a
	bigger.size = 4
	if !a.sameFile(a) || !a.sameFile(otherDevice) || a.sameFile(otherInode) || a.sameFile(otherTime) {
		t.Error("the same file is the one with the same inode, on another device only if all else is the same")
	}
	if a.overwritten(a) || !a.overwritten(bigger) {
		t.Error("overwritten is what has another size")
	}
}

func TestGoAndCAgreeOnWhatIsInTheMaps(t *testing.T) {
	lite, err := loadLite()
	if err != nil {
		t.Fatal(err)
	}
	v1, err := loadV1()
	if err != nil {
		t.Fatal(err)
	}
	for name, spec := range lite.Maps {
		if other := v1.Maps[name]; other == nil || other.ValueSize != spec.ValueSize {
			t.Errorf("map %s: %v and %v", name, spec, other)
		}
	}
	if got, want := lite.Maps["counts"].ValueSize, uint32(unsafe.Sizeof(count{})); got != want {
		t.Errorf("struct count has %d bytes in C and %d in Go", got, want)
	}
	for name, p := range lite.Programs {
		if p.License != "Dual MIT/GPL" {
			t.Errorf("program %s: license %q", name, p.License)
		}
		for _, i := range p.Instructions {
			if i.Metadata.Get("core-relocation") != nil {
				t.Errorf("program %s of the lite object needs BTF", name)
			}
		}
	}
}

func TestCheckSaysWhatIsThere(t *testing.T) {
	byName := func(findings []Finding) map[string]Finding {
		m := map[string]Finding{}
		for _, f := range findings {
			if f.Detail == "" {
				t.Errorf("%+v says nothing", f)
			}
			m[f.Name] = f
		}
		return m
	}
	nowhere := byName(Check(Options{Libraries: []string{"/nowhere/libcuda.so.1"}}))
	if nowhere[soname].OK || nowhere["probes"].OK {
		t.Errorf("%+v", nowhere)
	}
	needKernel(t)
	found := byName(Check(Options{Libraries: []string{fakeDriver(t, t.TempDir(), push)}}))
	for _, name := range []string{"kernel", "capabilities", "host pids", "btf", "cgroups", "uprobe_multi", soname, "probes"} {
		if !found[name].OK {
			t.Errorf("%s: %+v", name, found[name])
		}
	}
}
