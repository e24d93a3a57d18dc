//go:build linux && (amd64 || arm64)

package nvml

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
)

func TestOpenSaysWhatIsThere(t *testing.T) {
	s := newStub(t)
	none := filepath.Join(t.TempDir(), "none", soname)
	text := filepath.Join(t.TempDir(), soname)
	if err := os.WriteFile(text, []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	for what, paths := range map[string][]string{"no file": {none}, "no library": {text}, "two": {none, text}} {
		if _, err := Open(paths...); !errors.Is(err, ErrLibraryNotFound) {
			t.Errorf("%s: %v", what, err)
		}
	}
	s.set(0, keyInitRC, int(ErrDriverNotLoaded))
	if _, err := Open(none, s.path); !errors.Is(err, ErrDriverNotLoaded) || errors.Is(err, ErrLibraryNotFound) {
		t.Error("a library without a driver:", err)
	}
	other := newStub(t)
	lib, err := Open(none, s.path, other.path)
	if err != nil {
		t.Fatal("the library that works is taken:", err)
	}
	defer func() { _ = lib.Close() }()
	if f := lib.(FromFile); f.Path() != other.path || f.Changed() {
		t.Error(f.Path(), f.ID(), f.Changed())
	}
}

// The loader keeps its words by thread, and a goroutine may be on another one by the time it
// asks for them.
func TestTheLoadersWordsAreItsOwn(t *testing.T) {
	text := filepath.Join(t.TempDir(), soname)
	if err := os.WriteFile(text, []byte("not a library"), 0o644); err != nil {
		t.Fatal(err)
	}
	var all sync.WaitGroup
	for range 32 {
		all.Go(func() {
			for range 200 {
				if _, err := Open(text); err == nil || !strings.Contains(err.Error(), text+": ") {
					t.Error(err)
					return
				}
			}
		})
	}
	all.Wait()
}

func TestWhereNothingIsFoundIsToldShortly(t *testing.T) {
	folder := t.TempDir()
	var paths []string
	for _, name := range []string{"a", "b", "c", "d"} {
		paths = append(paths, filepath.Join(folder, name))
	}
	_, err := Open(paths...)
	if text := fmt.Sprint(err); !errors.Is(err, ErrLibraryNotFound) || strings.Count(text, "not found") != 1 ||
		!strings.Contains(text, paths[0]+": no such file") || !strings.HasSuffix(text, "at 3 other paths, the last "+paths[3]) {
		t.Error(text)
	}
}

// Of a machine without a driver, as CI's, and of one that has one.
func TestOpenWithoutPathsLooksForTheMachinesDriver(t *testing.T) {
	lib, err := Open()
	switch {
	case err == nil:
		if s, err := lib.System(); err != nil || s.Driver == "" {
			t.Error(s, err)
		}
		if err := lib.Close(); err != nil {
			t.Error(err)
		}
	case !errors.Is(err, ErrLibraryNotFound) && !errors.Is(err, ErrDriverNotLoaded):
		t.Error(err)
	}
}

func TestALibraryThatIsNotNVMLIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), soname)
	copyStub(t, path, "-DnvmlInit_v2=somethingElse")
	if _, err := Open(path); !errors.Is(err, ErrNoSymbol) || errors.Is(err, ErrLibraryNotFound) {
		t.Error(err)
	}
}

func TestTheLibraryIsFoundUnderTheRootOfTheHost(t *testing.T) {
	root := t.TempDir()
	for _, folder := range []string{"home/kubernetes/bin/nvidia/lib64", "usr/lib64"} {
		if err := os.MkdirAll(filepath.Join(root, folder), 0o755); err != nil {
			t.Fatal(err)
		}
		copyStub(t, filepath.Join(root, folder, soname))
	}
	paths := SearchPaths(root)
	if paths[0] != soname {
		t.Error("the loader comes first:", paths)
	}
	lib, err := Open(paths[1:]...)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = lib.Close() }()
	if want := filepath.Join(root, "home/kubernetes/bin/nvidia/lib64", soname); lib.(*Driver).Path() != want {
		t.Error(lib.(*Driver).Path(), "want", want)
	}
}

func TestAnUpgradeOfTheDriverIsSeenAndOpened(t *testing.T) {
	folder := t.TempDir()
	link := filepath.Join(folder, soname)
	install := func(version string) {
		t.Helper()
		copyStub(t, link+"."+version, "-DFAKE_VERSION="+version)
		_ = os.Remove(link)
		if err := os.Symlink(soname+"."+version, link); err != nil {
			t.Fatal(err)
		}
	}
	install("570")
	old, err := Open(link)
	if err != nil {
		t.Fatal(err)
	}
	if f := old.(FromFile); f.Changed() || f.Path() != link+".570" {
		t.Error(f.Path(), f.Changed())
	}
	install("580")
	if !old.(FromFile).Changed() {
		t.Error("the link leads to another file")
	}
	// The old one is still open, and the new one is not taken for it.
	fresh, err := Open(link)
	if err != nil {
		t.Fatal(err)
	}
	if s, err := fresh.System(); err != nil || s.Driver != "580.95.05" || s.Path != link+".580" {
		t.Error(s, err)
	}
	if err := errors.Join(old.Close(), fresh.Close()); err != nil {
		t.Error(err)
	}
	if err := os.Remove(link); err != nil || !fresh.(FromFile).Changed() {
		t.Error("no file at all is a change too:", err)
	}
}

// The loader goes by the name as well as by the file: a driver of the same version that
// was installed anew must not be answered with the one in memory.
func TestALibraryThatWasDeletedButIsStillLoadedIsRefused(t *testing.T) {
	path := filepath.Join(t.TempDir(), soname)
	copyStub(t, path)
	old, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	copyStub(t, path, "-DFAKE_VERSION=581")
	if again, err := Open(path); err == nil {
		if s, _ := again.System(); s.Driver != "581.95.05" {
			t.Error("opened the deleted one:", s)
		}
		_ = again.Close()
	} else if !errors.Is(err, ErrLibraryVersion) {
		t.Error(err)
	}
	if err := old.Close(); err != nil {
		t.Error(err)
	}
	now, err := Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = now.Close() }()
	if s, _ := now.System(); s.Driver != "581.95.05" {
		t.Error(s)
	}
}
