package source

import (
	"context"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/musterhq/muster/runtime/clock"
	"github.com/musterhq/muster/runtime/reload/wanted"
)

// follow watches a path and returns what says whether a change was told.
func follow(t *testing.T, paths ...string) func(within time.Duration) bool {
	t.Helper()
	w, err := NewWatcher(clock.Real{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := w.Close(); err != nil {
			t.Error(err)
		}
	})
	w.Follow(paths)
	return func(within time.Duration) bool {
		defer w.Follow(paths)
		var c clock.Real
		return w.Next(context.Background(), c.Wake(c.Now()+int64(within)))
	}
}

const long, short = 10 * time.Second, 50 * time.Millisecond

func TestEveryWayToReplaceAFileIsNoticed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "order.wasm")
	write(t, path, []byte("1"))
	changed := follow(t, path)
	for _, c := range []struct {
		name string
		do   func() error
	}{
		{"written in place", func() error { return os.WriteFile(path, []byte("2"), 0o644) }},
		{"replaced by a rename", func() error {
			if err := os.WriteFile(path+".tmp", []byte("3"), 0o644); err != nil {
				return err
			}
			return os.Rename(path+".tmp", path)
		}},
		{"moved away and written anew, as editors do", func() error {
			if err := os.Rename(path, path+"~"); err != nil {
				return err
			}
			return os.WriteFile(path, []byte("4"), 0o644)
		}},
		{"removed", func() error { return os.Remove(path) }},
		{"back again", func() error { return os.WriteFile(path, []byte("5"), 0o644) }},
	} {
		if err := c.do(); err != nil {
			t.Fatal(err)
		}
		if !changed(long) {
			t.Errorf("%s: not noticed", c.name)
		}
	}
	if changed(short) {
		t.Error("nothing has changed")
	}
}

// A mounted ConfigMap: order.wasm -> ..data/order.wasm, ..data -> ..2026_1, and an update
// replaces the link ..data.
func TestASwapOfAMountedConfigMapIsNoticedAndReadWhole(t *testing.T) {
	dir := t.TempDir()
	write(t, filepath.Join(dir, "..2026_1", "order.wasm"), module("order", "1"))
	write(t, filepath.Join(dir, "..2026_1", "a.rego"), []byte("package a\n"))
	link := func(to, at string) {
		t.Helper()
		if err := os.Symlink(to, filepath.Join(dir, at)); err != nil {
			t.Fatal(err)
		}
	}
	link("..2026_1", "..data")
	link(filepath.Join("..data", "order.wasm"), "order.wasm")
	path := filepath.Join(dir, "order.wasm")
	if a := fetch(t, wanted.FromFile, path); a.Version != "1" {
		t.Fatalf("version %s", a.Version)
	}
	if a := fetch(t, wanted.FromFolder, dir); a.Version != "1" {
		t.Fatalf("the folder has version %s", a.Version)
	}
	changed := follow(t, path)
	write(t, filepath.Join(dir, "..2026_2", "order.wasm"), module("order", "2"))
	link("..2026_2", "..data_tmp")
	if err := os.Rename(filepath.Join(dir, "..data_tmp"), filepath.Join(dir, "..data")); err != nil {
		t.Fatal(err)
	}
	if err := os.RemoveAll(filepath.Join(dir, "..2026_1")); err != nil {
		t.Fatal(err)
	}
	if !changed(long) {
		t.Fatal("the swap was not noticed")
	}
	if a := fetch(t, wanted.FromFile, path); a.Version != "2" {
		t.Errorf("version %s", a.Version)
	}
}

func TestWhatALinkPointsToIsFollowed(t *testing.T) {
	dir, elsewhere := t.TempDir(), t.TempDir()
	real, path := filepath.Join(elsewhere, "real.wasm"), filepath.Join(dir, "order.wasm")
	write(t, real, []byte("1"))
	if err := os.Symlink(real, path); err != nil {
		t.Fatal(err)
	}
	changed := follow(t, path)
	write(t, real, []byte("2"))
	if !changed(long) {
		t.Error("a change behind the link was not noticed")
	}
}

func TestAWaitEndsWithItsContextAndItsAlarm(t *testing.T) {
	w, err := NewWatcher(clock.Real{})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	cancel()
	if w.Next(ctx, nil) {
		t.Error("a change after the end")
	}
	var c clock.Real
	if w.Next(context.Background(), c.Wake(c.Now())) {
		t.Error("an alarm is no change")
	}
	if err := w.Close(); err != nil {
		t.Error(err)
	}
	if w.Next(context.Background(), nil) {
		t.Error("a closed watcher tells of changes")
	}
}

func TestAFolderThatComesLaterIsFollowed(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "later", "x.wasm")
	w, err := NewWatcher(clock.Real{})
	if err != nil {
		t.Fatal(err)
	}
	defer w.Close() //nolint:errcheck // nothing was written
	w.Follow([]string{path})
	if got := w.Watched(); len(got) != 0 {
		t.Errorf("watched %v", got)
	}
	write(t, path, nil)
	w.Follow([]string{path})
	if got := w.Watched(); len(got) != 1 {
		t.Errorf("watched %v", got)
	}
	w.Follow(nil)
	if got := w.Watched(); len(got) != 0 {
		t.Errorf("watched %v after the end", got)
	}
}
