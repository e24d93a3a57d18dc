package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/musterhq/muster/gpuprobe/simulate"
	"github.com/musterhq/muster/runtime/config"
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

// TestTheIdlerIsTheOneThatHasToGo holds what is printed at the end to the numbers, for
// clusters of any size.
func TestTheIdlerIsTheOneThatHasToGo(t *testing.T) {
	for places := fewest; places <= 6000; places++ {
		s := storyOf(places)
		pool, used := 8*places, map[string]int{}
		waits := s.others[len(s.others)-1]
		for _, g := range append([]gang{s.idler}, s.others[:len(s.others)-1]...) {
			used[g.queue] += g.pods * g.gpus
		}
		wanted, free, released := s.reclaimer.pods*s.reclaimer.gpus, pool-used["team-a"]-used["team-b"], s.idler.pods*s.idler.gpus
		if wanted <= free || wanted > free+released {
			t.Errorf("of %d GPUs %d are wanted, %d are free and %d with the idler's", pool, wanted, free, free+released)
		}
		if n := waits.pods * waits.gpus; n <= pool {
			t.Errorf("of %d GPUs %s wants %d, and need not wait", pool, waits.name, n)
		}
		if owed := s.part(owedB); used["team-b"]+wanted > owed {
			t.Errorf("of %d GPUs team-b wants %d and is owed %d", pool, used["team-b"]+wanted, owed)
		}
		if owed, most := s.part(owedA), s.part(mostA); used["team-a"]-released < owed || used["team-a"] > most {
			t.Errorf("of %d GPUs team-a has %d and would keep %d; it is owed %d and may have %d", pool, used["team-a"], used["team-a"]-released, owed, most)
		}
	}
}

// TestAHundredNodesAreTheStoryThatIsDocumented has the sizes of `make cluster` as it is
// without flags.
func TestAHundredNodesAreTheStoryThatIsDocumented(t *testing.T) {
	s := storyOf(100)
	if s.idler.pods != 8 || len(s.others) != 11 || s.reclaimer.pods != 24 || s.part(owedA) != 400 || s.part(mostA) != 700 || s.part(owedB) != 300 {
		t.Errorf("%+v, owed %d of %d and %d", s, s.part(owedA), s.part(mostA), s.part(owedB))
	}
	longest, _ := time.ParseDuration(s.idler.restart)
	for _, g := range append([]gang{s.idler, s.reclaimer}, s.others...) {
		if _, err := simulate.ParsePattern(g.use); err != nil {
			t.Errorf("%s: %v", g.name, err)
		}
		if cost, err := time.ParseDuration(g.restart); err != nil || g != s.idler && cost >= longest {
			t.Errorf("%s takes %s to start again, the idler %s: %v", g.name, g.restart, s.idler.restart, err)
		}
	}
}

func TestQueuesOfEachSizeHold(t *testing.T) {
	for _, places := range []int{0, 1, 9, 10, 20, 100, 5000} {
		var object struct{ Data map[string]string }
		if err := yaml.Unmarshal(storyOf(places).queues(), &object); err != nil {
			t.Fatal(err)
		}
		file, problems := config.Parse("queues.yaml", []byte(object.Data["queues.yaml"]))
		if file == nil || len(problems) > 0 {
			t.Errorf("%d places: %v", places, problems)
		}
	}
}

func TestWhatIsToldNamesFilesOfThisCluster(t *testing.T) {
	for _, path := range []string{os.Getenv("PATH"), ""} {
		t.Setenv("PATH", path)
		var b bytes.Buffer
		s := storyOf(20)
		if err := (play{dir: "state"}).tell(&b, s); err != nil {
			t.Fatal(err)
		}
		for _, want := range []string{"state/admin.kubeconfig", "state/muster.pid", fmt.Sprintf("%s/%s", s.idler.queue, s.idler.name), "play start state"} {
			if !strings.Contains(b.String(), want) {
				t.Errorf("%q is not in %s", want, b.String())
			}
		}
		if path == "" && strings.Contains(b.String(), "kubectl") {
			t.Errorf("there is no kubectl: %s", b.String())
		}
	}
}

func TestAClusterTooSmallForTheStoryIsToldSo(t *testing.T) {
	var b bytes.Buffer
	s := storyOf(fewest - 1)
	if err := (play{dir: "state"}).tell(&b, s); err != nil {
		t.Fatal(err)
	}
	if text := b.String(); !strings.Contains(text, "No jobs were started") || strings.Contains(text, "reclaim") {
		t.Error(text)
	}
	if text := string(s.workload()); strings.Contains(text, "kind: Pod") {
		t.Error(text)
	}
}
