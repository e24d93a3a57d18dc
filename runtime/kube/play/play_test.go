package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/musterhq/muster/gpuprobe/simulate"
)

// sleeper is a process that does nothing but run.
func sleeper(t *testing.T) process {
	t.Helper()
	if _, err := exec.LookPath("sleep"); err != nil {
		t.Skip("NOT TESTED: there is no sleep in PATH")
	}
	return process{dir: t.TempDir(), name: "sleeper", command: []string{"sleep", "1000"}}
}

func TestAPidOfAnotherProcessIsNotEnded(t *testing.T) {
	p := sleeper(t)
	for _, stale := range []string{strconv.Itoa(os.Getpid()), "0", "-1", "none", ""} {
		if err := os.WriteFile(p.pid(), []byte(stale), 0o600); err != nil {
			t.Fatal(err)
		}
		if pid := p.running(); pid != 0 {
			t.Errorf("%q is taken for the process", stale)
		}
		if err := p.end(); err != nil {
			t.Errorf("%q: %v", stale, err)
		}
	}
}

func TestAProcessRunsUntilItIsEnded(t *testing.T) {
	p := sleeper(t)
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	if p.running() == 0 || p.ended() != nil {
		t.Fatal("it was started and does not run")
	}
	if err := p.end(); err != nil {
		t.Fatal(err)
	}
	if err := p.ended(); err == nil || p.running() != 0 {
		t.Error("it runs after its end")
	}
}

func TestWhatAProcessSaidIsInTheErrorOfItsEnd(t *testing.T) {
	p := sleeper(t)
	if err := p.start("not a time"); err != nil {
		t.Fatal(err)
	}
	for p.running() != 0 {
		<-pause()
	}
	if err := p.ended(); err == nil || !strings.Contains(err.Error(), "not a time") {
		t.Errorf("it is not said why: %v", err)
	}
}

// TestTheIdlerIsTheOneThatHasToGo holds what is printed at the end to the numbers.
func TestTheIdlerIsTheOneThatHasToGo(t *testing.T) {
	const pool = 800
	used := map[string]int{}
	for _, g := range append(jobs(), reclaimer) {
		if _, err := simulate.ParsePattern(g.use); err != nil {
			t.Errorf("%s: %v", g.name, err)
		}
		if n := g.pods * g.gpus; n <= pool && g != reclaimer {
			used[g.queue] += n
		}
	}
	wanted, free, released := reclaimer.pods*reclaimer.gpus, pool-used["team-a"]-used["team-b"], idler.pods*idler.gpus
	if wanted <= free || wanted > free+released {
		t.Errorf("%d GPUs are wanted, %d are free and %d with the idler's", wanted, free, free+released)
	}
	if owed := guaranteed(t, "team-b"); used["team-b"]+wanted > owed {
		t.Errorf("team-b wants %d and is owed %d", used["team-b"]+wanted, owed)
	}
	if owed := guaranteed(t, "team-a"); used["team-a"]-released < owed {
		t.Errorf("team-a would keep %d of the %d that it is owed", used["team-a"]-released, owed)
	}
}

// guaranteed GPUs of a queue.
func guaranteed(t *testing.T, queue string) int {
	t.Helper()
	found := regexp.MustCompile(`name: ` + queue + `\s+resources:\s+guaranteed: {nvidia.com/gpu: (\d+)}`).FindStringSubmatch(queues)
	if found == nil {
		t.Fatalf("%s has no guarantee", queue)
	}
	n, _ := strconv.Atoi(found[1])
	return n
}

func TestWhatIsToldNamesFilesOfThisCluster(t *testing.T) {
	for _, path := range []string{os.Getenv("PATH"), ""} {
		t.Setenv("PATH", path)
		var b bytes.Buffer
		if err := (play{dir: "state"}).tell(&b); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"state/admin.kubeconfig", fmt.Sprintf("%s/%s", idler.queue, idler.name), "state"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%q is not in %s", want, b.String())
			}
		}
		if path == "" && strings.Contains(b.String(), "kubectl") {
			t.Errorf("there is no kubectl: %s", b.String())
		}
	}
}
