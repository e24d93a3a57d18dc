package main

import (
	"bytes"
	"compress/gzip"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/musterhq/muster/runtime/wasm/guests"
	"github.com/musterhq/muster/runtime/wasm/wasmtest"
)

func TestMain(m *testing.M) {
	testscript.Main(m, map[string]func(){"muster": main, "kubectl-muster": main})
}

// The scripts find the shipped policies in $POLICIES, misbehaving ones in bad/, and
// a gzip file that ends in the middle as truncated.csv.gz. `code N muster …` wants
// that exit code; `empty FILE` wants nothing in it; `eventually PATTERN muster …` calls
// until stdout matches.
func TestScripts(t *testing.T) {
	policies := shipped(t)
	testscript.Run(t, testscript.Params{
		Dir: "testdata",
		Setup: func(env *testscript.Env) error {
			env.Setenv("POLICIES", policies)
			if path, err := exec.LookPath("muster"); err == nil {
				env.Setenv("MUSTER", path)
			}
			return errors.Join(misbehaving(filepath.Join(env.WorkDir, "bad")), truncated(filepath.Join(env.WorkDir, "truncated.csv.gz")))
		},
		Cmds: map[string]func(*testscript.TestScript, bool, []string){"code": exitCode, "empty": isEmpty, "unhinted": unhinted, "eventually": eventually},
	})
}

// shipped builds the policies that the demo needs and returns their folder.
func shipped(t *testing.T) string {
	t.Helper()
	dir := ""
	for _, name := range []string{"fifo", "fifo-reversed", "fair", "guaranteed-fair", "least-lost-work"} {
		path, err := guests.Path(name)
		if err != nil {
			t.Fatal(err)
		}
		dir = filepath.Dir(path)
	}
	return dir
}

func misbehaving(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	var errs []error
	for name, bin := range map[string][]byte{
		"not-wasm": wasmtest.NotWasm(), "truncated": wasmtest.Truncated(), "trap": wasmtest.Trap(), "signature": wasmtest.WrongSignature(),
		"nan": wasmtest.NaN(), "loop": wasmtest.Loop(), "bomb": wasmtest.MemoryBomb(), "files": wasmtest.ForbiddenImport(),
		"other-abi": wasmtest.OtherVersion(), "good": wasmtest.Good(),
	} {
		errs = append(errs, os.WriteFile(filepath.Join(dir, name+".wasm"), bin, 0o600))
	}
	return errors.Join(errs...)
}

func truncated(path string) error {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write([]byte("job,queue,submit_s,gpus_per_worker,duration_s\nj1,default,0,1,60\nj2,default,0,1,60\n"))
	if err := errors.Join(err, z.Close()); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes()[:b.Len()-12], 0o600)
}

func exitCode(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: code N command…")
	}
	want, err := strconv.Atoi(args[0])
	ts.Check(err)
	got := 0
	var exit *exec.ExitError
	if err := ts.Exec(args[1], args[2:]...); errors.As(err, &exit) {
		got = exit.ExitCode()
	} else {
		ts.Check(err)
	}
	if got != want {
		ts.Fatalf("exit code %d, not %d", got, want)
	}
}

func isEmpty(ts *testscript.TestScript, neg bool, args []string) {
	for _, name := range args {
		if got := ts.ReadFile(name); (got == "") == neg {
			ts.Fatalf("%s has %d bytes", name, len(got))
		}
	}
}

// unhinted fails if what was printed on stderr does not end with a line of hint,
// negated: `! unhinted` is what every error promises.
func unhinted(ts *testscript.TestScript, neg bool, _ []string) {
	lines := bytes.Split(bytes.TrimRight([]byte(ts.ReadFile("stderr")), "\n"), []byte("\n"))
	last := lines[len(lines)-1]
	if bytes.HasPrefix(last, []byte("hint: ")) != neg {
		ts.Fatalf("the last line of stderr is %q", last)
	}
}

// eventually calls a command again and again until what it prints matches.
func eventually(ts *testscript.TestScript, neg bool, args []string) {
	if neg || len(args) < 2 {
		ts.Fatalf("usage: eventually PATTERN command…")
	}
	pattern, err := regexp.Compile(args[0])
	ts.Check(err)
	for deadline := time.Now().Add(time.Minute); time.Now().Before(deadline); time.Sleep(50 * time.Millisecond) {
		if ts.Exec(args[1], args[2:]...) == nil && pattern.MatchString(ts.ReadFile("stdout")) {
			return
		}
	}
	ts.Fatalf("never matched %q: %s", pattern, ts.ReadFile("stdout"))
}
