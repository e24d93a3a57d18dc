package process

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// sleeper starts a process that would sleep far longer than any test.
func sleeper(t *testing.T, script string) *Child {
	t.Helper()
	dir := t.TempDir()
	c, err := Spawn(Spec{Path: "/bin/sh", Args: []string{"-c", script}, Dir: dir, Log: filepath.Join(dir, "log")})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = syscall.Kill(c.PID, syscall.SIGKILL); <-c.Exited })
	return c
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func TestAPidThatChangedHandsIsLeftAlone(t *testing.T) {
	c := sleeper(t, "exec sleep 600")
	other := ID{PID: c.PID, Start: c.Start + 1}
	if got := other.State(); got != Gone {
		t.Errorf("a process with another time of start is %s", got)
	}
	if err := other.Signal(syscall.SIGKILL); !errors.Is(err, os.ErrProcessDone) {
		t.Errorf("signalling it: %v", err)
	}
	if err := other.Kill(within(t)); err != nil {
		t.Errorf("killing what is gone is no error, got %v", err)
	}
	if got := c.State(); got != Running {
		t.Errorf("the process that has the pid now is %s", got)
	}
}

func TestAProcessIsPausedResumedAndEnded(t *testing.T) {
	c := sleeper(t, "exec sleep 600")
	if c.RSS() <= 0 {
		t.Error("it has no memory")
	}
	must(t, c.Signal(syscall.SIGSTOP))
	waitFor(t, c.ID, Paused)
	must(t, c.Signal(syscall.SIGCONT))
	waitFor(t, c.ID, Running)
	must(t, c.Signal(syscall.SIGSTOP))
	waitFor(t, c.ID, Paused)
	must(t, c.End(within(t), 20*time.Second)) // though paused
	<-c.Exited
	if c.State() != Gone || c.RSS() != 0 {
		t.Errorf("after its end it is %s with %d bytes", c.State(), c.RSS())
	}
}

func TestAProcessThatWontFinishIsKilledAfterTheGrace(t *testing.T) {
	c := sleeper(t, `trap "" TERM; echo deaf; while :; do sleep 600 & wait; done`)
	must(t, c.End(within(t), 50*time.Millisecond))
	<-c.Exited
}

func TestPidFiles(t *testing.T) {
	file := filepath.Join(t.TempDir(), "etcd.pid")
	if _, err := Load(file); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a missing file: %v", err)
	}
	want, err := Find(os.Getpid())
	must(t, err)
	must(t, want.Save(file))
	if got, err := Load(file); got != want {
		t.Errorf("wrote %v, read %v (%v)", want, got, err)
	}
	for _, bad := range []string{"", "{", `{"pid":0}`, `{"pid":-1}`, "4711"} {
		must(t, os.WriteFile(file, []byte(bad), 0o600))
		if id, err := Load(file); err == nil || !strings.Contains(err.Error(), "no pid file") {
			t.Errorf("%q is read as %v (%v)", bad, id, err)
		}
	}
}

func TestTheNameOfAProcessMayLookLikeAnything(t *testing.T) {
	tail := " S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 777 20"
	for _, name := range []string{"(etcd)", "(a b)", "(a) R 1)", "())"} {
		letter, start, err := parseStat("42 " + name + tail)
		if err != nil || letter != 'S' || start != 777 {
			t.Errorf("%s: %c %d %v", name, letter, start, err)
		}
	}
	for _, bad := range []string{"", "42 (etcd) S", "42 (etcd) S 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15 16 17 18 x"} {
		if _, _, err := parseStat(bad); err == nil {
			t.Errorf("%q is taken for a stat line", bad)
		}
	}
}

func TestSpawnSaysWhatItCouldNotStart(t *testing.T) {
	dir := t.TempDir()
	if _, err := Spawn(Spec{Path: filepath.Join(dir, "none"), Log: filepath.Join(dir, "log")}); err == nil || !strings.Contains(err.Error(), "starting none") {
		t.Errorf("got %v", err)
	}
}

func waitFor(t *testing.T, id ID, want State) {
	t.Helper()
	ctx := within(t)
	for id.State() != want {
		if ctx.Err() != nil {
			t.Fatalf("process %d is %s and never became %s", id.PID, id.State(), want)
		}
		time.Sleep(time.Millisecond)
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}
