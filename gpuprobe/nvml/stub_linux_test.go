//go:build linux && (amd64 || arm64)

package nvml

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/ebitengine/purego"
)

// Keys of fake_set, as in testdata/fakenvml.c.
const (
	keyLost = iota
	keyHang
	keyProcesses
	keyGrow
	keyInitRC
	keySamples
	keyMIG
	keyNoGPM
	keyCount
	keyStatusRC
	keyRecovery
	keyInclusive
	keySampleRC
	keyEventRC
	keyFabricV1
	keyLiveSamples
	keyIdle
	keyNoLinks
	keyNoEvents
	keyVersionRC
	keyMPSRC
)

// stub is a libnvidia-ml of testdata/fakenvml.c with a state of its own, and its levers.
type stub struct {
	path       string
	set        func(gpu, key uint32, value int)
	event      func(gpu uint32, kind, data uint64, gi, ci uint32)
	registered func(gpu uint32) uint64
	inits      func() int32
	sets       func() int32
	rooms      func() int32
	mostInside func() int32
}

// newStub compiles the library (once for all tests) and loads a copy.
func newStub(t testing.TB, defines ...string) *stub {
	t.Helper()
	s := &stub{path: filepath.Join(t.TempDir(), soname)}
	copyStub(t, s.path, defines...)
	// A handle of the test's own: the state outlives Close.
	library, err := purego.Dlopen(s.path, purego.RTLD_NOW|purego.RTLD_LOCAL)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = purego.Dlclose(library) })
	purego.RegisterLibFunc(&s.set, library, "fake_set")
	purego.RegisterLibFunc(&s.event, library, "fake_event")
	purego.RegisterLibFunc(&s.registered, library, "fake_registered")
	purego.RegisterLibFunc(&s.inits, library, "fake_inits")
	purego.RegisterLibFunc(&s.sets, library, "fake_sets")
	purego.RegisterLibFunc(&s.rooms, library, "fake_rooms")
	purego.RegisterLibFunc(&s.mostInside, library, "fake_most_inside")
	return s
}

// copyStub puts a library at a path; another copy is another file, hence another library
// to the loader.
func copyStub(t testing.TB, path string, defines ...string) {
	t.Helper()
	code, err := compile(t, strings.Join(defines, " "))
	if err == nil {
		err = os.WriteFile(path, code, 0o755)
	}
	if err != nil {
		t.Fatal(err)
	}
}

var compiled sync.Map // defines -> []byte

func compile(t testing.TB, defines string) ([]byte, error) {
	t.Helper()
	if code, ok := compiled.Load(defines); ok {
		return code.([]byte), nil
	}
	cc, err := exec.LookPath("cc")
	if err != nil {
		if os.Getenv("MUSTER_REQUIRE_EBPF") == "1" || os.Getenv("CI") == "true" {
			t.Fatal("no C compiler, and CI or MUSTER_REQUIRE_EBPF says that there must be one")
		}
		t.Skip("NOT TESTED: the layouts of NVML's structures need a C compiler (cc) for the library's stub")
	}
	out := filepath.Join(t.TempDir(), "stub.so")
	args := append(strings.Fields(defines), "-O1", "-shared", "-fPIC", "-pthread", "-o", out, "testdata/fakenvml.c")
	if text, err := exec.Command(cc, args...).CombinedOutput(); err != nil {
		t.Fatalf("cc: %v\n%s", err, text)
	}
	code, err := os.ReadFile(out)
	compiled.Store(defines, code)
	return code, err
}

// open opens the stub, to be closed by the end of the test.
func (s *stub) open(t testing.TB) *Driver {
	t.Helper()
	lib, err := Open(s.path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := lib.Close(); err != nil {
			t.Error(err)
		}
	})
	return lib.(*Driver)
}

func (s *stub) gpus(t testing.TB) []Device {
	t.Helper()
	list, err := s.open(t).Devices()
	if err != nil {
		t.Fatal(err)
	}
	return list
}
